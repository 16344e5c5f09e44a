"""The door: which messages are believed, from whom, and what they ask.

Nothing here writes. A message that cannot be taken raises :class:`schemas.codec.Rejection` with a stable class and
code; the engine puts its bytes in quarantine and goes on with its neighbours.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass

import msgspec

from orchestrator.domain.calendar import millis
from orchestrator.domain.policy import Policy
from orchestrator.keys import KeyRing
from orchestrator.subjects import Subject
from schemas.codec import Envelope, Rejection, parse
from schemas.codes import Mode, Right
from schemas.codes import RejectionCode as Code
from schemas.identifiers import BadIdentifier, Identifier
from schemas.messages import Ack, Cancel, Erase, SubjectData
from schemas.sealing import BadSignature, SharedKey, Undecryptable, erase_context, open_sealed

CLOCK_SKEW_MS = 5 * 60 * 1000
"""How far ahead of our clock a sender's may be."""

EARLIEST_MS = 1_000_000_000_000
"""September 2001, before which nobody asked us for anything; smaller numbers are seconds taken for milliseconds."""

SUPPORTED_RIGHTS = frozenset({Right.ERASURE, Right.HOUSEKEEPING})

_LOOKS_LIKE_PHONE = re.compile(r"[0-9]{9,15}")


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """``tenant``: the one tenant to which the intake topic is bound; then records need no signature.

    ``plain``: whether identifiers may come unsealed.
    """

    tenant: str | None = None
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for erasure that may be accepted."""

    erase: Erase
    subject: Subject
    received_at: int
    submission: bytes
    body: bytes


class Intake:
    """Checks messages against keys, registry and settings."""

    def __init__(self, keys: KeyRing, settings: IntakeSettings) -> None:
        self._keys = keys
        self._settings = settings

    def erase(self, envelope: Envelope, erase: Erase, now: int, policy: Policy) -> Asked:
        """Raises :class:`Rejection`."""
        self._sender(envelope, erase.tenant, erase.mode, policy)
        if erase.right not in SUPPORTED_RIGHTS:
            raise Rejection(Code.RIGHT_NOT_SUPPORTED, "right")
        received_at = millis(erase.received_at)
        if received_at < EARLIEST_MS:
            raise Rejection(Code.BAD_FIELD, "received_at")
        if received_at > now + CLOCK_SKEW_MS:
            raise Rejection(Code.TIME_IN_FUTURE, "received_at")
        subject = self._subject(envelope, erase, policy)
        _check_case(erase, subject)
        asked = _encoder.encode((erase.right, erase.mode, erase.capacity, erase.ground, received_at, erase.case))
        return Asked(
            erase=erase,
            subject=subject,
            received_at=received_at,
            submission=submission_key(envelope.source, envelope.id),
            body=subject.body_digest(self._keys, erase.tenant, asked),
        )

    def cancel(self, envelope: Envelope, cancel: Cancel, policy: Policy) -> None:
        """Raises :class:`Rejection`."""
        self._sender(envelope, cancel.tenant, None, policy)
        if (cancel.request is None) == (cancel.event_id is None):
            raise Rejection(Code.MISSING_FIELD, "request")

    def ack(self, envelope: Envelope, ack: Ack) -> SharedKey:
        """The key it was signed with. Raises :class:`Rejection` unless it is from the product of its step."""
        keys = self._keys.products.get(ack.product)
        if keys is None:
            raise Rejection(Code.UNKNOWN_PRODUCT, "product")
        return _verified(envelope, keys)

    def operation(self, envelope: Envelope) -> None:
        """Raises :class:`Rejection` unless it is from the API, the CLI or the orchestrator itself."""
        _verified(envelope, self._keys.operators)

    def _sender(self, envelope: Envelope, tenant: str, mode: Mode | None, policy: Policy) -> None:
        """Nothing in a body is believed about its sender."""
        if tenant not in policy.tenants:
            raise Rejection(Code.UNKNOWN_TENANT, "tenant")
        if envelope.key is None and self._settings.tenant is not None:
            if tenant != self._settings.tenant:
                raise Rejection(Code.NOT_THIS_SENDER, "tenant")
            return
        _verified(envelope, {name: producer.key for name, producer in self._keys.producers.items()})
        producer = self._keys.producers[envelope.key or ""]
        if producer.tenant != tenant:
            raise Rejection(Code.NOT_THIS_SENDER, "tenant")
        if mode is not None and mode not in producer.modes:
            raise Rejection(Code.NOT_THIS_SENDER, "mode")

    def _subject(self, envelope: Envelope, erase: Erase, policy: Policy) -> Subject:
        data = self._opened(envelope, erase)
        identifiers = tuple(_normalised(data))
        if not identifiers and data.records is None:
            raise Rejection(Code.NO_IDENTIFIERS, "subject.identifiers")
        if data.records is not None:
            product = policy.products.get(data.records.product)
            if product is None:
                raise Rejection(Code.UNKNOWN_PRODUCT, "subject.records.product")
            if data.records.dataset not in product.nameable:
                raise Rejection(Code.UNKNOWN_DATASET, "subject.records.dataset")
        return Subject.new(identifiers, data.records)

    def _opened(self, envelope: Envelope, erase: Erase) -> SubjectData:
        if (erase.subject is None) == (erase.sealed is None):
            raise Rejection(Code.NO_IDENTIFIERS, "subject")
        if erase.subject is not None:
            if not self._settings.plain:
                raise Rejection(Code.PLAIN_IDENTIFIERS, "subject")
            return erase.subject
        context = erase_context(erase.tenant, envelope.source, envelope.id)
        try:
            plain = open_sealed(self._keys.request_private, erase.sealed or "", context)
        except Undecryptable:
            raise Rejection(Code.UNDECRYPTABLE, "sealed") from None
        return parse(_subject_decoder, plain)


def _verified(envelope: Envelope, keys: dict[str, SharedKey]) -> SharedKey:
    if envelope.key is None or envelope.mac is None:
        raise Rejection(Code.UNSIGNED)
    key = keys.get(envelope.key)
    if key is None:
        raise Rejection(Code.UNKNOWN_KEY)
    try:
        envelope.verify(key)
    except BadSignature:
        raise Rejection(Code.BAD_SIGNATURE) from None
    return key


def _normalised(data: SubjectData) -> list[Identifier]:
    found = []
    for position, identifier in enumerate(data.identifiers):
        try:
            found.append(Identifier.of(identifier.kind, identifier.value))
        except BadIdentifier:
            raise Rejection(Code.BAD_IDENTIFIER, f"subject.identifiers[{position}].{identifier.kind.value}") from None
    return found


def _check_case(erase: Erase, subject: Subject) -> None:
    """A case reference is opaque: never the person's own number or name in disguise."""
    if erase.case is None:
        return
    values = {identifier.value.casefold() for identifier in subject.identifiers}
    if erase.case.casefold() in values or _LOOKS_LIKE_PHONE.fullmatch(erase.case):
        raise Rejection(Code.CASE_IS_PERSONAL, "case")


def submission_key(source: str, event_id: str) -> bytes:
    """What tells a doubled submission: CloudEvents source and id. Hashed, since a sender may have put anything there."""
    return hashlib.sha256(f"oblio submission v1\0{source}\0{event_id}".encode()).digest()


def new_request_id(now: int | None = None) -> str:
    """UUIDv7 (RFC 9562): the time it was made in milliseconds, and 74 random bits; derived from nothing else."""
    moment = now if now is not None else time.time_ns() // 1_000_000
    raw = bytearray(moment.to_bytes(6, "big") + os.urandom(10))
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_encoder = msgspec.json.Encoder()
_subject_decoder = msgspec.json.Decoder(SubjectData)
