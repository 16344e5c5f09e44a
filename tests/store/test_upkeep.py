"""What has reached its date goes, in bounded pieces, and nothing else."""

from __future__ import annotations

import pytest

from orchestrator.domain.calendar import DAY_MS
from orchestrator.receiver import INDEX_MS, QUARANTINE_MS, SUBMISSION_MS
from orchestrator.store import upkeep as upkeep_module
from orchestrator.store.upkeep import UPKEEP_LOCK, UpkeepReport, upkeep
from schemas.topics import Topic
from schemas.transport import Message
from tests.engine.house import House, wish


@pytest.fixture
def aged(house: House) -> House:
    """One request that has ended, one that is open, and a rejected record."""
    house.accepted(wish("ada"))
    house.settle()
    house.publish(Message(Topic.REQUESTS.value, b"k", b"{"))
    house.settle()
    house.accepted(wish("open"))
    return house


def test_nothing_goes_before_its_date(aged: House):
    assert upkeep(aged.store, aged.clock()) == UpkeepReport()
    assert upkeep(aged.store, aged.clock() + QUARANTINE_MS - 1) == UpkeepReport()


def test_each_goes_on_its_date(aged: House):
    now = aged.clock()
    assert upkeep(aged.store, now + QUARANTINE_MS) == UpkeepReport(quarantine=1)
    assert upkeep(aged.store, now + SUBMISSION_MS) == UpkeepReport(submissions=2)
    assert upkeep(aged.store, now + INDEX_MS) == UpkeepReport(index=2)
    assert upkeep(aged.store, now + INDEX_MS) == UpkeepReport()


def test_identifiers_that_should_have_gone_with_their_request_go(aged: House):
    """Those of open requests stay, whatever their date: their limit is an event's business."""
    aged.execute(
        """INSERT INTO oblio.vault SELECT id, tenant, 'vault.1', ''::bytea, 1 FROM oblio.requests
           ON CONFLICT (request) DO UPDATE SET destroy_at = 1"""
    )
    aged.execute("INSERT INTO oblio.open_subjects SELECT 'acme', 'x'::bytea, id FROM oblio.requests WHERE ended_at > 0")
    assert upkeep(aged.store, aged.clock()) == UpkeepReport(leftovers=2)
    assert (aged.count("vault"), aged.count("open_subjects")) == (1, 1)


def test_it_works_in_pieces(aged: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upkeep_module, "CHUNK", 10)
    monkeypatch.setattr(upkeep_module, "CHUNKS", 3)
    aged.execute(
        """INSERT INTO oblio.index SELECT 'acme', int4send(n), gen_random_uuid(), false, n FROM generate_series(1, 47) n"""
    )
    now = aged.clock()
    assert [upkeep(aged.store, now).index for _ in range(3)] == [30, 17, 0]
    assert aged.count("index") == 2


def test_one_instance_at_a_time(aged: House):
    with aged.owner.begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPKEEP_LOCK})")
        assert upkeep(aged.store, aged.clock() + QUARANTINE_MS) == UpkeepReport()
    assert upkeep(aged.store, aged.clock() + QUARANTINE_MS) == UpkeepReport(quarantine=1)


def test_the_engine_does_it_about_once_a_minute(aged: House):
    aged.clock.ms += 35 * DAY_MS
    aged.step()
    assert aged.count("quarantine") == 0
    aged.execute("INSERT INTO oblio.index VALUES ('acme', 'x', gen_random_uuid(), false, 1)")
    aged.clock.pass_(seconds=59)
    aged.step()
    assert aged.sql("SELECT count(*) FROM oblio.index WHERE destroy_at = 1")[0][0] == 1
    aged.clock.pass_(seconds=1)
    aged.step()
    assert aged.sql("SELECT count(*) FROM oblio.index WHERE destroy_at = 1")[0][0] == 0
