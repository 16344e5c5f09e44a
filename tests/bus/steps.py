"""Steps that tests of a bus are made of; they know the protocol alone."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Protocol

from schemas.transport import Message, TopicPartition, partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schemas.transport import Batch, Bus, Reader, Record

PATIENCE_S = 20.0
"""How long a test waits for what must come, before it fails."""


class Log(Protocol):
    """One installation of the log, seen from outside."""

    def topic(self, partitions: int) -> str:
        """Make a topic of a new name."""
        ...

    def bus(self, *, impatient: bool = False) -> Bus:
        """A bus as another process would have it, closed after the test.

        Impatient: a reader that does not poll loses its partitions after a second or so, if another wants them.
        """
        ...

    def trim(self, topic: str, before_ms: int) -> None:
        """Let retention remove the records that are older."""
        ...


def messages(topic: str, count: int, *, partition: int | None = None, mark: str = "m") -> list[Message]:
    return [Message(topic, f"{mark}{n}".encode(), f"{mark}-{n}".encode(), partition=partition) for n in range(count)]


def take(reader: Reader, count: int, *, at_once: int = 500) -> list[Record]:
    """Poll until that many records came."""
    found: list[Record] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < deadline:
        found += reader.poll(at_once, 1.0).records
    assert len(found) == count
    return found


def share(*readers: Reader, all_of: Iterable[TopicPartition]) -> list[frozenset[TopicPartition]]:
    """Poll the readers in turn, without taking records, until they own all partitions between them."""
    wanted = Counter(all_of)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        owned = [reader.poll(0, 0.02).assigned for reader in readers]
        if sum(map(Counter, owned), Counter()) == wanted and all(owned):
            return owned
    raise AssertionError("the group did not come to rest")


def joined(bus: Bus, group: str, topics: list[str], member: str = "one") -> Reader:
    """A reader, alone in its group, after its first poll."""
    reader = bus.reader(group, topics, member)
    share(reader, all_of=partitions(bus, *topics))
    return reader


def partitions(bus: Bus, *topics: str) -> list[TopicPartition]:
    return [TopicPartition(topic, n) for topic in topics for n in range(bus.partitions(topic))]


def offsets(records: Iterable[Record]) -> dict[TopicPartition, list[int]]:
    found = defaultdict(list)
    for record in records:
        found[TopicPartition(record.topic, record.partition)].append(record.offset)
    return dict(found)


def values(records: Iterable[Record]) -> list[bytes]:
    return [record.value for record in records]


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def offsets_in(topic: str, batch: Batch) -> int:
    """How many of `messages(topic, 40)` over four partitions lie in the partitions that the batch's reader owns."""
    owned = {at.partition for at in batch.assigned}
    return sum(partition_of(m.key, 4) in owned for m in messages(topic, 40))


def next_generation(reader: Reader, generation: int) -> Batch:
    """Poll for records until the assignment changes: the batch that says so."""
    deadline = time.monotonic() + PATIENCE_S
    while (batch := reader.poll(500, 1.0)).generation == generation:
        assert time.monotonic() < deadline
    return batch
