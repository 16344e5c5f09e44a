"""The gate per product: which ready steps go out now.

Breaker, rate limit, maintenance window, hold, stop and replay rate are all this one question. Nearest due date
first (by day), then tenants in turn; never more in flight per product than its window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from orchestrator import timekeeper
from orchestrator.desk import Desk
from orchestrator.domain.commands import Dispatch
from orchestrator.domain.policy import Policy
from schemas.transport import Bus

Selection = dict[str, list[str]]
"""Products to dispatch, per request."""

_READY = sa.text(
    """
SELECT g.product, s.request::text
FROM unnest(CAST(:products AS text[]), CAST(:free AS integer[])) AS g(product, free)
CROSS JOIN LATERAL (
    SELECT request, tenant, due_at, ready_from,
           row_number() OVER (PARTITION BY due_at / 86400000, tenant ORDER BY ready_from, request) AS turn
    FROM (
        SELECT request, tenant, due_at, ready_from FROM oblio.steps t
        WHERE t.product = g.product AND t.ready_from <= :now AND t.shard = ANY(:shards)
          AND (t.phase NOT IN ('trash', 'purge') OR NOT EXISTS (
              SELECT FROM oblio.brakes b WHERE b.tenant IN ('', t.tenant) AND b.product IN ('', t.product)))
        ORDER BY due_at LIMIT :horizon
    ) nearest
    ORDER BY due_at / 86400000 NULLS LAST, turn LIMIT g.free
) s
"""
)

_IN_FLIGHT = sa.text(
    "SELECT product, count(*) FROM oblio.steps WHERE in_flight AND product = ANY(:products) GROUP BY product"
)

HORIZON = 5_000
"""How many ready steps per product are looked at for taking tenants in turn."""


def select_ready(
    connection: Connection, policy: Policy, shards: Sequence[int], products: Sequence[str], now: int
) -> Selection:
    """The steps that may go out at ``now``, grouped by request so that one command can address several products."""
    free = _free(connection, policy, products)
    if not free:
        return {}
    found = connection.execute(
        _READY,
        {
            "products": list(free),
            "free": list(free.values()),
            "now": now,
            "shards": list(shards),
            "horizon": HORIZON,
        },
    )
    selection: Selection = {}
    for product, request in found:
        selection.setdefault(request, []).append(product)
    return selection


def _free(connection: Connection, policy: Policy, products: Sequence[str]) -> Mapping[str, int]:
    """How many more steps each product may have in flight."""
    flying: dict[str, int] = dict(connection.execute(_IN_FLIGHT, {"products": list(products)}).tuples().all())
    free = {name: policy.product(name).window - flying.get(name, 0) for name in products}
    return {name: room for name, room in free.items() if room > 0}


def dispatch(desk: Desk, ready: Selection, bus: Bus) -> bool:
    """Send the selected steps out, save those whose last command their product has not even read.

    Returns whether anything went.
    """
    desk.load(ready)
    again = [request for request, names in ready.items() if _sent_before(desk, request, names)]
    facts = timekeeper.unread(desk.unit.connection, bus, again) if again else {}
    went = False
    for request, names in ready.items():
        unread = timekeeper.unread_products(facts.get(request, {}), names) if request in facts else frozenset()
        going = tuple(name for name in names if name not in unread)
        went = bool(going and desk.apply(request, Dispatch(going))) or went
    return went


def _sent_before(desk: Desk, request: str, names: Sequence[str]) -> bool:
    """Whether a command of the present phase went out before: only then can one be lying unread."""
    steps = desk.state(request).steps
    return any(steps[name].cutoff_at is not None for name in names)
