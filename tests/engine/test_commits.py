"""What is committed is committed once and whole: heads, offsets, epochs, and crashes in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from orchestrator.desk import Desk
from orchestrator.domain.commands import Operate
from orchestrator.domain.state import State
from orchestrator.receiver import Receiver
from orchestrator.store.unit import LostOffsets, LostShard, Unit
from schemas import messages as m
from schemas.codes import HoldCode, Role
from schemas.topics import Topic
from schemas.transport import BusError
from tests.engine.house import ACTOR, SHARDS, House, wish

ALL = list(range(SHARDS))
TABLES = (
    "events",
    "streams",
    "requests",
    "steps",
    "timers",
    "vault",
    "index",
    "open_subjects",
    "submissions",
    "outbox",
)


class Crash(BaseException):
    """The process ends here; nothing of the program may catch it."""


def crash(*_: Any, **__: Any) -> None:
    raise Crash


def hold(request: str) -> Operate:
    return Operate(
        m.HoldOperation(
            tenant="acme",
            request=request,
            actor=ACTOR,
            role=Role.SRE,
            hold="hold-0123456789ab",
            code=HoldCode.LITIGATION,
            review_on="2031-01-01",
            product="voice",
        )
    )


# --- heads ---------------------------------------------------------------------------------------------------------


def test_a_head_moves_only_from_where_it_was_believed_to_be(house: House):
    [request] = house.accepted(wish("ada"))
    owned = house.store.take_shards(ALL, "a")
    with house.store.unit(owned) as unit:
        desk = Desk(unit, {}, house.policy, house.clock())
        desk.load([request])
        desk.apply(request, hold(request))
        unit.connection.exec_driver_sql("UPDATE oblio.streams SET version = version + 1")
        with pytest.raises(LostShard):
            unit.write(desk.changes)
        unit.connection.rollback()
    assert "HoldPlaced" not in house.events(request)


def test_two_who_decide_for_one_stream_go_one_after_the_other(house: House):
    [request] = house.accepted(wish("ada"))
    owned = house.store.take_shards(ALL, "a")
    with house.store.unit(owned) as first:
        first.versions([request])
        with house.store.unit(owned) as second:
            second.connection.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(OperationalError) as waited:
                second.versions([request])
    assert waited.value.orig.pgcode == "55P03"


def test_a_stale_state_concerns_its_own_stream_alone(house: House, monkeypatch: pytest.MonkeyPatch):
    """What one instance remembers of a request may be old; only that request is read anew, and nobody loses a batch."""
    ada, bob, eve = house.accepted(wish("ada"), wish("bob"), wish("eve"))
    house.step(2)
    house.work()
    with house.store.unit({}) as unit:
        desk = Desk(unit, {}, house.policy, house.clock())
        desk.load([bob])
        desk.apply(bob, hold(bob))
        unit.write(desk.changes)
    read: list[str] = []
    states = Unit.states

    def noting(self: Unit, ids: Sequence[str]) -> dict[str, State]:
        read.extend(ids)
        return states(self, ids)

    monkeypatch.setattr(Unit, "states", noting)
    house.step()
    assert read == [bob]
    for request in (ada, bob, eve):
        assert house.events(request).count("Succeeded") == 4
    assert house.events(bob).count("HoldPlaced") == 1


# --- epochs --------------------------------------------------------------------------------------------------------


def test_a_zombie_commits_nothing(house: House):
    """Frozen while another instance took its shards over: it may decide what it likes."""
    [request] = house.accepted(wish("ada"))
    house.step(2)
    house.work()
    house.store.take_shards(ALL, "another")
    before = house.events(request), house.sql("SELECT * FROM oblio.offsets ORDER BY log, partition")
    with pytest.raises(LostShard):
        house.step()
    with pytest.raises(LostShard):
        house.engine._turn(())
    assert (house.events(request), house.sql("SELECT * FROM oblio.offsets ORDER BY log, partition")) == before


def test_who_lost_shards_and_reads_the_assignment_anew_goes_on(house: House):
    house.accepted(wish("ada"))
    house.store.take_shards(ALL, "another")
    with pytest.raises(LostShard):
        house.step(3)
    house.engine._recover(LostShard())
    house.settle()
    assert house.ends() == ["completed"]


def test_a_shard_cannot_be_taken_in_the_middle_of_a_transaction(house: House):
    owned = house.store.take_shards(ALL, "a")
    with house.store.unit(owned), house.database.begin() as other:
        other.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(OperationalError) as waited:
            other.exec_driver_sql("UPDATE oblio.shards SET epoch = epoch + 1")
    assert waited.value.orig.pgcode == "55P03"


def test_two_instances_share_the_shards_and_the_work(house: House):
    other = house.new_engine("o2")
    for _ in range(6):
        house.step()
        other.step(0)
    assert {owner for (owner,) in house.sql("SELECT owner FROM oblio.shards")} == {"o1", "o2"}
    house.ask(*(wish(f"person{n}") for n in range(12)))
    for _ in range(20):
        house.step()
        other.step(0)
        house.work()
    assert house.ends() == ["completed"] * 12
    assert house.count("quarantine") == 0


# --- offsets -------------------------------------------------------------------------------------------------------


def test_a_crash_before_the_commit_leaves_nothing_and_loses_nothing(house: House, monkeypatch: pytest.MonkeyPatch):
    house.step()
    before = {table: house.count(table) for table in TABLES}
    house.ask(wish("ada"))
    with monkeypatch.context() as patched:
        patched.setattr(Unit, "write", crash)
        with pytest.raises(Crash):
            house.step(3)
    assert {table: house.count(table) for table in TABLES} == before
    assert {row.next for row in house.sql("SELECT next FROM oblio.offsets")} == {0}
    house.engine.close()
    house.engine = house.new_engine("o2")
    house.settle()
    assert house.ends() == ["completed"]
    assert {row.next for row in house.sql("SELECT next FROM oblio.offsets")} != {0}


def test_offsets_that_another_reader_moved_stop_the_batch(house: House):
    house.step()
    house.ask(wish("ada"))
    house.execute("UPDATE oblio.offsets SET next = next + 1")
    with pytest.raises(LostOffsets):
        house.step(2)
    assert house.count("events") == 0


def test_a_record_that_comes_again_is_passed_over(house: House):
    """The log's own offset is for lag tools: here it goes back, and ours stands."""
    house.accepted(wish("ada"))
    house.settle()
    house.engine.close()
    house.execute("UPDATE bus.cursors SET committed = 0 WHERE group_name = 'orchestrator'")
    house.engine = house.new_engine("o2")
    house.settle()
    assert (house.count("requests"), house.count("quarantine")) == (1, 0)


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_crash_between_commit_and_publish_publishes_again(house: House, monkeypatch: pytest.MonkeyPatch, place: str):
    """``before``: the log got nothing. ``after``: it got everything, and the outbox does not know."""
    house.step()
    house.ask(wish("ada"))
    target: tuple[object, str] = (house.bus, "publish") if place == "before" else (house.store, "published")
    with monkeypatch.context() as patched:
        patched.setattr(target[0], target[1], crash)
        with pytest.raises(Crash):
            house.step(4)
    assert house.count("outbox") > 0
    house.engine.close()
    house.engine = house.new_engine("o2")
    house.settle()
    assert (house.ends(), house.count("outbox")) == (["completed"], 0)
    copies = house.sql(
        """SELECT count(*), count(DISTINCT value) FROM bus.records r JOIN bus.heads h ON h.id = r.head_id
           JOIN bus.topics t ON t.id = h.topic_id WHERE t.name = :topic""",
        topic=Topic.EVENTS.value,
    )
    assert copies[0][1] == house.count("events"), "each event is on the log, once or more"


def test_a_log_that_is_down_keeps_the_outbox(house: House, monkeypatch: pytest.MonkeyPatch):
    house.step()
    house.ask(wish("ada"))

    def down(*_: object) -> None:
        raise BusError("down")

    with monkeypatch.context() as patched:
        patched.setattr(house.bus, "publish", down)
        with pytest.raises(BusError):
            house.step(3)
        house.engine._recover(BusError("down"))
    waiting = house.count("outbox")
    assert waiting > 0
    house.settle()
    assert house.ends() == ["completed"]


def test_a_record_that_our_code_fails_over_goes_to_quarantine_alone(house: House, monkeypatch: pytest.MonkeyPatch):
    create: Callable[..., None] = Receiver._create

    def failing(self: Receiver, desk: Desk, request: str, asked: Any, *more: Any) -> None:
        if asked.erase.case == "poison":
            raise ZeroDivisionError
        create(self, desk, request, asked, *more)

    monkeypatch.setattr(Receiver, "_create", failing)
    sent = house.ask(wish("ada"), wish("eve", case="poison"), wish("eve"), wish("bob"))
    house.settle()
    assert house.ends() == ["completed"] * 3
    [line] = house.queries.rejected_at([one.position for one in sent])
    assert (line.code.value, line.position) == ("internal_error", sent[1].position)
    assert house.queries.request_of(sent[1].key) is None
    assert house.count("open_subjects") == 0
