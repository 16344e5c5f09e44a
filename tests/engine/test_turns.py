"""Two requests for one subject: the second waits, whoever is faster, and always hears when its turn has come."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from orchestrator.desk import Desk
from orchestrator.store.unit import Unit
from schemas.topics import Topic
from schemas.transport import TopicPartition
from tests.engine.house import House, email, wish


def test_the_second_waits_and_then_runs(house: House):
    [first] = house.accepted(wish("ada"))
    [second] = house.accepted(wish("ada"))
    assert house.view(second).behind == (first,)
    assert house.stage(second) == "behind"
    house.settle()
    assert house.ends() == ["completed", "completed"]
    assert house.events(second)[:3] == ["Accepted", "TurnCame", "PhaseStarted"]
    assert house.count("waits") == 0


def test_one_identifier_in_common_is_enough_and_tenants_are_apart(house: House):
    both = replace(wish("ada"), identifiers=(email("ada"), email("bob")))
    ada, bob, other = house.accepted(wish("ada"), wish("bob"), wish("ada", "globex"))
    [last] = house.accepted(both)
    assert set(house.view(last).behind) == {ada, bob}
    assert house.view(other).behind == ()
    house.settle(turns=80)
    assert house.ends() == ["completed"] * 4


def test_a_chain_runs_in_its_order(house: House):
    chain = [house.accepted(wish("ada"))[0] for _ in range(4)]
    for before, after in itertools.pairwise(chain):
        assert house.view(after).behind == (before,)
    house.settle(turns=120)
    ended = [row[0] for row in house.sql("SELECT id::text FROM oblio.requests ORDER BY ended_at, id")]
    assert sorted(ended) == sorted(chain)
    assert house.ends() == ["completed"] * 4


# --- the race ------------------------------------------------------------------------------------------------------


@contextmanager
def intake(house: House) -> Iterator[Callable[[], None]]:
    """A second instance's transaction, which takes in what is on the requests topic; committed at the end."""
    reader = house.bus.reader("second", [Topic.REQUESTS.value], "second")
    reader.poll(1, 0)
    with house.store.unit({}) as unit:

        def receive() -> None:
            desk = Desk(unit, {}, house.policy, house.clock())
            house.engine._receiver.receive(desk, reader.poll(100, 1).records)
            unit.write(desk.changes)

        yield receive


def blocked(house: House) -> bool:
    """Whether somebody waits for a lock in this database."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        waiting = house.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if waiting[0][0]:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def almost(house: House) -> House:
    """A request whose last acknowledgement lies ready: the next step ends it. Its submission is read already."""
    house.accepted(wish("ada"))
    for _ in range(10):
        house.work()
        if house.count("requests") and house.sql("SELECT 1 FROM oblio.steps WHERE product = 'logs' AND in_flight"):
            break
        house.step()
    house.work()
    assert house.ends() == []
    reader = house.bus.reader("second", [Topic.REQUESTS.value], "first")
    reader.poll(1, 0)
    records = reader.poll(100, 1).records
    reader.commit({TopicPartition(record.topic, record.partition): record.offset + 1 for record in records})
    reader.close()
    return house


def test_intake_first_then_the_end_waits_for_it_and_gives_the_turn(almost: House):
    house = almost
    with intake(house) as receive:
        [submitted] = house.ask(wish("ada"))
        receive()
        ending = threading.Thread(target=house.step)
        ending.start()
        assert blocked(house)
        assert house.ends() == []
    ending.join()
    second = house.request_of(submitted)
    house.settle()
    assert house.ends() == ["completed", "completed"]
    assert "TurnCame" in house.events(second)


def test_the_end_first_then_intake_waits_for_it_and_is_behind_nobody(almost: House, monkeypatch: pytest.MonkeyPatch):
    house = almost
    go, there = threading.Event(), threading.Event()
    turns = Unit._turns

    def slow(self: Unit, ended: list[str]):
        if ended:
            there.set()
            go.wait(10)
        return turns(self, ended)

    monkeypatch.setattr(Unit, "_turns", slow)
    ending = threading.Thread(target=house.step)
    ending.start()
    assert there.wait(10)
    done = threading.Event()
    [submitted] = house.ask(wish("ada"))

    def take_in() -> None:
        with intake(house) as receive:
            receive()
        done.set()

    taking = threading.Thread(target=take_in)
    taking.start()
    assert blocked(house)
    assert not done.is_set()
    go.set()
    ending.join()
    taking.join()
    second = house.request_of(submitted)
    assert house.view(second).behind == ()
    house.settle()
    assert house.ends() == ["completed", "completed"]


def test_two_intakes_at_once_agree_who_is_first(house: House):
    house.step()
    with intake(house) as receive:
        house.ask(wish("ada"))
        receive()
        [other] = house.ask(wish("ada"))
        taking = threading.Thread(target=house.step)
        taking.start()
        assert blocked(house)
    taking.join()
    house.settle()
    assert house.ends() == ["completed", "completed"]
    assert "TurnCame" in house.events(house.request_of(other))


# --- word that was lost --------------------------------------------------------------------------------------------


def test_upkeep_tells_who_still_waits_behind_an_ended_request(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Unit, "_turns", lambda self, ended: [])
    house.accepted(wish("ada"))
    [second] = house.accepted(wish("ada"))
    house.settle()
    assert house.stage(second) == "behind"
    house.clock.pass_(seconds=120)
    house.settle()
    assert house.stage(second) == "behind", "word may still be under way"
    house.clock.pass_(seconds=300)
    house.settle(turns=80)
    assert house.ends() == ["completed", "completed"]
    assert house.events(second).count("TurnCame") == 1
