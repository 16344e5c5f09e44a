"""What forbids an effect: a newer command or a stop of the same request, and the brakes of tenant and product.

A step's row in ``oblio.steps`` is locked by whoever works on it, chunk by chunk, and by whoever stops it. So a stop
takes its turn between two chunks, and from then on the next chunk sees it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import sqlalchemy as sa

from consumers import arrays
from consumers.steps import Step
from consumers.stores.sql_errors import store_errors

_TABLE = arrays.table(tenant="text", request="uuid", seq="bigint")

_OBEY = sa.text(f"""
    insert into oblio.steps as s (product, tenant, request, seq)
    select :product, tenant, request, seq
      from {_TABLE}
     order by tenant, request
        on conflict (product, tenant, request) do update set seq = excluded.seq, stopped = false
     where s.seq < excluded.seq or (s.seq = excluded.seq and not s.stopped)
    returning tenant, request::text
""")

_WANTED = sa.text(f"""
    select s.tenant, s.request::text
      from oblio.steps s
      join {_TABLE}
        on (s.tenant, s.request) = (w.tenant, w.request)
     where s.product = :product and s.seq = w.seq and not s.stopped
     order by s.tenant, s.request
       for share of s
""")

_STOP = sa.text("""
    insert into oblio.steps as s (product, tenant, request, seq, stopped)
    values (:product, :tenant, cast(:request as uuid), :seq, true)
        on conflict (product, tenant, request) do update set seq = excluded.seq, stopped = true
     where s.seq <= excluded.seq
    returning seq
""")

_SET_BRAKE = sa.text("""
    insert into oblio.brakes as b (product, tenant, stopped, seq) values (:product, :tenant, :stopped, :seq)
        on conflict (product, tenant) do update set stopped = excluded.stopped, seq = excluded.seq
     where b.seq < excluded.seq
""")

_BRAKED = sa.text("select tenant from oblio.brakes where product = :product and stopped")


def _parameters(product: str, steps: Sequence[Step]) -> dict[str, object]:
    return {
        "product": product,
        "w_tenant": arrays.plain(s.command.tenant for s in steps),
        "w_request": arrays.plain(s.command.request for s in steps),
        "w_seq": arrays.plain(s.to.seq for s in steps),
    }


def obey(connection: sa.Connection, product: str, steps: Sequence[Step]) -> set[tuple[str, str]]:
    """Note the commands' seqs as the highest obeyed; the (tenant, request) of those that no higher one precedes.

    Their rows stay locked until the transaction ends.
    """
    with store_errors():
        return {(row[0], row[1]) for row in connection.execute(_OBEY, _parameters(product, steps))}


def wanted(connection: sa.Connection, product: str, steps: Sequence[Step]) -> set[tuple[str, str]]:
    """The (tenant, request) whose command still is the newest, and not stopped; a stop waits for the transaction."""
    with store_errors():
        return {(row[0], row[1]) for row in connection.execute(_WANTED, _parameters(product, steps))}


def stop(connection: sa.Connection, product: str, tenant: str, request: str, seq: int) -> bool:
    """Stop a step. False where a higher seq was obeyed before: the stop is late."""
    parameters = {"product": product, "tenant": tenant, "request": request, "seq": seq}
    with store_errors():
        return connection.execute(_STOP, parameters).first() is not None


def set_brake(connection: sa.Connection, product: str, tenant: str | None, seq: int, *, stopped: bool) -> None:
    """Stop or resume a product's effects, altogether or for one tenant; older than the last one: no effect."""
    parameters = {"product": product, "tenant": tenant or "", "stopped": stopped, "seq": seq}
    with store_errors():
        connection.execute(_SET_BRAKE, parameters)


def braked(connection: sa.Connection, product: str) -> frozenset[str]:
    """Tenants whose effects are stopped; '' stands for all of them."""
    with store_errors():
        return frozenset(connection.scalars(_BRAKED, {"product": product}))


def holds_back(tenants: Set[str], step: Step) -> bool:
    """Whether what :func:`braked` gave forbids an effect of this step."""
    return "" in tenants or step.command.tenant in tenants
