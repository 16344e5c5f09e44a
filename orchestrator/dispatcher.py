"""The gate per product: which ready steps go out now.

Breaker, rate limit, maintenance window, hold, stop and replay rate are all this one question. Nearest due date
first (by day), then tenants in turn; never more in flight per product than its window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from orchestrator import timekeeper
from orchestrator.desk import Desk
from orchestrator.domain.commands import Dispatch
from orchestrator.domain.state import State, Step, StepStatus
from orchestrator.store.rows import destructive, in_flight, ready_from, shard_of
from schemas.codes import Phase
from schemas.transport import Bus

Selection = dict[str, list[str]]
"""Products to dispatch, per request."""

MOST = 1_000
"""Steps of one product that go out in one transaction, which must stay short."""


def select_ready(desk: Desk, shards: Sequence[int]) -> Selection:
    """The steps that may go out now, grouped by request so that one command can address several products.

    Those that wait in the table come first; then, where a product has room for all of them, those that have become
    ready at this desk.
    """
    policy = desk.policy
    flying = desk.unit.in_flight(sorted(policy.products))
    change = _change_in_flight(desk)
    free = {
        name: min(room, MOST)
        for name in sorted(policy.products)
        if (room := policy.product(name).window - flying.get(name, 0) - change[name]) > 0
    }
    selection: Selection = {}
    if free:
        for product, request in desk.unit.ready(free, shards, desk.now):
            selection.setdefault(request, []).append(product)
            free[product] -= 1
        _add_fresh(desk, shards, free, selection)
    return selection


def _change_in_flight(desk: Desk) -> Counter[str]:
    """By how much more, or less, is in flight per product than the table says."""
    change: Counter[str] = Counter()
    for request, state in desk.changes.states.items():
        before = desk.changes.before[request]
        change.update(name for name in state.steps if in_flight(state, name))
        if before is not None:
            change.subtract(name for name in before.steps if in_flight(before, name))
    return change


def _add_fresh(desk: Desk, shards: Sequence[int], room: Mapping[str, int], selection: Selection) -> None:
    """Add what has become ready at this desk, of each product that has room for all of it.

    Where there is not, the next turn takes them from the table, in the order that is due to them.
    """
    fresh: dict[str, list[State]] = {}
    for request, state in desk.changes.states.items():
        if shard_of(request, desk.unit.shards) in shards:
            for name in state.steps:
                moment = ready_from(state, name)
                if moment is not None and moment <= desk.now and name not in selection.get(request, ()):
                    fresh.setdefault(name, []).append(state)
    fitting = {name: states for name, states in fresh.items() if len(states) <= room.get(name, 0)}
    brakes = desk.unit.brakes() if fitting else frozenset()
    for name, states in fitting.items():
        for state in states:
            if not (brakes and destructive(state.steps[name]) and _braked(brakes, state.tenant, name)):
                selection.setdefault(state.id, []).append(name)


def _braked(brakes: Collection[tuple[str, str]], tenant: str, product: str) -> bool:
    return any((of_tenant, of_product) in brakes for of_tenant in ("", tenant) for of_product in ("", product))


def dispatch(desk: Desk, ready: Selection, bus: Bus) -> bool:
    """Send the selected steps out, save those whose last command their product has not even read.

    Returns whether anything went.
    """
    if not ready:
        return False
    desk.load(ready)
    doubtful = {request: _doubtful(desk, request, names) for request, names in ready.items()}
    asked = [request for request, names in doubtful.items() if names]
    unread = timekeeper.unread(desk, bus, asked) if asked else {}
    went = False
    for request, names in ready.items():
        lying = doubtful[request] & unread.get(request, frozenset())
        going = tuple(name for name in names if name not in lying)
        went = bool(going and desk.apply(request, Dispatch(going))) or went
    return went


def _doubtful(desk: Desk, request: str, names: Sequence[str]) -> frozenset[str]:
    steps = desk.state(request).steps
    return frozenset(name for name in names if may_be_unread(steps[name]))


def may_be_unread(step: Step) -> bool:
    """Whether the step's last command may lie unread.

    Not where the product has answered it: a failure answers it, and a probe follows a purge that was done. What the
    log says of a reader may lag behind what it has read, where it died before it could tell.
    """
    answered = step.status is StepStatus.WAITING or (step.phase is Phase.PROBE and not step.begun)
    return step.cutoff_at is not None and not answered
