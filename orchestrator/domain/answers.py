"""What an acknowledgement changes: in time, late, doubled, out of order or stale."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.commands import Answer
from orchestrator.domain.phases import remains
from orchestrator.domain.policy import FOR_A_PERSON, UNCOUNTED, Policy
from orchestrator.domain.state import FINISHED, IN_FLIGHT, State, Step, StepStatus
from schemas import events as e
from schemas.codes import FailureCode, Outcome, Phase
from schemas.messages import Ack, Counts, Failure

SUCCESS = frozenset({Outcome.DONE, Outcome.NOTHING_FOUND})

CHANGES: Mapping[Phase, frozenset[str]] = {
    Phase.RESOLVE: frozenset(),
    Phase.TRASH: frozenset({"hidden"}),
    Phase.RESTORE: frozenset({"restored"}),
    Phase.PURGE: frozenset({"erased", "redacted", "anonymised"}),
    Phase.PROBE: frozenset(),
}
"""What a phase may do to rows. Nothing is erased before the purge, and hiding is no purge."""

_ALL_CHANGES = frozenset[str]().union(*CHANGES.values())


def answered(state: State, answer: Answer, now: int, policy: Policy) -> list[e.AnyEvent]:
    """The events of one ack; none where it changes nothing."""
    ack = answer.ack
    step = state.steps.get(ack.product)
    if step is None or state.ended or ack.seq > step.seq:
        return []
    if ack.outcome is Outcome.STOPPED:
        return _stopped(ack, step)
    if ack.phase is not step.phase or ack.epoch != step.epoch or not step.begun:
        return []
    if ack.outcome is Outcome.PROGRESS:
        return _progressed(ack, step, now, policy)
    failure = _failure(ack, step)
    if failure is not None:
        return _failed(state, ack, failure, now, policy)
    return _succeeded(ack, step, answer.kinds) if ack.outcome in SUCCESS else []


def _failure(ack: Ack, step: Step) -> Failure | None:
    """Why the answer is no success, if it is none."""
    if _contradicts_itself(ack):
        return Failure(code=FailureCode.INVALID_ACK)
    if ack.phase is Phase.RESOLVE and ack.outcome in SUCCESS and ack.persons > 1:
        return Failure(code=FailureCode.AMBIGUOUS_SUBJECT)
    match ack.outcome:
        case Outcome.CANNOT_MATCH:
            return Failure(code=FailureCode.CANNOT_MATCH)
        case Outcome.EXPIRED:
            return Failure(code=FailureCode.EXPIRED)
        case Outcome.FAILED:
            return ack.failure or Failure(code=FailureCode.INTERNAL_ERROR)
        case Outcome.SUPERSEDED if ack.seq == step.seq:
            # The product has obeyed a seq that we never gave: our history was restored from a backup. The seq rises
            # with each try, until it is past that.
            return Failure(code=FailureCode.CONFLICT)
        case _:
            return None


def _contradicts_itself(ack: Ack) -> bool:
    """Counts that do not add up, that the phase cannot have, or that are more than nothing for "nothing found"."""
    counts = ack.counts.values()
    if not all(c.add_up for c in counts):
        return True
    if any(getattr(c, change) for c in counts for change in _ALL_CHANGES - CHANGES[ack.phase]):
        return True
    return ack.outcome is Outcome.NOTHING_FOUND and any(c.changed or c.retained for c in counts)


def _stopped(ack: Ack, step: Step) -> list[e.AnyEvent]:
    """Any stop since the last command will do: nothing was sent in between that could undo it."""
    if step.status is StepStatus.WAIVED and any(c.found for c in ack.counts.values()):
        return _noted(ack, step)
    if step.stop_at is None or ack.seq < step.stop_seq:
        return []
    return [e.Stopped(step=ack.product, seq=ack.seq, counts=_sound(ack.counts))]


def _sound(counts: dict[str, Counts]) -> dict[str, Counts]:
    """Counts that add up: a stop is obeyed whatever a product says of its numbers."""
    return {name: c for name, c in counts.items() if c.add_up}


def _progressed(ack: Ack, step: Step, now: int, policy: Policy) -> list[e.AnyEvent]:
    """A sign of life renews the time-out, also of a step that was given up too early."""
    alive = step.status in IN_FLIGHT or step.status is StepStatus.TIMED_OUT
    if not alive or ack.seq != step.seq or step.stop_at is not None or ack.done <= step.done:
        return []
    timeout_at = now + policy.product(ack.product).timeout
    return [
        e.Progressed(
            step=ack.product, phase=ack.phase, epoch=ack.epoch, done=ack.done, total=ack.total, timeout_at=timeout_at
        )
    ]


def _succeeded(ack: Ack, step: Step, kinds: int) -> list[e.AnyEvent]:
    """Success of the current phase and epoch completes the step, whatever its attempt."""
    if step.status is StepStatus.WAIVED:
        return _noted(ack, step)
    if step.status in FINISHED or remains(step):
        # A probe that found something is the younger word: an older "nothing left" cannot take it back.
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


def _noted(ack: Ack, step: Step) -> list[e.AnyEvent]:
    if step.noted:
        return []
    return [
        e.EvidenceNoted(
            step=ack.product,
            phase=ack.phase,
            epoch=ack.epoch,
            seq=ack.seq,
            outcome=ack.outcome,
            counts=_sound(ack.counts),
        )
    ]


def _failed(state: State, ack: Ack, failure: Failure, now: int, policy: Policy) -> list[e.AnyEvent]:
    """Failure counts only for the current attempt: an older one says nothing about the try that is under way."""
    step = state.steps[ack.product]
    if ack.seq != step.seq or step.stop_at is not None:
        return []
    if step.status is StepStatus.PARKED:
        # Given up for want of an answer; here it is.
        silent = step.failure is not None and step.failure.code is FailureCode.TIMED_OUT
        return [_parked(ack, failure)] if silent else []
    if step.status not in IN_FLIGHT and step.status is not StepStatus.TIMED_OUT:
        return []
    retry = policy.product(ack.product).retry
    counted = failure.code not in UNCOUNTED
    if failure.code in FOR_A_PERSON or (counted and step.attempt >= retry.attempts):
        return [_parked(ack, failure)]
    if step.status is StepStatus.TIMED_OUT and step.retry_at is not None:
        return [_failed_event(ack, failure, step.retry_at, counted=counted)]
    if counted:
        wait = retry.delay(state.id, ack.product, step.attempt)
    else:
        wait = _setback(state, ack.product, step, failure, policy)
    return [_failed_event(ack, failure, now + wait, counted=counted)]


def _setback(state: State, name: str, step: Step, failure: Failure, policy: Policy) -> int:
    """Milliseconds until a try that used up no attempt is repeated; longer each time, so that a night is short.

    An expired command is repeated at once, but only once: a product whose clock is ahead finds each one expired.
    """
    setbacks = step.setbacks if failure.code is FailureCode.EXPIRED else step.setbacks + 1
    return policy.product(name).retry.delay(state.id, name, setbacks) if setbacks else 0


def _failed_event(ack: Ack, failure: Failure, retry_at: int, *, counted: bool) -> e.Failed:
    return e.Failed(
        step=ack.product,
        phase=ack.phase,
        epoch=ack.epoch,
        attempt=ack.attempt,
        failure=failure,
        retry_at=retry_at,
        counted=counted,
    )


def _parked(ack: Ack, failure: Failure) -> e.Parked:
    return e.Parked(step=ack.product, phase=ack.phase, epoch=ack.epoch, attempt=ack.attempt, failure=failure)
