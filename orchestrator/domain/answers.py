"""What an acknowledgement changes: in time, late, doubled, out of order or stale."""

from __future__ import annotations

from orchestrator.domain.commands import Answer
from orchestrator.domain.policy import FOR_A_PERSON, UNCOUNTED, Policy
from orchestrator.domain.state import FINISHED, IN_FLIGHT, State, Step, StepStatus
from schemas import events as e
from schemas.codes import FailureCode, Outcome
from schemas.messages import Ack, Failure

SUCCESS = frozenset({Outcome.DONE, Outcome.NOTHING_FOUND})


def answered(state: State, answer: Answer, now: int, policy: Policy) -> list[e.AnyEvent]:
    """The events of one ack; none where it changes nothing."""
    ack = answer.ack
    step = state.steps.get(ack.product)
    if step is None or state.ended or ack.seq > step.seq:
        return []
    if ack.outcome is Outcome.STOPPED:
        return _stopped(ack, step)
    if ack.phase is not step.phase or ack.epoch != step.epoch or step.cutoff_at is None:
        return []
    if ack.outcome is Outcome.PROGRESS:
        return _progressed(ack, step, now, policy)
    if not all(counts.add_up for counts in ack.counts.values()):
        return _failed(state, ack, step, Failure(code=FailureCode.INVALID_ACK), now, policy)
    if ack.outcome in SUCCESS:
        return _succeeded(ack, step, answer.kinds)
    if ack.outcome is Outcome.CANNOT_MATCH:
        return _failed(state, ack, step, Failure(code=FailureCode.CANNOT_MATCH), now, policy)
    if ack.outcome is Outcome.EXPIRED:
        return _failed(state, ack, step, Failure(code=FailureCode.EXPIRED), now, policy)
    if ack.outcome is Outcome.FAILED:
        failure = ack.failure or Failure(code=FailureCode.INTERNAL_ERROR)
        return _failed(state, ack, step, failure, now, policy)
    return []  # superseded: a later command of ours is under way, and its own answer will come


def _stopped(ack: Ack, step: Step) -> list[e.AnyEvent]:
    if step.stop_at is None or ack.seq != step.seq:
        return []
    return [e.Stopped(step=ack.product, seq=ack.seq, counts=ack.counts)]


def _progressed(ack: Ack, step: Step, now: int, policy: Policy) -> list[e.AnyEvent]:
    if step.status not in IN_FLIGHT or ack.seq != step.seq or ack.done <= step.done:
        return []
    timeout_at = now + policy.product(ack.product).timeout
    return [
        e.Progressed(
            step=ack.product, phase=ack.phase, epoch=ack.epoch, done=ack.done, total=ack.total, timeout_at=timeout_at
        )
    ]


def _succeeded(ack: Ack, step: Step, kinds: int) -> list[e.AnyEvent]:
    """Success of the current phase and epoch completes the step, whatever its attempt."""
    if step.status is StepStatus.WAIVED and not step.noted:
        return [
            e.EvidenceNoted(
                step=ack.product, phase=ack.phase, epoch=ack.epoch, seq=ack.seq, outcome=ack.outcome, counts=ack.counts
            )
        ]
    if step.status in FINISHED:
        return []
    return [
        e.Succeeded(
            step=ack.product,
            phase=ack.phase,
            epoch=ack.epoch,
            attempt=ack.attempt,
            outcome=ack.outcome,
            evidence=ack.evidence,
            counts=ack.counts,
            map=ack.map,
            receipt=ack.receipt,
            kinds=kinds,
        )
    ]


def _failed(state: State, ack: Ack, step: Step, failure: Failure, now: int, policy: Policy) -> list[e.AnyEvent]:
    """Failure counts only for the current attempt: an older one says nothing about the try that is under way."""
    if ack.attempt != step.attempt or ack.seq != step.seq or step.stop_at is not None:
        return []
    if step.status is StepStatus.PARKED:
        return _evidence_for_parked(ack, step, failure)
    if step.status is StepStatus.TIMED_OUT and step.retry_at is not None:
        return [_failed_event(ack, failure, step.retry_at)]
    if step.status not in IN_FLIGHT:
        return []
    retry = policy.product(ack.product).retry
    counted = failure.code not in UNCOUNTED
    if failure.code in FOR_A_PERSON or (counted and ack.attempt >= retry.attempts):
        return [_parked(ack, failure)]
    if failure.code is FailureCode.EXPIRED:
        return [_failed_event(ack, failure, now)]
    # An uncounted failure keeps its attempt, so its delay is that of the first: it has nothing to back off from.
    delay = retry.delay(state.id, ack.product, ack.attempt if counted else 1)
    return [_failed_event(ack, failure, now + delay)]


def _evidence_for_parked(ack: Ack, step: Step, failure: Failure) -> list[e.AnyEvent]:
    """A parked step that timed out gets its real error when that arrives late."""
    timed_out = step.failure is not None and step.failure.code is FailureCode.TIMED_OUT
    return [_parked(ack, failure)] if timed_out else []


def _failed_event(ack: Ack, failure: Failure, retry_at: int) -> e.Failed:
    return e.Failed(
        step=ack.product,
        phase=ack.phase,
        epoch=ack.epoch,
        attempt=ack.attempt,
        failure=failure,
        retry_at=retry_at,
        counted=failure.code not in UNCOUNTED,
    )


def _parked(ack: Ack, failure: Failure) -> e.Parked:
    return e.Parked(step=ack.product, phase=ack.phase, epoch=ack.epoch, attempt=ack.attempt, failure=failure)
