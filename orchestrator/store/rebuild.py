"""Folding the derived tables anew from the events, beside the running system, and swapping them in.

New tables grow in a schema of their own, :data:`ASIDE`, page of streams by page. A trigger notes which streams are
appended to meanwhile; these are folded again. The swap is one short transaction: it keeps the engines from beginning
another, folds what was noted since, and moves the new tables to the place of the old ones, with names, indexes, storage
settings and grants the same. Needs the rights of the tables' owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from orchestrator.store import derived, install, replay, tables
from orchestrator.store import rows as r
from orchestrator.store.database import execute_rows
from orchestrator.store.replay import folded, installation, pages
from orchestrator.store.store import Store
from orchestrator.store.tables import SCHEMA, TableKind
from schemas.events import INSTALLATION

log = structlog.get_logger()

ASIDE = "oblio_rebuild"
"""Schema of the tables that are being built. Nothing else is ever in it."""

REBUILD_LOCK = 0x0B110530
"""Advisory lock: one rebuild at a time."""

CALM = 200
"""So few streams noted that the rest may wait for the swap."""

TRIES = 20
"""How often each change of the tables is tried: it gives way to whoever holds a lock for long."""

Progress = Callable[[int], None]
"""Is told how many streams are folded so far."""


class RebuildUnderWay(Exception):
    """Somebody else is rebuilding."""


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What was done. ``heads``: streams whose head was behind their events, or missing, and was set right.

    ``ahead``: streams whose head is beyond their last event: events are lost, and no rebuild can bring them back.
    """

    streams: int
    events: int
    caught_up: int
    heads: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tally:
    streams: int = 0
    events: int = 0
    caught_up: int = 0
    heads: dict[str, int] = field(default_factory=dict)
    ahead: set[str] = field(default_factory=set)


def rebuild(store: Store, progress: Progress = lambda _: None) -> RebuildReport:
    """Rebuild the derived tables while the system runs, and swap them in.

    Args:
        store: with the rights of the owner of the tables.
        progress: told after every page how many streams are folded.

    Raises:
        RebuildUnderWay: another rebuild works.
        orchestrator.store.replay.BrokenHistory: a stream has a gap; nothing has changed.
    """
    with _alone(store):
        _patiently(store, _clear)
        _patiently(store, _prepare)
        try:
            tally = _Tally()
            for page in pages(store):
                with store.database.begin() as connection:
                    _fold_into(connection, page, store.shards, tally)
                tally.streams += len(page)
                progress(tally.streams)
            while _catch_up(store, tally) > CALM:
                pass
            _analyse(store)
            _patiently(store, lambda connection: _swap(connection, store.shards, tally))
        finally:
            _patiently(store, _clear)
    return RebuildReport(
        tally.streams, tally.events, tally.caught_up, tuple(sorted(tally.heads)), tuple(sorted(tally.ahead))
    )


# --- folding -------------------------------------------------------------------------------------------------------


def _fold_into(connection: Connection, ids: Sequence[str], shards: int, tally: _Tally) -> None:
    """Put the rows of these streams in the tables aside, whatever stood there of them."""
    _forget(connection, ids)
    heads = _heads(connection, ids)
    states = []
    for state, count in folded(connection, ids):
        states.append(state)
        tally.events += count
        _verify_head(tally, state.id, state.n, heads.get(state.id))
    derived.insert_requests(connection, states, shards, schema=ASIDE)
    derived.insert_steps(connection, [(state, name) for state in states for name in state.steps], shards, schema=ASIDE)
    timers = [row for state in states if (row := r.timer_row(state, shards)) is not None]
    derived.put_timers(connection, timers, schema=ASIDE)
    derived.insert_waits(connection, states, schema=ASIDE)
    if INSTALLATION in ids:
        _fold_brakes(connection, tally, heads.get(INSTALLATION))


def _fold_brakes(connection: Connection, tally: _Tally, head: int | None) -> None:
    history = installation(connection)
    connection.execute(sa.text(f"DELETE FROM {ASIDE}.brakes"))
    execute_rows(
        connection,
        f"INSERT INTO {ASIDE}.brakes (tenant, product, seq, since) SELECT tenant, product, seq, since FROM {{rows}}",
        (("tenant", "text"), ("product", "text"), ("seq", "integer"), ("since", "bigint")),
        [(*scope, *row) for scope, row in r.brakes(history).items()],
    )
    tally.events += len(history)
    _verify_head(tally, INSTALLATION, len(history), head)


def _forget(connection: Connection, ids: Sequence[str]) -> None:
    for table, column in (("requests", "id"), ("steps", "request"), ("timers", "request"), ("waits", "request")):
        connection.execute(
            sa.text(f"DELETE FROM {ASIDE}.{table} WHERE {column} = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
        )


def _heads(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    found = connection.execute(
        sa.text("SELECT id::text, version FROM oblio.streams WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
    )
    return dict(found.all())


def _verify_head(tally: _Tally, stream: str, last: int, head: int | None) -> None:
    """A stream that is folded again, because it was appended to meanwhile, is judged again."""
    tally.heads.pop(stream, None)
    tally.ahead.discard(stream)
    if head is None or head < last:
        tally.heads[stream] = last
    elif head > last:
        tally.ahead.add(stream)


# --- beside the running system -------------------------------------------------------------------------------------


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    with store.database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(REBUILD_LOCK))):
            raise RebuildUnderWay("another rebuild is under way")
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(REBUILD_LOCK)))


def _patiently(store: Store, work: Callable[[Connection], None]) -> None:
    """Do ``work`` in a transaction that gives way to whoever holds a lock for long, and is tried again."""
    for attempt in range(TRIES):
        try:
            with store.database.begin() as connection:
                connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
                work(connection)
        except sa.exc.OperationalError as error:
            if attempt + 1 == TRIES:
                raise
            log.warning("rebuild_gives_way", sqlstate=getattr(error.orig, "pgcode", None))
        else:
            return


def _prepare(connection: Connection) -> None:
    """Empty tables aside, and the trigger that notes appended streams.

    Making the trigger waits for the transactions that are appending: whatever they wrote is there to be read before
    the first page is, and whatever comes later is noted.
    """
    connection.exec_driver_sql(f"CREATE SCHEMA {ASIDE}")
    aside = connection.execution_options(schema_translate_map={SCHEMA: ASIDE})
    tables.metadata.create_all(aside, tables.tables_of(TableKind.DERIVED))
    connection.exec_driver_sql(f"CREATE TABLE {ASIDE}.noted (id uuid NOT NULL)")
    connection.exec_driver_sql(
        f"""CREATE FUNCTION {ASIDE}.note() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path = pg_catalog AS $$
            BEGIN INSERT INTO {ASIDE}.noted SELECT DISTINCT id FROM appended; RETURN NULL; END $$"""
    )
    connection.exec_driver_sql(
        f"""CREATE TRIGGER rebuild AFTER INSERT ON oblio.events REFERENCING NEW TABLE AS appended
            FOR EACH STATEMENT EXECUTE FUNCTION {ASIDE}.note()"""
    )


def _clear(connection: Connection) -> None:
    """Take away what this rebuild, or one that was killed, has left."""
    connection.exec_driver_sql("DROP TRIGGER IF EXISTS rebuild ON oblio.events")
    connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {ASIDE} CASCADE")


def _catch_up(store: Store, tally: _Tally) -> int:
    """Fold again what was noted; how many streams that were."""
    with store.database.begin() as connection:
        return _drain(connection, store.shards, tally, replay.PAGE)


def _drain(connection: Connection, shards: int, tally: _Tally, limit: int | None) -> int:
    """Fold again up to ``limit`` noted streams. A note that comes meanwhile stays for the next time."""
    found = connection.execute(
        sa.text(
            f"""WITH page AS (SELECT DISTINCT id FROM {ASIDE}.noted ORDER BY id LIMIT CAST(:limit AS integer))
                DELETE FROM {ASIDE}.noted t USING page WHERE t.id = page.id RETURNING t.id::text"""
        ),
        {"limit": limit},
    )
    ids = sorted(set(found.scalars()))
    if ids:
        _fold_into(connection, ids, shards, tally)
    tally.caught_up += len(ids)
    return len(ids)


def _analyse(store: Store) -> None:
    """Let the planner know the new tables before they are asked anything."""
    with store.database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for table in tables.tables_of(TableKind.DERIVED):
            connection.exec_driver_sql(f"ANALYZE {ASIDE}.{table.name}")


def _swap(connection: Connection, shards: int, tally: _Tally) -> None:
    names = [table.name for table in tables.tables_of(TableKind.DERIVED)]
    # Every transaction of an engine begins with its shards' rows: this waits for those under way, and no other begins.
    connection.exec_driver_sql("LOCK TABLE oblio.shards IN EXCLUSIVE MODE")
    _drain(connection, shards, tally, None)
    connection.exec_driver_sql(f"LOCK TABLE {', '.join(f'{SCHEMA}.{name}' for name in names)} IN ACCESS EXCLUSIVE MODE")
    _mend_heads(connection, tally.heads)
    for name in names:
        connection.exec_driver_sql(f"DROP TABLE {SCHEMA}.{name}")
        connection.exec_driver_sql(f"ALTER TABLE {ASIDE}.{name} SET SCHEMA {SCHEMA}")
    if install.roles_missing(connection):
        log.warning("rebuild_without_grants")
    else:
        install.grant(connection)


def _mend_heads(connection: Connection, heads: dict[str, int]) -> None:
    if heads:
        connection.execute(
            sa.text(
                """INSERT INTO oblio.streams (id, version)
                   SELECT id, version FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[])) AS h(id, version)
                   ON CONFLICT (id) DO UPDATE SET version = excluded.version"""
            ),
            {"ids": list(heads), "versions": list(heads.values())},
        )
