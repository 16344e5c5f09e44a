"""The gate per product: which ready steps go out now.

Breaker, rate limit, maintenance window, hold, stop and replay rate are all this one question. Nearest due date
first (by day), then tenants in turn; never more in flight per product than its window.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator import timekeeper
from orchestrator.desk import Desk
from orchestrator.domain.commands import Dispatch
from orchestrator.domain.policy import Policy
from orchestrator.store.unit import Unit
from schemas.transport import Bus

Selection = dict[str, list[str]]
"""Products to dispatch, per request."""


def select_ready(unit: Unit, policy: Policy, shards: Sequence[int], now: int) -> Selection:
    """The steps that may go out at ``now``, grouped by request so that one command can address several products."""
    products = sorted(policy.products)
    flying = unit.in_flight(products)
    free = {name: room for name in products if (room := policy.product(name).window - flying.get(name, 0)) > 0}
    selection: Selection = {}
    if free:
        for product, request in unit.ready(free, shards, now):
            selection.setdefault(request, []).append(product)
    return selection


def dispatch(desk: Desk, ready: Selection, bus: Bus) -> bool:
    """Send the selected steps out, save those whose last command their product has not even read.

    Returns whether anything went.
    """
    desk.load(ready)
    again = [request for request, names in ready.items() if _sent_before(desk, request, names)]
    unread = timekeeper.unread(desk, bus, again) if again else {}
    went = False
    for request, names in ready.items():
        going = tuple(name for name in names if name not in unread.get(request, frozenset()))
        went = bool(going and desk.apply(request, Dispatch(going))) or went
    return went


def _sent_before(desk: Desk, request: str, names: Sequence[str]) -> bool:
    """Whether a command of the present phase went out before: only then can one be lying unread."""
    steps = desk.state(request).steps
    return any(steps[name].cutoff_at is not None for name in names)
