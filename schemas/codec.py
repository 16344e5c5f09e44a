"""CloudEvents 1.0 on the log: putting messages into records and taking them out again.

Binary mode (Kafka binding): the value is ``data``, attributes are ``ce_…`` headers. Structured mode (one JSON
document with content type ``application/cloudevents+json``) is taken as well. Extensions of ours: ``oblkeyid`` and
``oblmac`` authenticate the message, ``tenant`` names the tenant. ``traceparent`` is the plain W3C header.

Whatever comes in, reading gives a typed message or a :class:`Rejection`, and nothing else.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import msgspec

from schemas import events
from schemas.codes import RejectionCode
from schemas.messages import (
    Ack,
    AnyOperation,
    Brake,
    BrakeOperation,
    Cancel,
    Command,
    Erase,
    Operation,
    Rejected,
    Stop,
)
from schemas.paths import path_of
from schemas.rejections import CLASS_OF
from schemas.sealing import BadSignature, SharedKey, event_content
from schemas.topics import Topic
from schemas.transport import Headers, Message, Record

MAX_BYTES = 256 * 1024
"""Largest record that is read, in bytes: far above any honest message, far below what hurts."""

TYPES: dict[str, Any] = {
    "org.oblio.erasure.erase.v1": Erase,
    "org.oblio.erasure.cancel.v1": Cancel,
    "org.oblio.erasure.operate.v1": AnyOperation,
    "org.oblio.erasure.brake.v1": BrakeOperation,
    "org.oblio.erasure.execute.v1": Command,
    "org.oblio.erasure.stop.v1": Stop,
    "org.oblio.erasure.halt.v1": Brake,
    "org.oblio.erasure.acknowledged.v1": Ack,
    "org.oblio.erasure.recorded.v1": events.Recorded,
    "org.oblio.erasure.rejected.v1": Rejected,
}
"""CloudEvents ``type`` of each message. A new version is a new type; an unknown one is refused by name."""

TYPES_OF_TOPIC: dict[Topic, frozenset[str]] = {
    Topic.REQUESTS: frozenset({"org.oblio.erasure.erase.v1", "org.oblio.erasure.cancel.v1"}),
    Topic.OPERATIONS: frozenset({"org.oblio.erasure.operate.v1", "org.oblio.erasure.brake.v1"}),
    Topic.COMMANDS: frozenset({"org.oblio.erasure.execute.v1"}),
    Topic.STOPS: frozenset({"org.oblio.erasure.stop.v1", "org.oblio.erasure.halt.v1"}),
    Topic.ACKS: frozenset({"org.oblio.erasure.acknowledged.v1"}),
    Topic.EVENTS: frozenset({"org.oblio.erasure.recorded.v1"}),
    Topic.REJECTED: frozenset({"org.oblio.erasure.rejected.v1"}),
}

AnyMessage = Erase | Cancel | AnyOperation | BrakeOperation | Command | Stop | Brake | Ack | events.Recorded | Rejected

_decoders = {name: msgspec.json.Decoder(form) for name, form in TYPES.items()}
_type_of = {form: name for name, form in TYPES.items() if isinstance(form, type)}
_encoder = msgspec.json.Encoder()


_ATTRIBUTE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")  # short enough to be indexed, and storable as text
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

T = TypeVar("T")


class Rejection(Exception):
    """A message cannot be taken.

    Its stable class follows from the code (:data:`schemas.rejections.CLASS_OF`). ``field`` is a path in the message
    or the name of an attribute; nothing here quotes content.
    """

    def __init__(self, code: RejectionCode, field: str | None = None) -> None:
        super().__init__(code.value)
        self.rejection_class = CLASS_OF[code]
        self.code = code
        self.field = field


@dataclass(frozen=True, slots=True)
class Envelope:
    """The attributes of a CloudEvent, and its data as it was sent."""

    type: str
    source: str
    id: str
    data: bytes = field(repr=False)
    tenant: str | None = None
    key: str | None = None
    mac: str | None = None
    traceparent: str | None = None

    def verify(self, key: SharedKey) -> None:
        """Raise :class:`BadSignature` unless the message was authenticated with ``key``."""
        if self.mac is None:
            raise BadSignature(key.id)
        key.verify(event_content(self.type, self.source, self.id, self.data), self.mac)


class _Structured(msgspec.Struct):
    """A CloudEvent in structured mode, as far as we read it."""

    specversion: str
    type: str
    source: str
    id: str
    data: msgspec.Raw
    tenant: str | None = None
    oblkeyid: str | None = None
    oblmac: str | None = None
    traceparent: str | None = None


_structured_decoder = msgspec.json.Decoder(_Structured)


def type_of(message: AnyMessage) -> str:
    """The CloudEvents ``type`` of a message."""
    if isinstance(message, Operation):
        return "org.oblio.erasure.operate.v1"
    return _type_of[type(message)]


def pack(
    topic: Topic,
    key: str,
    message: AnyMessage,
    source: str,
    *,
    id: str | None = None,  # noqa: A002 - the attribute's own name
    partition: int | None = None,
    signer: SharedKey | None = None,
    traceparent: str | None = None,
    data: bytes | None = None,
) -> Message:
    """The record of a message, in binary mode.

    Args:
        topic: where it goes.
        key: decides the partition (the request's id on sharded topics).
        message: what it says.
        source: CloudEvents source of the sender, a URI reference.
        id: CloudEvents id, unique within the source; a random one if none is given.
        partition: where the caller owns the choice of it (sharded topics).
        signer: authenticates the record as a whole.
        traceparent: W3C trace context.
        data: the message's bytes where they exist already and must go out unchanged (events).
    """
    type_name = type_of(message)
    event_id = id or str(uuid.uuid4())
    data = data if data is not None else _encoder.encode(message)
    headers: list[tuple[str, bytes]] = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", type_name.encode()),
        ("ce_source", source.encode()),
        ("ce_id", event_id.encode()),
        ("ce_time", datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()),
        ("ce_partitionkey", key.encode()),
    ]
    tenant = getattr(message, "tenant", None)
    if tenant:
        headers.append(("ce_tenant", tenant.encode()))
    if signer is not None:
        headers.append(("ce_oblkeyid", signer.id.encode()))
        headers.append(("ce_oblmac", signer.mac(event_content(type_name, source, event_id, data)).encode()))
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    return Message(topic.value, key.encode(), data, tuple(headers), partition)


def envelope_of(record: Record) -> Envelope:
    """The CloudEvent in a record, in either mode. Raises :class:`Rejection`."""
    if len(record.value) > MAX_BYTES:
        raise Rejection(RejectionCode.TOO_LARGE)
    headers = dict(record.headers)
    content_type = headers.get("content-type", b"").lower()
    if content_type.startswith(b"application/cloudevents+json") or "ce_specversion" not in headers:
        return _structured(record.value, headers)
    return _binary(record.value, headers)


def message_of(record: Record) -> tuple[Envelope, AnyMessage]:
    """The envelope and the typed message of a record. Raises :class:`Rejection`."""
    envelope = envelope_of(record)
    try:
        topic = Topic(record.topic)
    except ValueError:
        raise Rejection(RejectionCode.WRONG_TOPIC) from None
    return envelope, decode(envelope, topic)


def decode(envelope: Envelope, topic: Topic) -> AnyMessage:
    """The typed data of an envelope read from ``topic``. Raises :class:`Rejection`."""
    if envelope.type not in TYPES_OF_TOPIC[topic]:
        _refuse_type(envelope.type)
    message: AnyMessage = parse(_decoders[envelope.type], envelope.data)
    if topic is Topic.REQUESTS:
        _refuse_duplicates(envelope.data)
    if envelope.tenant is not None and envelope.tenant != getattr(message, "tenant", None):
        raise Rejection(RejectionCode.BAD_FIELD, "tenant")
    return message


def parse(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """What ``decoder`` makes of ``data``; for bytes that come from others. Raises :class:`Rejection`."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Rejection(RejectionCode.NOT_JSON) from None


def _refuse_type(name: str) -> NoReturn:
    if name in TYPES:
        raise Rejection(RejectionCode.WRONG_TOPIC, "type")
    stem, _, version = name.rpartition(".v")
    if version.isdigit() and any(known.rpartition(".v")[0] == stem for known in TYPES):
        raise Rejection(RejectionCode.UNSUPPORTED_VERSION, "type")
    raise Rejection(RejectionCode.UNKNOWN_TYPE, "type")


def _invalid(error: msgspec.ValidationError) -> Rejection:
    """Where and how a message does not fit its type. The text itself is not taken over: it may quote the value."""
    text = str(error)
    path = path_of(error)
    if text.startswith("Object missing required field `"):
        name = text.split("`")[1]
        return Rejection(RejectionCode.MISSING_FIELD, f"{path}.{name}"[:80] if path else name)
    wrong_type = text.startswith("Expected `") and ", got `" in text
    return Rejection(RejectionCode.WRONG_TYPE if wrong_type else RejectionCode.BAD_FIELD, path)


def _refuse_duplicates(data: bytes) -> None:
    """A name given twice is an ambiguity, and of two subjects one would stay unforgotten.

    The decoder takes the last one. This slower look is for what other people's programs write; what we write
    ourselves has no duplicates.
    """
    try:
        json.loads(data.decode(), object_pairs_hook=_unique, parse_int=str)
    except (ValueError, RecursionError):
        raise Rejection(RejectionCode.NOT_JSON) from None


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Rejection(RejectionCode.DUPLICATE_FIELD)


def _binary(value: bytes, headers: dict[str, bytes]) -> Envelope:
    if headers["ce_specversion"] != b"1.0":
        raise Rejection(RejectionCode.UNSUPPORTED_VERSION, "specversion")
    return Envelope(
        type=_attribute("type", _text(headers, "type")),
        source=_attribute("source", _text(headers, "source")),
        id=_attribute("id", _text(headers, "id")),
        data=value,
        tenant=_optional("tenant", _text(headers, "tenant")),
        key=_optional("oblkeyid", _text(headers, "oblkeyid")),
        mac=_optional("oblmac", _text(headers, "oblmac")),
        traceparent=_trace(headers.get("traceparent", b"").decode(errors="replace")),
    )


def _structured(value: bytes, headers: dict[str, bytes]) -> Envelope:
    try:
        event = parse(_structured_decoder, value)
    except Rejection as rejection:
        if rejection.code is RejectionCode.NOT_JSON:
            raise
        # One code for "some JSON, but no CloudEvent": the asker has to look at the envelope first.
        raise Rejection(RejectionCode.NOT_A_CLOUDEVENT, rejection.field) from None
    _refuse_duplicates(value)
    if event.specversion != "1.0":
        raise Rejection(RejectionCode.UNSUPPORTED_VERSION, "specversion")
    return Envelope(
        type=_attribute("type", event.type),
        source=_attribute("source", event.source),
        id=_attribute("id", event.id),
        data=bytes(event.data),
        tenant=_optional("tenant", event.tenant),
        key=_optional("oblkeyid", event.oblkeyid),
        mac=_optional("oblmac", event.oblmac),
        traceparent=_trace(event.traceparent or headers.get("traceparent", b"").decode(errors="replace")),
    )


def _text(headers: dict[str, bytes], attribute: str) -> str | None:
    raw = headers.get(f"ce_{attribute}")
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        raise Rejection(RejectionCode.NOT_A_CLOUDEVENT, attribute) from None


def _attribute(name: str, value: str | None) -> str:
    if value is None or not _ATTRIBUTE.fullmatch(value):
        raise Rejection(RejectionCode.NOT_A_CLOUDEVENT, name)
    return value


def _optional(name: str, value: str | None) -> str | None:
    return None if value is None else _attribute(name, value)


def _trace(value: str) -> str | None:
    """A trace context is a convenience: one that is no such thing is dropped, not refused."""
    return value if _TRACEPARENT.fullmatch(value) else None


__all__ = [
    "MAX_BYTES",
    "TYPES",
    "TYPES_OF_TOPIC",
    "AnyMessage",
    "Envelope",
    "Headers",
    "Rejection",
    "decode",
    "envelope_of",
    "message_of",
    "pack",
    "parse",
    "type_of",
]
