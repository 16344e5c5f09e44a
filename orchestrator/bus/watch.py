"""The one thread of a PostgreSQL-backed bus: it wakes readers when there is something for them, and keeps them members.

An idle reader waits for this thread and asks the database nothing. Notifications are a matter of speed alone: whoever
waits looks for itself once a second (:data:`orchestrator.bus.reader.LOOK_S`) should one get lost.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Iterable
from typing import Any, Protocol

import psycopg2
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.bus import groups
from orchestrator.bus.database import Database
from orchestrator.bus.errors import describe
from orchestrator.bus.records import CHANNEL

RECONNECT_S = 0.5
"""Pause before a lost connection is tried again, in seconds."""

_log = structlog.get_logger(__name__)


class Watched(Protocol):
    """A reader, as its bus's thread sees it."""

    group: str
    topics: tuple[int, ...]

    def wake(self) -> None:
        """Have a poll that waits, or the next one, look into the database."""
        ...

    def alive_member(self, patience_s: float) -> int | None:
        """The member whose session is to be renewed; ``None`` if there is none, or it did not poll for so long."""
        ...


class Watch:
    """Listens for all readers of one bus and renews their sessions, three times per session.

    Args:
        database: of the bus; one of its connections is kept for listening.
        session_s: how long a member may be silent before others take its partitions.
        patience_s: how long a reader may go without polling and still count as alive.
    """

    def __init__(self, database: Database, *, session_s: float, patience_s: float) -> None:
        self._database = database
        self._session_s = session_s
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._readers: set[Watched] = set()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._hearing = True
        self._bell_out, self._bell_in = os.pipe()
        os.set_blocking(self._bell_in, False)

    def add(self, reader: Watched) -> None:
        """Watch for a reader; the thread starts with the first one."""
        with self._lock:
            self._readers.add(reader)
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="oblio-bus-watch", daemon=True)
                self._thread.start()

    def remove(self, reader: Watched) -> None:
        """Forget a reader."""
        with self._lock:
            self._readers.discard(reader)

    def close(self) -> None:
        """Stop the thread. A second call does nothing."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        os.write(self._bell_in, b"!")
        if self._thread is not None:
            self._thread.join()
        os.close(self._bell_in)
        os.close(self._bell_out)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen()
            except (SQLAlchemyError, psycopg2.Error, OSError) as error:
                if self._hearing:
                    _log.warning("bus_watch_lost", reason=describe(error))
                    self._hearing = False
                # Who waits now shall see for itself, and tell its owner.
                self._wake_all()
                self._closing.wait(RECONNECT_S)

    def _listen(self) -> None:
        with self._database.single() as connection:
            # Kept out of the pool: a session that listens is of no use to others, and however busy they keep the
            # pool, sessions of members are renewed.
            connection.detach()
            connection.exec_driver_sql(f"LISTEN {CHANNEL}")
            driver: Any = connection.connection.dbapi_connection
            if not self._hearing:
                _log.info("bus_watch_back")
                self._hearing = True
            # Whatever was published before the LISTEN told nobody.
            self._wake_all()
            next_beat = time.monotonic()
            while not self._closing.is_set():
                if time.monotonic() >= next_beat:
                    self._beat(connection)
                    next_beat = time.monotonic() + self._session_s / 3
                _wait([driver, self._bell_out], next_beat - time.monotonic())
                self._hear(driver)

    def _hear(self, driver: Any) -> None:
        driver.poll()
        heard = {notice.payload for notice in driver.notifies}
        driver.notifies.clear()
        for reader in self._all():
            if f"group {reader.group}" in heard or any(f"topic {topic}" in heard for topic in reader.topics):
                reader.wake()

    def _beat(self, connection: Connection) -> None:
        readers = self._all()
        alive = [member for reader in readers if (member := reader.alive_member(self._patience_s)) is not None]
        if not alive:
            return
        groups.beat(connection, alive, self._session_s)
        for group in groups.lost(connection, {reader.group for reader in readers}):
            with self._database.atomic() as change:
                groups.reap(change, group)

    def _wake_all(self) -> None:
        for reader in self._all():
            reader.wake()

    def _all(self) -> list[Watched]:
        with self._lock:
            return list(self._readers)


def _wait(sources: Iterable[Any], timeout_s: float) -> None:
    """Until one of the sources has something to read. A selector, because ``select`` stops at 1,024 open files."""
    with selectors.DefaultSelector() as selector:
        for source in sources:
            selector.register(source, selectors.EVENT_READ)
        selector.select(max(0.0, timeout_s))
