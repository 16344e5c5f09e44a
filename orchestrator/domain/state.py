"""The state of a request, which is nothing but the fold of its events.

See ``docs/architecture.md`` for the diagrams of both state machines.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from schemas.codes import HoldCode, Mode, Outcome, Phase, Right, Scope
from schemas.codes import End as EndCode
from schemas.messages import Failure
from schemas.types import Count, Millis


class Stage(StrEnum):
    """Where a request stands."""

    BEHIND = "behind"
    """Another request for the same subject goes first → resolving, grace, trashing, purging."""
    RESOLVING = "resolving"
    """Products look for further identifiers → grace, trashing, purging."""
    GRACE = "grace"
    """Nothing happens yet; a cancel leaves no trace → purging."""
    TRASHING = "trashing"
    """→ trashed."""
    TRASHED = "trashed"
    """Hidden and restorable → purging (by itself), restoring."""
    RESTORING = "restoring"
    """→ ended (cancelled)."""
    PURGING = "purging"
    """→ settling, ended."""
    SETTLING = "settling"
    """Waits for the time of the settle probe → probing."""
    PROBING = "probing"
    """Products look again → ended; purging, if something had to be purged once more."""
    ENDED = "ended"


STAGE_OF_PHASE = {
    Phase.RESOLVE: Stage.RESOLVING,
    Phase.TRASH: Stage.TRASHING,
    Phase.RESTORE: Stage.RESTORING,
    Phase.PURGE: Stage.PURGING,
    Phase.PROBE: Stage.PROBING,
}


class StepStatus(StrEnum):
    """Where one product's part of the current phase stands."""

    IDLE = "idle"
    """Not part of the current phase."""
    PENDING = "pending"
    """An earlier wave is not done → ready."""
    READY = "ready"
    """May be dispatched as soon as the gate lets it → dispatched."""
    DISPATCHED = "dispatched"
    """→ succeeded, waiting, timed out, parked, unread."""
    UNREAD = "unread"
    """The product has not read its command: waiting for the product → dispatched, succeeded, waiting, parked."""
    WAITING = "waiting"
    """Failed; may be dispatched again at ``retry_at`` → dispatched."""
    TIMED_OUT = "timed_out"
    """No answer in time; may be dispatched again at ``retry_at`` → dispatched."""
    PARKED = "parked"
    """Waits for a person → ready (replay), waived."""
    SUCCEEDED = "succeeded"
    WAIVED = "waived"


IN_FLIGHT = frozenset({StepStatus.DISPATCHED, StepStatus.UNREAD})
FINISHED = frozenset({StepStatus.SUCCEEDED, StepStatus.WAIVED, StepStatus.IDLE})
RETRYING = frozenset({StepStatus.WAITING, StepStatus.TIMED_OUT})


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One product's part of a request.

    ``seq`` rises with every command and stop; ``spent`` counts the attempts of this phase and epoch that are used up;
    ``cutoff_at`` is the time of the first dispatch of this phase and epoch.
    """

    wave: int
    status: StepStatus = StepStatus.IDLE
    phase: Phase | None = None
    epoch: int = 1
    seq: int = 0
    attempt: int = 0
    spent: int = 0
    cutoff_at: Millis | None = None
    timeout_at: Millis | None = None
    expires_at: Millis | None = None
    retry_at: Millis | None = None
    stop_at: Millis | None = None
    """A stop was sent and not yet answered; it is sent again at this time."""
    failure: Failure | None = None
    ceiling: Count | None = None
    hidden: bool = False
    """Its trash was dispatched, so that a cancel has to restore it."""
    purged: Outcome | None = None
    retained: bool = False
    noted: bool = False
    """Evidence after a waive was noted once; more of the same says nothing new."""
    waived: bool = False
    done: Count = 0
    total: Count = 0


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    hold: str
    code: HoldCode
    product: str | None = None


class Undo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A cancel or restore was asked for and is under way."""

    withdrawn: bool = False


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request. Times are milliseconds of the epoch."""

    id: str
    tenant: str
    n: int
    """Position of the last event in the stream."""
    right: Right
    mode: Mode
    scope: Scope
    registry: int
    stage: Stage
    received_at: Millis
    accepted_at: Millis
    commitment: str
    steps: dict[str, Step]
    due_at: Millis | None = None
    purge_from: Millis | None = None
    purge_at: Millis | None = None
    probe_at: Millis | None = None
    vault_limit_at: Millis | None = None
    behind: tuple[str, ...] = ()
    resolve: tuple[str, ...] = ()
    holds: tuple[Hold, ...] = ()
    undo: Undo | None = None
    purge_dispatched: bool = False
    deadline_missed: bool = False
    vault_gone: bool = False
    end: EndCode | None = None
    ended_at: Millis | None = None

    @property
    def ended(self) -> bool:
        return self.stage is Stage.ENDED

    @property
    def stopping(self) -> bool:
        """A stop is out that not every product has answered."""
        return any(step.stop_at is not None for step in self.steps.values())

    @property
    def parked(self) -> bool:
        return any(step.status is StepStatus.PARKED for step in self.steps.values())

    def held(self, product: str) -> bool:
        """Whether a hold keeps this product's step from being dispatched."""
        return any(hold.product in (None, product) for hold in self.holds)

    def dispatchable(self, product: str, now: int) -> bool:
        """Whether the step may go out now, as far as this request itself can say (brakes and windows come on top)."""
        step = self.steps[product]
        if self.ended or self.vault_gone or step.stop_at is not None:
            return False
        if step.phase is not Phase.RESTORE and self.held(product):
            return False
        if self.undo is not None and step.phase is not Phase.RESTORE:
            return False
        if step.status in RETRYING:
            return step.retry_at is not None and step.retry_at <= now
        return step.status is StepStatus.READY

    def next_due(self) -> Millis | None:
        """When time alone changes something here, the engine must look again; ``None``: only a message can."""
        if self.ended:
            return None
        due: list[int | None] = [self.vault_limit_at if not self.vault_gone else None]
        if self.due_at is not None and not self.deadline_missed:
            due.append(self.due_at + 1)
        if not self.stopping and self.undo is None:
            due.append(self._stage_due())
        for step in self.steps.values():
            due.append(step.stop_at)
            if step.status in IN_FLIGHT:
                due.append(step.timeout_at)
        return min((moment for moment in due if moment is not None), default=None)

    def _stage_due(self) -> Millis | None:
        if self.stage is Stage.GRACE or (self.stage is Stage.BEHIND and not self.behind):
            return self.purge_from
        if self.stage is Stage.TRASHED:
            return self.purge_at
        return self.probe_at if self.stage is Stage.SETTLING else None
