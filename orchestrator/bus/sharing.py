"""Who gets how much: partitions among members, and a batch among partitions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", str, int)


def assign_ranges(
    subscriptions: Mapping[str, Iterable[Name]], partitions: Mapping[Name, int]
) -> dict[tuple[Name, int], str]:
    """The member that should read each (topic, partition): consecutive ranges, topic by topic, members by name.

    Topics with equally many partitions and the same subscribers come out alike: partition 3 of ``acks`` and
    partition 3 of ``operations`` go to one member. Topics without subscribers have no entry.

    Args:
        subscriptions: the topics that each member reads.
        partitions: how many partitions each topic has.
    """
    readers: dict[Name, list[str]] = {}
    for member in sorted(subscriptions):
        for topic in subscriptions[member]:
            readers.setdefault(topic, []).append(member)
    return {
        (topic, partition): names[_owner(partition, partitions[topic], len(names))]
        for topic, names in readers.items()
        for partition in range(partitions[topic])
    }


def _owner(partition: int, partitions: int, members: int) -> int:
    """The place of the member whose range holds ``partition``; the first ranges take the remainder, one each."""
    size, larger = divmod(partitions, members)
    if partition < larger * (size + 1):
        return partition // (size + 1)
    return larger + (partition - larger * (size + 1)) // size


def share_out(available: Sequence[int], budget: int, turn: int) -> list[int]:
    """How many records to take of each partition, at most ``budget`` together.

    Every partition with records gets an equal share; what one cannot use goes to the others. With fewer records
    to give than partitions that have some, ``turn`` (counted up by the caller) moves the first one served, so
    that none starves behind the others.
    """
    shares = [0] * len(available)
    busy = sorted((count, place) for place, count in enumerate(available) if count > 0)
    if budget < len(busy):
        places = sorted(place for _, place in busy)
        for step in range(budget):
            shares[places[(turn * budget + step) % len(places)]] = 1
        return shares
    for served, (count, place) in enumerate(busy):
        shares[place] = min(count, budget // (len(busy) - served))
        budget -= shares[place]
    return shares
