"""Migrations and metadata are in step; installing twice changes nothing; what is fixed stays fixed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from alembic import command

from orchestrator.store import tables
from orchestrator.store.database import READER, WRITER, connect
from orchestrator.store.install import WrongInstallation, config, install, installed_shards, installing
from tests.engine.house import House, wish


def catalogue(engine: sa.Engine, schema: str) -> list[tuple[object, ...]]:
    """Every relation with its kind, storage settings and definition."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                """SELECT c.relname, c.relkind::text, c.reloptions, pg_get_indexdef(c.oid) FROM pg_class c
                   WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind IN ('r', 'i', 'S')
                     AND c.relname NOT LIKE 'alembic%' ORDER BY c.relname"""
            ),
            {"schema": schema},
        )
        return [tuple(row) for row in rows]


def test_metadata_and_migrations_are_in_step(database: str):
    install(database, shards=4)
    with installing(database) as connection:
        command.check(config(connection))


def test_storage_settings_and_indexes_are_those_of_the_metadata_too(
    database: str, engine_for: Callable[..., sa.Engine]
):
    install(database, shards=4)
    engine = engine_for(database)
    migrated = catalogue(engine, "oblio")
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA oblio CASCADE; CREATE SCHEMA oblio"))
        tables.metadata.create_all(connection)
    assert catalogue(engine, "oblio") == migrated


def test_a_second_time_changes_nothing(database: str, engine_for: Callable[..., sa.Engine]):
    install(database, shards=4)
    before = catalogue(engine_for(database), "oblio")
    install(database, shards=4)
    assert catalogue(engine_for(database), "oblio") == before
    assert installed_shards(engine_for(database)) == 4


def test_another_number_of_shards_is_refused(database: str):
    install(database, shards=4)
    with pytest.raises(WrongInstallation, match="has 4 shards, not 8"):
        install(database, shards=8)


def test_no_shards_at_all_are_refused(database: str):
    with pytest.raises(WrongInstallation):
        install(database, shards=0)


def test_a_database_without_an_installation_is_told_by_name(database: str, engine_for: Callable[..., sa.Engine]):
    with pytest.raises(WrongInstallation, match="no installation"):
        installed_shards(engine_for(database))


def test_down_and_up_again_on_a_populated_database(house: House):
    house.accepted(wish("ada"), wish("bob"))
    house.settle()
    assert house.ends() == ["completed", "completed"]
    house.engine.close()
    with installing(house.url) as connection:
        command.downgrade(config(connection), "base")
    assert catalogue(house.owner, "oblio") == []
    install(house.url, shards=4)
    house.engine = house.new_engine("o2")
    house.ask(wish("eve"))
    house.settle()
    assert house.ends() == ["completed"] * 3, "the log is read from its beginning"


def test_the_reader_sees_no_vault_and_no_quarantine(house: House):
    house.accepted(wish("ada"))
    reader = connect(house.url, role=READER)
    with reader.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM oblio.requests")) == 1
    for table in ("vault", "quarantine", "submissions", "open_subjects"):
        with reader.connect() as connection, pytest.raises(sa.exc.ProgrammingError) as refused:
            connection.execute(sa.text(f"SELECT * FROM oblio.{table}"))
        assert refused.value.orig.pgcode == "42501"
    reader.dispose()


def test_the_engine_acts_as_the_writer(house: House):
    with house.store.unit({}) as unit:
        assert unit.connection.scalar(sa.text("SELECT current_user")) == WRITER
