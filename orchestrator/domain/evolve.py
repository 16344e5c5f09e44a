"""``evolve(state, event) -> state``: what each event means.

It decides nothing: every choice stands in the event already. So history can be folded by any later version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from orchestrator.domain.state import (
    FINISHED,
    STAGE_OF_PHASE,
    Hold,
    Stage,
    State,
    Step,
    StepStatus,
    Undo,
)
from schemas import events as e
from schemas.codes import FailureCode, Phase
from schemas.messages import Failure


def evolve(state: State | None, recorded: e.Recorded) -> State:
    """The state after one more event. ``state`` is ``None`` before the first, which is ``accepted``."""
    event = recorded.event
    if state is None:
        if not isinstance(event, e.Accepted):
            raise ValueError(f"a stream begins with accepted, not {type(event).__name__}")
        return _accepted(recorded, event)
    handler = _HANDLERS.get(type(event))
    if handler is not None:
        state = handler(state, event, recorded.at)
    return replace(state, n=recorded.n)


def fold(history: Iterable[e.Recorded]) -> State | None:
    """The state that a whole history leads to."""
    state: State | None = None
    for recorded in history:
        state = evolve(state, recorded)
    return state


def _accepted(recorded: e.Recorded, event: e.Accepted) -> State:
    stage = Stage.BEHIND if event.behind else Stage.GRACE
    state = State(
        id=recorded.id,
        tenant=recorded.tenant,
        n=recorded.n,
        right=event.right,
        mode=event.mode,
        scope=event.scope,
        registry=event.registry,
        stage=stage,
        received_at=event.received_at,
        accepted_at=recorded.at,
        commitment=event.commitment,
        due_at=event.due_at,
        purge_from=event.purge_from,
        vault_limit_at=event.vault_until,
        behind=event.behind,
        resolve=event.resolve,
        steps={name: Step(wave=wave) for name, wave in event.steps.items()},
    )
    if event.starts is None:
        return state
    return _start(state, event.starts, event.resolve if event.starts is Phase.RESOLVE else None)


# --- phases and waves ----------------------------------------------------------------------------------------------


def _start(state: State, phase: Phase, only: tuple[str, ...] | None) -> State:
    """Every step of ``phase`` is pending, those of its first wave ready."""
    names = set(only if only is not None else state.steps)
    steps = {
        name: _fresh(step, phase) if name in names and not step.waived else _idle(step, phase)
        for name, step in state.steps.items()
    }
    return replace(state, stage=STAGE_OF_PHASE[phase], steps=_promoted(steps))


def _fresh(step: Step, phase: Phase, status: StepStatus = StepStatus.PENDING) -> Step:
    return replace(
        step,
        status=status,
        phase=phase,
        spent=0,
        cutoff_at=None,
        timeout_at=None,
        expires_at=None,
        retry_at=None,
        failure=None,
        done=0,
        total=0,
    )


def _idle(step: Step, phase: Phase) -> Step:
    if step.waived and phase is not Phase.RESOLVE:
        return replace(step, status=StepStatus.WAIVED, phase=phase)
    return replace(_fresh(step, phase, StepStatus.IDLE), phase=None)


def _promoted(steps: dict[str, Step]) -> dict[str, Step]:
    """The pending steps of the first unfinished wave become ready. Restore goes through the waves in reverse."""
    open_waves = {step.wave for step in steps.values() if step.status not in FINISHED}
    if not open_waves:
        return steps
    reverse = any(step.phase is Phase.RESTORE for step in steps.values() if step.status not in FINISHED)
    wave = max(open_waves) if reverse else min(open_waves)
    flat = any(step.phase in (Phase.RESOLVE, Phase.PROBE) for step in steps.values() if step.status not in FINISHED)
    return {
        name: replace(step, status=StepStatus.READY)
        if step.status is StepStatus.PENDING and (flat or step.wave == wave)
        else step
        for name, step in steps.items()
    }


def _onward(state: State) -> State:
    """After a step is done: the next wave, or the rest that follows resolving."""
    steps = _promoted(state.steps)
    if state.stage is Stage.RESOLVING and all(step.status in FINISHED for step in steps.values()):
        return replace(state, steps=steps, stage=Stage.GRACE)
    return replace(state, steps=steps)


def _with(state: State, name: str, **changes: Any) -> State:
    steps = dict(state.steps)
    steps[name] = replace(steps[name], **changes)
    return replace(state, steps=steps)


# --- one handler per event -----------------------------------------------------------------------------------------


def _turn_came(state: State, event: e.TurnCame, at: int) -> State:
    return replace(state, behind=tuple(other for other in state.behind if other != event.ended))


def _phase_started(state: State, event: e.PhaseStarted, at: int) -> State:
    return _start(state, event.phase, event.steps)


def _dispatched(state: State, event: e.Dispatched, at: int) -> State:
    steps = dict(state.steps)
    for name, (seq, attempt) in event.steps.items():
        step = steps[name]
        steps[name] = replace(
            step,
            status=StepStatus.DISPATCHED,
            seq=seq,
            attempt=attempt,
            cutoff_at=step.cutoff_at or at,
            timeout_at=event.timeout_at,
            expires_at=event.expires_at,
            retry_at=None,
            hidden=step.hidden or event.phase is Phase.TRASH,
        )
    purging = state.purge_dispatched or event.phase is Phase.PURGE
    return replace(state, steps=steps, purge_dispatched=purging)


def _succeeded(state: State, event: e.Succeeded, at: int) -> State:
    changes: dict[str, Any] = {
        "status": StepStatus.SUCCEEDED,
        "spent": event.attempt,
        "timeout_at": None,
        "expires_at": None,
        "retry_at": None,
        "failure": None,
        "done": 0,
        "total": 0,
    }
    if event.phase is Phase.PURGE:
        changes["purged"] = event.outcome
        changes["hidden"] = False
    elif event.phase is Phase.RESTORE:
        changes["hidden"] = False
    if event.phase in (Phase.PURGE, Phase.PROBE):
        changes["retained"] = state.steps[event.step].retained or any(c.retained for c in event.counts.values())
    return _onward(_with(state, event.step, **changes))


def _failed(state: State, event: e.Failed, at: int) -> State:
    step = state.steps[event.step]
    return _with(
        state,
        event.step,
        status=StepStatus.WAITING,
        spent=event.attempt if event.counted else step.spent,
        timeout_at=None,
        expires_at=None,
        retry_at=event.retry_at,
        failure=event.failure,
    )


def _timed_out(state: State, event: e.TimedOut, at: int) -> State:
    return _with(
        state,
        event.step,
        status=StepStatus.TIMED_OUT,
        spent=event.attempt,
        timeout_at=None,
        expires_at=None,
        retry_at=event.retry_at,
    )


def _parked(state: State, event: e.Parked, at: int) -> State:
    return _with(
        state,
        event.step,
        status=StepStatus.PARKED,
        spent=event.attempt,
        timeout_at=None,
        expires_at=None,
        retry_at=None,
        failure=event.failure,
    )


def _progressed(state: State, event: e.Progressed, at: int) -> State:
    return _with(
        state,
        event.step,
        status=StepStatus.DISPATCHED,
        done=event.done,
        total=event.total,
        timeout_at=event.timeout_at,
    )


def _still_unread(state: State, event: e.StillUnread, at: int) -> State:
    for name in event.steps:
        state = _with(state, name, status=StepStatus.UNREAD, timeout_at=event.look_again_at)
    return state


def _seen_read(state: State, event: e.SeenRead, at: int) -> State:
    for name in event.steps:
        state = _with(state, name, status=StepStatus.DISPATCHED, timeout_at=event.timeout_at)
    return state


def _replayed(state: State, event: e.Replayed, at: int) -> State:
    step = state.steps[event.step]
    if event.epoch == step.epoch and event.phase is step.phase:
        # The same receipt may answer, and the same rows are meant: the cut-off stays what it was.
        return _with(
            state, event.step, status=StepStatus.READY, spent=0, retry_at=None, ceiling=event.ceiling or step.ceiling
        )
    fresh = replace(_fresh(step, event.phase, StepStatus.READY), epoch=event.epoch, ceiling=event.ceiling)
    steps = dict(state.steps)
    steps[event.step] = fresh
    return replace(state, stage=STAGE_OF_PHASE[event.phase], steps=_only(steps, event))


def _only(steps: dict[str, Step], event: e.Replayed) -> dict[str, Step]:
    """Where a replay goes back to an earlier phase, the other steps count as done with it."""
    return {
        name: step
        if name == event.step or step.phase is event.phase or step.waived
        else replace(_fresh(step, event.phase, StepStatus.SUCCEEDED), phase=event.phase)
        for name, step in steps.items()
    }


def _waived(state: State, event: e.Waived, at: int) -> State:
    state = _with(
        state,
        event.step,
        status=StepStatus.WAIVED,
        waived=event.phase is not Phase.RESOLVE,
        timeout_at=None,
        retry_at=None,
        stop_at=None,
    )
    return _onward(state)


def _evidence_noted(state: State, event: e.EvidenceNoted, at: int) -> State:
    return _with(state, event.step, noted=True)


def _hold_placed(state: State, event: e.HoldPlaced, at: int) -> State:
    return replace(state, holds=(*state.holds, Hold(hold=event.hold, code=event.code, product=event.product)))


def _hold_released(state: State, event: e.HoldReleased, at: int) -> State:
    return replace(state, holds=tuple(hold for hold in state.holds if hold.hold != event.hold))


def _stop_sent(state: State, event: e.StopSent, at: int) -> State:
    for name, seq in event.steps.items():
        state = _with(state, name, seq=seq, stop_at=event.look_again_at)
    return state


def _stopped(state: State, event: e.Stopped, at: int) -> State:
    step = state.steps[event.step]
    # A success that came before the stop's answer stands; else the step is as before its dispatch.
    status = step.status if step.status in (FINISHED | {StepStatus.PARKED}) else StepStatus.READY
    return _with(state, event.step, status=status, stop_at=None, timeout_at=None, expires_at=None, retry_at=None)


def _trashed(state: State, event: e.Trashed, at: int) -> State:
    return replace(state, stage=Stage.TRASHED, purge_at=event.purge_at)


def _cancel_asked(state: State, event: e.CancelAsked, at: int) -> State:
    return replace(state, undo=Undo(withdrawn=event.withdrawn))


def _restore_asked(state: State, event: e.RestoreAsked, at: int) -> State:
    return replace(state, undo=Undo())


def _settle_started(state: State, event: e.SettleStarted, at: int) -> State:
    return replace(state, stage=Stage.SETTLING, probe_at=event.probe_at)


def _deadline_missed(state: State, event: e.DeadlineMissed, at: int) -> State:
    return replace(state, deadline_missed=True)


def _ended(state: State, event: e.Ended, at: int) -> State:
    return replace(state, stage=Stage.ENDED, end=event.end, ended_at=at, holds=())


def _vault_destroyed(state: State, event: e.VaultDestroyed, at: int) -> State:
    gone = Failure(code=FailureCode.UNDECRYPTABLE)
    steps = {
        name: step
        if step.status in FINISHED
        else replace(step, status=StepStatus.PARKED, failure=gone, timeout_at=None, retry_at=None, stop_at=None)
        for name, step in state.steps.items()
    }
    return replace(state, vault_gone=True, steps=steps)


_HANDLERS: Mapping[type, Callable[[State, Any, int], State]] = {
    e.TurnCame: _turn_came,
    e.PhaseStarted: _phase_started,
    e.Dispatched: _dispatched,
    e.Succeeded: _succeeded,
    e.Failed: _failed,
    e.TimedOut: _timed_out,
    e.Parked: _parked,
    e.Progressed: _progressed,
    e.StillUnread: _still_unread,
    e.SeenRead: _seen_read,
    e.Replayed: _replayed,
    e.Waived: _waived,
    e.EvidenceNoted: _evidence_noted,
    e.HoldPlaced: _hold_placed,
    e.HoldReleased: _hold_released,
    e.StopSent: _stop_sent,
    e.Stopped: _stopped,
    e.Trashed: _trashed,
    e.CancelAsked: _cancel_asked,
    e.RestoreAsked: _restore_asked,
    e.SettleStarted: _settle_started,
    e.DeadlineMissed: _deadline_missed,
    e.Ended: _ended,
    e.VaultDestroyed: _vault_destroyed,
}
