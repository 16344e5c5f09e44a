"""The bus over PostgreSQL: the log of the embedded default, with the promises of Kafka and no service to install."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Engine

from orchestrator.bus import groups, records, schema
from orchestrator.bus.database import Database
from orchestrator.bus.errors import told
from orchestrator.bus.groups import Seat
from orchestrator.bus.reader import PostgresReader
from orchestrator.bus.watch import Watch
from schemas.transport import BusError, Message, Position, TopicPartition


class PostgresBus:
    """See :class:`schemas.transport.Bus`. The topics must have been made by :meth:`install`.

    Args:
        engine: PostgreSQL through psycopg2. The bus takes connections from its pool for each piece of work, and
            one more that it keeps while there are readers. The owner disposes of it, after :meth:`close`.
        session_s: how long a member of a group may be silent (killed, frozen, cut off) before others take its
            partitions, in seconds.
        patience_s: how long a reader may go without polling, in seconds, before it counts as silent.
    """

    def __init__(self, engine: Engine, *, session_s: float = 10.0, patience_s: float = 300.0) -> None:
        self._database = Database(engine)
        self._session_s = session_s
        self._watch = Watch(self._database, session_s=session_s, patience_s=patience_s)
        self._lock = threading.Lock()
        self._readers: set[PostgresReader] = set()
        self._closed = False

    @staticmethod
    def install(engine: Engine, topics: Mapping[str, int]) -> None:
        """Make the tables and topics (name to partitions) that are missing.

        Raises:
            BusError: a topic exists with another number of partitions, or the tables are of another version.
        """
        told(schema.install)(engine, topics)

    @told
    def publish(self, messages: Sequence[Message]) -> tuple[Position, ...]:
        """See :meth:`schemas.transport.Publisher.publish`. All of the messages, or none: they go in one transaction."""
        self._refuse_closed()
        if not messages:
            return ()
        with self._database.atomic() as connection:
            return records.append(connection, self._database.catalogue, messages)

    @told
    def reader(self, group: str, topics: Sequence[str], member: str) -> PostgresReader:
        """See :meth:`schemas.transport.Bus.reader`. A member of the same name loses its place, at once, to this one."""
        ids = dict.fromkeys(self._database.catalogue.topic(topic).id for topic in topics)
        reader = PostgresReader(self._database, Seat(group, member, tuple(ids), self._session_s), self._forget)
        with self._lock:
            self._refuse_closed()
            self._readers.add(reader)
        self._watch.add(reader)
        return reader

    @told
    def committed(self, group: str, at: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """See :meth:`schemas.transport.Bus.committed`."""
        heads = {self._database.catalogue.head(one): one for one in at}
        with self._database.single() as connection:
            offsets = groups.committed(connection, group, heads)
        return {one: offsets.get(head, 0) for head, one in heads.items()}

    @told
    def partitions(self, topic: str) -> int:
        """See :meth:`schemas.transport.Bus.partitions`."""
        return len(self._database.catalogue.topic(topic).heads)

    @told
    def identity(self, topic: str) -> str:
        """See :meth:`schemas.transport.Bus.identity`."""
        return self._database.catalogue.topic(topic).identity

    @told
    def trim(self, topic: str, before_ms: int) -> int:
        """Remove records older than ``before_ms`` (milliseconds of the epoch), and say how many went.

        Whoever still had to read them gets :class:`schemas.transport.OffsetOutOfRange`.
        """
        with self._database.single() as connection:
            return records.trim(connection, self._database.catalogue.topic(topic), before_ms)

    def close(self) -> None:
        """See :meth:`schemas.transport.Bus.close`."""
        with self._lock:
            self._closed = True
            readers = list(self._readers)
        try:
            for reader in readers:
                reader.close()
        finally:
            self._watch.close()

    def _forget(self, reader: PostgresReader) -> None:
        self._watch.remove(reader)
        with self._lock:
            self._readers.discard(reader)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise BusError("this bus is closed")
