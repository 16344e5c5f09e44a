"""The bus's way into its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine

from orchestrator.bus.catalogue import Catalogue

LIMIT_MS = 15_000
"""Longest statement, and longest silence, within a transaction, in milliseconds.

A process that is frozen inside of one holds partitions that everybody needs: the server then ends its session.
"""


class Database:
    """Connections of the owner's pool, each taken for one short piece of work. Safe for several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.catalogue = Catalogue(engine)

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """A connection whose statements stand alone.

        Even giving it back can fail: nothing that was done with it may be believed before that.
        """
        with self.engine.connect() as connection:
            # SQLAlchemy's own AUTOCOMMIT would cost a round trip to the server at each use.
            driver: Any = connection.connection.dbapi_connection
            driver.autocommit = True
            try:
                yield connection
            finally:
                # A broken connection cannot be set back, and is not used again.
                with suppress(psycopg2.Error):
                    driver.autocommit = False

    @contextmanager
    def atomic(self) -> Iterator[Connection]:
        """A transaction, bounded by :data:`LIMIT_MS`."""
        with self.engine.begin() as connection:
            # A head's row must be seen as the last publisher left it, whatever the owner's engine is set to.
            connection.exec_driver_sql(
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
                f"SET LOCAL statement_timeout = {LIMIT_MS}; "
                f"SET LOCAL idle_in_transaction_session_timeout = {LIMIT_MS}"
            )
            yield connection
