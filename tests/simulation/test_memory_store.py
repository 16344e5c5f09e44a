"""The store in memory is true: whole seeds run on it and on PostgreSQL at once, and every call must give the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from orchestrator.store import rows as r
from orchestrator.store.database import connect
from orchestrator.store.install import install
from orchestrator.store.store import DueRow, Store
from orchestrator.store.unit import Changes, Unit
from schemas.transport import Position
from tests.postgres import Postgres
from tests.simulation.chance import setting
from tests.simulation.store import MemoryStore, MemoryUnit
from tests.simulation.world import World

pytestmark = [pytest.mark.simulation, pytest.mark.slow]

SEEDS = (3, 14, 41, 68, 73, 87, 540, 688, 995)
"""Among them cancels in line, holds, brakes, restores, two instances and many crashes."""

UNORDERED = frozenset({"due", "vault_entries"})
"""Methods whose order is left open where moments are the same."""


class Differs(AssertionError):
    """The two stores do not say the same."""


def both(name: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> Any:
    """What both give; or what both raise."""
    first = _outcome(ours)
    if isinstance(first, OperationalError):
        raise first  # one of the simulation's own making
    told = [first, _outcome(theirs)]
    if _plain(name, told[0]) != _plain(name, told[1]):
        raise Differs(f"{name}: {told[0]} in memory, {told[1]} in PostgreSQL")
    if isinstance(told[0], Exception):
        raise told[0]
    return told[0]


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return error


def _plain(name: str, told: Any) -> Any:
    if isinstance(told, Exception):
        return type(told)
    return sorted(told, key=str) if name in UNORDERED else told


class TwinUnit:
    """One unit on each store."""

    def __init__(self, ours: MemoryUnit, theirs: Unit) -> None:
        self.shards = ours.shards
        self.ours = ours
        self.theirs = theirs

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            return both(name, lambda: getattr(self.ours, name)(*given), lambda: getattr(self.theirs, name)(*given))

        return call

    def write(self, changes: Changes) -> None:
        copy = replace(changes, outbox=list(changes.outbox))  # the turns of those that wait are added to it
        both("write", lambda: self.ours.write(changes), lambda: self.theirs.write(copy))


class TwinStore(MemoryStore):
    """A store in memory that does everything on PostgreSQL, too."""

    theirs: Store

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._ids: dict[int, int] = {}

    @contextmanager
    def transaction(self, unit: MemoryUnit, owned: Mapping[int, int]) -> Iterator[Any]:
        opened = self.theirs.unit(owned)
        entered: list[Unit] = []
        both("fence", lambda: unit.fence(owned), lambda: entered.append(opened.__enter__()))
        try:
            yield TwinUnit(unit, entered[0])
        except BaseException as error:
            with suppress(type(error)):
                opened.__exit__(type(error), error, error.__traceback__)
            raise
        opened.__exit__(None, None, None)

    def shards_taken(self, shards: Sequence[int], owner: str) -> dict[int, int]:
        ours = super().shards_taken
        taken: dict[int, int] = both(
            "take_shards", lambda: ours(shards, owner), lambda: self.theirs.take_shards(shards, owner)
        )
        return taken

    def offsets_owed(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        ours = super().offsets_owed
        owed: dict[tuple[str, int], int] = both(
            "offsets_owed", lambda: ours(places), lambda: self.theirs.offsets_owed(places)
        )
        return owed

    def outbox(self, shards: Sequence[int], limit: int) -> list[DueRow]:
        ours, theirs = super().outbox(shards, limit), self.theirs.outbox(shards, limit)
        if [replace(row, id=0) for row in ours] != [replace(row, id=0) for row in theirs]:
            raise Differs(f"outbox: {ours} in memory, {theirs} in PostgreSQL")
        self._ids |= {mine.id: other.id for mine, other in zip(ours, theirs, strict=True)}
        return ours

    def confirmed(self, ids: Sequence[int], sent: Sequence[tuple[str, Position]]) -> None:
        super().confirmed(ids, sent)
        self.theirs.published([self._ids[key] for key in ids], sent)


def _select(columns: Sequence[tuple[str, str]], table: str) -> str:
    listed = ", ".join(f'"{name}"' for name, _ in columns)
    return f"SELECT {listed} FROM oblio.{table}"


TABLES: dict[str, Callable[[MemoryStore], set[tuple[Any, ...]]]] = {
    "SELECT shard, epoch, owner FROM oblio.shards": lambda s: {(n, *row) for n, row in s.tables.shards.items()},
    "SELECT log, partition, next FROM oblio.offsets": lambda s: {(*at, n) for at, n in s.tables.offsets.items()},
    "SELECT id::text, version FROM oblio.streams": lambda s: set(s.tables.streams.items()),
    "SELECT id::text, n, body FROM oblio.events": lambda s: {
        (key, n, raw) for key, raws in s.tables.events.items() for n, raw in enumerate(raws, 1)
    },
    _select(r.REQUEST_COLUMNS, "requests"): lambda s: {
        r.request_row(state, s.shards) for state in s.tables.requests.values()
    },
    _select(r.STEP_COLUMNS, "steps"): lambda s: set(s.tables.steps.values()),
    "SELECT request::text, shard, fire_at FROM oblio.timers": lambda s: set(s.tables.timers.values()),
    "SELECT request::text, behind::text FROM oblio.waits": lambda s: set(s.tables.waits),
    "SELECT tenant, product, seq, since FROM oblio.brakes": lambda s: {(*at, *b) for at, b in s.tables.brakes.items()},
    "SELECT key, request::text, body FROM oblio.submissions": lambda s: {
        (key, *row) for key, row in s.tables.submissions.items()
    },
    "SELECT tenant, digest, request::text FROM oblio.open_subjects": lambda s: {
        (*at, request) for at, request in s.tables.open_subjects.items()
    },
    "SELECT request::text, tenant, key, sealed, destroy_at FROM oblio.vault": lambda s: {
        (v.request, v.tenant, v.key, v.sealed, v.destroy_at) for v in s.tables.vault.values()
    },
    "SELECT tenant, digest, request::text, derived FROM oblio.index": lambda s: {
        (i.tenant, i.digest, i.request, i.derived) for i in s.tables.index.values()
    },
    'SELECT topic, partition, "offset", code FROM oblio.quarantine': lambda s: {
        (q.topic, q.partition, q.offset, q.code) for q in s.tables.quarantine.values()
    },
    "SELECT shard, kind, request::text FROM oblio.outbox": lambda s: {
        (row.shard, row.kind, row.request) for row in s.tables.outbox.values()
    },
    'SELECT request::text, partition, "offset" FROM oblio.sent': lambda s: {
        (key, *at) for key, at in s.tables.sent.items()
    },
}
"""How each table is read, and what must be in it."""


def compare_tables(store: MemoryStore, database: sa.Engine) -> None:
    """Row for row, whatever the calls had answered."""
    with database.connect() as connection:
        for query, ours in TABLES.items():
            found = {tuple(_bare(value) for value in row) for row in connection.execute(sa.text(query))}
            assert found == ours(store), query


def _bare(value: Any) -> Any:
    if isinstance(value, memoryview):
        return bytes(value)
    return str(value) if isinstance(value, UUID) else value


@pytest.fixture
def twin(postgres: Postgres) -> Iterator[Callable[[int], type[TwinStore]]]:
    """A kind of store for a world of so many shards, over a database of its own."""
    engines: list[sa.Engine] = []
    urls: list[str] = []

    def make(shards: int) -> type[TwinStore]:
        template = postgres.template(f"simulation {shards}", lambda url: install(url, shards=shards))
        urls.append(postgres.create_database(template=template))
        engines.append(connect(urls[-1]))
        return type("Twin", (TwinStore,), {"theirs": Store(engines[-1], shards)})

    yield make
    for engine in engines:
        engine.dispose()
    for url in urls:
        postgres.drop_database(url)


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_and_postgresql_say_the_same(seed: int, twin: Callable[[int], type[TwinStore]]):
    kind = twin(setting(seed).shards)
    world = World(seed, store=kind)
    checked = 0
    right = world.round

    def round_and_compare() -> bool:
        nonlocal checked
        checked += 1
        worked = right()
        if checked % 10 == 0:
            compare_tables(world.store, kind.theirs.database)
        return worked

    world.round = round_and_compare  # type: ignore[method-assign]
    world.run()
    compare_tables(world.store, kind.theirs.database)
