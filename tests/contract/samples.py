"""The golden messages: what version 1 looks like, kept as files that must stay readable.

    python -m tests.contract.samples [--renew]

writes what is missing. ``--renew`` writes all anew, which is for the time before the first release only: afterwards
a golden file never changes, because bytes like these are in somebody's log.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from schemas import codec, events, messages, sealing
from schemas.codes import Outcome, Phase, Right
from schemas.events import Recorded
from schemas.generate import short
from schemas.identifiers import Identifier, IdentifierKind
from schemas.types import Instant
from tests.contract import forms

GOLDEN = Path(__file__).parent / "golden"
KEY = sealing.SharedKey("tickets-2026a", bytes(range(32)))
OTHER_KEY = sealing.SharedKey("chat-2026a", bytes(range(32, 64)))
BOX_PRIVATE = bytes(range(64, 96))
SOURCE, EVENT_ID = "/accounts", "deletion-7d1f0c52"

ERASE = messages.Erase(
    tenant="acme",
    right=Right.ERASURE,
    received_at=forms.sample(forms.form(Instant), full=True),
    subject=messages.SubjectData(
        identifiers=(
            messages.PlainIdentifier(kind=IdentifierKind.EMAIL, value="Anna.Lindqvist@Example.org"),
            messages.PlainIdentifier(kind=IdentifierKind.PHONE, value="+46 70 123 45 67"),
        )
    ),
)
SUBJECT = messages.SealedSubject(identifiers=(Identifier(IdentifierKind.EMAIL, "anna.lindqvist@example.org"),))


def _full(of: type, **fields: Any) -> Any:
    """A sample with every field filled, but for those given (``None``: left out)."""
    filled = {
        field.name: forms.sample(field.type, full=True) for field in forms.fields_of(of) if field.name not in fields
    }
    return of(**filled, **{name: value for name, value in fields.items() if value is not None})


def _requests() -> Iterator[tuple[str, Any]]:
    yield "minimal", ERASE
    yield "full", _full(messages.Erase, sealed=None, subject=ERASE.subject)
    records = messages.SubjectData(records=forms.sample(forms.form(messages.Records), full=True))
    yield "records", _full(messages.Erase, sealed=None, subject=records)
    yield "sealed", _full(messages.Erase, subject=None)
    yield "by_request", messages.Cancel(tenant="acme", request=forms.REQUEST)
    yield "by_event", messages.Cancel(tenant="acme", event_id=EVENT_ID)


def all_samples() -> Iterator[tuple[str, str, Any]]:
    """CloudEvents type, name of the sample, message."""
    for name, request in _requests():
        yield codec.type_of(request), name, request
    for operation in messages.AnyOperation.__args__:
        tag = operation.__struct_config__.tag
        for extent in ("minimal", "full"):
            message = forms.sample(forms.form(operation), full=extent == "full")
            yield codec.type_of(message), f"{tag}_{extent}", message
    for event in (*events.AnyEvent.__args__, events.BrakeSet):
        for extent in ("minimal", "full"):
            recorded = Recorded(
                id=forms.REQUEST,
                tenant="acme",
                n=7,
                at=forms.NOW,
                event=forms.sample(forms.form(event), full=extent == "full"),
            )
            yield codec.type_of(recorded), f"{event.__struct_config__.tag}_{extent}", recorded
    for other in (
        messages.BrakeOperation,
        messages.Command,
        messages.Stop,
        messages.Brake,
        messages.Ack,
        messages.Rejected,
    ):
        for extent in ("minimal", "full"):
            message = forms.sample(forms.form(other), full=extent == "full")
            yield codec.type_of(message), extent, message


def data_of(message: Any) -> bytes:
    """The bytes of a message's data, as they go on the log."""
    return events.encode(message) if isinstance(message, Recorded) else msgspec.json.encode(message)


def structured(message: Any, **attributes: str) -> bytes:
    """A CloudEvent in structured mode, written as other people's libraries write it."""
    envelope = {"specversion": "1.0", "type": codec.type_of(message), "source": SOURCE, "id": EVENT_ID} | attributes
    head = json.dumps(envelope | {"datacontenttype": "application/json", "subject": "0001"}, indent=2)
    return head.removesuffix("\n}").encode() + b',\n  "data": ' + data_of(message) + b"\n}\n"


def _structured_samples() -> Iterator[tuple[str, bytes]]:
    cancel = messages.Cancel(tenant="acme", event_id=EVENT_ID)
    content = sealing.event_content(codec.type_of(ERASE), SOURCE, EVENT_ID, data_of(ERASE))
    yield "erase", structured(ERASE)
    yield "erase_signed", structured(ERASE, oblkeyid=KEY.id, oblmac=KEY.mac(content), tenant="acme")
    yield "cancel", structured(cancel, time="2026-03-02T08:30:00Z")


def command_of(sealed: str = "", mac: str = "") -> messages.Command:
    """A command to the product tickets, without or with the parts that are made with its key."""
    address = messages.Address(
        product="tickets", epoch=1, seq=2, attempt=1, key=KEY.id, sealed=sealed, mac=mac, ceiling=5000
    )
    return messages.Command(
        tenant="acme",
        request=forms.REQUEST,
        phase=Phase.PURGE,
        cutoff_at=forms.NOW,
        expires_at=forms.NOW + 3_600_000,
        to=(address,),
    )


def sealed_command() -> messages.Command:
    """The same, sealed and authenticated."""
    draft = command_of()
    sealed = KEY.seal(msgspec.json.encode(SUBJECT), sealing.command_context(draft, draft.to[0]))
    draft = command_of(sealed)
    return command_of(sealed, KEY.mac(sealing.command_content(draft, draft.to[0])))


def ack_of(**changes: Any) -> messages.Ack:
    """An answer of the product tickets to ``resolve``."""
    fields: dict[str, Any] = {
        "tenant": "acme",
        "request": forms.REQUEST,
        "product": "tickets",
        "phase": Phase.RESOLVE,
        "epoch": 1,
        "seq": 1,
        "attempt": 1,
        "outcome": Outcome.DONE,
        "at": forms.NOW,
    }
    return messages.Ack(**fields | changes)


def vectors() -> dict[str, Any]:
    """Inputs and results of sealing and authentication. Binary values are base64url without padding."""
    b64, data = sealing.b64, data_of(ERASE)
    stop = messages.Stop(
        tenant="acme", request=forms.REQUEST, product="tickets", epoch=1, seq=3, key=KEY.id, mac=forms.DIGEST
    )
    brake = messages.Brake(product="tickets", stopped=True, seq=4, key=KEY.id, mac=forms.DIGEST)
    subject = msgspec.json.encode(SUBJECT)
    type_name = codec.type_of(ERASE)
    mac = KEY.mac(sealing.event_content(type_name, SOURCE, EVENT_ID, data))
    box = sealing.erase_context("acme", SOURCE, EVENT_ID)
    plain = msgspec.json.encode(ERASE.subject)
    return {
        "shared_key": {"id": KEY.id, "secret": b64(KEY.secret)},
        "message_mac": {"type": type_name, "source": SOURCE, "id": EVENT_ID, "data": data.decode(), "mac": mac},
        "command": {"plaintext": subject.decode(), "command": msgspec.to_builtins(sealed_command())},
        "ack": {
            "plaintext": subject.decode(),
            "ack": msgspec.to_builtins(ack_of(sealed=KEY.seal(subject, sealing.ack_context(ack_of())))),
        },
        "stop": msgspec.to_builtins(msgspec.structs.replace(stop, mac=KEY.mac(sealing.stop_content(stop)))),
        "brake": msgspec.to_builtins(msgspec.structs.replace(brake, mac=KEY.mac(sealing.brake_content(brake)))),
        "sealed_subject": {
            "private": b64(BOX_PRIVATE),
            "public": b64(sealing.public_of(BOX_PRIVATE)),
            "tenant": "acme",
            "source": SOURCE,
            "id": EVENT_ID,
            "associated": b64(box),
            "plaintext": plain.decode(),
            "sealed": sealing.seal_to(sealing.public_of(BOX_PRIVATE), plain, box),
        },
    }


def files() -> Iterator[tuple[Path, bytes]]:
    """Every golden file."""
    for type_name, name, message in all_samples():
        yield GOLDEN / short(type_name) / f"{name}.json", data_of(message) + b"\n"
    for name, raw in _structured_samples():
        yield GOLDEN / "structured" / f"{name}.json", raw
    yield GOLDEN / "vectors.json", json.dumps(vectors(), indent=2).encode() + b"\n"


def main() -> None:
    """Write the golden files that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renew", action="store_true", help="write all anew; only before the first release")
    renew = parser.parse_args().renew
    for path, raw in files():
        if renew or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
            print(path.relative_to(GOLDEN))


if __name__ == "__main__":
    main()
