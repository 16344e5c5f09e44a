"""What the live database says of the mapped tables: the types of their columns.

Parameters are arrays of exactly the column's own type, so that the column's own index serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from consumers.stores.sql_errors import StoreError, execute
from schemas.codes import FailureCode

_COLUMNS = """
select t.wanted, a.attname, base.typname, base_space.nspname, base.typcategory,
       element.typname, element_space.nspname, a.attnotnull, a.attgenerated <> ''
from unnest(%(tables)s::text[]) as t(wanted)
join pg_attribute a on a.attrelid = to_regclass(t.wanted) and a.attnum > 0 and not a.attisdropped
join pg_type own on own.oid = a.atttypid
join pg_type base on base.oid = coalesce(nullif(own.typbasetype, 0), own.oid)
join pg_namespace base_space on base_space.oid = base.typnamespace
left join pg_type element on element.oid = base.typelem and base.typcategory = 'A'
left join pg_namespace element_space on element_space.oid = element.typnamespace
order by t.wanted, a.attnum
"""

_INDEXES = """
select t.wanted, array_agg(pg_get_indexdef(i.indexrelid, n, true) order by n)
from unnest(%(tables)s::text[]) as t(wanted)
join pg_index i on i.indrelid = to_regclass(t.wanted) and i.indisvalid and i.indpred is null
cross join generate_series(1, i.indnkeyatts) as n
group by t.wanted, i.indexrelid
"""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """One column: ``type`` is ready for a cast; ``element`` is the type of an array's elements, else ``None``."""

    name: str
    type: str
    element: str | None
    category: str
    not_null: bool
    generated: bool

    @property
    def is_text(self) -> bool:
        return self.category == "S"

    @property
    def is_json(self) -> bool:
        return self.type in ("json", "jsonb")


TableColumns = Mapping[str, ColumnType]


def quoted(name: str) -> str:
    """A name as SQL, with its schema if it has one. Names come from checked maps or from the catalog."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def read_columns(connection: Connection, tables: Iterable[str]) -> dict[str, dict[str, ColumnType]]:
    """The columns of each table that exists, in their order. A table that is not there is missing from the answer."""
    wanted = {quoted(table): table for table in tables}
    records = execute(connection, _COLUMNS, {"tables": list(wanted)})
    columns: dict[str, dict[str, ColumnType]] = {}
    for table, name, type_, space, category, element, element_space, not_null, generated in records:
        columns.setdefault(wanted[table], {})[name] = ColumnType(
            name,
            _typed(type_, space),
            _typed(element, element_space) if element else None,
            category,
            not_null,
            generated,
        )
    return columns


def read_indexes(connection: Connection, tables: Iterable[str]) -> dict[str, list[tuple[str, ...]]]:
    """The columns (or expressions) of each table's indexes over all its rows, in their order."""
    wanted = {quoted(table): table for table in tables}
    found: dict[str, list[tuple[str, ...]]] = {}
    for table, columns in execute(connection, _INDEXES, {"tables": list(wanted)}):
        found.setdefault(wanted[table], []).append(tuple(map(_plain, columns)))
    return found


def _plain(expression: str) -> str:
    """An index's column as it is named in a map, or ``lower(column)``."""
    plain = expression.replace('"', "").replace("::text", "")
    return f"lower({plain[6:].strip('()')})" if plain.startswith("lower(") else plain


def _typed(name: str, space: str) -> str:
    return name if space == "pg_catalog" else quoted(f"{space}.{name}")


@dataclass(frozen=True, slots=True)
class Catalog:
    """The columns of all mapped tables, and of their indexes."""

    tables: Mapping[str, TableColumns]
    indexes: Mapping[str, Sequence[tuple[str, ...]]] = field(default_factory=dict)

    def serves(self, table: str, column: str, tenant: str | None) -> bool:
        """Whether an index leads to the rows with one value of a column (or of ``lower(column)``) within a tenant."""
        return any(index[:1] == (column,) or index[:2] == (tenant, column) for index in self.indexes.get(table, ()))

    def column(self, table: str, name: str) -> ColumnType:
        """One column. Raises :class:`StoreError` (schema_mismatch) when table or column is not there."""
        columns = self.tables.get(table)
        if columns is None or name not in columns:
            raise StoreError(FailureCode.SCHEMA_MISMATCH, table=table, column=name if columns is not None else None)
        return columns[name]
