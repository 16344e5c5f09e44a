"""The truth is only added to, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from orchestrator.store.registry import ProductEntry, register
from tests.engine.house import House, fresh, wish
from tests.postgres import Postgres

TRUTH = ("events", "registry", "installation")
CHANGES = {
    "events": ("UPDATE oblio.events SET n = n", "DELETE FROM oblio.events", "TRUNCATE oblio.events"),
    "registry": ("UPDATE oblio.registry SET at = at", "DELETE FROM oblio.registry", "TRUNCATE oblio.registry"),
    "installation": (
        "UPDATE oblio.installation SET shards = 5",
        "DELETE FROM oblio.installation",
        "TRUNCATE oblio.installation",
    ),
}


@pytest.fixture(scope="module")
def populated(postgres: Postgres) -> Iterator[House]:
    """One for all tests here: nothing can be changed in it."""
    house = House(fresh(postgres))
    register(house.store, [ProductEntry(name="chat")], 1)
    house.accepted(wish("ada"))
    yield house
    house.close()
    postgres.drop_database(house.url)


def refused(engine: sa.Engine, *statements: str) -> str:
    """The SQLSTATE with which the last statement fails."""
    with engine.connect() as connection:
        for statement in statements[:-1]:
            connection.execute(sa.text(statement))
        with pytest.raises(sa.exc.DBAPIError) as error:
            connection.execute(sa.text(statements[-1]))
    return str(error.value.orig.pgcode)


def test_the_writer_has_no_right_to_change_the_truth(populated: House):
    for table in TRUTH:
        for statement in CHANGES[table]:
            assert refused(populated.database, statement) == "42501"


def test_a_trigger_stops_the_owner(populated: House):
    for table in TRUTH:
        for statement in CHANGES[table]:
            assert refused(populated.owner, statement) == "23001"


def test_a_session_that_plays_replica_is_stopped_as_well(populated: House):
    for statement in CHANGES["events"]:
        assert refused(populated.owner, "SET LOCAL session_replication_role = replica", statement) == "23001"


def test_an_upsert_and_a_merge_are_changes_too(populated: House):
    upsert = "INSERT INTO oblio.events SELECT * FROM oblio.events ON CONFLICT (id, n) DO UPDATE SET at = 0"
    merge = "MERGE INTO oblio.events e USING oblio.events f ON e.id = f.id AND e.n = f.n WHEN MATCHED THEN DELETE"
    assert refused(populated.owner, upsert) == "23001"
    assert refused(populated.owner, merge) == "23001"


def test_nothing_was_changed(populated: House):
    before = populated.sql("SELECT * FROM oblio.events ORDER BY id, n")
    test_a_trigger_stops_the_owner(populated)
    assert [tuple(row) for row in populated.sql("SELECT * FROM oblio.events ORDER BY id, n")] == [
        tuple(row) for row in before
    ]
