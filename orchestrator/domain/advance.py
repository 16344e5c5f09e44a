"""How a request moves on by itself, whenever the facts allow."""

from __future__ import annotations

from orchestrator.domain.evolve import evolve
from orchestrator.domain.policy import Policy
from orchestrator.domain.state import FINISHED, Stage, State
from schemas import events as e
from schemas.codes import End, Mode, Phase


def advance(state: State, now: int, policy: Policy) -> list[e.AnyEvent]:
    """The transitions that follow at ``now``, one after another, until the request has to wait."""
    events: list[e.AnyEvent] = []
    while (event := _next(state, now, policy)) is not None:
        events.append(event)
        state = evolve(state, e.Recorded(id=state.id, tenant=state.tenant, n=state.n + 1, at=now, event=event))
    return events


def _next(state: State, now: int, policy: Policy) -> e.AnyEvent | None:
    if state.ended or state.stopping:
        return None
    if state.undo is not None:
        return _undo(state)
    match state.stage:
        case Stage.BEHIND:
            return None if state.behind else e.PhaseStarted(phase=Phase.RESOLVE, steps=state.resolve)
        case Stage.GRACE:
            return _first_effect(state, now)
        case Stage.TRASHING:
            return e.Trashed(purge_at=_purge_at(state, now, policy)) if _all_finished(state) else None
        case Stage.TRASHED:
            return _begin(state, Phase.PURGE) if _reached(state.purge_at, now) else None
        case Stage.PURGING:
            return _after_purge(state, now, policy) if _all_finished(state) else None
        case Stage.SETTLING:
            return e.PhaseStarted(phase=Phase.PROBE) if _reached(state.probe_at, now) else None
        case Stage.PROBING:
            return e.Ended(end=_end(state)) if _all_finished(state) else None
        case _:
            return None


def _reached(moment: int | None, now: int) -> bool:
    return moment is None or moment <= now


def _all_finished(state: State) -> bool:
    return all(step.status in FINISHED for step in state.steps.values())


def _begin(state: State, phase: Phase) -> e.AnyEvent | None:
    """Nothing that changes data begins while a hold covers the whole request."""
    return None if state.held_back else e.PhaseStarted(phase=phase)


def _first_effect(state: State, now: int) -> e.AnyEvent | None:
    """Trash at once; purge after the grace time."""
    if state.mode is Mode.TRASH:
        return _begin(state, Phase.TRASH)
    return _begin(state, Phase.PURGE) if _reached(state.purge_from, now) else None


def _purge_at(state: State, now: int, policy: Policy) -> int:
    """Thirty days, but never past the legal due date: what the law orders cannot wait in the trash.

    The grace time comes before the first purge in any mode, also where the date leaves no days for the trash.
    """
    earliest = max(now, state.accepted_at + policy.grace)
    latest = now + policy.trash
    if state.due_at is None:
        return max(earliest, latest)
    return max(earliest, min(latest, state.due_at - policy.margin))


def _after_purge(state: State, now: int, policy: Policy) -> e.AnyEvent:
    # With no settle time there is nothing to wait for: each purge was verified in a new snapshot just now.
    if policy.settle == 0 or all(step.waived for step in state.steps.values()):
        return e.Ended(end=_end(state))
    return e.SettleStarted(probe_at=now + policy.settle)


def _end(state: State) -> End:
    steps = state.steps.values()
    if any(step.waived for step in steps):
        return End.COMPLETED_WAIVED
    if any(step.retained for step in steps):
        return End.COMPLETED_RETAINED
    return End.COMPLETED if any(step.found for step in steps) else End.NO_DATA_FOUND


def _undo(state: State) -> e.AnyEvent | None:
    """Cancel and restore: every effect in flight has stopped, now what may be in the trash comes back."""
    assert state.undo is not None
    if state.behind:
        # It keeps its place: whoever is behind it waits for it alone, and would run beside those before it.
        return None
    end = End.WITHDRAWN if state.undo.withdrawn else End.CANCELLED
    hidden = {name: step for name, step in state.steps.items() if step.hidden}
    if state.stage is Stage.RESTORING:
        return e.Ended(end=end, restored=not hidden) if _all_finished(state) else None
    to_restore = tuple(sorted(name for name, step in hidden.items() if not step.waived))
    return e.PhaseStarted(phase=Phase.RESTORE, steps=to_restore) if to_restore else e.Ended(end=end)
