"""``decide(state, command, now, policy) -> events``: everything that a person could argue about.

Each command first has its own say (:func:`_handle`); then :func:`advance` moves the request on as far as the facts
now allow. Neither reads a clock nor draws a random number.
"""

from __future__ import annotations

from orchestrator.domain import answers, operations
from orchestrator.domain.advance import advance
from orchestrator.domain.calendar import due_date
from orchestrator.domain.commands import Accept, Answer, Dispatch, DomainCommand, NotPossible, Operate, Tick
from orchestrator.domain.evolve import evolve
from orchestrator.domain.policy import HOUR, MINUTE, Policy, TenantPolicy
from orchestrator.domain.state import IN_FLIGHT, State, StepStatus
from schemas import events as e
from schemas.codes import FailureCode, Mode, Phase, Right, Scope
from schemas.messages import Failure


def decide(state: State | None, command: DomainCommand, now: int, policy: Policy) -> list[e.AnyEvent]:
    """The events that ``command`` leads to at ``now`` (milliseconds).

    Args:
        state: the request so far; ``None`` only for :class:`Accept`.

    Raises:
        NotPossible: an operation that the present state does not allow.
    """
    if isinstance(command, Accept):
        return _accept(command, now, policy)
    if state is None:
        raise ValueError(f"{type(command).__name__} for a request that does not exist")
    events = _handle(state, command, now, policy)
    return [*events, *advance(_after(state, events, now), now, policy)]


def _after(state: State, events: list[e.AnyEvent], now: int) -> State:
    for event in events:
        state = evolve(state, e.Recorded(id=state.id, tenant=state.tenant, n=state.n + 1, at=now, event=event))
    return state


def _handle(state: State, command: DomainCommand, now: int, policy: Policy) -> list[e.AnyEvent]:
    match command:
        case Answer():
            return answers.answered(state, command, now, policy)
        case Operate():
            return operations.operated(state, command.operation, now, policy)
        case Tick():
            return _tick(state, command, now, policy)
        case Dispatch():
            return _dispatch(state, command, now, policy)
        case _:
            raise ValueError(f"{type(command).__name__} cannot follow the first event")


# --- acceptance ----------------------------------------------------------------------------------------------------


def _accept(command: Accept, now: int, policy: Policy) -> list[e.AnyEvent]:
    if not policy.products:
        raise NotPossible("no product is registered: there would be nothing to erase, and nothing to certify")
    steps = {
        name: product.wave for name, product in sorted(policy.products.items()) if command.records_of in (None, name)
    }
    resolvers = policy.resolvers(command.kinds) if command.records_of is None else ()
    purge_from = now + policy.grace if command.mode is Mode.PURGE else None
    raw, due_at = _due(command, policy)
    accepted = e.Accepted(
        right=command.right,
        mode=command.mode,
        scope=Scope.SUBJECT if command.records_of is None else Scope.RECORDS,
        capacity=command.capacity,
        channel=command.channel,
        ground=command.ground,
        commitment=command.commitment,
        received_at=command.received_at,
        due_at=due_at,
        due_raw=raw,
        registry=policy.registry,
        vault_until=now + policy.vault_limit,
        steps=steps,
        behind=command.behind,
        resolve=resolvers,
        starts=_starts(command, resolvers, policy),
        purge_from=purge_from if policy.grace else None,
    )
    first = e.Recorded(id=command.request, tenant=command.tenant, n=1, at=now, event=accepted)
    return [accepted, *advance(evolve(None, first), now, policy)]


def _starts(command: Accept, resolvers: tuple[str, ...], policy: Policy) -> Phase | None:
    if command.behind:
        return None
    if resolvers:
        return Phase.RESOLVE
    if command.mode is Mode.TRASH:
        return Phase.TRASH
    return Phase.PURGE if policy.grace == 0 else None


def _due(command: Accept, policy: Policy) -> tuple[str | None, int | None]:
    """The legal due date; housekeeping deletions have no clock."""
    if command.right is Right.HOUSEKEEPING:
        return None, None
    tenant = policy.tenants.get(command.tenant, TenantPolicy())
    due = due_date(command.received_at, tenant.zone, tenant.holidays)
    return due.raw.isoformat(), due.due_at


# --- dispatch ------------------------------------------------------------------------------------------------------


def _dispatch(state: State, command: Dispatch, now: int, policy: Policy) -> list[e.AnyEvent]:
    """One event per epoch and cut-off, since the addresses of one command share both."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name in command.products:
        if state.dispatchable(name, now):
            step = state.steps[name]
            groups.setdefault((step.epoch, step.cutoff_at or now), []).append(name)
    return [_dispatched(state, names, epoch, now, policy) for (epoch, _), names in sorted(groups.items())]


def _dispatched(state: State, names: list[str], epoch: int, now: int, policy: Policy) -> e.Dispatched:
    phase = state.steps[names[0]].phase
    assert phase is not None  # noqa: S101  a dispatchable step has one
    products = [policy.product(name) for name in names]
    return e.Dispatched(
        phase=phase,
        epoch=epoch,
        steps={name: (state.steps[name].seq + 1, state.steps[name].spent + 1) for name in sorted(names)},
        timeout_at=now + max(product.timeout for product in products),
        expires_at=now + min(product.lifetime for product in products),
    )


# --- time ----------------------------------------------------------------------------------------------------------


def _tick(state: State, command: Tick, now: int, policy: Policy) -> list[e.AnyEvent]:
    if state.ended:
        return []
    events: list[e.AnyEvent] = []
    if state.due_at is not None and now > state.due_at and not state.deadline_missed:
        events.append(e.DeadlineMissed(due_at=state.due_at))
    if state.vault_limit_at is not None and now >= state.vault_limit_at and not state.vault_gone:
        return [*events, e.VaultDestroyed(limit_at=state.vault_limit_at)]
    events.extend(_unread(state, command, now, policy))
    for name, step in state.steps.items():
        if step.status in IN_FLIGHT and _over(step.timeout_at, now) and name not in command.unread:
            if step.status is StepStatus.DISPATCHED:
                events.append(_timed_out(state, name, now, policy))
    stops = {name: step.seq + 1 for name, step in state.steps.items() if _over(step.stop_at, now)}
    if stops:
        events.append(e.StopSent(steps=stops, look_again_at=now + operations.STOP_AGAIN))
    return events


def _over(moment: int | None, now: int) -> bool:
    return moment is not None and moment <= now


def _unread(state: State, command: Tick, now: int, policy: Policy) -> list[e.AnyEvent]:
    """Steps whose time-out came: is the command still unread, or was it read since we last looked?"""
    events: list[e.AnyEvent] = []
    late = {
        name: step for name, step in state.steps.items() if step.status in IN_FLIGHT and _over(step.timeout_at, now)
    }
    for phase in sorted({step.phase for step in late.values() if step.phase is not None}):
        unread = tuple(sorted(n for n, step in late.items() if step.phase is phase and n in command.unread))
        read = tuple(
            sorted(
                n
                for n, step in late.items()
                if step.phase is phase and n not in command.unread and step.status is StepStatus.UNREAD
            )
        )
        if unread:
            events.append(e.StillUnread(steps=unread, phase=phase, look_again_at=now + _patience(state, unread, now)))
        if read:
            timeout = now + max(policy.product(name).timeout for name in read)
            events.append(e.SeenRead(steps=read, phase=phase, timeout_at=timeout))
    return events


def _patience(state: State, names: tuple[str, ...], now: int) -> int:
    """Look again after as long as it has lasted so far, so that a night makes a few events and not hundreds."""
    since = min(state.steps[name].cutoff_at or now for name in names)
    return min(max(now - since, MINUTE), HOUR)


def _timed_out(state: State, name: str, now: int, policy: Policy) -> e.AnyEvent:
    step = state.steps[name]
    assert step.phase is not None  # noqa: S101  a dispatched step has one
    retry = policy.product(name).retry
    if step.attempt >= retry.attempts:
        # The last real error says more than "no answer"; it is kept beside the time-out where there is one.
        failure = step.failure or Failure(code=FailureCode.TIMED_OUT)
        return e.Parked(step=name, phase=step.phase, epoch=step.epoch, attempt=step.attempt, failure=failure)
    return e.TimedOut(
        step=name,
        phase=step.phase,
        epoch=step.epoch,
        attempt=step.attempt,
        retry_at=now + retry.delay(state.id, name, step.attempt),
    )
