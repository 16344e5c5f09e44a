"""The stop button: brakes of the whole installation, of a tenant, or of a product."""

from __future__ import annotations

import sqlalchemy as sa

from orchestrator.desk import Desk
from orchestrator.store.rows import shard_of
from orchestrator.store.unit import OutboxRow
from schemas import events as e
from schemas.messages import BrakeOperation

INSTALLATION_TENANT = "installation"


def set_brake(desk: Desk, operation: BrakeOperation) -> None:
    """Append the event to the installation's stream, change the brakes, and tell the products.

    Written at once, not with the batch: the next brake of the same batch counts on from here.
    """
    connection = desk.unit.connection
    connection.execute(
        sa.text("INSERT INTO oblio.streams (id, version) VALUES (CAST(:id AS uuid), 0) ON CONFLICT DO NOTHING"),
        {"id": e.INSTALLATION},
    )
    n = 1 + int(
        connection.execute(
            sa.text("SELECT version FROM oblio.streams WHERE id = CAST(:id AS uuid) FOR UPDATE"), {"id": e.INSTALLATION}
        ).scalar_one()
    )
    event = e.BrakeSet(
        stopped=operation.stopped,
        actor=operation.actor,
        role=operation.role,
        reason=operation.reason,
        seq=n,
        tenant=operation.tenant,
        product=operation.product,
    )
    recorded = e.Recorded(id=e.INSTALLATION, tenant=INSTALLATION_TENANT, n=n, at=desk.now, event=event)
    raw = e.encode(recorded)
    e.check(raw)
    connection.execute(
        sa.text("INSERT INTO oblio.events (id, n, at, body) VALUES (CAST(:id AS uuid), :n, :at, :body)"),
        {"id": e.INSTALLATION, "n": n, "at": desk.now, "body": raw},
    )
    connection.execute(
        sa.text("UPDATE oblio.streams SET version = :n WHERE id = CAST(:id AS uuid)"), {"n": n, "id": e.INSTALLATION}
    )
    fold_brake(connection, recorded)
    shard = shard_of(e.INSTALLATION, desk.unit.shards)
    products = sorted(desk.policy.products) if operation.product is None else [operation.product]
    body = {"stopped": operation.stopped, "seq": n, "tenant": operation.tenant, "products": products}
    desk.changes.outbox.append(OutboxRow(shard, "brake", e.INSTALLATION, body))
    desk.changes.outbox.append(OutboxRow(shard, "events", e.INSTALLATION, {"first": n, "last": n}))


def fold_brake(connection: sa.Connection, recorded: e.Recorded, table: str = "brakes") -> None:
    """What a brake event means for the table of brakes; used by the rebuild as well."""
    event = recorded.event
    assert isinstance(event, e.BrakeSet)  # noqa: S101  the installation's stream has no others
    scope = {"tenant": event.tenant or "", "product": event.product or ""}
    if event.stopped:
        connection.execute(
            sa.text(
                f"""INSERT INTO oblio.{table} (tenant, product, seq, since) VALUES (:tenant, :product, :seq, :since)
                    ON CONFLICT (tenant, product) DO NOTHING"""  # noqa: S608  the name is ours
            ),
            scope | {"seq": event.seq, "since": recorded.at},
        )
    else:
        connection.execute(
            sa.text(f"DELETE FROM oblio.{table} WHERE tenant = :tenant AND product = :product"),  # noqa: S608
            scope,
        )
