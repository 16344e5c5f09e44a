"""The state of a request, which is nothing but the fold of its events.

``docs/state-machines.md`` draws both state machines.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from schemas.codes import End as EndCode
from schemas.codes import HoldCode, Mode, Phase, Right, Scope
from schemas.messages import Failure
from schemas.types import Count, Millis


class Stage(StrEnum):
    """Where a request stands."""

    BEHIND = "behind"
    """Another request for the same subject goes first → resolving, grace; ended (cancelled)."""
    RESOLVING = "resolving"
    """Products look for further identifiers → grace; ended (cancelled)."""
    GRACE = "grace"
    """Nothing happens yet; a cancel leaves no trace → trashing, purging; ended (cancelled)."""
    TRASHING = "trashing"
    """Products hide what they hold → trashed; restoring (cancelled), ended (cancelled before any trash went out)."""
    TRASHED = "trashed"
    """Hidden and restorable → purging (by itself); restoring."""
    RESTORING = "restoring"
    """Products bring back what they had hidden → ended (cancelled)."""
    PURGING = "purging"
    """Products erase for good → settling, ended; before the first purge is dispatched also restoring or ended
    (cancelled)."""
    SETTLING = "settling"
    """Waits for the time of the settle probe → probing; purging (a forced replay)."""
    PROBING = "probing"
    """Products look again → ended; purging, if something has to be purged once more."""
    ENDED = "ended"
    """Nothing changes any more."""


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
    """Its command is out → succeeded, waiting, timed out, parked, unread; ready (stopped)."""
    UNREAD = "unread"
    """The product has not read its command: waiting for the product → dispatched, succeeded, waiting, parked; ready
    (stopped)."""
    WAITING = "waiting"
    """Failed; may be dispatched again at ``retry_at`` → dispatched."""
    TIMED_OUT = "timed_out"
    """No answer in time; may be dispatched again at ``retry_at`` → dispatched; succeeded, waiting, parked, if the
    answer comes late."""
    PARKED = "parked"
    """Waits for a person → ready (replay), waived; succeeded, if the answer comes late."""
    SUCCEEDED = "succeeded"
    """The product did what the phase asks → ready (a forced replay, or the next phase)."""
    WAIVED = "waived"
    """An operator decided to do without the product."""


IN_FLIGHT = frozenset({StepStatus.DISPATCHED, StepStatus.UNREAD})
FINISHED = frozenset({StepStatus.SUCCEEDED, StepStatus.WAIVED, StepStatus.IDLE})
RETRYING = frozenset({StepStatus.WAITING, StepStatus.TIMED_OUT})


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One product's part of a request."""

    wave: int
    status: StepStatus = StepStatus.IDLE
    phase: Phase | None = None
    epoch: int = 1
    seq: int = 0
    """Rises with every command and stop, over all phases."""
    attempt: int = 0
    """The try that the last command asked for."""
    spent: int = 0
    """Tries of this phase and epoch that are used up."""
    setbacks: int = 0
    """Failures in a row that used up no attempt; the wait grows with them."""
    begun: bool = False
    """A command of this phase and epoch went out: from then on acks of it count."""
    may_act: bool = False
    """A command is out that may have effects yet: its product has neither succeeded nor obeyed a stop. A failure is not
    its last word, since the command may lie in the log twice (published again after a crash)."""
    cutoff_at: Millis | None = None
    """The time of the phase's first dispatch; reusable identifiers reach nothing younger."""
    timeout_at: Millis | None = None
    retry_at: Millis | None = None
    stop_at: Millis | None = None
    """A stop was sent and not yet answered; the orchestrator looks again at this time."""
    stop_seq: int = 0
    """The first stop that is not answered: an answer to it, or to a later one, will do."""
    stop_since: Millis | None = None
    failure: Failure | None = None
    earlier: Failure | None = None
    """The last failure that was heard of, where the step was given up for want of an answer."""
    ceiling: Count | None = None
    hidden: bool = False
    """Its trash was dispatched, so that a cancel has to restore it."""
    found: bool = False
    """Something of the subject was there."""
    retained: bool = False
    """The law keeps something of it."""
    probed: int = 0
    """The last epoch in which a probe was dispatched: the next probe needs another, or old evidence could answer it."""
    noted: bool = False
    """Evidence after a waive was noted once; more of the same says nothing new."""
    waived: bool = False
    """An operator decided to do without the product for the rest of the request."""
    done: Count = 0
    total: Count = 0

    @property
    def due(self) -> Millis | None:
        """When time alone changes something here. A stop takes the place of the command's time-out."""
        return self.timeout_at if self.stop_at is None else self.stop_at


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A legal or operational ground to wait, for the whole request or for one ``product``."""

    hold: str
    code: HoldCode
    product: str | None = None


class Undo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A cancel or restore was asked for and is under way."""

    withdrawn: bool = False


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One request. Times are milliseconds of the epoch.

    States are kept by the thousand, and are in no cycle: none of them is the garbage collector's business.
    """

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

    @property
    def held_back(self) -> bool:
        """A hold covers the whole request: no phase that changes data begins."""
        return any(hold.product is None for hold in self.holds)

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
        due = [step.due for step in self.steps.values()]
        due.append(self._stage_due())
        if not self.vault_gone:
            due.append(self.vault_limit_at)
        if self.due_at is not None and not self.deadline_missed:
            due.append(self.due_at + 1)
        return min((moment for moment in due if moment is not None), default=None)

    def _stage_due(self) -> Millis | None:
        if self.stage is Stage.SETTLING:
            return self.probe_at
        if self.held_back:
            return None
        return {Stage.GRACE: self.purge_from, Stage.TRASHED: self.purge_at}.get(self.stage)
