"""What people ask of an open request."""

from __future__ import annotations

from orchestrator.domain.commands import NotPossible
from orchestrator.domain.policy import MINUTE, Policy
from orchestrator.domain.state import IN_FLIGHT, RETRYING, Stage, State, Step, StepStatus
from schemas import events as e
from schemas import messages as m
from schemas.codes import FailureCode, Phase

STOP_AGAIN = MINUTE
"""How long a product may take to answer a stop before it is sent again, in milliseconds."""

_EFFECT = frozenset({Phase.TRASH, Phase.RESTORE, Phase.PURGE})


def operated(state: State, operation: m.AnyOperation, now: int, policy: Policy) -> list[e.AnyEvent]:
    """The events of one operation. Raises :class:`NotPossible`."""
    if isinstance(operation, m.TurnOperation):
        return [e.TurnCame(ended=operation.ended)] if operation.ended in state.behind else []
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
            return _waive(state, operation)


def stops(state: State, now: int, product: str | None = None) -> list[e.AnyEvent]:
    """Stop every step (or that of ``product``) which may be having effects just now."""
    steps = {
        name: step.seq + 1
        for name, step in state.steps.items()
        if product in (None, name) and step.phase in _EFFECT and step.stop_at is None and _may_act(step)
    }
    return [e.StopSent(steps=steps, look_again_at=now + STOP_AGAIN)] if steps else []


def _may_act(step: Step) -> bool:
    """In flight, or given up waiting for: a command that timed out may still be read."""
    return step.status in IN_FLIGHT or step.status is StepStatus.TIMED_OUT


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
    if step.phase is None or step.waived:
        raise NotPossible("the step is not part of the present phase, or was waived")
    if state.vault_gone:
        raise NotPossible("the identifiers are destroyed; send a new request")
    if state.undo is not None and step.phase is not Phase.RESTORE:
        raise NotPossible("the request is being cancelled")
    if step.stop_at is not None:
        raise NotPossible("the step is being stopped; wait until its product has answered")
    remains = step.failure is not None and step.failure.code is FailureCode.REMAINS
    if step.status is StepStatus.PARKED or step.status in RETRYING:
        purge_again = remains and step.phase is Phase.PROBE
        phase = Phase.PURGE if purge_again else step.phase
        epoch = step.epoch + 1 if operation.force or purge_again else step.epoch
    elif step.status is StepStatus.SUCCEEDED and operation.force and state.stage in _REPEATABLE:
        phase, epoch = step.phase, step.epoch + 1
    else:
        raise NotPossible(f"the step is {step.status.value}; only a parked or failing one can be replayed")
    return [
        e.Replayed(
            step=operation.product,
            phase=phase,
            epoch=epoch,
            actor=operation.actor,
            role=operation.role,
            reason=operation.reason,
            ceiling=operation.ceiling,
        )
    ]


_REPEATABLE = frozenset({Stage.PURGING, Stage.SETTLING})


def _waive(state: State, operation: m.WaiveOperation) -> list[e.AnyEvent]:
    step = _known(state, operation.product)
    if step.status in (StepStatus.SUCCEEDED, StepStatus.WAIVED, StepStatus.IDLE) or step.phase is None:
        raise NotPossible(f"the step is {step.status.value}; there is nothing to waive")
    if step.status in IN_FLIGHT:
        raise NotPossible("the step is under way; place a hold first, or wait for its answer")
    return [
        e.Waived(
            step=operation.product,
            phase=step.phase,
            actor=operation.actor,
            role=operation.role,
            reason=operation.reason,
        )
    ]
