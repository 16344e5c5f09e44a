"""The derived tables can be folded anew beside the running system, and are then the same row for row."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from orchestrator.store import rebuild as rebuild_module
from orchestrator.store import replay
from orchestrator.store.comparison import Difference, compare
from orchestrator.store.rebuild import ASIDE, RebuildUnderWay, rebuild
from orchestrator.store.replay import BrokenHistory
from orchestrator.store.store import Store
from schemas import messages as m
from schemas.codes import HoldCode, Mode
from tests.engine.house import SHARDS, House, fresh, wish
from tests.engine.products import done, failing
from tests.postgres import Postgres
from tests.store.test_install import catalogue

DERIVED = ("requests", "steps", "timers", "waits", "brakes", "streams")


def rows(house: House) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the derived tables and of the heads."""
    return {
        table: sorted(
            tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
            for row in house.sql(f"SELECT * FROM oblio.{table}")
        )
        for table in DERIVED
    }


def grants(house: House) -> list[tuple[object, ...]]:
    found = house.sql(
        """SELECT relname, reloptions, relacl::text FROM pg_class
           WHERE relnamespace = 'oblio'::regnamespace AND relkind = 'r' ORDER BY relname"""
    )
    return [tuple(row) for row in found]


@pytest.fixture(scope="module")
def busy(postgres: Postgres) -> Iterator[House]:
    """Requests in many states: ended, waiting behind another, held, in the trash, parked, unread, braked.

    One for all tests here: each leaves the derived tables as it found them.
    """
    house = House(fresh(postgres))
    house.accepted(wish("ada"), wish("bob"))
    house.settle()
    house.products["voice"].answer = failing("ceiling_exceeded")
    house.accepted(wish("parked"))
    house.settle()
    house.products["voice"].answer = done
    _, held = house.accepted(wish("trash", mode=Mode.TRASH), wish("held", mode=Mode.TRASH))
    house.operate(m.HoldOperation, held, hold="hold-0123456789ab", code=HoldCode.LITIGATION, review_on="2031-01-01")
    house.settle()
    house.accepted(wish("twice"), wish("twice"))
    house.settle(without=("guide",))
    house.brake(stopped=True, tenant="globex")
    house.brake(stopped=True, product="chat")
    house.brake(stopped=False, product="chat")
    house.accepted(wish("braked", "globex"))
    house.step(3)
    yield house
    house.close()
    postgres.drop_database(house.url)


@pytest.fixture
def owner(busy: House) -> Store:
    """Rebuilding makes and drops tables: the owner's business."""
    return Store(busy.owner, SHARDS)


def test_the_result_is_the_same_row_for_row(busy: House, owner: Store):
    before, settings = rows(busy), grants(busy)
    indexes = catalogue(busy.owner, "oblio")
    assert all(before[table] for table in DERIVED)
    assert list(compare(owner)) == []
    report = rebuild(owner)
    assert report.streams == busy.count("streams")
    assert report.events == busy.count("events")
    assert (report.heads, report.ahead) == ((), ())
    assert rows(busy) == before
    assert grants(busy) == settings
    assert catalogue(busy.owner, "oblio") == indexes
    assert busy.sql("SELECT count(*) FROM pg_namespace WHERE nspname = :name", name=ASIDE)[0][0] == 0


def test_small_pages_lead_to_the_same(busy: House, owner: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replay, "PAGE", 3)
    before = rows(busy)
    told: list[int] = []
    rebuild(owner, told.append)
    assert told[:2] == [3, 6]
    assert told[-1] == busy.count("streams")
    assert rows(busy) == before
    assert list(compare(owner)) == []


DAMAGES = {
    "a row of a step is gone": ("DELETE FROM oblio.steps WHERE product = 'chat'", "steps", "missing"),
    "a status is wrong": ("UPDATE oblio.steps SET status = 'succeeded' WHERE status = 'parked'", "steps", "changed"),
    "a timer is late": ("UPDATE oblio.timers SET fire_at = fire_at + 1", "timers", "changed"),
    "a request of nobody's": (
        """INSERT INTO oblio.requests SELECT gen_random_uuid(), tenant, shard, stage, mode, "end", parked, held, stopping,
           accepted_at, due_at, ended_at, n, state FROM oblio.requests LIMIT 1""",
        "requests",
        "surplus",
    ),
    "a wait is forgotten": ("DELETE FROM oblio.waits", "waits", "missing"),
    "a brake came off": ("DELETE FROM oblio.brakes", "brakes", "missing"),
    "a head is behind": ("UPDATE oblio.streams SET version = version - 1 WHERE version > 1", "streams", "changed"),
    "a head is gone": ("DELETE FROM oblio.streams WHERE version > 5", "streams", "missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_mended(busy: House, owner: Store, name: str):
    statement, table, kind = DAMAGES[name]
    before = rows(busy)
    damaged = busy.execute(statement)
    assert damaged > 0
    found = list(compare(owner))
    assert {(one.table, one.kind) for one in found} == {(table, kind)}
    assert len(found) == damaged
    report = rebuild(owner)
    assert len(report.heads) == (damaged if table == "streams" else 0)
    assert rows(busy) == before


def test_a_head_beyond_its_events_is_reported_and_left_alone(busy: House, owner: Store):
    [(stream, version)] = busy.sql("SELECT id::text, version FROM oblio.streams ORDER BY id LIMIT 1 OFFSET 1")
    busy.execute("UPDATE oblio.streams SET version = version + 7 WHERE id = CAST(:id AS uuid)", id=stream)
    assert rebuild(owner).ahead == (stream,)
    assert list(compare(owner)) == [Difference("streams", stream, "changed")]
    assert busy.sql("SELECT version FROM oblio.streams WHERE id = CAST(:id AS uuid)", id=stream)[0][0] == version + 7
    busy.execute("UPDATE oblio.streams SET version = version - 7 WHERE id = CAST(:id AS uuid)", id=stream)


def test_a_gap_in_a_history_stops_the_rebuild_and_changes_nothing(house: House):
    [stream] = house.accepted(wish("ada"))
    house.settle()
    before = rows(house)
    with house.owner.begin() as connection:
        connection.execute(sa.text("ALTER TABLE oblio.events DISABLE TRIGGER append_only"))
        connection.execute(sa.text("DELETE FROM oblio.events WHERE n = 3"))
        connection.execute(sa.text("ALTER TABLE oblio.events ENABLE ALWAYS TRIGGER append_only"))
    with pytest.raises(BrokenHistory, match=f"{stream}: there is no event 3"):
        rebuild(Store(house.owner, SHARDS))
    assert rows(house) == before
    assert house.sql("SELECT count(*) FROM pg_trigger WHERE tgname = 'rebuild'")[0][0] == 0


def test_what_a_killed_rebuild_left_is_cleared(busy: House, owner: Store):
    rebuild_module._patiently(owner, rebuild_module._prepare)
    busy.accepted(wish("meanwhile"))
    busy.settle(without=("guide",))
    before = rows(busy)
    rebuild(owner)
    assert rows(busy) == before


def test_two_at_a_time_are_refused(busy: House, owner: Store):
    with rebuild_module._alone(owner), pytest.raises(RebuildUnderWay):
        rebuild(owner)


def test_the_running_system_is_not_disturbed(house: House, monkeypatch: pytest.MonkeyPatch):
    """Two rebuilds while an engine takes in and finishes requests; at rest the tables are what the events say."""
    monkeypatch.setattr(replay, "PAGE", 20)
    monkeypatch.setattr(rebuild_module, "CALM", 2)
    owner = Store(house.owner, SHARDS)
    house.ask(*(wish(f"early{name}") for name in range(40)))
    house.step(4)
    stop, failures = threading.Event(), []

    def run() -> None:
        count = 0
        try:
            while not stop.is_set():
                house.ask(wish(f"late{count}"), wish(f"late{count}"))
                count += 1
                house.step()
                house.work()
        except Exception as error:  # noqa: BLE001  the thread's failure is the test's
            failures.append(error)

    def dawdle(_folded: int) -> None:
        """Let the engine get something done behind the rebuild's back."""
        before, deadline = house.count("events"), time.monotonic() + 5
        while house.count("events") == before and time.monotonic() < deadline:
            time.sleep(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        reports = [rebuild(owner, dawdle) for _ in range(2)]
    finally:
        stop.set()
        thread.join()
    assert not failures
    assert all(report.caught_up for report in reports)
    house.settle(turns=400)
    assert list(compare(owner)) == []
    assert set(house.ends()) == {"completed"}
    assert len(house.ends()) == house.count("requests")


def test_comparing_changes_nothing_and_sees_one_moment(busy: House):
    """The engine's own role may compare: it only reads."""
    before = rows(busy)
    assert list(compare(busy.store)) == []
    assert rows(busy) == before
