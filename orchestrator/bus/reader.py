"""One member of a consumer group on the PostgreSQL-backed bus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from orchestrator.bus import groups, records
from orchestrator.bus.database import Database
from orchestrator.bus.errors import told
from orchestrator.bus.groups import Seat, Standing
from orchestrator.bus.records import Span
from orchestrator.bus.sharing import share_out
from schemas.transport import Batch, BusError, Fenced, OffsetOutOfRange, Record, TopicPartition

LOOK_S = 1.0
"""How long a waiting reader trusts that it is told of news before it looks for itself, in seconds."""

Bounds = Mapping[int, tuple[int, int]]
"""First and next offset of each head."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Track:
    """A partition in this reader's hands.

    ``position`` is the next offset to read, ``None`` for the first one there is. A partition is ``stopped`` when
    that offset is not in the log, until the owner seeks.
    """

    at: TopicPartition
    since: int
    position: int | None
    stopped: bool = False


class PostgresReader:
    """See :class:`schemas.transport.Reader`; made by :meth:`orchestrator.bus.postgres.PostgresBus.reader`.

    Args:
        database: of the bus.
        seat: the place in the group that this reader takes with its first poll.
        on_close: told when the reader has left.
    """

    def __init__(self, database: Database, seat: Seat, on_close: Callable[[PostgresReader], None]) -> None:
        self.group = seat.group
        self.topics = seat.topics
        self._database = database
        self._seat = seat
        self._on_close = on_close
        # Held for every piece of work in the database, but not while waiting: close() may come from another thread.
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._news.set()
        self._look_at = 0.0
        self._closed = False
        self._polling = False
        self._polled_at = time.monotonic()
        self._member: int | None = None
        self._settled = 0
        self._generation = 0
        self._tracks: dict[int, _Track] = {}
        self._turn = 0

    @told
    def poll(self, max_records: int, timeout_s: float) -> Batch:
        """See :meth:`schemas.transport.Reader.poll`."""
        self._refuse_closed()
        deadline = time.monotonic() + timeout_s
        self._polling = True
        try:
            if timeout_s <= 0:
                self._news.set()
            while not self._closed:
                if self._news.is_set() or time.monotonic() >= self._look_at:
                    batch = self._look(max_records)
                    if batch is not None:
                        return batch
                now = time.monotonic()
                if now >= deadline:
                    break
                self._news.wait(min(deadline, self._look_at) - now)
            return self._batch(())
        finally:
            self._polled_at = time.monotonic()
            self._polling = False

    @told
    def seek(self, at: TopicPartition, offset: int) -> None:
        """See :meth:`schemas.transport.Reader.seek`."""
        track = self._tracks.get(self._database.catalogue.head(at))
        if track is None:
            raise Fenced(f"{at.topic}[{at.partition}] is not assigned to this reader")
        track.position = offset
        track.stopped = False
        self._news.set()

    @told
    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """See :meth:`schemas.transport.Reader.commit`."""
        self._refuse_closed()
        if not next_offsets:
            return
        offsets = {self._database.catalogue.head(at): offset for at, offset in next_offsets.items()}
        if self._member is None or not offsets.keys() <= self._tracks.keys():
            raise Fenced("a partition is not assigned to this reader: nothing was committed")
        with self._database.single() as connection:
            groups.commit(connection, self.group, self._member, offsets)

    def close(self) -> None:
        """See :meth:`schemas.transport.Reader.close`. Without a database the others wait for the session's end."""
        self._closed = True
        self._news.set()
        self._on_close(self)
        with self._lock:
            member, self._member = self._member, None
        try:
            if member is not None:
                self._leave(member)
        except BusError as error:
            _log.warning("bus_leave_failed", group=self.group, reason=str(error))

    def wake(self) -> None:
        """See :meth:`orchestrator.bus.watch.Watched.wake`."""
        self._news.set()

    def alive_member(self, patience_s: float) -> int | None:
        """See :meth:`orchestrator.bus.watch.Watched.alive_member`."""
        patient = self._polling or time.monotonic() - self._polled_at < patience_s
        return self._member if patient and not self._closed else None

    @told
    def _leave(self, member: int) -> None:
        with self._database.atomic() as connection:
            groups.leave(connection, self.group, member)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Fenced("this reader is closed")

    def _look(self, max_records: int) -> Batch | None:
        """What the log has for this reader now; ``None`` if nothing is new."""
        # Cleared before looking, so that news which comes meanwhile is not lost; set again unless nothing was found.
        self._news.clear()
        nothing = False
        try:
            with self._lock:
                batch = None if self._closed else self._next(max_records)
            nothing = batch is None
        finally:
            if not nothing:
                self._news.set()
        self._look_at = time.monotonic() + LOOK_S
        return batch

    def _next(self, max_records: int) -> Batch | None:
        while True:
            spans: list[Span] = []
            found: Mapping[int, list[Record]] = {}
            with self._database.single() as connection:
                generation, bounds = groups.glance(connection, self.group, self._tracks)
                settled = self._member is not None and generation == self._settled
                if settled and self._gap(bounds) is None:
                    spans = self._spans(bounds, max_records)
                    found = self._fetch(connection, spans)
            # Only now that the connection is back is the work done, and may a position move.
            if settled:
                self._stop_at_gap(bounds)
                return self._batch(self._advance(spans, found)) if spans else None
            if self._settle():
                return self._batch(())

    def _fetch(self, connection: Connection, spans: Sequence[Span]) -> Mapping[int, list[Record]]:
        if not spans:
            return {}
        return records.fetch(connection, spans, {head: track.at for head, track in self._tracks.items()})

    def _settle(self) -> bool:
        """Take part in a change of the group; whether this reader's own assignment changed."""
        try:
            with self._database.atomic() as connection:
                standing = groups.settle(connection, self._seat, self._member)
        except Fenced:
            self._closed = True
            self._on_close(self)
            raise
        return self._adopt(standing)

    def _adopt(self, standing: Standing) -> bool:
        before = {head: track.since for head, track in self._tracks.items()}
        joined = standing.member != self._member
        self._member, self._settled = standing.member, standing.generation
        if not joined and before == {holding.head: holding.since for holding in standing.holdings}:
            return False
        self._generation = standing.generation
        self._tracks = {
            holding.head: self._tracks[holding.head]
            if before.get(holding.head) == holding.since
            else _Track(self._database.catalogue.partition(holding.head), holding.since, holding.committed)
            for holding in standing.holdings
        }
        return True

    def _gap(self, bounds: Bounds) -> int | None:
        """The head of a partition whose next offset is not in the log."""
        for head, track in self._tracks.items():
            first, end = bounds[head]
            if not (track.stopped or track.position is None or first <= track.position <= end):
                return head
        return None

    def _stop_at_gap(self, bounds: Bounds) -> None:
        head = self._gap(bounds)
        if head is not None:
            track = self._tracks[head]
            track.stopped = True
            first, end = bounds[head]
            raise OffsetOutOfRange(track.at, asked=track.position or 0, first=first, end=end)

    def _spans(self, bounds: Bounds, max_records: int) -> list[Span]:
        """What to read of which partition."""
        heads = []
        available = []
        for head, track in self._tracks.items():
            if not track.stopped:
                first, end = bounds[head]
                if track.position is None:
                    # From now on it is an offset owed: should it be trimmed away, that is a gap.
                    track.position = first
                heads.append((head, track.position))
                available.append(end - track.position)
        self._turn += 1
        shares = share_out(available, max_records, self._turn)
        return [Span(head, start, count) for (head, start), count in zip(heads, shares, strict=True) if count]

    def _advance(self, spans: Sequence[Span], found: Mapping[int, list[Record]]) -> tuple[Record, ...]:
        batch: list[Record] = []
        for span in spans:
            run = found.get(span.head, [])
            # Offsets have no holes: what is missing was trimmed just now. The next look finds that out and says so.
            if len(run) == span.count:
                self._tracks[span.head].position = span.start + span.count
                batch += run
        return tuple(batch)

    def _batch(self, found: tuple[Record, ...]) -> Batch:
        return Batch(found, frozenset(track.at for track in self._tracks.values()), self._generation)
