"""The messages on the log, apart from lifecycle events (:mod:`schemas.events`).

Every message is the ``data`` of a CloudEvent; :mod:`schemas.codec` puts on and takes off the envelope.
Reading is tolerant: unknown fields are ignored. Unknown versions are refused by the envelope's type.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas.codes import (
    Capacity,
    Channel,
    Evidence,
    FailureCode,
    Ground,
    HoldCode,
    Mode,
    Outcome,
    Phase,
    ReasonCode,
    RejectionClass,
    RejectionCode,
    Right,
    Role,
)
from schemas.identifiers import Identifier, IdentifierKind
from schemas.paths import BadField
from schemas.types import (
    ActorId,
    CaseReference,
    Column,
    Count,
    DateText,
    Digest,
    HoldId,
    Instant,
    KeyId,
    MessageId,
    Millis,
    Name,
    Offset,
    Ordinal,
    RecordKey,
    RequestId,
    Sealed,
    SqlState,
    Tenant,
    text,
)


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all messages: immutable, keyword-only, fields at their default are left out on the wire.

    Made of what exists before it, a message is in no cycle: the garbage collector need not look at it, and with many
    at hand its looks cost more than anything that is done with them.
    """


# --- requests: platform teams → orchestrator ----------------------------------------------------------------------


class PlainIdentifier(Message, frozen=True):
    """An identifier as the asker wrote it; intake normalises it."""

    kind: IdentifierKind
    value: Annotated[str, Meta(max_length=1024)]

    def __repr__(self) -> str:
        return f"PlainIdentifier({self.kind.value}, …)"  # a traceback or a log line must not show whose it is

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kind", self.kind.value)]


class Records(Message, frozen=True):
    """Named records of one product, instead of a whole subject: these tickets, that chat.

    ``keys`` are the records' ids within the tenant, as text.
    """

    product: Name
    dataset: Name
    keys: Annotated[tuple[RecordKey, ...], Meta(min_length=1, max_length=1000)]

    def __repr__(self) -> str:
        return f"Records({self.product}, {self.dataset}, {len(self.keys)} keys)"  # a record's id may lead to a person

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("product", self.product), ("dataset", self.dataset), ("keys", len(self.keys))]


class SubjectData(Message, frozen=True):
    """What is sealed of a request: whom it names by ``identifiers``, or else which ``records``."""

    identifiers: Annotated[tuple[PlainIdentifier, ...], Meta(max_length=100)] = ()
    records: Records | None = None

    def __post_init__(self) -> None:
        if self.identifiers and self.records is not None:  # a whole subject, or these records alone?
            raise BadField("records", "and identifiers exclude each other")


class Erase(Message, frozen=True):
    """Erase one subject, or named records.

    Exactly one of ``subject`` (plain: only where the setting allows it) and ``sealed`` (see
    :func:`schemas.sealing.seal_to`) is given.
    """

    tenant: Tenant
    right: Right
    received_at: Instant
    ground: Ground | None = None
    mode: Mode = Mode.PURGE
    capacity: Capacity = Capacity.CONTROLLER
    instruction: CaseReference | None = None
    channel: Channel = Channel.EVENT
    case: CaseReference | None = None
    subject: SubjectData | None = None
    sealed: Sealed | None = None

    def __post_init__(self) -> None:
        # Year 1 and year 9999 overflow on the way to UTC; before 2001 no time of ours can be (``Millis``).
        if not 2001 < self.received_at.year < 9999:
            raise BadField("received_at", "is in no year that can be right")
        if self.subject is not None and self.sealed is not None:
            raise BadField("sealed", "and subject exclude each other")


class Cancel(Message, frozen=True):
    """Cancel a request before its first purge is dispatched, by its id or by the id of the event that asked for it."""

    tenant: Tenant
    request: RequestId | None = None
    event_id: MessageId | None = None

    def __post_init__(self) -> None:
        if (self.request is None) is (self.event_id is None):
            raise BadField("request", "or event_id is given, and not both")


# --- operations: API, CLI and the orchestrator itself → the request's owner ----------------------------------------


class Operation(Message, frozen=True, tag_field="op"):
    """Something that a person, or the orchestrator itself, asks of one open request."""

    tenant: Tenant
    request: RequestId
    actor: ActorId
    role: Role


class CancelOperation(Operation, frozen=True, tag="cancel"):
    """End the request before its first purge is dispatched."""

    reason: ReasonCode
    withdrawn: bool = False
    """The subject took the request back (``withdrawn``), as against an operator's ``cancelled``."""


class HoldOperation(Operation, frozen=True, tag="hold"):
    """Wait, for the whole request or one product (``product``)."""

    hold: HoldId
    code: HoldCode
    review_on: DateText
    product: Name | None = None

    def __post_init__(self) -> None:
        try:
            date.fromisoformat(self.review_on)
        except ValueError:
            raise BadField("review_on", "is not a date of the calendar") from None


class ReleaseOperation(Operation, frozen=True, tag="release"):
    """End a hold."""

    hold: HoldId
    reason: ReasonCode


class RestoreOperation(Operation, frozen=True, tag="restore"):
    """Bring back what is in the trash."""

    reason: ReasonCode


class ReplayOperation(Operation, frozen=True, tag="replay"):
    """Try a parked or failing step again. ``force`` runs it anew under a higher epoch even if a receipt exists.

    ``ceiling`` raises the ceiling of rows for this step alone.
    """

    product: Name
    reason: ReasonCode
    force: bool = False
    ceiling: Count | None = None


class WaiveOperation(Operation, frozen=True, tag="waive"):
    """Do without a product's step: recorded as a decision, and part of how the request ended."""

    product: Name
    reason: ReasonCode


class TurnOperation(Operation, frozen=True, tag="turn"):
    """The request before this one, for the same subject, has ended."""

    ended: RequestId


AnyOperation = (
    CancelOperation
    | HoldOperation
    | ReleaseOperation
    | RestoreOperation
    | ReplayOperation
    | WaiveOperation
    | TurnOperation
)


class BrakeOperation(Message, frozen=True):
    """Stop or resume all destructive work, of a tenant, of a product, or altogether (both ``None``)."""

    stopped: bool
    actor: ActorId
    role: Role
    reason: ReasonCode
    tenant: Tenant | None = None
    product: Name | None = None


# --- commands: orchestrator → products ----------------------------------------------------------------------------


class Address(Message, frozen=True):
    """One product's part of a command.

    ``sealed`` holds a :class:`SealedSubject` for this product alone; ``mac`` authenticates the command's common part
    together with this one, under the key pair ``key`` of orchestrator and product.
    """

    product: Name
    epoch: Ordinal
    seq: Ordinal
    attempt: Ordinal
    key: KeyId
    sealed: Sealed
    mac: Digest
    ceiling: Count | None = None


class Command(Message, frozen=True):
    """One phase of one request, for every product in ``to``.

    ``cutoff_at``: reusable identifiers reach only rows created before it. ``expires_at``: read later than this, the
    command has no effect.
    """

    tenant: Tenant
    request: RequestId
    phase: Phase
    cutoff_at: Millis
    expires_at: Millis
    to: Annotated[tuple[Address, ...], Meta(min_length=1)]


class SealedSubject(Message, frozen=True):
    """The plaintext of :attr:`Address.sealed`."""

    identifiers: tuple[Identifier, ...] = ()
    records: Records | None = None


class Stop(Message, frozen=True):
    """Do nothing further on the step, under a seq above that of the command it stops."""

    tenant: Tenant
    request: RequestId
    product: Name
    epoch: Ordinal
    seq: Ordinal
    key: KeyId
    mac: Digest


class Brake(Message, frozen=True):
    """Stop or resume all effects of a product, or of one tenant in it. ``seq`` orders brakes of the installation."""

    product: Name
    stopped: bool
    seq: Ordinal
    key: KeyId
    mac: Digest
    tenant: Tenant | None = None


# --- acknowledgements: products → orchestrator ---------------------------------------------------------------------


class Counts(Message, frozen=True):
    """Rows, objects or lines of one dataset: ``found`` is the sum of the others."""

    found: Count = 0
    erased: Count = 0
    redacted: Count = 0
    anonymised: Count = 0
    hidden: Count = 0
    retained: Count = 0
    skipped: Count = 0
    """Left as they were, rightly: already in the wanted state, or not reached by a reusable identifier."""
    restored: Count = 0
    """Brought back from the trash."""

    @property
    def add_up(self) -> bool:
        """Whether every row found is accounted for once."""
        return self.found == self.changed + self.retained + self.skipped

    @property
    def changed(self) -> int:
        """How many rows are not what they were."""
        return self.erased + self.redacted + self.anonymised + self.hidden + self.restored

    def plus(self, other: Counts) -> Counts:
        """The sum, field by field."""
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Failure(Message, frozen=True):
    """Why an outcome is not a success: code and place, never a driver's text."""

    code: FailureCode
    dataset: Name | None = None
    column: Column | None = None
    sqlstate: SqlState | None = None


class Ack(Message, frozen=True):
    """What one product says of one command.

    ``sealed`` (resolve only): a :class:`SealedSubject` with the further identifiers found. ``persons``: how many
    different people the identifiers led to. ``map`` and ``receipt`` are digests of the data map that was applied
    and of the receipt that was kept.
    """

    tenant: Tenant
    request: RequestId
    product: Name
    phase: Phase
    epoch: Ordinal
    seq: Ordinal
    attempt: Ordinal
    outcome: Outcome
    at: Millis
    counts: dict[Name, Counts] = msgspec.field(default_factory=dict)
    failure: Failure | None = None
    evidence: Evidence = Evidence.ASSERTED
    map: Digest | None = None
    receipt: Digest | None = None
    sealed: Sealed | None = None
    persons: Count = 0
    done: Count = 0
    total: Count = 0


# --- rejected ------------------------------------------------------------------------------------------------------


class Rejected(Message, frozen=True):
    """A message was refused. Its bytes are in quarantine, sealed; this record says only what and where."""

    rejection_class: RejectionClass
    code: RejectionCode
    topic: Annotated[str, text(r"[a-z0-9.]{1,60}")]
    partition: Count
    offset: Offset
    at: Millis
    field: Annotated[str, text(r"[a-z0-9_.\[\]]{1,80}")] | None = None
    producer: KeyId | None = None
