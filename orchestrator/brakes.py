"""The stop button: brakes of the whole installation, of a tenant, or of a product."""

from __future__ import annotations

from orchestrator.desk import Desk
from orchestrator.store.rows import shard_of
from orchestrator.store.unit import OutboxRow
from schemas import events as e
from schemas.messages import BrakeOperation

INSTALLATION_TENANT = "installation"


def set_brake(desk: Desk, operation: BrakeOperation) -> None:
    """Append the event to the installation's stream, which changes the brakes, and tell the products."""

    def event(n: int) -> e.Recorded:
        brake = e.BrakeSet(
            stopped=operation.stopped,
            actor=operation.actor,
            role=operation.role,
            reason=operation.reason,
            seq=n,
            tenant=operation.tenant,
            product=operation.product,
        )
        return e.Recorded(id=e.INSTALLATION, tenant=INSTALLATION_TENANT, n=n, at=desk.now, event=brake)

    n = desk.unit.append_brake(event).n
    shard = shard_of(e.INSTALLATION, desk.unit.shards)
    products = sorted(desk.policy.products) if operation.product is None else [operation.product]
    body = {"stopped": operation.stopped, "seq": n, "tenant": operation.tenant, "products": products}
    desk.changes.outbox.append(OutboxRow(shard, "brake", e.INSTALLATION, body))
    desk.changes.outbox.append(
        OutboxRow(shard, "events", e.INSTALLATION, {"tenant": INSTALLATION_TENANT, "first": n, "last": n})
    )
