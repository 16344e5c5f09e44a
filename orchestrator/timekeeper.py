"""Timers that are due, and what the log says about commands nobody has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.desk import Desk
from orchestrator.domain.commands import Tick
from schemas.topics import Topic
from schemas.transport import Bus, TopicPartition

LIMIT = 500

Unread = Mapping[str, frozenset[str]]
"""Per request, the products that have not read its last command."""


def group_of(product: str) -> str:
    """The consumer group in which a product reads its commands."""
    return f"product.{product}"


def unread(desk: Desk, bus: Bus, requests: Sequence[str]) -> Unread:
    """Which products have not read the last command of each of ``requests`` (loaded at the desk).

    A command that is still in the outbox can have been read by nobody. The last command of a request may concern
    other products than the one asked about; then the answer errs towards waiting, for as long as that product reads
    nothing at all.
    """
    unpublished = desk.unit.unpublished(requests)
    sent = desk.unit.sent(requests)
    products = {request: frozenset(desk.state(request).steps) for request in requests}
    committed = _committed(bus, frozenset().union(*products.values()), {partition for partition, _ in sent.values()})
    found: dict[str, frozenset[str]] = {}
    for request in requests:
        if request in unpublished:
            found[request] = products[request]
        elif request in sent:
            partition, offset = sent[request]
            found[request] = frozenset(name for name in products[request] if committed[name][partition] <= offset)
        else:
            found[request] = frozenset()
    return found


def _committed(bus: Bus, products: frozenset[str], partitions: set[int]) -> dict[str, dict[int, int]]:
    at = [TopicPartition(Topic.COMMANDS.value, partition) for partition in sorted(partitions)]
    return {
        product: {place.partition: offset for place, offset in bus.committed(group_of(product), at).items()}
        for product in sorted(products)
    }


def fire(desk: Desk, bus: Bus, requests: Sequence[str]) -> None:
    """Tell each request that time has passed."""
    if not requests:
        return
    desk.load(requests)
    known = unread(desk, bus, requests)
    for request in requests:
        desk.apply(request, Tick(unread=known[request]))
