"""The live database as ``oblio products check`` sees it: tables, keys, references, triggers, rights.

Read once, from the catalog alone. Only the schemas in which mapped tables stand are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from consumers.stores.sql_catalog import ColumnType, quoted, read_columns
from consumers.stores.sql_errors import execute

_RELATIONS = """
select c.oid::bigint, n.nspname, c.relname, n.nspname = current_schema() as here, greatest(c.reltuples, 0)::bigint,
       pg_has_role(current_user, c.relowner, 'member'),
       has_table_privilege(c.oid, 'SELECT'), has_any_column_privilege(c.oid, 'UPDATE'), has_table_privilege(c.oid, 'DELETE'),
       has_table_privilege(c.oid, 'TRUNCATE'), has_table_privilege(c.oid, 'REFERENCES'),
       has_table_privilege(c.oid, 'TRIGGER'), has_any_column_privilege(c.oid, 'INSERT')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition
  and (n.nspname = any (%(schemas)s) or n.nspname = current_schema())
order by n.nspname, c.relname
"""
_INDEXES = """
select i.indrelid::bigint, i.indisunique, i.indpred is null,
       array(select coalesce(a.attname, '') from unnest(i.indkey::int2[]) with ordinality k(attnum, n)
             left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
             where k.n <= i.indnkeyatts order by k.n)::text[]
from pg_index i where i.indrelid = any (%(tables)s::bigint[]::oid[]) and i.indisvalid order by i.indexrelid
"""
_REFERENCES = """
select c.conrelid::bigint, c.confrelid::bigint, c.confdeltype,
       array(select a.attname from unnest(c.conkey) with ordinality k(attnum, n)
             join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum order by k.n)::text[],
       array(select a.attname from unnest(c.confkey) with ordinality k(attnum, n)
             join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.attnum order by k.n)::text[]
from pg_constraint c
where c.contype = 'f' and c.conparentid = 0
  and (c.conrelid = any (%(tables)s::bigint[]::oid[]) or c.confrelid = any (%(tables)s::bigint[]::oid[]))
order by c.conrelid, c.conname
"""
_TRIGGERS = """
select tgrelid::bigint, tgname from pg_trigger
where not tgisinternal and tgenabled <> 'D' and tgrelid = any (%(tables)s::bigint[]::oid[])
  and tgtype::int & 24 <> 0 order by tgname
"""  # 24: on delete or on update


@dataclass(frozen=True, slots=True)
class Rights:
    """What the connected role may do with a table; ``owner``: it owns it, and so may do everything."""

    owner: bool
    select: bool
    update: bool
    delete: bool
    truncate: bool
    references: bool
    trigger: bool
    insert: bool


@dataclass(frozen=True, slots=True)
class Index:
    """An index over ``columns`` (an expression is an empty name); ``whole``: it is not a partial one."""

    unique: bool
    whole: bool
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key of ``table`` to ``parent``. ``on_delete`` is PostgreSQL's letter: a, r, c, n or d."""

    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str


@dataclass(slots=True)
class LiveTable:
    """One table: ``rows`` is the planner's estimate, 0 where there is none."""

    name: str
    rows: int
    rights: Rights
    columns: Mapping[str, ColumnType] = field(default_factory=dict)
    indexes: list[Index] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)

    def unique(self, columns: Iterable[str]) -> bool:
        """Whether no two rows can agree in all these columns."""
        wanted = set(columns)
        return any(
            index.unique and index.whole and "" not in index.columns and set(index.columns) <= wanted
            for index in self.indexes
        )

    def indexed(self, columns: Iterable[str]) -> bool:
        """Whether an index begins with these columns, in whatever order."""
        wanted = set(columns)
        return any(index.whole and set(index.columns[: len(wanted)]) == wanted for index in self.indexes)


@dataclass(frozen=True, slots=True)
class LiveSchema:
    """All tables by name: without their schema where it is the current one, as maps write them."""

    tables: Mapping[str, LiveTable]
    references: tuple[Reference, ...]
    superuser: bool

    def parents(self, table: str) -> list[Reference]:
        """The foreign keys of a table."""
        return [reference for reference in self.references if reference.table == table]

    def children(self, table: str) -> list[Reference]:
        """The foreign keys that point at a table."""
        return [reference for reference in self.references if reference.parent == table]


def read_schema(connection: Connection, mapped: Iterable[str]) -> LiveSchema:
    """Read what stands in the schemas of the mapped tables. Raises :class:`StoreError`."""
    schemas = sorted({table.partition(".")[0] for table in mapped if "." in table})
    explicit = set(schemas)
    names: dict[int, str] = {}
    tables: dict[str, LiveTable] = {}
    for oid, schema, relation, here, rows, *rights in execute(connection, _RELATIONS, {"schemas": schemas}):
        name = relation if here and schema not in explicit else f"{schema}.{relation}"
        names[oid] = name
        tables[name] = LiveTable(name, rows, Rights(*rights))
    for name, columns in read_columns(connection, tables).items():
        tables[name].columns = columns
    known = {"tables": list(names)}
    for oid, unique, whole, columns in execute(connection, _INDEXES, known):
        tables[names[oid]].indexes.append(Index(unique, whole, tuple(columns)))
    for oid, trigger in execute(connection, _TRIGGERS, known):
        tables[names[oid]].triggers.append(trigger)
    references = tuple(
        Reference(names[child], tuple(columns), names[parent], tuple(theirs), on_delete)
        for child, parent, on_delete, columns, theirs in execute(connection, _REFERENCES, known)
        if child in names and parent in names
    )
    superuser = execute(connection, "select rolsuper from pg_roles where rolname = current_user", {})[0][0]
    return LiveSchema(tables, references, bool(superuser))


def sample(connection: Connection, table: str, columns: Iterable[str], rows: int) -> dict[str, list[str]]:
    """Up to ``rows`` values of each column as text, as they come; never leaves the process."""
    names = list(columns)
    if not names:
        return {}
    selected = ", ".join(f"{quoted(name)}::text" for name in names)
    records = execute(connection, f"select {selected} from {quoted(table)} limit %(rows)s", {"rows": rows})
    return {name: [record[i] for record in records if record[i] is not None] for i, name in enumerate(names)}
