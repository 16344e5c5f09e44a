"""What a bus carries and what it promises, whichever software carries it.

Both sides of the log are written against these types. ``orchestrator.bus`` implements them over
PostgreSQL (embedded) and, later, over Apache Kafka; one conformance suite holds both to the same promises:

* records of one partition are read in the order of their offsets, and an offset is never visible before
  a lower one of its partition;
* a published record is delivered at least once to every group;
* records with the same key go to the same partition (see :func:`partition_of`);
* the offset a group has committed can be read by anyone, so that "unread" is a fact and not a guess.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A record that is still to be published.

    ``partition`` is set only where the caller owns the choice (sharded topics); else the key decides.
    """

    topic: str
    key: bytes = field(repr=False)  # a caller's choice: it may be an address, and a log line must not show it
    value: bytes = field(repr=False)
    headers: Headers = field(default=(), repr=False)
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read from the log. ``timestamp_ms`` is the log's own time, in milliseconds of the epoch."""

    topic: str
    partition: int
    offset: int
    key: bytes = field(repr=False)
    value: bytes = field(repr=False)
    headers: Headers = field(default=(), repr=False)
    timestamp_ms: int = 0

    @property
    def position(self) -> Position:
        """Where this record stands."""
        return Position(self.topic, self.partition, self.offset)

    def header(self, name: str) -> bytes | None:
        """The last header of that name, or ``None``."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True, order=True)
class TopicPartition:
    """One partition of one topic, counted from 0."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where one record stands: ``offset`` counts from 0 within its partition."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll returned: the records, and every partition this reader now owns.

    ``generation`` rises whenever this reader's assignment changes, and a batch that brings a new generation
    brings no records (see :meth:`Reader.poll`). A reader that keeps state per partition drops it when a
    partition is no longer in ``assigned``.
    """

    records: tuple[Record, ...] = ()
    assigned: frozenset[TopicPartition] = field(default_factory=frozenset)
    generation: int = 0


class Publisher(Protocol):
    """Whatever takes messages for the log."""

    def publish(self, messages: Sequence[Message]) -> tuple[Position, ...]:
        """Append the messages and return where each now stands, in the same order.

        Returns only when the log has confirmed every one. Raises :class:`BusError` if any was not
        confirmed; some may then have been appended, and the caller publishes all of them again.
        """
        ...


class Reader(Protocol):
    """One member of one consumer group; used by one thread, save :meth:`close`.

    A partition newly assigned is read from the group's committed offset on; a group that has committed none
    begins with the first record still there. Whoever keeps the offset owed in a database of its own seeks to it.
    """

    def poll(self, max_records: int, timeout_s: float) -> Batch:
        """At most ``max_records`` records, waiting up to ``timeout_s`` seconds for the first of them.

        **The first poll, and the first one after any change of the assignment, returns at once, without records,
        with the new ``assigned`` and a higher ``generation``**, so that the owner can :meth:`seek` every partition
        to the offset it owes before a record of it is read. Polling is also what gives partitions up: a partition
        moves to another member only after its owner polled again (and so has settled what it had read), has
        closed, or was silent past its session.

        ``max_records`` of 0 keeps the membership and hears of assignments, but takes no records (back pressure).
        A poll that waits while :meth:`close` is called from another thread returns an empty batch at once.

        Raises:
            OffsetOutOfRange: a partition's next offset is not in the log. The position of no partition has moved;
                that one is left out of all further polls until :meth:`seek`, while the others go on.
            Fenced: this reader was closed, or another of the same member name took its place; it is of no more use.
            BusError: the log could not be reached. The reader stays usable: a later poll reconnects, and returns
                the new assignment first if the group went on without it.
        """
        ...

    def seek(self, at: TopicPartition, offset: int) -> None:
        """Read ``at`` from ``offset`` on with the next poll; used to go back to the offset owed.

        The offset is checked by that poll. Raises :class:`Fenced` if ``at`` is not assigned to this reader.
        """
        ...

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Tell the log (for lag, and for :meth:`Bus.committed`) the next offset this group will read.

        All of them or none. Raises :class:`Fenced` if any of the partitions is not this reader's (any more).
        """
        ...

    def close(self) -> None:
        """Leave the group, so that others take the partitions over at once. May come from any thread, and twice."""
        ...


class Bus(Publisher, Protocol):
    """The log as one process sees it: safe for several threads, which may publish side by side."""

    def reader(self, group: str, topics: Sequence[str], member: str) -> Reader:
        """A new member of ``group``; it joins with its first poll.

        Topics with equally many partitions, read by the same members, are assigned alike: who owns partition 3 of
        one owns partition 3 of the others. ``member`` names this instance and is unique among the living ones of
        its group. Raises :class:`UnknownTopic`.
        """
        ...

    def committed(self, group: str, at: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The next offset that ``group`` will read, per partition; 0 where it has not committed yet."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions ``topic`` has. Raises :class:`UnknownTopic`."""
        ...

    def identity(self, topic: str) -> str:
        """Which log this is, as ``cluster/topic``: offsets kept for another identity mean nothing here.

        A topic that was deleted and made anew has another identity. Raises :class:`UnknownTopic`.
        """
        ...

    def close(self) -> None:
        """Close every reader of this bus and stop its threads; nothing can be published any more."""
        ...


class BusError(Exception):
    """The log did not do what was asked; nothing may be assumed about what was written."""


class UnknownTopic(BusError):
    """The topic does not exist on this bus."""


class Fenced(BusError):
    """This reader is no longer a member of its group, or no longer owns the partition."""


class OffsetOutOfRange(BusError):
    """The offset asked for is no longer, or not yet, in the log: a gap that a person must accept.

    ``at`` is the partition, ``asked`` the offset that was to be read, ``first`` the lowest offset still in the log
    and ``end`` the one that its next record will get.
    """

    def __init__(self, at: TopicPartition, *, asked: int, first: int, end: int) -> None:
        super().__init__(f"{at.topic}[{at.partition}]: offset {asked} is outside of {first} to {end}")
        self.at = at
        self.asked = asked
        self.first = first
        self.end = end


def partition_of(key: bytes | str, partitions: int) -> int:
    """The partition of a key: the first eight bytes of its SHA-256 as a big-endian integer, modulo ``partitions``.

    Fixed for ever: shards, the bus and every client that writes to a sharded topic must agree on it.
    """
    raw = key.encode() if isinstance(key, str) else key
    return int.from_bytes(hashlib.sha256(raw).digest()[:8], "big") % partitions
