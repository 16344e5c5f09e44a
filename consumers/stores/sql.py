"""The SQL store: finds, acts on and verifies the rows of a data map's datasets, many subjects at once.

It decides nothing and owns no transaction: the caller gives the connection, commits, and judges what comes back.
Every method costs one statement for the whole batch, whatever the number of subjects (``link``: one per round).
Statements are compiled once per shape and kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from consumers.maps_model import Action, By, DataMap, SqlDataset
from consumers.stores.sql_batch import Batch, row_parameters
from consumers.stores.sql_catalog import Catalog, quoted, read_columns, read_indexes
from consumers.stores.sql_errors import StoreError, execute, store_errors
from consumers.stores.sql_links import link
from consumers.stores.sql_members import Scope, Statement
from consumers.stores.sql_rows import Effect, Linked, Live, Rows, Target, Unmet
from consumers.stores.sql_statements import Compiler
from schemas.codes import FailureCode

__all__ = [
    "Batch",
    "Effect",
    "Linked",
    "Live",
    "Rows",
    "SqlStore",
    "StoreError",
    "Target",
    "Unmet",
    "store_errors",
]

Counts = dict[str, dict[int, int]]
"""Rows by dataset and ordinal; what is zero is left out."""


class SqlStore:
    """One SQL store of a data map.

    Args:
        data_map: the map; only datasets of ``store`` are worked.
        store: name of the store in the map.

    Every method that takes a connection raises :class:`StoreError`, and nothing else, for what the database does.
    Safe to share between threads: it keeps only compiled statements and the types of columns.
    """

    def __init__(self, data_map: DataMap, store: str = "db") -> None:
        self.map = data_map
        self.settings = data_map.stores[store]
        self.datasets = tuple(name for name, dataset in data_map.of_kind(SqlDataset).items() if dataset.store == store)
        self._catalog: Catalog | None = None
        self._statements: dict[tuple[Any, ...], Statement] = {}

    # --- looking ---------------------------------------------------------------------------------------------------

    def guard(self, connection: Connection) -> None:
        """Set this transaction's lock and statement time-outs. Call it first in every transaction.

        Compiling to machine code is switched off: its set-up costs more than these statements run.
        """
        parameters = {"lock": str(self.settings.lock_timeout_ms), "statement": str(self.settings.statement_timeout_ms)}
        execute(
            connection,
            "select set_config('lock_timeout', %(lock)s, true), set_config('jit', 'off', true),"
            " set_config('statement_timeout', %(statement)s, true)",
            parameters,
        )

    def extras(self, dataset: str) -> tuple[str, ...]:
        """The names of ``Rows.extras``: object-key columns that lead to files, then ``until`` where rows are retained."""
        return Compiler(self.map, Catalog({}), Scope()).extras(dataset)

    def find(
        self,
        connection: Connection,
        dataset: str,
        batch: Batch,
        *,
        effect: Effect = Effect.APPLY,
        limit: int | None = None,
    ) -> Rows:
        """The targets' rows that are not yet in the wanted state, in key order, at most ``limit`` of them.

        Rows that are retained are always found; with ``HIDE`` only rows that are not hidden yet.
        """
        if not self._concerns(dataset, effect):
            return Rows()
        statement = self._statement(connection, batch, "find", dataset, effect)
        return self._rows(dataset, self._run(connection, statement, batch, {"limit": limit}))

    def count(self, connection: Connection, batch: Batch, *, effect: Effect = Effect.APPLY) -> Counts:
        """How many rows :meth:`find` would give, for all datasets. Touches nothing."""
        return self._count(connection, batch, [name for name in self.datasets if self._concerns(name, effect)], effect)

    def remains(self, connection: Connection, batch: Batch, *, effect: Effect = Effect.APPLY) -> Counts:
        """What is found by identifier again and should not be; empty when all is done. Retained rows are not counted."""
        acting = [n for n in self.datasets if self.map.sql(n).action is not Action.RETAIN and self._concerns(n, effect)]
        return self._count(connection, batch, acting, effect)

    def link(self, connection: Connection, batch: Batch) -> dict[int, Linked]:
        """Where the targets' identifiers lead, by the map's links. Found values are in normal form."""
        mine = [index for index, found in enumerate(self.map.links) if found.dataset in self.datasets]
        statements = {index: self._compiled(connection, "link", index) for index in mine}
        return link(self.map, statements, batch, lambda sql, frontier: self._run(connection, sql, frontier, {}))

    def size(self, connection: Connection, dataset: str) -> int:
        """About how many rows the dataset's table has: the planner's estimate, or a count where there is none yet."""
        table = self.map.sql(dataset).table
        estimate = execute(
            connection,
            "select reltuples::bigint from pg_class where oid = to_regclass(%(table)s)",
            {"table": quoted(table)},
        )
        if not estimate:
            raise StoreError(FailureCode.SCHEMA_MISMATCH, table=table)
        if estimate[0][0] > 0:
            return int(estimate[0][0])
        return int(execute(connection, f"select count(*) from {quoted(table)}", {})[0][0])

    # --- acting ----------------------------------------------------------------------------------------------------

    def act(
        self,
        connection: Connection,
        dataset: str,
        rows: Rows,
        batch: Batch,
        *,
        effect: Effect = Effect.APPLY,
        at: datetime | None = None,
    ) -> Rows:
        """Work the given rows; the answer has those that were there and were changed.

        Retained rows are left alone and all given back. ``at`` (for ``HIDE`` and ``UNHIDE``) is the time that the
        hide column gets: ``UNHIDE`` shows only rows that were hidden at exactly that time, so not those that the
        product itself had hidden.
        """
        if not rows or not self._concerns(dataset, effect):
            return Rows()
        if self._retains(dataset):
            return rows
        _check_ordinals(rows, batch)
        statement = self._statement(connection, batch, "act", dataset, effect)
        with_rows = {**row_parameters(rows), "at": self._time(effect, at)}
        records = self._run(connection, statement, batch, with_rows, restoring=effect is Effect.UNHIDE)
        return self._rows(dataset, records)

    def sweep(
        self,
        connection: Connection,
        dataset: str,
        batch: Batch,
        *,
        effect: Effect = Effect.APPLY,
        at: datetime | None = None,
    ) -> Rows:
        """:meth:`find` and :meth:`act` in one statement: the rows found and changed."""
        if not self._concerns(dataset, effect):
            return Rows()
        if self._retains(dataset):
            return self.find(connection, dataset, batch)
        statement = self._statement(connection, batch, "sweep", dataset, effect)
        return self._rows(dataset, self._run(connection, statement, batch, {"at": self._time(effect, at)}))

    # --- verifying -------------------------------------------------------------------------------------------------

    def verify_rows(
        self, connection: Connection, dataset: str, rows: Rows, batch: Batch, *, effect: Effect = Effect.APPLY
    ) -> list[Unmet]:
        """Read rows again by key and hold each mapped column to its post-condition. Use a new transaction.

        A row that is gone meets every one. Empty: verified.
        """
        if not rows or not self._concerns(dataset, effect) or self._retains(dataset):
            return []
        _check_ordinals(rows, batch)
        statement = self._statement(connection, batch, "verify", dataset, effect)
        records = self._run(connection, statement, batch, row_parameters(rows))
        return [
            Unmet(ordinal, dataset, column, count)
            for ordinal, *counts in records
            for column, count in zip(statement.columns, counts, strict=True)
            if count
        ]

    def live_identifiers(
        self, connection: Connection, after: str | None = None, limit: int = 1_000
    ) -> tuple[list[Live], str | None]:
        """A page of the identifiers that the store holds now, and the cursor of the next page (``None``: the last).

        ``limit`` is in rows; a row may hold several identifiers. The cursor holds a row's key.
        """
        names = [name for name in self.datasets if self._holding(name)]
        at, key = json.loads(after) if after else (names[0] if names else None, None)
        if at is None:
            return [], None
        columns = self._holding(at)
        statement = self._compiled(connection, "live", at, tuple(column for _, column in columns))
        width = len(self.map.sql(at).key)
        cursor = {f"k{i}": key[i] if key else None for i in range(width)}
        records = self._run(connection, statement, Batch(()), {"first": key is None, "limit": limit, **cursor})
        found = [live for record in records for live in _live(at, width, columns, record)]
        if len(records) == limit:
            return found, json.dumps([at, list(records[-1][1 : width + 1])])
        later = names[names.index(at) + 1 :]
        return found, json.dumps([later[0], None]) if later else None

    # --- inside ----------------------------------------------------------------------------------------------------

    def _concerns(self, dataset: str, effect: Effect) -> bool:
        """Whether a dataset takes part: in the trash only what has a hide column does."""
        return effect is Effect.APPLY or self.map.sql(dataset).hide is not None

    def _retains(self, dataset: str) -> bool:
        return self.map.sql(dataset).action is Action.RETAIN

    def _holding(self, name: str) -> list[tuple[str, str]]:
        """The columns of a dataset's own table that hold identifiers, with their kinds."""
        dataset = self.map.sql(name)
        return [(str(way.by), way.column) for way in dataset.match if isinstance(way, By) and not way.through]

    def _count(self, connection: Connection, batch: Batch, names: Sequence[str], effect: Effect) -> Counts:
        if not names:
            return {}
        statement = self._statement(connection, batch, "count", tuple(names), effect)
        counts: Counts = {}
        for dataset, ordinal, rows in self._run(connection, statement, batch, {}):
            counts.setdefault(dataset, {})[ordinal] = rows
        return counts

    def _rows(self, dataset: str, records: Sequence[Sequence[Any]]) -> Rows:
        return Rows.of(records, len(self.map.sql(dataset).key))

    def _time(self, effect: Effect, at: datetime | None) -> datetime | None:
        if effect is not Effect.APPLY and at is None:
            raise ValueError(f"{effect.value} needs the time of the trash phase (at)")
        return at

    def _statement(self, connection: Connection, batch: Batch, *what: Any) -> Statement:
        """The statement of this shape for this batch: named records need ways that whole subjects do not."""
        scope = Scope(any(target.records is None for target in batch.targets), batch.datasets)
        return self._compiled(connection, *what, scope=scope)

    def _compiled(self, connection: Connection, *what: Any, scope: Scope | None = None) -> Statement:
        scope = scope or Scope()
        key = (*what, scope)
        if key not in self._statements:
            self._statements[key] = self._compile(Compiler(self.map, self._known(connection), scope), *what)
        return self._statements[key]

    def _compile(self, compiler: Compiler, what: str, subject: Any, *rest: Any) -> Statement:
        match what:
            case "find":
                return compiler.find(subject, *rest)
            case "count":
                return compiler.count(subject, *rest)
            case "act":
                return compiler.act(subject, *rest, given=True)
            case "sweep":
                return compiler.act(subject, *rest, given=False)
            case "verify":
                return compiler.verify(subject, *rest)
            case "link":
                return compiler.link(subject)
            case _:
                return compiler.live(subject, *rest)

    def _known(self, connection: Connection) -> Catalog:
        """The columns' types and the indexes, read once. :meth:`forget` after the schema changed."""
        if self._catalog is None:
            tables = {self.map.sql(name).table for name in self.datasets}
            ways = [way for name in self.datasets for way in self.map.sql(name).match if isinstance(way, By)]
            ways += [way for link in self.map.links for way in link.match]
            tables.update(join.table for way in ways for join in way.through)
            self._catalog = Catalog(read_columns(connection, tables), read_indexes(connection, tables))
        return self._catalog

    def forget(self) -> None:
        """Drop what is known of the schema, so that it is read anew."""
        self._catalog = None
        self._statements = {}

    def _run(
        self,
        connection: Connection,
        statement: Statement,
        batch: Batch,
        more: Mapping[str, Any],
        *,
        restoring: bool = False,
    ) -> Sequence[Any]:
        return execute(connection, statement.sql, {**batch.parameters(statement), **more}, restoring=restoring)


def _check_ordinals(rows: Rows, batch: Batch) -> None:
    """A row of nobody in the batch would be passed over in silence, and then count as verified."""
    if not batch.by_ordinal.keys() >= set(rows.ordinals):
        raise ValueError("rows of a subject that is not in the batch")


def _live(dataset: str, width: int, columns: Sequence[tuple[str, str]], record: Sequence[Any]) -> list[Live]:
    tenant, key, created = record[0], tuple(record[1 : width + 1]), record[width + 1]
    return [
        Live(dataset, tenant, kind, value, key, created)
        for (kind, _), text in zip(columns, record[width + 2 :], strict=True)
        for value in (text or "").split("\n")
        if value
    ]
