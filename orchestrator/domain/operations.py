"""What people ask of an open request."""

from __future__ import annotations

from orchestrator.domain.commands import NotPossible
from orchestrator.domain.phases import remains
from orchestrator.domain.policy import MINUTE
from orchestrator.domain.state import FINISHED, RETRYING, Stage, State, Step, StepStatus
from schemas import events as e
from schemas import messages as m
from schemas.codes import Phase

STOP_AGAIN = MINUTE
"""How long a product may take to answer a stop before the orchestrator looks again, in milliseconds."""

_STOPPABLE = frozenset({Phase.TRASH, Phase.PURGE})
"""What a stop is for. A restore is not stopped: whoever places a hold or cancels wants the data back."""


def operated(state: State, operation: m.AnyOperation, now: int) -> list[e.AnyEvent]:
    """The events of one operation. Raises :class:`NotPossible`."""
    if isinstance(operation, m.TurnOperation):
        waits = operation.ended in state.behind and not state.ended
        return [e.TurnCame(ended=operation.ended)] if waits else []
    if state.ended:
        raise NotPossible("the request has ended; nothing of it can be changed")
    match operation:
        case m.CancelOperation():
            return _cancel(state, operation, now)
        case m.HoldOperation():
            return _hold(state, operation, now)
        case m.ReleaseOperation():
            return _release(state, operation)
        case m.RestoreOperation():
            return _restore(state, operation, now)
        case m.ReplayOperation():
            return _replay(state, operation)
        case m.WaiveOperation():
            return _waive(state, operation, now)


def stops(state: State, now: int, product: str | None = None) -> list[e.AnyEvent]:
    """Stop every step (or that of ``product``) which may yet be erasing, also one that failed or was given up."""
    steps = {
        name: step.seq + 1
        for name, step in state.steps.items()
        if product in (None, name) and step.phase in _STOPPABLE and step.may_act and step.stop_at is None
    }
    return [e.StopSent(steps=steps, look_again_at=now + STOP_AGAIN)] if steps else []


def _cancel(state: State, operation: m.CancelOperation, now: int) -> list[e.AnyEvent]:
    if state.undo is not None:
        return []
    if state.purge_dispatched:
        raise NotPossible(
            "the first purge is dispatched; what is purged cannot come back. Place a hold to stop the rest"
        )
    asked = e.CancelAsked(
        actor=operation.actor, role=operation.role, reason=operation.reason, withdrawn=operation.withdrawn
    )
    return [asked, *stops(state, now)]


def _restore(state: State, operation: m.RestoreOperation, now: int) -> list[e.AnyEvent]:
    if state.undo is not None:
        return []
    if state.purge_dispatched:
        raise NotPossible("the purge has begun; what is purged cannot be restored")
    if not any(step.hidden for step in state.steps.values()):
        raise NotPossible("nothing of this request is in the trash; cancel it instead")
    asked = e.RestoreAsked(actor=operation.actor, role=operation.role, reason=operation.reason)
    return [asked, *stops(state, now)]


def _hold(state: State, operation: m.HoldOperation, now: int) -> list[e.AnyEvent]:
    if any(hold.hold == operation.hold for hold in state.holds):
        return []
    if operation.product is not None:
        _known(state, operation.product)
    placed = e.HoldPlaced(
        hold=operation.hold,
        code=operation.code,
        review_on=operation.review_on,
        actor=operation.actor,
        role=operation.role,
        product=operation.product,
    )
    return [placed, *stops(state, now, operation.product)]


def _release(state: State, operation: m.ReleaseOperation) -> list[e.AnyEvent]:
    if not any(hold.hold == operation.hold for hold in state.holds):
        raise NotPossible("the request has no such hold; its history lists those it has")
    return [e.HoldReleased(hold=operation.hold, actor=operation.actor, role=operation.role, reason=operation.reason)]


def _known(state: State, product: str) -> Step:
    step = state.steps.get(product)
    if step is None:
        raise NotPossible("the request has no step of that product")
    return step


def _replay(state: State, operation: m.ReplayOperation) -> list[e.AnyEvent]:
    """The same phase again; a forced one, or a purge after a probe that found something, under a higher epoch."""
    step = _known(state, operation.product)
    if step.phase is None:
        raise NotPossible("the step is not part of the present phase")
    if state.vault_gone:
        raise NotPossible("the identifiers are destroyed; send a new request")
    if state.undo is not None and step.phase is not Phase.RESTORE:
        raise NotPossible("the request is being cancelled")
    if step.stop_at is not None:
        raise NotPossible("the step is being stopped; wait until its product has answered")
    if not _may_be_replayed(state, step, force=operation.force):
        raise NotPossible(f"the step is {_WORDS[step.status]}; {_advice(state, step)}")
    once_more = remains(step)
    return [
        e.Replayed(
            step=operation.product,
            phase=Phase.PURGE if once_more else step.phase,
            epoch=step.epoch + 1 if operation.force or once_more else step.epoch,
            actor=operation.actor,
            role=operation.role,
            reason=operation.reason,
            ceiling=operation.ceiling,
        )
    ]


_WORDS = {status: status.value.replace("_", " ") for status in StepStatus} | {
    StepStatus.DISPATCHED: "under way",
    StepStatus.UNREAD: "not read by its product yet",
    StepStatus.SUCCEEDED: "done",
}


def _may_be_replayed(state: State, step: Step, *, force: bool) -> bool:
    if step.status is StepStatus.PARKED or step.status in RETRYING:
        return True
    return force and _repeatable(state, step)


def _repeatable(state: State, step: Step) -> bool:
    """What was purged can be purged again; before, a cancel is the better answer, and after, a new request."""
    return step.status is StepStatus.SUCCEEDED and state.stage in (Stage.PURGING, Stage.SETTLING)


def _advice(state: State, step: Step) -> str:
    if _repeatable(state, step):
        return "only a forced replay does it again"
    return "only a parked or failing one can be replayed"


def _waive(state: State, operation: m.WaiveOperation, now: int) -> list[e.AnyEvent]:
    """Do without a step. What of it may still be read or under way is stopped, and its answer not waited for."""
    step = _known(state, operation.product)
    if step.status in FINISHED or step.phase is None:
        raise NotPossible(f"the step is {_WORDS[step.status]}; there is nothing to waive")
    if step.status is StepStatus.DISPATCHED and step.stop_at is None:
        raise NotPossible(f"the product has its command and may be at work; {_instead(step)}")
    waived = e.Waived(
        step=operation.product,
        phase=step.phase,
        actor=operation.actor,
        role=operation.role,
        reason=operation.reason,
    )
    return [*stops(state, now, operation.product), waived]


def _instead(step: Step) -> str:
    if step.phase in _STOPPABLE:
        return "place a hold on that product to stop it, or wait for its answer or its time-out"
    return "wait for its answer or its time-out"
