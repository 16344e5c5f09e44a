"""Holding the derived tables against the events, without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from orchestrator.store import replay
from orchestrator.store import rows as r
from orchestrator.store.replay import folded, ids_after, installation
from orchestrator.store.store import Store
from orchestrator.store.tables import SCHEMA
from schemas.events import INSTALLATION

Progress = Callable[[int], None]
"""Is told how many streams are compared so far."""

Key = TypeVar("Key", bound=tuple[str, ...])
"""What names a row: request, request and product, or tenant and product."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not what the events say. ``key`` is its request (or scope, of a brake)."""

    table: str
    key: str
    kind: str
    """``missing``, ``surplus`` or ``changed``."""


def compare(store: Store, progress: Progress = lambda _: None) -> Iterator[Difference]:
    """Hold the derived tables and the streams' heads against the events, without changing anything.

    Each page is read as of one moment, so what the running system does meanwhile is no difference.
    """
    database = store.database.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    low: str | None = None
    done = 0
    while True:
        with database.connect() as connection:
            ids = ids_after(connection, low)
            high = ids[-1] if len(ids) == replay.PAGE else None
            found = list(_compare_range(connection, store.shards, (low, high), ids))
            if low is None:
                found += _compare_brakes(connection)
        yield from found
        done += len(ids)
        progress(done)
        if high is None:
            return
        low = high


_Range = tuple[str | None, str | None]
"""Streams after the first id, up to and including the second; ``None``: without end."""


@dataclass(frozen=True, slots=True)
class _Form:
    """A table's columns with their types; the first ``keys`` of them name a row, and the first one its stream."""

    table: str
    columns: tuple[tuple[str, str], ...]
    keys: int


_REQUESTS = _Form("requests", r.REQUEST_COLUMNS, 1)
_STEPS = _Form("steps", r.STEP_COLUMNS, 2)
_TIMERS = _Form("timers", r.TIMER_COLUMNS, 1)
_WAITS = _Form("waits", r.WAIT_COLUMNS, 2)
_STREAMS = _Form("streams", (("id", "uuid"), ("version", "integer")), 1)


def _compare_range(connection: Connection, shards: int, between: _Range, ids: Sequence[str]) -> Iterator[Difference]:
    states = [state for state, _ in folded(connection, ids)]
    heads = {state.id: state.n for state in states}
    if INSTALLATION in ids:
        heads[INSTALLATION] = len(installation(connection))
    expected: list[tuple[_Form, list[r.Row]]] = [
        (_REQUESTS, [r.request_row(state, shards) for state in states]),
        (_STEPS, [r.step_row(state, name, shards) for state in states for name in state.steps]),
        (_TIMERS, [row for state in states if (row := r.timer_row(state, shards)) is not None]),
        (_WAITS, [row for state in states for row in r.wait_rows(state)]),
        (_STREAMS, list(heads.items())),
    ]
    for form, rows in expected:
        there = {row[: form.keys]: row for row in _rows(connection, form, between)}
        yield from _differences(form.table, there, {row[: form.keys]: row for row in rows})


def _rows(connection: Connection, form: _Form, between: _Range) -> Iterator[r.Row]:
    low, high = between
    listed = ", ".join(f'"{name}"::text' if kind == "uuid" else f'"{name}"' for name, kind in form.columns)
    stream = form.columns[0][0]
    conditions = [f"{stream} > CAST(:low AS uuid)"] if low else []
    conditions += [f"{stream} <= CAST(:high AS uuid)"] if high else []
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = sa.text(f"SELECT {listed} FROM {SCHEMA}.{form.table} {where}")
    return map(_plain, connection.execute(statement, {"low": low, "high": high}))


def _plain(row: Iterable[object]) -> r.Row:
    return tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)


def _compare_brakes(connection: Connection) -> Iterator[Difference]:
    found = connection.execute(sa.text("SELECT tenant, product, seq, since FROM oblio.brakes"))
    there = {(str(tenant), str(product)): (seq, since) for tenant, product, seq, since in found}
    yield from _differences("brakes", there, r.brakes(installation(connection)))


def _differences(table: str, there: Mapping[Key, object], wanted: Mapping[Key, object]) -> Iterator[Difference]:
    for key in sorted(there.keys() | wanted.keys()):
        if there.get(key) != wanted.get(key):
            kind = "missing" if key not in there else "surplus" if key not in wanted else "changed"
            yield Difference(table, "/".join(key), kind)
