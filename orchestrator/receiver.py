"""What a batch of records asks, record by record: requests, operations, acknowledgements.

Each record stands alone. One that cannot be taken goes to quarantine with its reason; its neighbours go on.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import structlog
from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.brakes import set_brake
from orchestrator.desk import Desk, UnknownRequest
from orchestrator.domain.calendar import DAY_MS
from orchestrator.domain.commands import Accept, Answer, NotPossible, Operate
from orchestrator.domain.policy import Policy
from orchestrator.intake import Asked, Intake, new_request_id, submission_key
from orchestrator.keys import KeyRing
from orchestrator.quarantine import seal_record
from orchestrator.store.rows import shard_of
from orchestrator.store.unit import IndexRow, OutboxRow, QuarantineRow, VaultRow
from orchestrator.subjects import Subject, Vault
from schemas import messages as m
from schemas.codec import Envelope, Rejection, message_of, parse
from schemas.codes import FailureCode, Outcome, Phase
from schemas.codes import RejectionCode as Code
from schemas.events import INSTALLATION, Succeeded
from schemas.identifiers import BadIdentifier, Identifier
from schemas.sealing import SharedKey, Undecryptable, ack_context
from schemas.transport import Record

log = structlog.get_logger()

INDEX_MS = 5 * 365 * DAY_MS
SUBMISSION_MS = 400 * DAY_MS
QUARANTINE_MS = 30 * DAY_MS


@dataclass(frozen=True, slots=True)
class _Taken:
    """A record that was read, typed and believed."""

    record: Record
    envelope: Envelope
    message: object
    key: SharedKey | None = None
    asked: Asked | None = None


_Fresh = tuple[str, Record, Asked]
"""A request that was not submitted before: its new id, the record it came with, and what it asks."""


class Poisoned(Exception):
    """No request can be made of a record, by a fault of ours. The batch must begin anew, with that record refused."""

    def __init__(self, record: Record) -> None:
        super().__init__("a record of the batch cannot be handled")
        self.record = record


class Receiver:
    """Turns records into decisions at a :class:`Desk`."""

    def __init__(self, keys: KeyRing, intake: Intake, shards: int) -> None:
        self._keys = keys
        self._intake = intake
        self._shards = shards
        self._vault = Vault(keys)

    def receive(self, desk: Desk, records: Sequence[Record], poisoned: Collection[Record] = ()) -> None:
        """Take every record, in order; those ``poisoned`` go to quarantine. Raises :class:`Poisoned`."""
        for record in poisoned:
            self._reject(desk, record, Rejection(Code.INTERNAL_ERROR))
        sound = [record for record in records if record not in poisoned]
        taken = [item for record in sound if (item := self._open(desk, record)) is not None]
        self._accept(desk, [item for item in taken if item.asked is not None])
        desk.load(_streams(taken))
        subjects = self._subjects(desk, taken)
        for item in taken:
            if item.asked is None:
                self._guarded(desk, item, subjects)

    # --- reading ---------------------------------------------------------------------------------------------------

    def _open(self, desk: Desk, record: Record) -> _Taken | None:
        try:
            envelope, message = message_of(record)
            return self._believed(desk, record, envelope, message)
        except Rejection as rejection:
            self._reject(desk, record, rejection)
        except Exception as error:  # noqa: BLE001  a bug of ours must stop no partition, and lose no message
            self._internal(desk, record, error)
        return None

    def _believed(self, desk: Desk, record: Record, envelope: Envelope, message: object) -> _Taken:
        match message:
            case m.Erase():
                asked = self._intake.erase(envelope, message, desk.now, desk.policy)
                return _Taken(record, envelope, message, asked=asked)
            case m.Cancel():
                self._intake.cancel(envelope, message, desk.policy)
                return _Taken(record, envelope, message)
            case m.Ack():
                return _Taken(record, envelope, message, key=self._intake.ack(envelope, message))
            case _:
                self._intake.operation(envelope)
                return _Taken(record, envelope, message)

    def _guarded(self, desk: Desk, item: _Taken, subjects: dict[str, Subject]) -> None:
        try:
            self._handle(desk, item, subjects)
        except Rejection as rejection:
            self._reject(desk, item.record, rejection)
        except UnknownRequest:
            self._reject(desk, item.record, Rejection(Code.UNKNOWN_REQUEST, "request"))
        except NotPossible:
            self._reject(desk, item.record, Rejection(Code.NOT_POSSIBLE_NOW))
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001  the same
            self._internal(desk, item.record, error)

    def _handle(self, desk: Desk, item: _Taken, subjects: dict[str, Subject]) -> None:
        match item.message:
            case m.Ack() as ack:
                self._answer(desk, ack, item.key, subjects)
            case m.BrakeOperation() as brake:
                set_brake(desk, brake)
            case m.Cancel() as cancel:
                self._forward(desk, item.envelope, cancel)
            case m.Operation() as operation:
                if desk.state(operation.request).tenant != operation.tenant:
                    raise UnknownRequest(operation.request)
                desk.apply(operation.request, Operate(cast("m.AnyOperation", operation)))

    # --- requests --------------------------------------------------------------------------------------------------

    def _accept(self, desk: Desk, items: Sequence[_Taken]) -> None:
        """Give every new request its id, its vault entry and its place behind others for the same subject."""
        fresh = self._claimed(desk, items)
        claims: dict[bytes, tuple[str, bytes, str]] = {}
        digests: dict[str, tuple[bytes, ...]] = {}
        for request, _, asked in fresh:
            digests[request] = asked.subject.digests(self._keys, asked.erase.tenant)
        behind = self._in_turn(desk, fresh, digests, claims)
        for request, record, asked in fresh:
            try:
                self._create(desk, request, asked, digests[request], behind[request])
            except Exception as error:
                # What was claimed for it must go again, and nobody may wait behind it: the batch begins anew without.
                raise Poisoned(record) from error

    def _claimed(self, desk: Desk, items: Sequence[_Taken]) -> list[_Fresh]:
        """Those that were not submitted before. The same again is silently the same; another body is refused."""
        first: dict[bytes, tuple[str, _Taken]] = {}
        repeats: list[_Taken] = []
        for item in items:
            asked = _asked(item)
            if asked.submission in first:
                repeats.append(item)
            else:
                first[asked.submission] = (new_request_id(desk.now), item)
        known = desk.unit.submit(
            [
                (key, request, _asked(item).body, _asked(item).erase.case, desk.now + SUBMISSION_MS)
                for key, (request, item) in first.items()
            ]
        )
        fresh = []
        for key, (request, item) in first.items():
            if key in known:
                repeats.append(item)
            else:
                fresh.append((request, item.record, _asked(item)))
        for item in repeats:
            asked = _asked(item)
            body = known[asked.submission][1] if asked.submission in known else _body(first[asked.submission][1])
            if body != asked.body:
                self._reject(desk, item.record, Rejection(Code.IDEMPOTENCY_CONFLICT, "id"))
        return fresh

    def _in_turn(
        self,
        desk: Desk,
        fresh: Sequence[_Fresh],
        digests: dict[str, tuple[bytes, ...]],
        claims: dict[bytes, tuple[str, bytes, str]],
    ) -> dict[str, tuple[str, ...]]:
        """Per new request the open ones it is behind: within this batch, and in the table."""
        behind: dict[str, set[str]] = {request: set() for request, _, _ in fresh}
        first: dict[bytes, str] = {}
        for request, _, asked in fresh:
            for digest in digests[request]:
                if digest in claims:
                    behind[request].add(claims[digest][2])
                first.setdefault(digest, request)
                claims[digest] = (asked.erase.tenant, digest, request)
        for digest, other in desk.unit.claim_subjects(sorted(claims.values())).items():
            behind[first[digest]].add(other)
        return {request: tuple(sorted(others - {request})) for request, others in behind.items()}

    def _create(
        self, desk: Desk, request: str, asked: Asked, digests: Sequence[bytes], behind: tuple[str, ...]
    ) -> None:
        erase, subject = asked.erase, asked.subject
        command = Accept(
            request=request,
            tenant=erase.tenant,
            right=erase.right,
            mode=erase.mode,
            capacity=erase.capacity,
            channel=erase.channel,
            ground=erase.ground,
            received_at=asked.received_at,
            commitment=subject.commitment(erase.tenant),
            kinds=subject.kinds,
            records_of=subject.records.product if subject.records is not None else None,
            behind=behind,
        )
        desk.create(request, erase.tenant, command)
        key, sealed = self._vault.seal(request, erase.tenant, subject)
        desk.changes.vault.append(VaultRow(request, erase.tenant, key, sealed, desk.now + desk.policy.vault_limit))
        until = desk.now + INDEX_MS
        desk.changes.index.extend(IndexRow(erase.tenant, digest, request, False, until) for digest in digests)

    def _forward(self, desk: Desk, envelope: Envelope, cancel: m.Cancel) -> None:
        """A cancel goes to the owner of the stream, by the operations topic."""
        request = cancel.request
        if request is None:
            request = desk.unit.submission(submission_key(envelope.source, cancel.event_id or ""))
        if request is None or desk.unit.tenant_of(request) != cancel.tenant:
            raise Rejection(Code.UNKNOWN_REQUEST, "request")
        shard = shard_of(request, self._shards)
        desk.changes.outbox.append(OutboxRow(shard, "cancel", request, {"tenant": cancel.tenant}))

    # --- acknowledgements ------------------------------------------------------------------------------------------

    def _answer(self, desk: Desk, ack: m.Ack, key: SharedKey | None, subjects: dict[str, Subject]) -> None:
        state = desk.state(ack.request)
        if state.tenant != ack.tenant:
            raise UnknownRequest(ack.request)
        if ack.product not in state.steps:
            raise Rejection(Code.UNKNOWN_STEP, "product")
        ack = _in_vocabulary(ack, desk.policy)
        derived = self._derived(ack, key) if ack.sealed is not None else ()
        subject = subjects.get(ack.request)
        new = tuple(identifier for identifier in derived if subject and identifier not in subject.identifiers)
        events = desk.apply(ack.request, Answer(ack, kinds=len(new)))
        # Only a success says that it is one person: what an ambiguous answer led to may be somebody else's.
        if new and subject is not None and any(isinstance(event, Succeeded) for event in events):
            subjects[ack.request] = self._enrich(desk, ack, subject.with_derived(new), new)

    def _derived(self, ack: m.Ack, key: SharedKey | None) -> tuple[Identifier, ...]:
        """The further identifiers that a product found, normalised here as all others."""
        if ack.phase is not Phase.RESOLVE or key is None:
            raise Rejection(Code.BAD_FIELD, "sealed")
        try:
            plain = key.open(ack.sealed or "", ack_context(ack))
        except Undecryptable:
            raise Rejection(Code.UNDECRYPTABLE, "sealed") from None
        return tuple(_usable(parse(_sealed_decoder, plain).identifiers, ack.product))

    def _enrich(self, desk: Desk, ack: m.Ack, subject: Subject, new: Sequence[Identifier]) -> Subject:
        key, sealed = self._vault.seal(ack.request, ack.tenant, subject)
        desk.changes.vault = [row for row in desk.changes.vault if row.request != ack.request]
        limit = desk.state(ack.request).vault_limit_at or desk.now
        desk.changes.vault.append(VaultRow(ack.request, ack.tenant, key, sealed, limit))
        desk.changes.index.extend(
            IndexRow(ack.tenant, self._keys.digest_of(ack.tenant, identifier), ack.request, True, desk.now + INDEX_MS)
            for identifier in new
        )
        return subject

    def _subjects(self, desk: Desk, items: Sequence[_Taken]) -> dict[str, Subject]:
        """The vault entries of the requests for which an ack brings further identifiers."""
        ids = sorted(
            {item.message.request for item in items if isinstance(item.message, m.Ack) and item.message.sealed}
        )
        return {row.request: self._vault.open_row(row) for row in desk.unit.vault_entries(ids)}

    # --- rejections ------------------------------------------------------------------------------------------------

    def _internal(self, desk: Desk, record: Record, error: Exception) -> None:
        log.error("record_not_handled", error=type(error).__name__, topic=record.topic, offset=record.offset)
        self._reject(desk, record, Rejection(Code.INTERNAL_ERROR))

    def _reject(self, desk: Desk, record: Record, rejection: Rejection) -> None:
        """Keep the bytes, sealed, and tell people what was refused and where."""
        rejection_id = str(uuid.uuid4())
        key = self._keys.vault_current
        producer = _producer(record, self._keys)
        row = QuarantineRow(
            id=rejection_id,
            at=desk.now,
            rejection_class=rejection.rejection_class.value,
            code=rejection.code.value,
            field=rejection.field,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            producer=producer,
            key=key.id,
            sealed=seal_record(key, rejection_id, record),
            destroy_at=desk.now + QUARANTINE_MS,
        )
        desk.changes.quarantine.append(row)
        told = ("id", "at", "rejection_class", "code", "field", "topic", "partition", "offset", "producer")
        body = {name: getattr(row, name) for name in told}
        desk.changes.outbox.append(OutboxRow(self._any_shard(), "rejected", INSTALLATION, body))
        log.info("record_rejected", code=row.code, topic=row.topic, partition=row.partition, offset=row.offset)

    def _any_shard(self) -> int:
        return shard_of(INSTALLATION, self._shards)


def _asked(item: _Taken) -> Asked:
    return cast("Asked", item.asked)


def _body(item: _Taken) -> bytes:
    return _asked(item).body


def _streams(items: Sequence[_Taken]) -> list[str]:
    messages = (item.message for item in items)
    return [message.request for message in messages if isinstance(message, m.Ack | m.Operation)]


def _producer(record: Record, keys: KeyRing) -> str | None:
    """The key id that the sender named, if we know it at all: an unknown one may say anything."""
    raw = record.header("ce_oblkeyid")
    named = raw.decode("ascii", "ignore") if raw else None
    return named if named in keys.producers or named in keys.operators else None


def _usable(identifiers: Iterable[Identifier], product: str) -> Iterator[Identifier]:
    """Those that are identifiers at all: one phone stored without its country code must not cost the others."""
    for identifier in identifiers:
        try:
            yield Identifier.of(identifier.kind, identifier.value)
        except BadIdentifier as bad:
            log.warning("derived_identifier_unusable", product=product, kind=bad.kind.value)


def _in_vocabulary(ack: m.Ack, policy: Policy) -> m.Ack:
    """The ack, if every dataset it names is in the registry; else a failure that names none.

    Its names go into the history, and a pattern alone would let a surname pass.
    """
    product = policy.products.get(ack.product)
    named = {*ack.counts, *((ack.failure.dataset,) if ack.failure and ack.failure.dataset else ())}
    if product is None or not product.datasets or named <= product.datasets:
        return ack
    return replace(ack, outcome=Outcome.FAILED, counts={}, failure=m.Failure(code=FailureCode.INVALID_ACK))


_sealed_decoder = msgspec.json.Decoder(m.SealedSubject)
