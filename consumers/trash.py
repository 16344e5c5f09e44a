"""What a product has in the trash: the rows that its trash phases hid, per request.

An entry is the trash phase's plan, kept as it was sealed. Restore needs it to bring back exactly these rows, purge to
reach them whatever the identifiers still find.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from consumers import arrays
from consumers.steps import Step
from consumers.stores.sql_errors import store_errors

_REQUESTS = arrays.table(tenant="text", request="uuid")

_PUT = sa.text(f"""
    insert into oblio.trash (product, tenant, request, epoch, sealed)
    select p.product, p.tenant, p.request, p.epoch, p.sealed
      from oblio.plans p
      join {arrays.table(**arrays.KEY, fence="bigint")}
        on (p.tenant, p.request, p.phase, p.epoch, p.fence) = (w.tenant, w.request, w.phase, w.epoch, w.fence)
     where p.product = :product
       for update of p
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
        # The plans stay locked, so that what is kept here and the receipt that follows are of one holder.
        fences = arrays.plain(step.fence for step in hidden)
        with store_errors():
            connection.execute(_PUT, {"product": product, **arrays.keys(hidden), "w_fence": fences})


def empty(connection: sa.Connection, product: str, steps: Sequence[Step]) -> None:
    """Forget what these requests had in the trash: it is back, or gone for good."""
    if steps:
        with store_errors():
            connection.execute(_EMPTY, _requests(product, steps))
