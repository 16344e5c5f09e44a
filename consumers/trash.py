"""What a product has in the trash: the rows that its trash phases hid, per request.

An entry is the trash phase's plan, kept as it was sealed. Restore needs it to bring back exactly these rows, purge to
reach them whatever the identifiers still find.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from consumers import arrays
from consumers.plans import Part, Plans
from consumers.steps import Step
from consumers.stores.sql_errors import store_errors
from schemas.codes import Phase

_REQUESTS = arrays.table(tenant="text", request="uuid")

_PUT = sa.text(f"""
    insert into oblio.trash (product, tenant, request, epoch, sealed)
    select p.product, p.tenant, p.request, p.epoch, p.sealed
      from oblio.plans p
      join {arrays.table(**arrays.KEY, fence="bigint")}
        on (p.tenant, p.request, p.phase, p.epoch, p.fence) = (w.tenant, w.request, w.phase, w.epoch, w.fence)
     where p.product = :product
""")

# A trash phase that was stopped half-way has no entry yet: its plan, up to the cursor, stands for one.
_GET = sa.text(f"""
    with w as materialized (select * from {_REQUESTS})
    select t.tenant, t.request::text, t.epoch, t.sealed, null as cursor
      from oblio.trash t join w on (t.tenant, t.request) = (w.tenant, w.request)
     where t.product = :product
     union all
    select p.tenant, p.request::text, p.epoch, p.sealed, p.cursor
      from oblio.plans p join w on (p.tenant, p.request) = (w.tenant, w.request)
     where p.product = :product and p.phase = 'trash' and p.sealed is not null
""")

_EMPTY = sa.text(f"""
    with w as materialized (select * from {_REQUESTS}),
    unfinished as (
        delete from oblio.plans p using w
         where p.product = :product and (p.tenant, p.request) = (w.tenant, w.request) and p.phase = 'trash'
    )
    delete from oblio.trash t using w
     where t.product = :product and (t.tenant, t.request) = (w.tenant, w.request)
""")


def _requests(product: str, steps: Sequence[Step]) -> dict[str, object]:
    return {
        "product": product,
        "w_tenant": arrays.plain(step.command.tenant for step in steps),
        "w_request": arrays.plain(step.command.request for step in steps),
    }


def put(connection: sa.Connection, product: str, steps: Sequence[Step]) -> None:
    """Keep what these trash phases hid, before their plans go; those that hid nothing leave no entry."""
    hidden = [step for step in steps if step.plan is not None and step.plan.total]
    if hidden:
        fences = arrays.plain(step.fence for step in hidden)
        with store_errors():
            connection.execute(_PUT, {"product": product, **arrays.keys(hidden), "w_fence": fences})


def get(
    connection: sa.Connection, product: str, plans: Plans, steps: Sequence[Step]
) -> dict[tuple[str, str], list[Part]]:
    """What is in the trash, per (tenant, request).

    Raises:
        Undecryptable: an entry was sealed under another secret.
    """
    found: dict[tuple[str, str], list[Part]] = {}
    with store_errors():
        rows = connection.execute(_GET, _requests(product, steps)).all()
    for tenant, request, epoch, sealed, cursor in rows:
        plan = plans.opened((tenant, request, Phase.TRASH.value, epoch), sealed)
        found.setdefault((tenant, request), []).extend(plan.done(plan.total if cursor is None else cursor))
    return found


def empty(connection: sa.Connection, product: str, steps: Sequence[Step]) -> None:
    """Forget what these requests had in the trash: it is back, or gone for good."""
    with store_errors():
        connection.execute(_EMPTY, _requests(product, steps))
