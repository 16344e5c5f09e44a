"""CloudEvents in and out of records: both modes, and a stable code for every kind of bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas import codec, events, messages
from schemas.codes import RejectionClass as Class
from schemas.codes import RejectionCode as Code
from schemas.rejections import CLASS_OF
from schemas.sealing import BadSignature, SharedKey
from schemas.topics import Topic
from schemas.transport import Headers, Record
from tests.contract.samples import ERASE, EVENT_ID, GOLDEN, KEY, OTHER_KEY, SOURCE, all_samples, data_of, structured

ERASE_TYPE = "org.oblio.erasure.erase.v1"
SECRET_WORDS = ("lindqvist", "anna", "46 70", "123 45 67")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(value: bytes, headers: Headers, topic: str = Topic.REQUESTS.value) -> Record:
    return Record(topic, 3, 14, b"key", value, headers)


def binary(value: bytes | None = None, topic: str = Topic.REQUESTS.value, **attributes: bytes | str | None) -> Record:
    """The golden request in binary mode, with attributes replaced, added or (``None``) left out."""
    plain: dict[str, bytes | str | None] = {
        "specversion": "1.0",
        "type": ERASE_TYPE,
        "source": SOURCE,
        "id": EVENT_ID,
        **attributes,
    }
    headers = tuple(
        (f"ce_{name}", content.encode() if isinstance(content, str) else content)
        for name, content in plain.items()
        if content is not None
    )
    return record(data_of(ERASE) if value is None else value, headers, topic)


def document(change: Callable[[dict[str, Any]], object] = lambda _: None) -> Record:
    """The golden request in structured mode, changed."""
    event = json.loads(structured(ERASE))
    change(event)
    return record(json.dumps(event).encode(), (("content-type", b"application/cloudevents+json"),))


def request(change: Callable[[dict[str, Any]], object]) -> Record:
    """The golden request in binary mode, its data changed."""
    data = json.loads(data_of(ERASE))
    change(data)
    return binary(json.dumps(data).encode())


def rejection_of(bad: Record) -> codec.Rejection:
    with pytest.raises(codec.Rejection) as caught:
        codec.message_of(bad)
    return caught.value


# --- what is good --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_name, name, message", list(all_samples()), ids=lambda part: part if isinstance(part, str) else ""
)
def test_what_is_packed_is_read(type_name: str, name: str, message: Any) -> None:
    topic = next(topic for topic, names in codec.TYPES_OF_TOPIC.items() if type_name in names)
    packed = codec.pack(topic, "some-key", message, "/oblio", id=name, signer=KEY, traceparent=TRACE, partition=2)
    assert (packed.topic, packed.key, packed.partition) == (topic.value, b"some-key", 2)
    envelope, read = codec.message_of(record(packed.value, packed.headers, packed.topic))
    assert read == message
    assert (envelope.type, envelope.source, envelope.id) == (type_name, "/oblio", name)
    assert (envelope.key, envelope.traceparent) == (KEY.id, TRACE)
    envelope.verify(KEY)


def test_the_bytes_of_an_event_go_out_as_they_are_stored() -> None:
    path = GOLDEN / "recorded.v1" / "succeeded_full.json"
    stored = path.read_bytes().removesuffix(b"\n")
    packed = codec.pack(Topic.EVENTS, "key", events.decode(stored), "/oblio", data=stored)
    assert packed.value == stored


def test_headers_follow_the_kafka_binding_of_cloudevents() -> None:
    packed = codec.pack(Topic.REQUESTS, "0001", ERASE, SOURCE)
    headers = dict(packed.headers)
    assert headers["content-type"] == b"application/json"
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_partitionkey"] == packed.key == b"0001"
    assert headers["ce_tenant"] == b"acme"
    assert headers["ce_time"].endswith(b"Z")
    assert all(name.removeprefix("ce_").replace("-", "").isalnum() for name in headers)
    assert {name for name, _ in codec.pack(Topic.REQUESTS, "1", ERASE, SOURCE).headers} == set(headers)
    assert headers["ce_id"] != dict(codec.pack(Topic.REQUESTS, "0001", ERASE, SOURCE).headers)["ce_id"]


def test_both_modes_say_the_same() -> None:
    one, other = codec.message_of(binary()), codec.message_of(document())
    assert one[1] == other[1] == ERASE
    assert (one[0].source, one[0].id) == (other[0].source, other[0].id)


@pytest.mark.parametrize(
    "content_type", [b"application/cloudevents+json; charset=utf-8", b"Application/CloudEvents+JSON", b""]
)
def test_structured_mode_is_known_by_its_content_type_or_by_the_lack_of_headers(content_type: bytes) -> None:
    headers = (("content-type", content_type), ("traceparent", TRACE.encode()))
    envelope, message = codec.message_of(record(structured(ERASE), headers))
    assert message == ERASE
    assert envelope.traceparent == TRACE


@pytest.mark.parametrize("trace", [b"", b"\xff", b"anna@example.org", TRACE.upper().encode(), TRACE.encode() + b"\n"])
def test_a_trace_context_that_is_none_is_dropped(trace: bytes) -> None:
    good = binary()
    envelope = codec.envelope_of(record(good.value, (*good.headers, ("traceparent", trace))))
    assert envelope.traceparent is None


def test_a_signature_holds_for_the_exact_bytes_in_both_modes() -> None:
    raw = (GOLDEN / "structured" / "erase_signed.json").read_bytes()
    signed = codec.envelope_of(record(raw, ()))
    signed.verify(KEY)
    for envelope, key in (
        (codec.envelope_of(record(raw.replace(b"Anna", b"Anne"), ())), KEY),
        (codec.envelope_of(record(raw.replace(EVENT_ID.encode(), b"another"), ())), KEY),
        (codec.envelope_of(record(raw.replace(b'{"tenant"', b'{ "tenant"'), ())), KEY),
        (signed, OTHER_KEY),
        (signed, SharedKey(KEY.id, OTHER_KEY.secret)),
        (codec.envelope_of(document()), KEY),
    ):
        with pytest.raises(BadSignature):
            envelope.verify(key)


# --- what is bad ---------------------------------------------------------------------------------------------------

NESTED = b"[" * 100_000 + b"]" * 100_000
DATA = data_of(ERASE)

BAD: dict[str, tuple[Record, Code, str | None]] = {
    # bytes
    "5 MB": (binary(b'{"x":"' + b"a" * 5_000_000 + b'"}'), Code.TOO_LARGE, None),
    "one byte too many": (binary(b" " * (codec.MAX_BYTES + 1)), Code.TOO_LARGE, None),
    "empty": (binary(b""), Code.NOT_JSON, None),
    "empty, no headers": (record(b"", ()), Code.NOT_JSON, None),
    "text": (binary(b"erase anna.lindqvist@example.org"), Code.NOT_JSON, None),
    "XML": (binary(b"<erase/>"), Code.NOT_JSON, None),
    "cut off": (binary(DATA[:-9]), Code.NOT_JSON, None),
    "two documents": (binary(DATA + DATA), Code.NOT_JSON, None),
    "byte order mark": (binary(b"\xef\xbb\xbf" + DATA), Code.NOT_JSON, None),
    "UTF-16": (binary(DATA.decode().encode("utf-16-le")), Code.NOT_JSON, None),
    "invalid UTF-8 in a field": (binary(DATA.replace(b"Anna", b"An\xff\xfea")), Code.NOT_JSON, None),
    "invalid UTF-8 in an unknown field": (binary(DATA.replace(b"{", b'{"x":"\xff",', 1)), Code.NOT_JSON, None),
    "lone surrogate": (binary(DATA.replace(b"Anna", rb"An\ud800a")), Code.NOT_JSON, None),
    "nested deeply": (binary(NESTED), Code.WRONG_TYPE, None),
    "nested deeply in a field": (binary(DATA.replace(b"{", b'{"x":' + NESTED + b",", 1)), Code.NOT_JSON, None),
    "nested deeply, structured": (record(b'{"data":' + NESTED + b"}", ()), Code.NOT_JSON, None),
    "NaN": (binary(DATA.replace(b"{", b'{"x":NaN,', 1)), Code.NOT_JSON, None),
    "Infinity": (binary(DATA.replace(b"{", b'{"x":-Infinity,', 1)), Code.NOT_JSON, None),
    # JSON, but not the message
    "null": (binary(b"null"), Code.WRONG_TYPE, None),
    "array": (binary(b"[" + DATA + b"]"), Code.WRONG_TYPE, None),
    "string": (binary(json.dumps(DATA.decode()).encode()), Code.WRONG_TYPE, None),
    "no tenant": (request(lambda d: d.pop("tenant")), Code.MISSING_FIELD, "tenant"),
    "no kind": (
        request(lambda d: d["subject"]["identifiers"][1].pop("kind")),
        Code.MISSING_FIELD,
        "subject.identifiers[1].kind",
    ),
    "tenant a number": (request(lambda d: d.update(tenant=7)), Code.WRONG_TYPE, "tenant"),
    "subject a string": (request(lambda d: d.update(subject="anna.lindqvist@example.org")), Code.WRONG_TYPE, "subject"),
    "tenant badly formed": (request(lambda d: d.update(tenant="Anna Lindqvist")), Code.BAD_FIELD, "tenant"),
    "tenant with a newline": (request(lambda d: d.update(tenant="acme\n")), Code.BAD_FIELD, "tenant"),
    "unknown right": (request(lambda d: d.update(right="anna.lindqvist@example.org")), Code.BAD_FIELD, "right"),
    "unknown kind": (
        request(lambda d: d["subject"]["identifiers"][0].update(kind="anna - at `$.lindqvist`")),
        Code.BAD_FIELD,
        "subject.identifiers[0].kind",
    ),
    "identifier too long": (
        request(lambda d: d["subject"]["identifiers"][0].update(value="a" * 1025)),
        Code.BAD_FIELD,
        "subject.identifiers[0].value",
    ),
    "101 identifiers": (
        request(lambda d: d["subject"].update(identifiers=d["subject"]["identifiers"][:1] * 101)),
        Code.BAD_FIELD,
        "subject.identifiers",
    ),
    "subject plain and sealed": (request(lambda d: d.update(sealed="c2VhbGVk")), Code.BAD_FIELD, "sealed"),
    "identifiers and records": (
        request(lambda d: d["subject"].update(records={"product": "chat", "dataset": "chats", "keys": ["1"]})),
        Code.BAD_FIELD,
        "subject.records",
    ),
    "NUL in a record's key": (
        request(lambda d: d.update(subject={"records": {"product": "chat", "dataset": "chats", "keys": ["1\0"]}})),
        Code.BAD_FIELD,
        "subject.records.keys[0]",
    ),
    "no records": (
        request(lambda d: d.update(subject={"records": {"product": "chat", "dataset": "chats", "keys": []}})),
        Code.BAD_FIELD,
        "subject.records.keys",
    ),
    "time without zone": (
        request(lambda d: d.update(received_at="2026-03-02T09:30:00")),
        Code.BAD_FIELD,
        "received_at",
    ),
    "a date alone": (request(lambda d: d.update(received_at="2026-03-02")), Code.BAD_FIELD, "received_at"),
    "a time as a number": (request(lambda d: d.update(received_at=1772440200)), Code.WRONG_TYPE, "received_at"),
    "no such day": (request(lambda d: d.update(received_at="2026-02-30T09:30:00Z")), Code.BAD_FIELD, "received_at"),
    "the first year": (
        request(lambda d: d.update(received_at="0001-01-01T00:00:00+14:00")),
        Code.BAD_FIELD,
        "received_at",
    ),
    "the last year": (
        request(lambda d: d.update(received_at="9999-12-31T23:59:59-14:00")),
        Code.BAD_FIELD,
        "received_at",
    ),
    "a name twice": (binary(DATA.replace(b"{", b'{"tenant":"globex",', 1)), Code.DUPLICATE_FIELD, None),
    "a name twice, spelled otherwise": (
        binary(DATA.replace(b'"value":', rb'"v\u0061lue":"other@example.org","value":', 1)),
        Code.DUPLICATE_FIELD,
        None,
    ),
    # envelope
    "no CloudEvent": (record(DATA, ()), Code.NOT_A_CLOUDEVENT, "specversion"),
    "batch": (
        record(b"[" + structured(ERASE) + b"]", (("content-type", b"application/cloudevents-batch+json"),)),
        Code.NOT_A_CLOUDEVENT,
        None,
    ),
    "structured without data": (document(lambda e: e.pop("data")), Code.NOT_A_CLOUDEVENT, "data"),
    "structured without type": (document(lambda e: e.pop("type")), Code.NOT_A_CLOUDEVENT, "type"),
    "structured, id empty": (document(lambda e: e.update(id="")), Code.NOT_A_CLOUDEVENT, "id"),
    "structured, id a number": (document(lambda e: e.update(id=12)), Code.NOT_A_CLOUDEVENT, "id"),
    "structured, id too long": (document(lambda e: e.update(id="a" * 201)), Code.NOT_A_CLOUDEVENT, "id"),
    "structured, NUL in source": (document(lambda e: e.update(source="/a\0")), Code.NOT_A_CLOUDEVENT, "source"),
    "structured, tenant a number": (document(lambda e: e.update(tenant=1)), Code.NOT_A_CLOUDEVENT, "tenant"),
    "structured, specversion": (
        document(lambda e: e.update(specversion="0.3")),
        Code.UNSUPPORTED_VERSION,
        "specversion",
    ),
    "structured, a name twice": (
        record(structured(ERASE).replace(b'"id":', b'"id": "x", "id":'), ()),
        Code.DUPLICATE_FIELD,
        None,
    ),
    "structured, bad data": (document(lambda e: e["data"].pop("right")), Code.MISSING_FIELD, "right"),
    "specversion": (binary(specversion="2.0"), Code.UNSUPPORTED_VERSION, "specversion"),
    "specversion empty": (binary(specversion=""), Code.UNSUPPORTED_VERSION, "specversion"),
    "no type": (binary(type=None), Code.NOT_A_CLOUDEVENT, "type"),
    "type empty": (binary(type=""), Code.NOT_A_CLOUDEVENT, "type"),
    "no source": (binary(source=None), Code.NOT_A_CLOUDEVENT, "source"),
    "no id": (binary(id=None), Code.NOT_A_CLOUDEVENT, "id"),
    "id too long": (binary(id="x" * 201), Code.NOT_A_CLOUDEVENT, "id"),
    "control character in the id": (binary(id="x\x1b[2J"), Code.NOT_A_CLOUDEVENT, "id"),
    "invalid UTF-8 in the id": (binary(id=b"\xc3\x28"), Code.NOT_A_CLOUDEVENT, "id"),
    "invalid UTF-8 in the type": (binary(type=b"\xff"), Code.NOT_A_CLOUDEVENT, "type"),
    "key empty": (binary(oblkeyid=""), Code.NOT_A_CLOUDEVENT, "oblkeyid"),
    "mac too long": (binary(oblmac="A" * 300), Code.NOT_A_CLOUDEVENT, "oblmac"),
    "another tenant in the envelope": (binary(tenant="globex"), Code.BAD_FIELD, "tenant"),
    # type and topic
    "unknown type": (binary(type="com.example.deleted.v1"), Code.UNKNOWN_TYPE, "type"),
    "type with an address": (binary(type="anna.lindqvist@example.org"), Code.UNKNOWN_TYPE, "type"),
    "type without version": (binary(type="org.oblio.erasure.erase"), Code.UNKNOWN_TYPE, "type"),
    "version 2": (binary(type="org.oblio.erasure.erase.v2"), Code.UNSUPPORTED_VERSION, "type"),
    "version 0": (binary(type="org.oblio.erasure.erase.v0"), Code.UNSUPPORTED_VERSION, "type"),
    "no version at all": (binary(type="org.oblio.erasure.erase.vx"), Code.UNKNOWN_TYPE, "type"),
    "wrong topic": (binary(topic=Topic.ACKS.value), Code.WRONG_TOPIC, "type"),
    "no topic of ours": (binary(topic="orders"), Code.WRONG_TOPIC, None),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_has_its_code_and_field(case: str) -> None:
    bad, code, field = BAD[case]
    rejection = rejection_of(bad)
    assert (rejection.code, rejection.field) == (code, field)
    assert rejection.rejection_class is CLASS_OF[code]


@pytest.mark.parametrize("case", BAD)
def test_a_rejection_quotes_nothing_and_fits_its_record(case: str) -> None:
    bad, _, _ = BAD[case]
    rejection = rejection_of(bad)
    said = f"{rejection!r} {rejection} {rejection.field}".lower()
    assert not any(word in said for word in SECRET_WORDS)
    assert rejection.__suppress_context__ or rejection.__context__ is None
    rejected = messages.Rejected(
        rejection_class=rejection.rejection_class,
        code=rejection.code,
        field=rejection.field,
        topic=Topic.REQUESTS.value,
        partition=0,
        offset=2**40,
        at=1_772_440_200_000,
    )
    assert msgspec.json.decode(msgspec.json.encode(rejected), type=messages.Rejected) == rejected


def golden(path: str) -> tuple[str, dict[str, Any]]:
    file = GOLDEN / Path(f"{path}.json")
    return f"org.oblio.erasure.{file.parent.name}", json.loads(file.read_bytes())


@pytest.mark.parametrize(
    "path, topic, changes, code, field",
    [
        (
            "cancel.v1/by_event",
            Topic.REQUESTS,
            {"request": "0196f3a2-6c5e-7b1d-9a40-5d2c8e7f1b03"},
            Code.BAD_FIELD,
            "request",
        ),
        ("cancel.v1/by_event", Topic.REQUESTS, {"event_id": None}, Code.BAD_FIELD, "request"),
        ("operate.v1/hold_full", Topic.OPERATIONS, {"review_on": "2026-02-30"}, Code.BAD_FIELD, "review_on"),
        ("operate.v1/hold_full", Topic.OPERATIONS, {"op": "forget"}, Code.BAD_FIELD, "op"),
        ("operate.v1/hold_full", Topic.OPERATIONS, {"actor": "anna.lindqvist"}, Code.BAD_FIELD, "actor"),
        ("acknowledged.v1/full", Topic.ACKS, {"seq": 0}, Code.BAD_FIELD, "seq"),
        ("acknowledged.v1/full", Topic.ACKS, {"seq": 2**70}, Code.BAD_FIELD, "seq"),
        ("acknowledged.v1/full", Topic.ACKS, {"seq": 1.5}, Code.WRONG_TYPE, "seq"),
        ("acknowledged.v1/full", Topic.ACKS, {"seq": True}, Code.WRONG_TYPE, "seq"),
        ("acknowledged.v1/full", Topic.ACKS, {"at": 1_772_440_200}, Code.BAD_FIELD, "at"),
        ("acknowledged.v1/full", Topic.ACKS, {"counts": {"Anna Lindqvist": {}}}, Code.BAD_FIELD, "counts"),
        (
            "acknowledged.v1/full",
            Topic.ACKS,
            {"counts": {"tickets": {"found": -1}}},
            Code.BAD_FIELD,
            "counts[...].found",
        ),
        (
            "acknowledged.v1/full",
            Topic.ACKS,
            {"failure": {"code": "Key (email)=(anna) exists"}},
            Code.BAD_FIELD,
            "failure.code",
        ),
        ("execute.v1/full", Topic.COMMANDS, {"to": []}, Code.BAD_FIELD, "to"),
        ("execute.v1/full", Topic.COMMANDS, {"phase": "burn"}, Code.BAD_FIELD, "phase"),
        ("stop.v1/full", Topic.STOPS, {"mac": "short"}, Code.BAD_FIELD, "mac"),
        ("recorded.v1/ended_full", Topic.EVENTS, {"v": 2}, Code.BAD_FIELD, "v"),
    ],
)
def test_bad_fields_of_other_messages(
    path: str, topic: Topic, changes: dict[str, Any], code: Code, field: str | None
) -> None:
    type_name, data = golden(path)
    raw = json.dumps(data | changes).encode()
    codec.message_of(binary(json.dumps(data).encode(), topic.value, type=type_name))
    rejection = rejection_of(binary(raw, topic.value, type=type_name))
    assert (rejection.code, rejection.field) == (code, field)


def test_an_integer_of_thousands_of_digits_is_refused_like_any_other() -> None:
    type_name, data = golden("acknowledged.v1/full")
    raw = json.dumps(data).encode().replace(b'"seq": 3', b'"seq": ' + b"9" * 5000)
    assert rejection_of(binary(raw, Topic.ACKS.value, type=type_name)).code is Code.BAD_FIELD
    codec.message_of(binary(DATA.replace(b"{", b'{"x":' + b"9" * 5000 + b",", 1)))


def test_classes_are_stable() -> None:
    assert {item.value for item in Class} == {
        "malformed",
        "invalid",
        "unknown",
        "unsupported",
        "unauthenticated",
        "conflict",
        "internal",
    }
