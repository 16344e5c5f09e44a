"""CloudEvents 1.0 on the log: putting messages into records and taking them out again.

Binary mode (Kafka binding): the value is ``data``, attributes are ``ce_…`` headers. Structured mode (one JSON
document with content type ``application/cloudevents+json``) is taken as well. Extensions of ours: ``oblkeyid`` and
``oblmac`` authenticate the message, ``tenant`` names the tenant. ``traceparent`` is the plain W3C header.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from schemas import events
from schemas.codes import RejectionClass, RejectionCode
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

AnyMessage = (
    Erase | Cancel | AnyOperation | BrakeOperation | Command | Stop | Brake | Ack | events.Recorded | Rejected
)

_decoders = {name: msgspec.json.Decoder(form) for name, form in TYPES.items()}
_type_of = {form: name for name, form in TYPES.items() if isinstance(form, type)}
_encoder = msgspec.json.Encoder()


class Rejection(Exception):
    """A message cannot be taken. ``field`` is a path in the message; nothing here quotes its content."""

    def __init__(self, rejection_class: RejectionClass, code: RejectionCode, field: str | None = None) -> None:
        super().__init__(code.value)
        self.rejection_class = rejection_class
        self.code = code
        self.field = field


@dataclass(frozen=True, slots=True)
class Envelope:
    """The attributes of a CloudEvent, and its data as it was sent."""

    type: str
    source: str
    id: str
    data: bytes
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
    if isinstance(message, Operation):
        return "org.oblio.erasure.operate.v1"
    return _type_of[type(message)]


def pack(
    topic: Topic,
    key: str,
    message: AnyMessage,
    source: str,
    *,
    id: str | None = None,
    partition: int | None = None,
    signer: SharedKey | None = None,
    traceparent: str | None = None,
    data: bytes | None = None,
) -> Message:
    """The record of a message, in binary mode.

    Args:
        key: decides the partition (the request's id on sharded topics).
        source: CloudEvents source of the sender, a URI reference.
        id: CloudEvents id, unique within the source; a random one if none is given.
        signer: authenticates the record as a whole.
        data: the message's bytes where they exist already and must go out unchanged (events).
    """
    type_name = type_of(message)
    id = id or str(uuid.uuid4())
    data = data if data is not None else _encoder.encode(message)
    headers: list[tuple[str, bytes]] = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", type_name.encode()),
        ("ce_source", source.encode()),
        ("ce_id", id.encode()),
        ("ce_time", datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()),
        ("ce_partitionkey", key.encode()),
    ]
    tenant = getattr(message, "tenant", None)
    if tenant:
        headers.append(("ce_tenant", tenant.encode()))
    if signer is not None:
        headers.append(("ce_oblkeyid", signer.id.encode()))
        headers.append(("ce_oblmac", signer.mac(event_content(type_name, source, id, data)).encode()))
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    return Message(topic.value, key.encode(), data, tuple(headers), partition)


def envelope_of(record: Record) -> Envelope:
    """The CloudEvent in a record, in either mode. Raises :class:`Rejection`."""
    if len(record.value) > MAX_BYTES:
        raise Rejection(RejectionClass.MALFORMED, RejectionCode.TOO_LARGE)
    headers = dict(record.headers)
    content_type = headers.get("content-type", b"")
    if content_type.startswith(b"application/cloudevents+json") or "ce_specversion" not in headers:
        return _structured(record.value, headers)
    return _binary(record.value, headers)


def message_of(record: Record) -> tuple[Envelope, AnyMessage]:
    """The envelope and the typed message of a record. Raises :class:`Rejection`."""
    envelope = envelope_of(record)
    return envelope, decode(envelope, Topic(record.topic))


def decode(envelope: Envelope, topic: Topic) -> AnyMessage:
    """The typed data of an envelope read from ``topic``. Raises :class:`Rejection`."""
    if envelope.type not in TYPES_OF_TOPIC[topic]:
        raise _unknown_type(envelope.type)
    try:
        message: AnyMessage = _decoders[envelope.type].decode(envelope.data)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except msgspec.DecodeError:
        raise Rejection(RejectionClass.MALFORMED, RejectionCode.NOT_JSON) from None
    return message


def _unknown_type(name: str) -> Rejection:
    if name in TYPES:
        return Rejection(RejectionClass.UNKNOWN, RejectionCode.WRONG_TOPIC, "type")
    stem, _, version = name.rpartition(".v")
    if version.isdigit() and any(known.rpartition(".v")[0] == stem for known in TYPES):
        return Rejection(RejectionClass.UNSUPPORTED, RejectionCode.UNSUPPORTED_VERSION, "type")
    return Rejection(RejectionClass.UNKNOWN, RejectionCode.UNKNOWN_TYPE, "type")


def _invalid(error: msgspec.ValidationError) -> Rejection:
    """Where a message does not fit its type. Only the path is taken over: the text may quote the value."""
    text = str(error)
    path = text.rpartition(" - at `")[2].rstrip("`") if " - at `" in text else "$"
    field = path.removeprefix("$").removeprefix(".").lower()[:80]
    missing = text.startswith("Object missing required field")
    if missing:
        name = text.split("`")[1]
        field = f"{field}.{name}".removeprefix(".")[:80]
    code = RejectionCode.MISSING_FIELD if missing else RejectionCode.BAD_FIELD
    return Rejection(RejectionClass.INVALID, code, field if _plain_path(field) else None)


def _plain_path(field: str) -> bool:
    return bool(field) and all(c.isascii() and (c.isalnum() or c in "_.[]$") for c in field)


def _text(headers: dict[str, bytes], name: str) -> str | None:
    raw = headers.get(name)
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Rejection(RejectionClass.MALFORMED, RejectionCode.BAD_FIELD, name) from None


def _binary(value: bytes, headers: dict[str, bytes]) -> Envelope:
    type_name, source, id = (_text(headers, name) for name in ("ce_type", "ce_source", "ce_id"))
    if headers["ce_specversion"] != b"1.0":
        raise Rejection(RejectionClass.UNSUPPORTED, RejectionCode.UNSUPPORTED_VERSION, "specversion")
    if not type_name or not source or not id:
        missing = "type" if not type_name else "source" if not source else "id"
        raise Rejection(RejectionClass.MALFORMED, RejectionCode.MISSING_FIELD, missing)
    return Envelope(
        type=type_name,
        source=source,
        id=id,
        data=value,
        tenant=_text(headers, "ce_tenant"),
        key=_text(headers, "ce_oblkeyid"),
        mac=_text(headers, "ce_oblmac"),
        traceparent=_text(headers, "traceparent"),
    )


def _structured(value: bytes, headers: dict[str, bytes]) -> Envelope:
    try:
        event = _structured_decoder.decode(value)
    except msgspec.ValidationError as error:
        # One class for "some JSON, but no CloudEvent": the asker has to look at the envelope first.
        raise Rejection(RejectionClass.MALFORMED, RejectionCode.NOT_A_CLOUDEVENT, _invalid(error).field) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Rejection(RejectionClass.MALFORMED, RejectionCode.NOT_JSON) from None
    if event.specversion != "1.0":
        raise Rejection(RejectionClass.UNSUPPORTED, RejectionCode.UNSUPPORTED_VERSION, "specversion")
    if not event.type or not event.source or not event.id:
        raise Rejection(RejectionClass.MALFORMED, RejectionCode.MISSING_FIELD)
    return Envelope(
        type=event.type,
        source=event.source,
        id=event.id,
        data=bytes(event.data),
        tenant=event.tenant,
        key=event.oblkeyid,
        mac=event.oblmac,
        traceparent=event.traceparent or _text(headers, "traceparent"),
    )


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
    "type_of",
]
