"""From records of the log to steps: what addresses this product, is authentic, and can be opened.

A command that cannot be trusted gets no ack, because an ack would tell its sender something; it is reported on the
topic of the rejected, by class, code and position alone.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from consumers.settings import ProductSettings
from consumers.steps import Step
from schemas import codec
from schemas.codes import RejectionCode
from schemas.messages import Address, Command, Rejected, SealedSubject
from schemas.sealing import BadSignature, SharedKey, Undecryptable, command_context, sealed_content
from schemas.topics import Topic
from schemas.transport import Message, Record

_subject = msgspec.json.Decoder(SealedSubject)


@dataclass(slots=True)
class Inbox:
    """What a batch held: steps in the log's order, those whose identifiers did not open, and refusals."""

    steps: list[Step] = field(default_factory=list)
    unopened: list[Step] = field(default_factory=list)
    rejected: list[Message] = field(default_factory=list)


def read(records: Sequence[Record], product: str, settings: ProductSettings, source: str) -> Inbox:
    """Sort a batch of :data:`Topic.COMMANDS`. Raises nothing: a bad record is an entry of ``rejected``."""
    inbox = Inbox()
    for record in records:
        try:
            _, message = codec.message_of(record)
            assert isinstance(message, Command)
            for to in message.to:
                if to.product == product:
                    _take(inbox, message, to, settings)
        except codec.Rejection as refusal:
            inbox.rejected.append(rejection(record, refusal, source))
    return inbox


def _take(inbox: Inbox, command: Command, to: Address, settings: ProductSettings) -> None:
    context = command_context(command, to)
    key = authentic(settings, to.key, sealed_content(context, to.sealed), to.mac)
    try:
        subject = _subject.decode(key.open(to.sealed, context))
    except (Undecryptable, msgspec.MsgspecError):
        inbox.unopened.append(Step(command, to, key, SealedSubject()))
    else:
        inbox.steps.append(Step(command, to, key, subject))


def authentic(settings: ProductSettings, key_id: str, content: bytes, mac: str) -> SharedKey:
    """The key that authenticated ``content``. Raises :class:`codec.Rejection`."""
    key = settings.key(key_id)
    if key is None:
        raise codec.Rejection(RejectionCode.UNKNOWN_KEY)
    try:
        key.verify(content, mac)
    except BadSignature:
        raise codec.Rejection(RejectionCode.BAD_SIGNATURE) from None
    return key


def rejection(record: Record, refusal: codec.Rejection, source: str) -> Message:
    """The message that says what was refused, and where it stands."""
    rejected = Rejected(
        rejection_class=refusal.rejection_class,
        code=refusal.code,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        at=record.timestamp_ms or time.time_ns() // 1_000_000,
        field=refusal.field,
    )
    return codec.pack(Topic.REJECTED, str(uuid.uuid4()), rejected, source)
