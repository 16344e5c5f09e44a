"""The PostgreSQL-backed bus, as the tests see it from outside."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from orchestrator.bus.postgres import PostgresBus
from schemas.transport import BusError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class PostgresLog:
    engine: sa.Engine
    _buses: list[PostgresBus] = field(default_factory=list)

    def topic(self, partitions: int) -> str:
        name = f"topic.{secrets.token_hex(4)}"
        PostgresBus.install(self.engine, {name: partitions})
        return name

    def bus(self, *, impatient: bool = False) -> PostgresBus:
        limits = {"session_s": 0.5, "patience_s": 0.2} if impatient else {}
        self._buses.append(PostgresBus(self.engine, **limits))
        return self._buses[-1]

    def trim(self, topic: str, before_ms: int) -> None:
        self.bus().trim(topic, before_ms)

    def execute(self, statement: str, **values: object) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def close(self) -> None:
        for bus in self._buses:
            bus.close()


class counted:  # noqa: N801 - reads as a verb
    """The statements that an engine executes meanwhile."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._statements: list[str] = []

    def _hear(self, *heard: object) -> None:
        self._statements.append(str(heard[2]))

    def __enter__(self) -> list[str]:
        sa.event.listen(self._engine, "before_cursor_execute", self._hear)
        return self._statements

    def __exit__(self, *_: object) -> None:
        sa.event.remove(self._engine, "before_cursor_execute", self._hear)


def cut(engine: sa.Engine, through: str | None = None) -> None:
    """End every session of this database, as a restart of the server does."""
    other = sa.create_engine(through or engine.url, poolclass=sa.NullPool)
    with other.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = :name AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ),
            {"name": engine.url.database},
        )


def waiting_for_locks(log: PostgresLog) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with log.engine.connect() as connection:
        return int(connection.execute(sa.text(query)).scalar_one())


def works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except BusError:
        return False
    return True
