"""``decide(state, command, now, policy) -> events``: everything that a person could argue about.

Each command first has its own say (:func:`_handle`); then :func:`advance` moves the request on as far as the facts
now allow. Neither reads a clock nor draws a random number.
"""

from __future__ import annotations

from orchestrator.domain import answers, operations, ticks
from orchestrator.domain.advance import advance
from orchestrator.domain.calendar import due_date
from orchestrator.domain.commands import Accept, Answer, Dispatch, DomainCommand, NotPossible, Operate, Tick
from orchestrator.domain.evolve import evolve
from orchestrator.domain.policy import Policy, TenantPolicy
from orchestrator.domain.state import State
from schemas import events as e
from schemas.codes import Mode, Phase, Right, Scope


def decide(state: State | None, command: DomainCommand, now: int, policy: Policy) -> list[e.AnyEvent]:
    """The events that ``command`` leads to at ``now`` (milliseconds).

    Args:
        state: the request so far; ``None`` only for :class:`Accept`.
        command: a message, or the passing of time.
        now: the time of the transaction; the clock of the host is never read here.
        policy: what the operator set.

    Raises:
        NotPossible: an operation that the present state does not allow.
    """
    if isinstance(command, Accept):
        if state is not None:
            raise ValueError("the request was accepted already")
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
            return operations.operated(state, command.operation, now)
        case Tick():
            return ticks.ticked(state, command, now, policy)
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
    if not steps:
        raise NotPossible("the product whose records are named is not registered")
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
    """One event per phase, epoch and cut-off, since the addresses of one command share all three."""
    groups: dict[tuple[Phase, int, int], list[str]] = {}
    for name in sorted(set(command.products) & state.steps.keys()):
        step = state.steps[name]
        if step.phase is not None and state.dispatchable(name, now):
            groups.setdefault((step.phase, step.epoch, step.cutoff_at or now), []).append(name)
    return [
        _dispatched(state, names, now, policy, phase=phase, epoch=epoch)
        for (phase, epoch, _), names in sorted(groups.items())
    ]


def _dispatched(state: State, names: list[str], now: int, policy: Policy, *, phase: Phase, epoch: int) -> e.Dispatched:
    products = [policy.product(name) for name in names]
    return e.Dispatched(
        phase=phase,
        epoch=epoch,
        steps={name: (state.steps[name].seq + 1, state.steps[name].spent + 1) for name in names},
        timeout_at=now + max(product.timeout for product in products),
        expires_at=now + min(product.lifetime for product in products),
    )
