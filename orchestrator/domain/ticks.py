"""What the passing of time changes: legal deadline, limit of the vault, time-outs and unanswered stops.

Grace, trash and settle times need no event of their own: :mod:`orchestrator.domain.advance` sees that they are over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.domain.commands import Tick
from orchestrator.domain.policy import HOUR, MINUTE, Policy
from orchestrator.domain.state import State, Step, StepStatus
from schemas import events as e
from schemas.codes import FailureCode, Phase
from schemas.messages import Failure


def ticked(state: State, tick: Tick, now: int, policy: Policy) -> list[e.AnyEvent]:
    """The events that are due at ``now``."""
    if state.ended:
        return []
    events: list[e.AnyEvent] = []
    if state.due_at is not None and now > state.due_at and not state.deadline_missed:
        events.append(e.DeadlineMissed(due_at=state.due_at))
    if state.vault_limit_at is not None and now >= state.vault_limit_at and not state.vault_gone:
        return [*events, e.VaultDestroyed(limit_at=state.vault_limit_at)]
    late = {name: step for name, step in state.steps.items() if step.due is not None and step.due <= now}
    unread = {name: step for name, step in late.items() if name in tick.unread}
    read = {name: step for name, step in late.items() if name not in tick.unread}
    return [*events, *_still_unread(unread, now), *_late(state, read, now, policy)]


def _still_unread(late: Mapping[str, Step], now: int) -> Iterable[e.AnyEvent]:
    """A product that has not read its last command reads no stop either: another copy would only lie there."""
    for phase, steps in _by_phase(late).items():
        since = min(step.stop_since or step.cutoff_at or now for step in steps.values())
        yield e.StillUnread(steps=tuple(sorted(steps)), phase=phase, look_again_at=now + patience(since, now))


def _late(state: State, late: Mapping[str, Step], now: int, policy: Policy) -> Iterable[e.AnyEvent]:
    """Commands and stops that were read and not answered, and commands that were read since we last looked."""
    stops = {name: step for name, step in late.items() if step.stop_at is not None}
    commands = {name: step for name, step in late.items() if step.stop_at is None}
    seen = {name: step for name, step in commands.items() if step.status is StepStatus.UNREAD}
    for phase, steps in _by_phase(seen).items():
        timeout_at = now + max(policy.product(name).timeout for name in steps)
        yield e.SeenRead(steps=tuple(sorted(steps)), phase=phase, timeout_at=timeout_at)
    for name in sorted(commands.keys() - seen.keys()):
        yield _timed_out(state, name, now, policy)
    if stops:
        since = min(step.stop_since or now for step in stops.values())
        seqs = {name: stops[name].seq + 1 for name in sorted(stops)}
        yield e.StopSent(steps=seqs, look_again_at=now + patience(since, now))


def patience(since: int, now: int) -> int:
    """Look again after as long as it has lasted so far, so that a night makes a few events and not hundreds."""
    return min(max(now - since, MINUTE), HOUR)


def _by_phase(steps: Mapping[str, Step]) -> dict[Phase, dict[str, Step]]:
    groups: dict[Phase, dict[str, Step]] = {}
    for name, step in sorted(steps.items()):
        if step.phase is not None:
            groups.setdefault(step.phase, {})[name] = step
    return groups


def _timed_out(state: State, name: str, now: int, policy: Policy) -> e.AnyEvent:
    step = state.steps[name]
    assert step.phase is not None
    retry = policy.product(name).retry
    if step.attempt >= retry.attempts:
        silence = Failure(code=FailureCode.TIMED_OUT)
        return e.Parked(step=name, phase=step.phase, epoch=step.epoch, attempt=step.attempt, failure=silence)
    return e.TimedOut(
        step=name,
        phase=step.phase,
        epoch=step.epoch,
        attempt=step.attempt,
        retry_at=now + retry.delay(state.id, name, step.attempt),
    )
