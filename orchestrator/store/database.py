"""One place where engines are made, and where rows go to and from typed arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

from schemas.pools import ping_when_idle

TRANSACTION_LIMIT = "5s"
"""No transaction of ours may last longer: it would hold back vacuum and everybody behind its locks."""


def database_url(dsn: str) -> str:
    """``dsn`` for psycopg2: since SQLAlchemy 2.1 a plain ``postgresql://`` means psycopg 3, which we do not use."""
    url = make_url(dsn)
    if url.get_backend_name() != "postgresql":
        raise ValueError(f"the store needs PostgreSQL; the address begins with {url.get_backend_name()}://")
    return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


WRITER = "oblio_writer"
"""The role whose rights the engine needs: it may add to the truth, and never change it."""

READER = "oblio_reader"
"""The role for reports: no vault, no quarantine."""


def connect(dsn: str, *, pool_size: int = 5, application: str = "oblio", role: str | None = None) -> Engine:
    """An engine whose sessions read committed rows, use UTC and give up on long transactions.

    Args:
        dsn: the server's address, of the form ``postgresql://user@host/database``.
        pool_size: connections kept open.
        application: the name under which the server lists them.
        role: what its sessions act as, so that an owner's address serves with no more rights than are needed.
    """
    # Every name is written with its schema: what a session finds must not depend on what its user is called.
    options = (
        f"-c timezone=UTC -c lock_timeout=3s -c statement_timeout={TRANSACTION_LIMIT} -c jit=off"
        " -c search_path=pg_catalog"
    )
    if role is not None:
        options += f" -c role={role}"
    engine = sa.create_engine(
        database_url(dsn),
        pool_size=pool_size,
        max_overflow=5,
        connect_args={"options": options, "application_name": application},
    )
    return ping_when_idle(engine)


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows turned into one list per column, for ``unnest``."""
    if not rows:
        return [[] for _ in range(width)]
    return [list(column) for column in zip(*rows, strict=True)]


def array(values: Iterable[Any], kind: str = "uuid") -> str:
    """An array of the SQL type ``kind`` as one string, ready for a cast.

    One string costs the driver and the server's parser far less than a list of values.
    """
    return "{" + ",".join(map(_ELEMENT.get(kind, _plain), values)) + "}"


def _plain(value: Any) -> str:
    """Numbers, truth values and ids need no quotes."""
    return "NULL" if value is None else str(value)


def _text(value: str | None) -> str:
    return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bytes(value: bytes | None) -> str:
    return "NULL" if value is None else '"\\\\x' + value.hex() + '"'


_ELEMENT: dict[str, Callable[[Any], str]] = {"text": _text, "jsonb": _text, "bytea": _bytes}


def execute_rows(
    connection: Connection, statement: str, types: Iterable[tuple[str, str]], rows: Sequence[Sequence[Any]], **more: Any
) -> sa.CursorResult[*tuple[Any, ...]]:
    """Run ``statement``, whose ``{rows}`` stands for the given rows as a relation ``r`` with the named columns.

    One statement for any number of rows: each column goes over as one typed array.
    """
    named = list(types)
    arrays = ", ".join(f"CAST(:{name}_ AS {kind}[])" for name, kind in named)
    names = ", ".join(f'"{name}"' for name, _ in named)
    relation = f"unnest({arrays}) AS r({names})"
    values = {
        f"{name}_": array(column, kind) for (name, kind), column in zip(named, columns(rows, len(named)), strict=True)
    }
    return connection.execute(sa.text(statement.replace("{rows}", relation)), values | more)
