"""A log in memory with the promises of :mod:`schemas.transport`, and the faults that a real log and its clients have.

Records may become visible late (never out of order within a partition); a publish may fail before, in the midst of
or after appending; a reader may skip or repeat records of a batch, as clients do around rebalances; a member that is
silent past its session loses its partitions and does not know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.transport import (
    Batch,
    BusError,
    Fenced,
    Message,
    OffsetOutOfRange,
    Position,
    Record,
    TopicPartition,
    UnknownTopic,
    partition_of,
)

SESSION_MS = 10_000


@dataclass(slots=True)
class Life:
    """One life of a process, from its start to its crash."""

    over: bool = False


class Faults:
    """What may go wrong; this one is the log on a good day."""

    def life(self) -> Life:
        """The process that is at work."""
        return Life()

    def point(self, name: str) -> None:
        """A place where a process can die, freeze, or hear of an error."""

    def delay(self) -> int:
        """Milliseconds until the next record becomes visible."""
        return 0

    def appended(self, asked: int) -> int:
        """How many of the records that are to be published get into the log before it fails."""
        return asked

    def slipped(self, size: int) -> int:
        """By how many records of a batch the reader's position slips: positive skips, negative repeats."""
        return 0


@dataclass(slots=True)
class Partition:
    records: list[Record] = field(default_factory=list)
    visible_at: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """``owner`` says which member has a partition, ``seen`` when each member polled last."""

    generation: int = 0
    topics: frozenset[str] = frozenset()
    readers: dict[str, MemoryReader] = field(default_factory=dict)
    owner: dict[TopicPartition, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    committed: dict[TopicPartition, int] = field(default_factory=dict)


class MemoryBus:
    """The log as every process of the simulation sees it."""

    def __init__(self, topics: Mapping[str, int], now: Callable[[], int], faults: Faults | None = None) -> None:
        self.now = now
        self.faults = faults or Faults()
        self.topics = {name: [Partition() for _ in range(count)] for name, count in topics.items()}
        self.groups: dict[str, Group] = {}

    def publish(self, messages: Sequence[Message]) -> tuple[Position, ...]:
        self.faults.point("bus.publish")
        kept = self.faults.appended(len(messages))
        positions = tuple(self._append(message) for message in messages[:kept])
        if kept < len(messages):
            raise BusError("not every record was confirmed")
        self.faults.point("bus.published")
        return positions

    def _append(self, message: Message) -> Position:
        partitions = self._partitions(message.topic)
        number = message.partition
        if number is None:
            number = partition_of(message.key, len(partitions))
        partition = partitions[number]
        offset = len(partition.records)
        now = self.now()
        visible = max(now + self.faults.delay(), partition.visible_at[-1] if offset else 0)
        record = Record(message.topic, number, offset, message.key, message.value, message.headers, now)
        partition.records.append(record)
        partition.visible_at.append(visible)
        return record.position

    def reader(self, group: str, topics: Sequence[str], member: str) -> MemoryReader:
        for topic in topics:
            self._partitions(topic)
        found = self.groups.setdefault(group, Group())
        return MemoryReader(self, found, tuple(topics), member)

    def committed(self, group: str, at: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        found = self.groups.get(group)
        return {place: found.committed.get(place, 0) if found is not None else 0 for place in at}

    def partitions(self, topic: str) -> int:
        return len(self._partitions(topic))

    def identity(self, topic: str) -> str:
        self._partitions(topic)
        return f"simulated/{topic}"

    def close(self) -> None:
        for group in self.groups.values():
            for reader in list(group.readers.values()):
                reader.close()

    def partition(self, at: TopicPartition) -> Partition:
        return self.topics[at.topic][at.partition]

    def next_visible(self, now: int) -> int | None:
        """When the next record becomes visible that is not yet."""
        later = [p.visible_at[-1] for ps in self.topics.values() for p in ps if p.records and p.visible_at[-1] > now]
        return min(later, default=None)

    def wait(self, duration: int) -> None:
        """Time passes in which nothing is to do: whoever is alive goes on saying so."""
        for group in self.groups.values():
            for name, reader in group.readers.items():
                if not reader.life.over:
                    group.seen[name] += duration

    def lapses(self) -> Iterator[int]:
        """When the sessions of silent members run out."""
        for group in self.groups.values():
            yield from (group.seen[name] + SESSION_MS + 1 for name, each in group.readers.items() if each.life.over)

    def _partitions(self, topic: str) -> list[Partition]:
        if topic not in self.topics:
            raise UnknownTopic(topic)
        return self.topics[topic]


class MemoryReader:
    """One member of a group."""

    def __init__(self, bus: MemoryBus, group: Group, topics: tuple[str, ...], member: str) -> None:
        self.member = member
        self.topics = topics
        self.life = bus.faults.life()
        self._bus = bus
        self._group = group
        self._at: dict[TopicPartition, int] = {}
        self._generation = -1
        self._closed = False

    def poll(self, max_records: int, timeout_s: float) -> Batch:
        self._bus.faults.point("bus.poll")
        if self._closed:
            raise Fenced("this reader is closed")
        self._join()
        if self._settle():
            return Batch((), frozenset(self._at), self._generation)
        return Batch(tuple(self._take(max_records)), frozenset(self._at), self._generation)

    def seek(self, at: TopicPartition, offset: int) -> None:
        if self._closed or at not in self._at:
            raise Fenced("the partition is not assigned to this reader")
        self._at[at] = offset

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        self._bus.faults.point("bus.commit")
        mine = self._group.readers.get(self.member) is self
        if self._closed or not mine or any(self._group.owner.get(at) != self.member for at in next_offsets):
            raise Fenced("the partition is not this reader's")
        self._group.committed.update(next_offsets)

    def close(self) -> None:
        if not self._closed and self._group.readers.get(self.member) is self:
            _leave(self._group, self.member)
        self._closed = True

    # --- membership ------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        group, now = self._group, self._bus.now()
        for name in [name for name, seen in group.seen.items() if seen + SESSION_MS < now and name != self.member]:
            _leave(group, name)
        other = group.readers.get(self.member)
        if other is not self:
            if other is not None:
                other._closed = True
                _leave(group, self.member)
            group.readers[self.member] = self
            group.topics |= set(self.topics)
            self._generation = -1
            self._at = {}
        group.seen[self.member] = now

    def _settle(self) -> bool:
        """Give up what is another's, take what is free; whether the assignment changed."""
        group = self._group
        target = self._target()
        for at in [at for at, name in group.owner.items() if name == self.member and target[at] != name]:
            del group.owner[at]
        for at, name in target.items():
            if name == self.member and at not in group.owner:
                group.owner[at] = name
        mine = {at for at, name in group.owner.items() if name == self.member}
        if mine == self._at.keys() and self._generation >= 0:
            return False
        group.generation += 1
        self._generation = group.generation
        self._at = {at: self._at.get(at, group.committed.get(at, 0)) for at in sorted(mine)}
        return True

    def _target(self) -> dict[TopicPartition, str]:
        """Range assignment: topics with equally many partitions are assigned alike."""
        names = sorted(self._group.readers)
        places = [(topic, len(self._bus.topics[topic])) for topic in sorted(self._group.topics)]
        return {
            TopicPartition(topic, n): names[n * len(names) // count] for topic, count in places for n in range(count)
        }

    # --- records ---------------------------------------------------------------------------------------------------

    def _take(self, most: int) -> list[Record]:
        now = self._bus.now()
        taken: list[Record] = []
        for at in self._at:
            partition = self._bus.partition(at)
            start, end = self._at[at], len(partition.records)
            if start > end:
                raise OffsetOutOfRange(at, asked=start, first=0, end=end)
            if start == end or partition.visible_at[start] > now:
                continue
            stop = start
            while stop < end and stop - start < most - len(taken) and partition.visible_at[stop] <= now:
                stop += 1
            slip = self._bus.faults.slipped(stop - start)
            first = min(max(0, start + slip), stop)
            taken.extend(partition.records[first:stop])
            self._at[at] = stop
        return taken


def _leave(group: Group, member: str) -> None:
    group.readers.pop(member, None)
    group.seen.pop(member, None)
    for at in [at for at, name in group.owner.items() if name == member]:
        del group.owner[at]
