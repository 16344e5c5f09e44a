"""The log that the tests of the bus run on: PostgreSQL's; a module for another bus overrides the fixture `log`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from orchestrator.bus.postgres import PostgresBus
from tests.bus.postgres_log import PostgresLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres import Postgres

pytest.register_assert_rewrite("tests.bus.conformance", "tests.bus.churn", "tests.bus.steps")


@pytest.fixture(scope="module")
def home(postgres: Postgres) -> Iterator[str]:
    """A database with the bus's tables; tests keep apart by topics of their own."""
    url = postgres.create_database()
    engine = sa.create_engine(url)
    PostgresBus.install(engine, {})
    engine.dispose()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def log(home: str) -> Iterator[PostgresLog]:
    engine = sa.create_engine(home, pool_size=10, max_overflow=20)
    made = PostgresLog(engine)
    yield made
    made.close()
    engine.dispose()
