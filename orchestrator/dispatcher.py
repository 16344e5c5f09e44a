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
from orchestrator.domain.state import Step, StepStatus
from orchestrator.store.unit import Unit
from schemas.codes import Phase
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
