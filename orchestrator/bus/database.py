"""The bus's way into its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

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
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        # A head's row must be seen as the last publisher left it, whatever the owner's engine is set to.
        self._atomic = engine.execution_options(isolation_level="READ COMMITTED")
        self.catalogue = Catalogue(engine)

    def single(self) -> AbstractContextManager[Connection]:
        """A connection whose statements stand alone."""
        return self._single.connect()

    @contextmanager
    def atomic(self) -> Iterator[Connection]:
        """A transaction, bounded by :data:`LIMIT_MS`."""
        with self._atomic.begin() as connection:
            connection.exec_driver_sql(
                f"SET LOCAL statement_timeout = {LIMIT_MS}; SET LOCAL idle_in_transaction_session_timeout = {LIMIT_MS}"
            )
            yield connection
