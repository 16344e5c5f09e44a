"""Timers that are due, and what the log says about commands nobody has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from orchestrator.desk import Desk
from orchestrator.domain.commands import Tick
from schemas.topics import Topic
from schemas.transport import Bus, TopicPartition

LIMIT = 500


def group_of(product: str) -> str:
    """The consumer group in which a product reads its commands."""
    return f"product.{product}"


def due_requests(connection: Connection, shards: Sequence[int], now: int) -> list[str]:
    """Open requests of ``shards`` for which time alone changes something now."""
    found = connection.execute(
        sa.text(
            "SELECT request::text FROM oblio.timers WHERE shard = ANY(:shards) AND fire_at <= :now ORDER BY fire_at LIMIT :limit"
        ),
        {"shards": list(shards), "now": now, "limit": LIMIT},
    )
    return list(found.scalars())


def unread(connection: Connection, bus: Bus, requests: Sequence[str]) -> Mapping[str, Mapping[str, bool] | None]:
    """Per request and product that it has in flight: whether the request's last command is still unread by it.

    ``None`` for a request whose command is still in the outbox: nobody can have read it.
    """
    ids = {"ids": list(requests)}
    waiting = set(
        connection.execute(
            sa.text(
                "SELECT DISTINCT request::text FROM oblio.outbox WHERE kind = 'command' AND request = ANY(CAST(:ids AS uuid[]))"
            ),
            ids,
        ).scalars()
    )
    sent = connection.execute(
        sa.text(
            """SELECT s.request::text, t.product, s.partition, s."offset" FROM oblio.sent s
               JOIN oblio.steps t ON t.request = s.request WHERE s.request = ANY(CAST(:ids AS uuid[]))"""
        ),
        ids,
    ).all()
    read_up_to = _committed(bus, {product for _, product, _, _ in sent}, {partition for _, _, partition, _ in sent})
    found: dict[str, dict[str, bool] | None] = dict.fromkeys(waiting)
    for request, product, partition, offset in sent:
        of_request = found.setdefault(request, {})
        if of_request is not None:
            of_request[product] = read_up_to[product][partition] <= offset
    return found


def _committed(bus: Bus, products: set[str], partitions: set[int]) -> dict[str, dict[int, int]]:
    at = [TopicPartition(Topic.COMMANDS.value, partition) for partition in sorted(partitions)]
    return {
        product: {place.partition: offset for place, offset in bus.committed(group_of(product), at).items()}
        for product in sorted(products)
    }


def unread_products(facts: Mapping[str, bool] | None, products: Sequence[str]) -> frozenset[str]:
    """Those of ``products`` that have not read their last command, by the facts of :func:`unread`."""
    if facts is None:
        return frozenset(products)
    return frozenset(product for product in products if facts.get(product, False))


def fire(desk: Desk, requests: Sequence[str], facts: Mapping[str, Mapping[str, bool] | None]) -> None:
    """Tell each request that time has passed."""
    desk.load(requests)
    for request in requests:
        state = desk.state(request)
        known = facts.get(request, {})
        desk.apply(request, Tick(unread=unread_products(known, tuple(state.steps))))
