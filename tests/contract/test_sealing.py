"""A sealed block belongs to one place, a signature to one sender and one content."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest
import rich.console
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec, messages, sealing
from schemas.codes import Outcome, Phase
from schemas.identifiers import Identifier, IdentifierKind
from schemas.messages import PlainIdentifier, Records, SubjectData
from schemas.sealing import BadSignature, SharedKey, Undecryptable
from schemas.topics import Topic
from schemas.transport import Message, Record
from tests.contract import forms
from tests.contract.samples import ERASE, EVENT_ID, GOLDEN, KEY, OTHER_KEY, SOURCE, ack_of, command_of, sealed_command

VECTORS = json.loads((GOLDEN / "vectors.json").read_bytes())
OTHER_REQUEST = "0196f3a2-6c5e-7b1d-9a40-000000000000"
COMMAND_CHANGES: dict[str, Any] = {
    "tenant": "globex",
    "request": OTHER_REQUEST,
    "phase": Phase.TRASH,
    "cutoff_at": forms.NOW + 1,
    "expires_at": forms.NOW + 7_200_000,
}
ADDRESS_CHANGES: dict[str, Any] = {
    "product": "chat",
    "epoch": 2,
    "seq": 3,
    "attempt": 2,
    "key": "tickets-2026b",
    "ceiling": None,
}
ACK_CHANGES: dict[str, Any] = {
    "tenant": "globex",
    "request": OTHER_REQUEST,
    "product": "chat",
    "phase": Phase.PURGE,
    "epoch": 2,
    "seq": 2,
    "attempt": 2,
}


def changed_commands() -> list[tuple[str, messages.Command]]:
    """A good command moved to every other place it could be moved to."""
    good = sealed_command()
    moved = [(name, msgspec.structs.replace(good, **{name: value})) for name, value in COMMAND_CHANGES.items()]
    for name, value in ADDRESS_CHANGES.items():
        address = msgspec.structs.replace(good.to[0], **{name: value})
        moved.append((name, msgspec.structs.replace(good, to=(address,))))
    return moved


MOVED = changed_commands()


def opened(command: messages.Command) -> messages.SealedSubject:
    to = command.to[0]
    return msgspec.json.decode(KEY.open(to.sealed, sealing.command_context(command, to)), type=messages.SealedSubject)


def verify(command: messages.Command, key: SharedKey = KEY) -> None:
    to = command.to[0]
    key.verify(sealing.command_content(command, to), to.mac)


# --- fixed vectors -------------------------------------------------------------------------------------------------


def test_vectors_of_the_shared_key() -> None:
    key = SharedKey(VECTORS["shared_key"]["id"], sealing.unb64(VECTORS["shared_key"]["secret"]))
    one = VECTORS["message_mac"]
    content = sealing.event_content(one["type"], one["source"], one["id"], one["data"].encode())
    assert key.mac(content) == one["mac"] == "MR62g4j-Dxr_BTmWbk2ELQ5qjbbkwLcYgCQ4BRkmJC0"
    command = msgspec.convert(VECTORS["command"]["command"], messages.Command)
    to = command.to[0]
    assert key.mac(sealing.command_content(command, to)) == to.mac
    assert key.open(to.sealed, sealing.command_context(command, to)).decode() == VECTORS["command"]["plaintext"]
    ack = msgspec.convert(VECTORS["ack"]["ack"], messages.Ack)
    assert key.open(ack.sealed or "", sealing.ack_context(ack)).decode() == VECTORS["ack"]["plaintext"]
    stop = msgspec.convert(VECTORS["stop"], messages.Stop)
    assert key.mac(sealing.stop_content(stop)) == stop.mac
    brake = msgspec.convert(VECTORS["brake"], messages.Brake)
    assert key.mac(sealing.brake_content(brake)) == brake.mac


def test_vectors_of_the_sealed_box() -> None:
    box = VECTORS["sealed_subject"]
    associated = sealing.erase_context(box["tenant"], box["source"], box["id"])
    assert sealing.b64(associated) == box["associated"]
    assert sealing.b64(sealing.public_of(sealing.unb64(box["private"]))) == box["public"]
    assert sealing.open_sealed(sealing.unb64(box["private"]), box["sealed"], associated).decode() == box["plaintext"]


def test_the_framing_is_what_the_guide_says() -> None:
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in (b"acme", b"/accounts", EVENT_ID.encode()))
    assert sealing.erase_context("acme", SOURCE, EVENT_ID) == b"oblio erase v1" + framed
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in (b"t", b"s", b"i", b"\x00\xff"))
    assert sealing.event_content("t", "s", "i", b"\x00\xff") == b"oblio message v1" + framed


# --- commands ------------------------------------------------------------------------------------------------------


def test_a_command_opens_where_it_belongs() -> None:
    command = sealed_command()
    verify(command)
    assert opened(command).identifiers[0].value == "anna.lindqvist@example.org"


@pytest.mark.parametrize("field, moved", MOVED, ids=[name for name, _ in MOVED])
def test_a_sealed_block_moved_elsewhere_does_not_open(field: str, moved: messages.Command) -> None:
    with pytest.raises(Undecryptable):
        opened(moved)
    with pytest.raises(BadSignature):
        verify(moved)


def test_every_field_of_a_command_is_associated_or_authenticated() -> None:
    """A field that is added later must not be one that anybody on the way may change."""
    assert {*COMMAND_CHANGES, "to"} == set(messages.Command.__struct_fields__)
    assert {*ADDRESS_CHANGES, "sealed", "mac"} == set(messages.Address.__struct_fields__)
    assert set(ACK_CHANGES) <= set(messages.Ack.__struct_fields__)


def test_a_command_of_another_product_or_without_seal_is_refused() -> None:
    command = sealed_command()
    with pytest.raises(BadSignature):
        verify(command, OTHER_KEY)
    with pytest.raises(BadSignature):
        verify(command_of(sealed=command.to[0].sealed, mac=OTHER_KEY.mac(b"")))
    with pytest.raises(BadSignature):
        verify(command_of(sealed=KEY.seal(b"{}", b""), mac=command.to[0].mac))


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_bit_is_noticed(data: st.DataObject) -> None:
    command = sealed_command()
    to = command.to[0]
    raw = bytearray(sealing.unb64(to.sealed))
    position = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[position // 8] ^= 1 << position % 8
    with pytest.raises(Undecryptable):
        KEY.open_bytes(bytes(raw), sealing.command_context(command, to))
    private = bytes(range(64, 96))
    box = bytearray(sealing.unb64(sealing.seal_to(sealing.public_of(private), b"subject", b"place")))
    position = data.draw(st.integers(0, len(box) * 8 - 1))
    box[position // 8] ^= 1 << position % 8
    with pytest.raises(Undecryptable):
        sealing.open_sealed(private, sealing.b64(bytes(box)), b"place")


@pytest.mark.parametrize("sealed", ["", "A", "AAAA", "A" * 43, "A" * 100, "Ä", "AA==", "AA+/", "A A"])
def test_what_is_no_ciphertext_is_undecryptable(sealed: str) -> None:
    with pytest.raises(Undecryptable):
        KEY.open(sealed, b"")
    with pytest.raises(Undecryptable):
        sealing.open_sealed(bytes(range(64, 96)), sealed, b"")


@given(st.binary(max_size=64))
def test_text_form_is_unique(raw: bytes) -> None:
    text = sealing.b64(raw)
    assert sealing.unb64(text) == raw
    assert "=" not in text
    others = {f"{text}=", f"{text} ", text[:-1] + chr(ord(text[-1]) + 1) if text else "A"}
    for other in others - {text}:
        try:
            assert sealing.unb64(other) != raw
        except ValueError:
            continue


def test_a_sealed_subject_cannot_be_moved_into_another_request() -> None:
    private = bytes(range(64, 96))
    sealed = sealing.seal_to(sealing.public_of(private), b"subject", sealing.erase_context("acme", SOURCE, EVENT_ID))
    for place in (
        ("globex", SOURCE, EVENT_ID),
        ("acme", "/other", EVENT_ID),
        ("acme", SOURCE, "other"),
        ("acm", "e" + SOURCE, EVENT_ID),
    ):
        with pytest.raises(Undecryptable):
            sealing.open_sealed(private, sealed, sealing.erase_context(*place))
    with pytest.raises(Undecryptable):
        sealing.open_sealed(bytes(range(1, 33)), sealed, sealing.erase_context("acme", SOURCE, EVENT_ID))


# --- acknowledgements, stops, brakes -------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ACK_CHANGES)
def test_identifiers_found_by_a_product_cannot_be_moved(field: str) -> None:
    ack = ack_of()
    sealed = KEY.seal(b"{}", sealing.ack_context(ack))
    assert KEY.open(sealed, sealing.ack_context(ack)) == b"{}"
    with pytest.raises(Undecryptable):
        KEY.open(sealed, sealing.ack_context(ack_of(**{field: ACK_CHANGES[field]})))


def test_an_ack_for_another_products_step_is_refused() -> None:
    """Chat may write acks; it cannot attest for tickets, neither with its own key nor under the other's name."""
    forged = ack_of(product="tickets", phase=Phase.PURGE, outcome=Outcome.DONE)
    honest = codec.pack(Topic.ACKS, forms.REQUEST, forged, "/products/tickets", signer=KEY)
    keys = {"tickets": KEY, "chat": OTHER_KEY}
    for signer in (OTHER_KEY, SharedKey(KEY.id, OTHER_KEY.secret)):
        packed = codec.pack(Topic.ACKS, forms.REQUEST, forged, "/products/chat", signer=signer)
        envelope, ack = codec.message_of(Record(packed.topic, 0, 0, packed.key, packed.value, packed.headers))
        assert isinstance(ack, messages.Ack)
        with pytest.raises(BadSignature):
            envelope.verify(keys[ack.product])
    envelope, _ = codec.message_of(Record(honest.topic, 0, 0, honest.key, honest.value, honest.headers))
    envelope.verify(keys["tickets"])
    unsigned = codec.pack(Topic.ACKS, forms.REQUEST, forged, "/products/chat")
    with pytest.raises(BadSignature):
        codec.envelope_of(Record(unsigned.topic, 0, 0, b"", unsigned.value, unsigned.headers)).verify(KEY)


@pytest.mark.parametrize(
    "changes",
    [{"tenant": "globex"}, {"request": OTHER_REQUEST}, {"product": "chat"}, {"epoch": 2}, {"seq": 4}, {"key": "k"}],
)
def test_a_changed_stop_is_refused(changes: dict[str, Any]) -> None:
    stop = msgspec.convert(VECTORS["stop"], messages.Stop)
    assert set(messages.Stop.__struct_fields__) == {"tenant", "request", "product", "epoch", "seq", "key", "mac"}
    with pytest.raises(BadSignature):
        KEY.verify(sealing.stop_content(msgspec.structs.replace(stop, **changes)), stop.mac)


@pytest.mark.parametrize(
    "changes", [{"product": "chat"}, {"stopped": False}, {"seq": 5}, {"key": "k"}, {"tenant": "acme"}]
)
def test_a_changed_brake_is_refused(changes: dict[str, Any]) -> None:
    brake = msgspec.convert(VECTORS["brake"], messages.Brake)
    assert set(messages.Brake.__struct_fields__) == {"product", "stopped", "seq", "key", "mac", "tenant"}
    with pytest.raises(BadSignature):
        KEY.verify(sealing.brake_content(msgspec.structs.replace(brake, **changes)), brake.mac)


def test_a_mac_for_one_purpose_does_not_serve_another() -> None:
    contents = {
        sealing.stop_content(msgspec.convert(VECTORS["stop"], messages.Stop)),
        sealing.brake_content(msgspec.convert(VECTORS["brake"], messages.Brake)),
        sealing.command_content(sealed_command(), sealed_command().to[0]),
        sealing.event_content("a", "b", "c", b""),
        sealing.ack_context(ack_of()),
        sealing.erase_context("a", "b", "c"),
    }
    assert len({content.split(b" v1")[0] for content in contents}) == 6
    assert KEY.mac(b"x") != sealing.b64(KEY.seal_bytes(b"", b"x"))


# --- what is shown -------------------------------------------------------------------------------------------------

PERSON = ("anna", "lindqvist", "5021", "46 70")
SUBJECT = SubjectData(identifiers=(PlainIdentifier(kind=IdentifierKind.EMAIL, value="Anna.Lindqvist@Example.org"),))
RECORDS = Records(product="tickets", dataset="tickets", keys=("5021", "5022"))
SHOWN: list[Any] = [
    Identifier(IdentifierKind.EMAIL, "anna.lindqvist@example.org"),
    SUBJECT,
    SubjectData(records=RECORDS),
    ERASE,
    messages.SealedSubject(identifiers=(Identifier(IdentifierKind.PHONE, "+46 70"),), records=RECORDS),
    codec.Envelope(type="t", source="s", id="i", data=msgspec.json.encode(ERASE)),
    Record("t", 0, 0, b"anna.lindqvist", msgspec.json.encode(ERASE), (("ce_subject", b"anna"),)),
    Message("t", b"anna.lindqvist", msgspec.json.encode(ERASE), (("ce_subject", b"anna"),)),
]


@pytest.mark.parametrize("value", SHOWN, ids=lambda value: type(value).__name__)
def test_nothing_shows_whose_it_is(value: Any) -> None:
    screen = rich.console.Console(file=io.StringIO(), width=200)
    screen.print(value, [value])
    assert isinstance(screen.file, io.StringIO)
    for shown in (repr(value), str(value), f"{value!r:.500}", screen.file.getvalue()):
        assert not any(part in shown.lower() for part in PERSON), shown


def test_no_key_is_shown() -> None:
    key = SharedKey.new("tickets-2026a")
    key.mac(b"")
    key.seal(b"", b"")
    screen = rich.console.Console(file=io.StringIO(), width=500)
    screen.print(key)
    assert isinstance(screen.file, io.StringIO)
    for shown in (repr(key), str(key), screen.file.getvalue()):
        assert shown.strip() == "SharedKey('tickets-2026a')"
    with pytest.raises(ValueError, match="32 bytes") as refused:
        SharedKey("k", b"hunter2")
    assert "hunter2" not in str(refused.value)
