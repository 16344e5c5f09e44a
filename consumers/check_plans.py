"""Whether every way to a subject's rows has an index: asked of the planner, with its other ways switched off.

Tables of a test are small, and the planner rightly reads a small table from end to end. With sequential scans, hash and
merge joins made unattractive it shows whether it *could* do better when the table has grown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from consumers.check_findings import Case, Code, Level
from consumers.check_live import LiveTable
from consumers.maps_model import Action, By, SqlDataset, Stored
from consumers.maps_reading import Path
from consumers.stores.sql_batch import Batch
from consumers.stores.sql_catalog import Catalog
from consumers.stores.sql_errors import StoreError, execute
from consumers.stores.sql_members import Scope
from consumers.stores.sql_rows import Target
from consumers.stores.sql_statements import Compiler

LARGE = 10_000
"""From this many rows on, reading a whole table is an error; below, a warning: it may grow."""

_INDEXES_ONLY = (
    "select set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true), set_config('enable_material', 'off', true), set_config('jit', 'off', true)"
)
_ANYBODY = frozenset({"0", "00000000-0000-0000-0000-000000000000"})
"""Values that an integer, a UUID and a text can hold; only the plan is asked for."""


def check_plans(case: Case, connection: Connection) -> None:
    """Note ways that would read a whole table, and references to deleted rows that no index serves.

    Runs EXPLAIN alone, inside a savepoint that takes its settings back.
    """
    catalog = Catalog({name: table.columns for name, table in case.live.tables.items()})
    batch = Batch([_anybody(case)])
    with connection.begin_nested() as savepoint:
        execute(connection, _INDEXES_ONLY, {})
        for name, dataset, _ in case.datasets():
            for i in range(len(dataset.match)):
                plan = _plan(case, connection, Compiler(case.data_map, catalog, Scope()), batch, name=name, index=i)
                _check_way(case, name, i, plan)
        savepoint.rollback()
    for name, dataset, table in case.datasets():
        if dataset.action is Action.DELETE:
            _check_children(case, name, table)


def _anybody(case: Case) -> Target:
    kinds = {str(kind): _ANYBODY for kind in case.data_map.identifiers}
    return Target(1, "anybody", kinds, None, datetime(2000, 1, 1, tzinfo=UTC))


def _plan(
    case: Case, connection: Connection, compiler: Compiler, batch: Batch, *, name: str, index: int
) -> Mapping[str, Any]:
    """The planner's plan of one way, empty where the way cannot be taken: then other checks say why."""
    try:
        statement = compiler.way(name, index)
        explained = execute(connection, f"explain (format json) {statement.sql}", batch.parameters(statement))
    except StoreError as error:
        if not any(finding.dataset == name for finding in case.findings):
            hint = f"the database refuses this way ({error})"
            case.error(Code.WRONG_TYPE, hint, ("datasets", name, "match", index), error.column)
        return {}
    plan: Mapping[str, Any] = explained[0][0][0]["Plan"]
    return plan


def _check_way(case: Case, name: str, index: int, plan: Mapping[str, Any]) -> None:
    dataset = case.data_map.sql(name)
    way = dataset.match[index]
    tables = [dataset.table, *(join.table for join in way.through)] if isinstance(way, By) else [dataset.table]
    for node in _nodes(plan):
        table = next((t for t in tables if t.rpartition(".")[2] == node.get("Relation Name")), None)
        live = case.live.tables.get(table) if table else None
        if live and not _bounded(case, dataset, live, node) and not _indexed(case, live, dataset, index):
            level = Level.ERROR if live.rows >= LARGE else Level.WARNING
            column = way.column if isinstance(way, By) else next(iter(way.on))
            wanted = _wanted(case, dataset, index)
            hint = f"no index serves this way into `{table}` (some {live.rows} rows): add one on {wanted}"
            case.add(level, Code.WHOLE_TABLE_SCAN, hint, ("datasets", name, "match", index), column)


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _bounded(case: Case, dataset: SqlDataset, table: LiveTable, node: Mapping[str, Any]) -> bool:
    """Whether a scan is led by more than the tenant."""
    kind = node["Node Type"]
    if kind == "Seq Scan":
        return False
    if kind == "Bitmap Heap Scan":
        conditions = [
            str(child.get("Index Cond", "")) for child in _nodes(node) if "Bitmap Index Scan" in child["Node Type"]
        ]
    else:
        conditions = [str(node.get("Index Cond", ""))]
    tenant = case.data_map.tenant_column(dataset)
    columns = [column for column in table.columns if column != tenant]
    return any(re.search(rf"\b{re.escape(column)}\b", condition) for condition in conditions for column in columns)


def _indexed(case: Case, table: LiveTable, dataset: SqlDataset, index: int) -> bool:
    """Whether an index for the way is there, though the planner prefers another one in a table of a few rows."""
    way = dataset.match[index]
    if isinstance(way, By) and way.stored is not Stored.EXACT:
        return False  # an index on an expression has no column: the plan alone can tell
    columns = {way.column} if isinstance(way, By) else set(way.on)
    tenant = case.data_map.tenant_column(dataset)
    wanted = columns - {tenant}
    return any(
        i.whole and set(i.columns[: len(wanted | {tenant})]) >= wanted and i.columns[0] in columns | {tenant}
        for i in table.indexes
    )


def _wanted(case: Case, dataset: SqlDataset, index: int) -> str:
    way = dataset.match[index]
    tenant = case.data_map.tenant_column(dataset)
    if isinstance(way, By):
        tenant = way.through[-1].tenant if way.through else tenant
        column = f"lower({way.column})" if way.stored == "lower" else way.column
        return f"({tenant}, {column})" if tenant else f"({column})"
    columns = [column for column in way.on if column != tenant]
    return f"({', '.join([tenant, *columns] if tenant else columns)})"


def _check_children(case: Case, name: str, table: LiveTable) -> None:
    """For each deleted row the database looks for children in every table that refers to it."""
    for reference in case.live.children(table.name):
        child = case.live.tables[reference.table]
        if not child.indexed(reference.columns):
            level = Level.ERROR if child.rows >= LARGE else Level.WARNING
            hint = (
                f"every row deleted from `{table.name}` reads all of `{child.name}` (some {child.rows} rows):"
                f" add an index on ({', '.join(reference.columns)})"
            )
            path: Path = ("datasets", name)
            case.add(level, Code.CHILD_NOT_INDEXED, hint, path, reference.columns[-1])
