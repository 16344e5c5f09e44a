"""Connections that died in the pool are noticed before they are lent, and living ones are not asked every time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from schemas.pools import ping_when_idle


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database, pool_size=1, max_overflow=0)
    yield engine
    engine.dispose()


def backend(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def test_a_connection_that_died_while_it_lay_idle_is_replaced(engine: sa.Engine, database: str):
    ping_when_idle(engine, idle_s=0)
    first = backend(engine)
    other = sa.create_engine(database)
    with other.begin() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": first})
    other.dispose()
    assert backend(engine) != first


def test_a_busy_connection_is_lent_without_a_question(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch):
    ping_when_idle(engine, idle_s=60)

    def asked(_connection: object) -> bool:
        raise AssertionError("asked, though it was lent a moment ago")

    monkeypatch.setattr(engine.dialect, "do_ping", asked)
    assert backend(engine) == backend(engine) == backend(engine)
