"""Reading histories back: the streams by pages, their events in order, and the states they lead to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from orchestrator.domain.evolve import fold
from orchestrator.domain.state import State
from orchestrator.store.store import Store
from schemas.events import INSTALLATION, Recorded, decode

PAGE = 500
"""Streams read per transaction."""


class BrokenHistory(Exception):
    """The events do not make a history. The text names the stream and its fault."""


def pages(store: Store) -> Iterator[list[str]]:
    """All streams there are, by pages."""
    after: str | None = None
    while True:
        with store.database.connect() as connection:
            page = ids_after(connection, after)
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = page[-1]


def ids_after(connection: Connection, after: str | None) -> list[str]:
    """A page of streams, in order of their ids. ``None``: from the first on, which is the installation's own."""
    where = "WHERE id > CAST(:after AS uuid)" if after is not None else ""
    found = connection.execute(
        sa.text(f"SELECT DISTINCT id FROM oblio.events {where} ORDER BY id LIMIT :page"), {"after": after, "page": PAGE}
    )
    return [str(key) for key in found.scalars()]


def histories(connection: Connection, ids: Sequence[str]) -> Iterator[tuple[str, list[Recorded]]]:
    """Each stream with its events. Raises :class:`BrokenHistory` for one with a gap."""
    found = connection.execute(
        sa.text("SELECT id::text, n, body FROM oblio.events WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id, n"),
        {"ids": list(ids)},
    )
    for stream, group in itertools.groupby(found, key=lambda row: row[0]):
        history = []
        for expected, (_, n, body) in enumerate(group, 1):
            recorded = decode(bytes(body))
            if n != expected or recorded.n != n or recorded.id != stream:
                raise BrokenHistory(f"stream {stream}: there is no event {expected}, or it is not the one it says")
            history.append(recorded)
        yield stream, history


def folded(connection: Connection, ids: Sequence[str]) -> Iterator[tuple[State, int]]:
    """The state of each request among ``ids``, and how many events it has."""
    for stream, history in histories(connection, [stream for stream in ids if stream != INSTALLATION]):
        state = fold(history)
        if state is None:
            raise BrokenHistory(f"stream {stream}: its history makes no state")
        yield state, len(history)


def installation(connection: Connection) -> list[Recorded]:
    """The history of the installation itself: its brakes."""
    return [recorded for _, history in histories(connection, [INSTALLATION]) for recorded in history]
