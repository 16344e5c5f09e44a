"""Lifecycle events: the history of a request, which is also the audit log.

An event is closed: enums, random ids, integers, UTC times, commitments and names from the registry. There is no
field that could hold a sentence, an address or a name of a person; ``tests/contract/test_closed.py`` tries.

The bytes of an event are canonical (RFC 8785): keys sorted, no white space, only ASCII text and integers. They are
stored as written and never serialised again.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.codes import (
    Capacity,
    Channel,
    End,
    Evidence,
    Ground,
    HoldCode,
    Mode,
    Outcome,
    Phase,
    ReasonCode,
    Right,
    Role,
    Scope,
)
from schemas.messages import Counts, Failure
from schemas.paths import path_of
from schemas.types import ActorId, Count, DateText, Digest, HoldId, Millis, Name, Ordinal, RequestId, Tenant


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", gc=False):
    """Base of all events of a request. As messages, they are nothing for the garbage collector."""


class Accepted(Event, frozen=True, tag="accepted"):
    """A request was taken in: its stream begins.

    ``behind``: open requests of the same subject that go first. ``starts``: the phase that is ready at once, when
    there is nothing to wait for. ``purge_from``: the grace time ends (mode purge).
    """

    right: Right
    mode: Mode
    scope: Scope
    capacity: Capacity
    channel: Channel
    commitment: Digest
    received_at: Millis
    registry: Ordinal
    vault_until: Millis
    """When the identifiers are destroyed at the latest."""
    steps: dict[Name, Ordinal]
    """The required products, frozen here, each with its wave."""
    ground: Ground | None = None
    due_at: Millis | None = None
    due_raw: DateText | None = None
    """The due date before it was rolled to a working day (Regulation 1182/71, Article 3(4))."""
    behind: tuple[RequestId, ...] = ()
    resolve: tuple[Name, ...] = ()
    """Products to be asked first, for identifiers that the request lacks."""
    starts: Phase | None = None
    purge_from: Millis | None = None


class TurnCame(Event, frozen=True, tag="turn_came"):
    """A request this one was behind has ended."""

    ended: RequestId


class PhaseStarted(Event, frozen=True, tag="phase_started"):
    """The request moved on to a phase; its steps will be dispatched wave by wave.

    ``steps`` is given where the phase is not for all of them.
    """

    phase: Phase
    steps: tuple[Name, ...] | None = None


class Dispatched(Event, frozen=True, tag="dispatched"):
    """Commands went out: per step the seq and the attempt."""

    phase: Phase
    epoch: Ordinal
    steps: dict[Name, tuple[Ordinal, Ordinal]]
    timeout_at: Millis
    expires_at: Millis


class Succeeded(Event, frozen=True, tag="succeeded"):
    """A product did what the phase asks; ``outcome`` is ``done`` or ``nothing_found``.

    ``kinds`` (resolve): how many further identifiers it gave.
    """

    step: Name
    phase: Phase
    epoch: Ordinal
    attempt: Ordinal
    outcome: Outcome
    evidence: Evidence = Evidence.ASSERTED
    counts: dict[Name, Counts] = msgspec.field(default_factory=dict)
    map: Digest | None = None
    receipt: Digest | None = None
    kinds: Count = 0


class Failed(Event, frozen=True, tag="failed"):
    """An attempt failed and will be repeated at ``retry_at``."""

    step: Name
    phase: Phase
    epoch: Ordinal
    attempt: Ordinal
    failure: Failure
    retry_at: Millis
    counted: bool = True
    """``False``: the failure says nothing of the step itself and uses up no attempt."""


class TimedOut(Event, frozen=True, tag="timed_out"):
    """No acknowledgement came in time; the command will be sent again at ``retry_at``."""

    step: Name
    phase: Phase
    epoch: Ordinal
    attempt: Ordinal
    retry_at: Millis


class Parked(Event, frozen=True, tag="parked"):
    """The step waits for a person."""

    step: Name
    phase: Phase
    epoch: Ordinal
    attempt: Ordinal
    failure: Failure


class Progressed(Event, frozen=True, tag="progressed"):
    """A long step is alive: ``done`` of ``total`` items."""

    step: Name
    phase: Phase
    epoch: Ordinal
    done: Count
    total: Count
    timeout_at: Millis


class StillUnread(Event, frozen=True, tag="still_unread"):
    """The time-out came while the product had not yet read its command: it waits on, and no attempt is used.

    ``look_again_at``: when the orchestrator asks next.
    """

    steps: tuple[Name, ...]
    phase: Phase
    look_again_at: Millis


class SeenRead(Event, frozen=True, tag="seen_read"):
    """The product has read its command after all: the time-out runs from here, until ``timeout_at``."""

    steps: tuple[Name, ...]
    phase: Phase
    timeout_at: Millis


class Replayed(Event, frozen=True, tag="replayed"):
    """A person had a parked or failing step tried again; ``ceiling`` replaces the step's ceiling of rows."""

    step: Name
    phase: Phase
    epoch: Ordinal
    actor: ActorId
    role: Role
    reason: ReasonCode
    ceiling: Count | None = None


class Waived(Event, frozen=True, tag="waived"):
    """A person decided to do without the step."""

    step: Name
    phase: Phase
    actor: ActorId
    role: Role
    reason: ReasonCode


class EvidenceNoted(Event, frozen=True, tag="evidence_noted"):
    """An acknowledgement that no longer changes anything, kept because it says what happened."""

    step: Name
    phase: Phase
    epoch: Ordinal
    seq: Ordinal
    outcome: Outcome
    counts: dict[Name, Counts] = msgspec.field(default_factory=dict)


class HoldPlaced(Event, frozen=True, tag="hold_placed"):
    """The request, or its step of one ``product``, waits; a person looks at it again on ``review_on``."""

    hold: HoldId
    code: HoldCode
    review_on: DateText
    actor: ActorId
    role: Role
    product: Name | None = None


class HoldReleased(Event, frozen=True, tag="hold_released"):
    """The hold is over."""

    hold: HoldId
    actor: ActorId
    role: Role
    reason: ReasonCode


class StopSent(Event, frozen=True, tag="stop_sent"):
    """Products were told to do nothing further; the request shows ``stopping`` until each has answered."""

    steps: dict[Name, Ordinal]
    look_again_at: Millis


class Stopped(Event, frozen=True, tag="stopped"):
    """A product obeyed the stop; ``counts`` is what it had done before."""

    step: Name
    seq: Ordinal
    counts: dict[Name, Counts] = msgspec.field(default_factory=dict)


class Trashed(Event, frozen=True, tag="trashed"):
    """Every step is in the trash; purge comes by itself at ``purge_at``."""

    purge_at: Millis


class CancelAsked(Event, frozen=True, tag="cancel_asked"):
    """Somebody asked to cancel; ``withdrawn``: the subject took the request back."""

    actor: ActorId
    role: Role
    reason: ReasonCode
    withdrawn: bool = False


class RestoreAsked(Event, frozen=True, tag="restore_asked"):
    """Somebody asked to bring back what is in the trash."""

    actor: ActorId
    role: Role
    reason: ReasonCode


class SettleStarted(Event, frozen=True, tag="settle_started"):
    """Every purge is acknowledged; products are asked to look again at ``probe_at``."""

    probe_at: Millis


class DeadlineMissed(Event, frozen=True, tag="deadline_missed"):
    """The legal due date has passed while the request is open; it goes on."""

    due_at: Millis


class Ended(Event, frozen=True, tag="ended"):
    """The end of the request. ``restored``: what had been trashed was brought back."""

    end: End
    restored: bool = False


class VaultDestroyed(Event, frozen=True, tag="vault_destroyed"):
    """The identifiers were destroyed at the limit of their time although the request is still open."""

    limit_at: Millis


AnyEvent = (
    Accepted
    | TurnCame
    | PhaseStarted
    | Dispatched
    | Succeeded
    | Failed
    | TimedOut
    | Parked
    | Progressed
    | StillUnread
    | SeenRead
    | Replayed
    | Waived
    | EvidenceNoted
    | HoldPlaced
    | HoldReleased
    | StopSent
    | Stopped
    | Trashed
    | CancelAsked
    | RestoreAsked
    | SettleStarted
    | DeadlineMissed
    | Ended
    | VaultDestroyed
)


class BrakeSet(Event, frozen=True, tag="brake_set"):
    """All destructive work was stopped or resumed; event of the installation's own stream."""

    stopped: bool
    actor: ActorId
    role: Role
    reason: ReasonCode
    seq: Ordinal
    tenant: Tenant | None = None
    product: Name | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as it stands in a stream: the unit that is stored, published and, later, a leaf of the ledger.

    ``n`` is the position in the stream, from 1. ``v`` is the version of this form.
    """

    id: RequestId
    tenant: Tenant
    n: Ordinal
    at: Millis
    event: AnyEvent | BrakeSet
    v: Literal[1] = 1


INSTALLATION = "00000000-0000-0000-0000-000000000000"
"""Id of the stream of events that concern no single request (brakes). Its tenant is ``installation``."""


class _Version(msgspec.Struct):
    """As much of an event as every version of it has."""

    v: Ordinal = 1


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Recorded)
_version_decoder = msgspec.json.Decoder(_Version)


def encode(recorded: Recorded) -> bytes:
    """The canonical bytes (RFC 8785; here simply sorted keys, since all text is ASCII and all numbers integers)."""
    return _encoder.encode(recorded)


def decode(raw: bytes) -> Recorded:
    """The event in ``raw``. Raises :class:`msgspec.ValidationError` where the bytes are no event of version 1.

    The error names the field or the unknown version and quotes nothing.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise msgspec.ValidationError(_why_not(raw, error)) from None


def check(raw: bytes) -> None:
    """Raise :class:`msgspec.ValidationError` unless ``raw`` is a valid event in canonical form.

    Encoding checks nothing, so whoever writes an event calls this first. Encoding it again finds what a tolerant
    reader passes over: fields that no event has, and other spellings of the same event.
    """
    if encode(decode(raw)) != raw:
        raise msgspec.ValidationError("the event has unknown fields or is not in canonical form")


def _why_not(raw: bytes, error: Exception) -> str:
    try:
        version = _version_decoder.decode(raw).v
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        version = 1
    if version != 1:
        return f"event form v{version} is not known here: upgrade before reading this history"
    path = path_of(error) if isinstance(error, msgspec.ValidationError) else None
    return f"not an event: see `{path}`" if path else "not an event"
