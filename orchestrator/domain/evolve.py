"""``evolve(state, event) -> state``: what each event means.

It decides nothing: every choice stands in the event already. So history can be folded by any later version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from orchestrator.domain.phases import VAULT_GONE, again, back_to_purge, onward, start
from orchestrator.domain.state import FINISHED, Hold, Stage, State, Step, StepStatus, Undo
from schemas import events as e
from schemas.codes import FailureCode, Outcome, Phase
from schemas.messages import Counts


def evolve(state: State | None, recorded: e.Recorded) -> State:
    """The state after one more event. ``state`` is ``None`` before the first, which is ``accepted``."""
    event = recorded.event
    if state is None:
        if not isinstance(event, e.Accepted):
            raise ValueError(f"a stream begins with accepted, not {type(event).__name__}")
        return _accepted(recorded, event)
    handler = _HANDLERS.get(type(event))
    if handler is not None:
        state = handler(state, event)
    elif (timed := _TIMED.get(type(event))) is not None:
        state = timed(state, event, recorded.at)
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
    return start(state, event.starts, event.resolve if event.starts is Phase.RESOLVE else None)


def _with(state: State, name: str, **changes: Any) -> State:
    return replace(state, steps={**state.steps, name: replace(state.steps[name], **changes)})


def _found(counts: Mapping[str, Counts]) -> bool:
    return any(c.found for c in counts.values())


# --- one handler per event -----------------------------------------------------------------------------------------


def _turn_came(state: State, event: e.TurnCame) -> State:
    behind = tuple(other for other in state.behind if other != event.ended)
    # What must be resolved first is said by an event of its own; else the grace time is what is left to wait for.
    stage = state.stage if behind or state.resolve else Stage.GRACE
    return replace(state, behind=behind, stage=stage)


def _phase_started(state: State, event: e.PhaseStarted) -> State:
    return start(state, event.phase, event.steps)


def _dispatched(state: State, event: e.Dispatched, at: int) -> State:
    steps = dict(state.steps)
    for name, (seq, attempt) in event.steps.items():
        step = steps[name]
        steps[name] = replace(
            step,
            status=StepStatus.DISPATCHED,
            seq=seq,
            attempt=attempt,
            begun=True,
            may_act=True,
            cutoff_at=step.cutoff_at or at,
            timeout_at=event.timeout_at,
            retry_at=None,
            hidden=step.hidden or event.phase is Phase.TRASH,
            probed=step.epoch if event.phase is Phase.PROBE else step.probed,
            done=0,
            total=0,
        )
    purging = state.purge_dispatched or event.phase is Phase.PURGE
    return replace(state, steps=steps, purge_dispatched=purging)


def _succeeded(state: State, event: e.Succeeded) -> State:
    step = state.steps[event.step]
    changes: dict[str, Any] = {
        "status": StepStatus.SUCCEEDED,
        "spent": event.attempt,
        "failure": None,
        "earlier": None,
        "done": 0,
        "total": 0,
    }
    retained = any(c.retained for c in event.counts.values())
    match event.phase:
        case Phase.TRASH:
            changes["found"] = step.found or event.outcome is Outcome.DONE
        case Phase.RESTORE:
            changes["hidden"] = False
        case Phase.PURGE:
            changes |= {"hidden": False, "retained": retained, "found": step.found or event.outcome is Outcome.DONE}
        case Phase.PROBE:
            changes["retained"] = step.retained or retained
        case Phase.RESOLVE:
            pass
    # What is done needs no stop: the product has answered for all that it did.
    return onward(_with(state, event.step, **_SETTLED, **changes))


_UNTIMED: dict[str, Any] = {"timeout_at": None, "retry_at": None}
"""Nothing is waited for in this try."""

_SETTLED: dict[str, Any] = _UNTIMED | {"may_act": False, "stop_at": None, "stop_seq": 0, "stop_since": None}
"""The product will not act on anything that is out any more, so no stop is wanted either."""


def _failed(state: State, event: e.Failed) -> State:
    step = state.steps[event.step]
    return _with(
        state,
        event.step,
        status=StepStatus.WAITING,
        spent=event.attempt if event.counted else step.spent,
        setbacks=0 if event.counted else step.setbacks + 1,
        failure=event.failure,
        **_UNTIMED | {"retry_at": event.retry_at},
    )


def _timed_out(state: State, event: e.TimedOut) -> State:
    return _with(
        state,
        event.step,
        status=StepStatus.TIMED_OUT,
        spent=event.attempt,
        **_UNTIMED | {"retry_at": event.retry_at},
    )


def _parked(state: State, event: e.Parked) -> State:
    step = state.steps[event.step]
    silent = event.failure.code is FailureCode.TIMED_OUT
    return _with(
        state,
        event.step,
        status=StepStatus.PARKED,
        spent=event.attempt,
        failure=event.failure,
        earlier=step.failure if silent else None,
        **_UNTIMED,
    )


def _progressed(state: State, event: e.Progressed) -> State:
    return _with(
        state,
        event.step,
        status=StepStatus.DISPATCHED,
        done=event.done,
        total=event.total,
        timeout_at=event.timeout_at,
        retry_at=None,
    )


def _still_unread(state: State, event: e.StillUnread) -> State:
    for name in event.steps:
        if state.steps[name].stop_at is not None:
            state = _with(state, name, stop_at=event.look_again_at)
        else:
            state = _with(state, name, status=StepStatus.UNREAD, timeout_at=event.look_again_at)
    return state


def _seen_read(state: State, event: e.SeenRead) -> State:
    for name in event.steps:
        state = _with(state, name, status=StepStatus.DISPATCHED, timeout_at=event.timeout_at)
    return state


def _replayed(state: State, event: e.Replayed) -> State:
    step = state.steps[event.step]
    ceiling = step.ceiling if event.ceiling is None else event.ceiling
    if event.epoch == step.epoch and event.phase is step.phase:
        # The same receipt may answer, so what was heard of the step so far still counts.
        return _with(
            state,
            event.step,
            status=StepStatus.READY,
            spent=0,
            setbacks=0,
            retry_at=None,
            failure=None,
            earlier=None,
            ceiling=ceiling,
        )
    # The product may still act on the last command of the epoch before: a hold has to stop that, too.
    may_act = step.may_act and event.phase is step.phase
    fresh = replace(again(step, event.phase, event.epoch, StepStatus.READY), ceiling=ceiling, may_act=may_act)
    state = replace(state, steps={**state.steps, event.step: fresh})
    back = event.phase is Phase.PURGE and state.stage in (Stage.SETTLING, Stage.PROBING)
    return back_to_purge(state) if back else state


def _waived(state: State, event: e.Waived) -> State:
    return onward(
        _with(state, event.step, status=StepStatus.WAIVED, waived=event.phase is not Phase.RESOLVE, **_SETTLED)
    )


def _evidence_noted(state: State, event: e.EvidenceNoted) -> State:
    step = state.steps[event.step]
    return _with(state, event.step, noted=True, found=step.found or _found(event.counts))


def _hold_placed(state: State, event: e.HoldPlaced) -> State:
    return replace(state, holds=(*state.holds, Hold(hold=event.hold, code=event.code, product=event.product)))


def _hold_released(state: State, event: e.HoldReleased) -> State:
    return replace(state, holds=tuple(hold for hold in state.holds if hold.hold != event.hold))


def _stop_sent(state: State, event: e.StopSent, at: int) -> State:
    for name, seq in event.steps.items():
        step = state.steps[name]
        state = _with(
            state,
            name,
            seq=seq,
            stop_at=event.look_again_at,
            stop_seq=step.stop_seq or seq,
            stop_since=step.stop_since or at,
        )
    return state


def _stopped(state: State, event: e.Stopped) -> State:
    """The step is as before its dispatch, save for what had been done by then."""
    step = state.steps[event.step]
    status = StepStatus.PARKED if step.status is StepStatus.PARKED else StepStatus.READY
    return _with(state, event.step, status=status, found=step.found or _found(event.counts), **_SETTLED)


def _trashed(state: State, event: e.Trashed) -> State:
    return replace(state, stage=Stage.TRASHED, purge_at=event.purge_at)


def _cancel_asked(state: State, event: e.CancelAsked) -> State:
    return _undoing(state, Undo(withdrawn=event.withdrawn))


def _restore_asked(state: State, _event: e.RestoreAsked) -> State:
    return _undoing(state, Undo())


def _undoing(state: State, undo: Undo) -> State:
    """What was waived was a product's part in the erasure: what it may have hidden has to come back all the same."""
    steps = {name: replace(step, waived=False) if step.hidden else step for name, step in state.steps.items()}
    return replace(state, undo=undo, steps=steps)


def _settle_started(state: State, event: e.SettleStarted) -> State:
    return replace(state, stage=Stage.SETTLING, probe_at=event.probe_at)


def _deadline_missed(state: State, _event: e.DeadlineMissed) -> State:
    return replace(state, deadline_missed=True)


def _ended(state: State, event: e.Ended, at: int) -> State:
    return replace(state, stage=Stage.ENDED, end=event.end, ended_at=at, holds=())


def _vault_destroyed(state: State, _event: e.VaultDestroyed) -> State:
    steps = {
        name: step
        if step.status in FINISHED
        else replace(step, status=StepStatus.PARKED, failure=VAULT_GONE, **_UNTIMED)
        for name, step in state.steps.items()
    }
    return replace(state, vault_gone=True, steps=steps)


_HANDLERS: Mapping[type, Callable[[State, Any], State]] = {
    e.TurnCame: _turn_came,
    e.PhaseStarted: _phase_started,
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
    e.Stopped: _stopped,
    e.Trashed: _trashed,
    e.CancelAsked: _cancel_asked,
    e.RestoreAsked: _restore_asked,
    e.SettleStarted: _settle_started,
    e.DeadlineMissed: _deadline_missed,
    e.VaultDestroyed: _vault_destroyed,
}

_TIMED: Mapping[type, Callable[[State, Any, int], State]] = {
    e.Dispatched: _dispatched,
    e.StopSent: _stop_sent,
    e.Ended: _ended,
}
"""Those whose meaning depends on when they happened."""
