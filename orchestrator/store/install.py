"""Bringing a database up to date: schema, roles and grants, and the number of shards. May be run as often as one likes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from orchestrator.store import tables
from orchestrator.store.database import READER, WRITER, connect
from orchestrator.store.tables import SCHEMA, TableKind

log = structlog.get_logger()

INSTALL_LOCK = 0x0B110510
"""Advisory lock that keeps two installations from migrating at once."""

MIGRATIONS = Path(__file__).parent / "migrations"


class WrongInstallation(Exception):
    """The database was installed otherwise than it is asked for now."""


def install(dsn: str, *, shards: int) -> None:
    """Bring the database at ``dsn`` to the newest revision, make roles where permitted, and grant what they need.

    Args:
        dsn: address of the database, for the user who is to own the tables.
        shards: how many there are to be, for ever.

    Raises:
        WrongInstallation: the database was installed with another number of shards.
    """
    with installing(dsn) as connection:
        command.upgrade(config(connection), "head")
        _fix_shards(connection, shards)
        if _roles(connection):
            grant(connection)
            connection.commit()


@contextmanager
def installing(dsn: str) -> Iterator[Connection]:
    """A connection of the owner, alone at this work, with no limit on the length of a statement."""
    engine = connect(dsn, pool_size=1, application="oblio-install")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SET statement_timeout = 0; SET lock_timeout = '60s'")
            connection.execute(sa.select(sa.func.pg_advisory_lock(INSTALL_LOCK)))
            connection.commit()
            yield connection
    finally:
        engine.dispose()


def config(connection: Connection) -> Config:
    """Alembic's configuration for migrations on ``connection``."""
    found = Config()
    found.set_main_option("script_location", str(MIGRATIONS))
    found.set_main_option("path_separator", "os")
    found.attributes["connection"] = connection
    return found


def installed_shards(database: sa.Engine) -> int:
    """How many shards the installation has. Raises :class:`WrongInstallation` where there is none."""
    try:
        with database.connect() as connection:
            found: int | None = connection.scalar(sa.select(tables.installation.c.shards))
    except sa.exc.ProgrammingError:
        found = None
    if found is None:
        raise WrongInstallation("this database holds no installation of Oblio")
    return found


def _fix_shards(connection: Connection, shards: int) -> None:
    if shards < 1:
        raise WrongInstallation("an installation needs at least one shard")
    found = connection.scalar(sa.select(tables.installation.c.shards))
    if found is None:
        connection.execute(sa.insert(tables.installation).values(shards=shards))
    elif found != shards:
        raise WrongInstallation(f"this installation has {found} shards, not {shards}: streams would change owners")
    connection.commit()


# --- roles ---------------------------------------------------------------------------------------------------------

_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
    IF NOT pg_has_role(current_user, '{role}', 'SET') THEN
        GRANT {role} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this server was faster
    WHEN insufficient_privilege THEN NULL;
END $$
"""


def _roles(connection: Connection) -> bool:
    """Make the roles of the server that are missing, if we may; whether they are there."""
    for role in (WRITER, READER):
        connection.exec_driver_sql(_ROLE.format(role=role))
    missing = roles_missing(connection)
    connection.commit()
    if missing:
        log.warning("roles_missing", roles=missing)
    return not missing


def roles_missing(connection: Connection) -> list[str]:
    """Those of our roles that the present user cannot act as, or that the server does not have."""
    usable = connection.execute(
        sa.text(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY(:roles) AND pg_has_role(current_user, rolname, 'SET')"
        ),
        {"roles": [WRITER, READER]},
    )
    return sorted({WRITER, READER}.difference(usable.scalars()))


def grant(connection: Connection, schema: str = SCHEMA) -> None:
    """Grant on the tables of ``schema`` that are there: all is the writer's to change, save the truth."""
    there = set(sa.inspect(connection).get_table_names(schema))
    if schema == SCHEMA:
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {WRITER}, {READER}")
    for table in tables.metadata.tables.values():
        if table.name in there:
            for statement in grants_of(table, schema):
                connection.exec_driver_sql(statement)


def grants_of(table: sa.Table, schema: str) -> list[str]:
    """The statements that give writer and reader their rights on ``table``, and take the owner's."""
    name, kind = f'{schema}."{table.name}"', table.info["kind"]
    rights = "SELECT, INSERT" if kind is TableKind.TRUTH else "SELECT, INSERT, UPDATE, DELETE"
    found = [f"GRANT {rights} ON {name} TO {WRITER}"]
    if kind is not TableKind.KEPT or table is tables.index:
        found.append(f"GRANT SELECT ON {name} TO {READER}")
    if kind is TableKind.TRUTH:
        found.append(f"REVOKE UPDATE, DELETE, TRUNCATE ON {name} FROM CURRENT_USER")
    return found
