"""Which rows of a table belong to which subject, in PostgreSQL's words.

Each identifier kind of a batch is a relation ``s`` (ordinal, tenant, value), made of typed arrays by ``unnest``. A
*route* joins it to a dataset's table ``d``, by a column or over other tables; a dataset's *members* are the union of
its routes, less what another dataset of the same table claims. So one statement works for all subjects of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consumers.maps_model import (
    By,
    Condition,
    DataMap,
    Of,
    Operator,
    SqlDataset,
    Stored,
    Until,
    Whose,
)
from consumers.stores.sql_catalog import Catalog, quoted
from consumers.stores.sql_errors import StoreError
from consumers.stores.sql_treatments import Mode
from schemas.codes import FailureCode

_COMPARISONS = {
    Operator.EQ: "=",
    Operator.NE: "<>",
    Operator.LT: "<",
    Operator.LE: "<=",
    Operator.GT: ">",
    Operator.GE: ">=",
}
_MATCHABLE = frozenset({"text", "varchar", "bpchar", "int2", "int4", "int8", "uuid"})


@dataclass(frozen=True, slots=True)
class Source:
    """A relation of identifiers (of ``kind``) or of named records (of dataset ``record``), as typed arrays."""

    name: str
    kind: str
    type: str
    cutoff: bool
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """A column of ``w``: what is needed of each subject's identifiers within rows."""

    name: str
    mode: Mode
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text with named placeholders, and what they stand for. ``columns`` names what it returns beyond the key."""

    sql: str
    sources: tuple[Source, ...] = ()
    mentions: tuple[Mention, ...] = ()
    constants: dict[str, Any] = field(default_factory=dict)
    columns: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """Which of its ways a batch needs: by identifiers, and by records named in these datasets."""

    identifiers: bool = True
    records: frozenset[str] = frozenset()


class Members:
    """The part of a compiler that knows who owns what. Make a new one for each statement."""

    def __init__(self, data_map: DataMap, catalog: Catalog, scope: Scope) -> None:
        self.map, self.catalog, self.scope = data_map, catalog, scope
        self._sources: dict[tuple[Any, ...], Source] = {}
        self._mentions: dict[tuple[Mode, tuple[str, ...]], Mention] = {}
        self._constants: dict[str, Any] = {}
        self._shared: dict[str, str] = {}
        """Members of datasets on which others depend, by dataset, in the order in which they must be written."""

    def _members(self, name: str, select: Sequence[str], extra: Sequence[str] = ()) -> str:
        """(ordinal, tenant, c…) of the rows of a dataset, with ``select`` (in terms of ``d``) as c0, c1 and so on."""
        dataset = self._dataset(name)
        claims = [claim for claim in self._claimants(name) if self._reachable(claim)]
        keys = [f"d.{quoted(column)}" for column in dataset.key] if claims else []
        conditions = [*self._where(dataset.table, "d", dataset.where), *self._unexpired(dataset), *extra]
        parts = self._routes(name, dataset, [*select, *keys], conditions)
        rows = " union ".join(parts) if parts else self._nothing(dataset, [*select, *keys])
        for claim in claims:
            rows = self._unclaimed(rows, claim, len(select), len(keys))
        return rows

    def _members_of(self, name: str) -> str:
        """The name of a relation with the members of a dataset, written once however many need it.

        Its columns are ordinal, tenant, and those of :meth:`_member_column`.
        """
        if name not in self._shared:
            body = self._members(name, [f"d.{quoted(column)}" for column in self._wanted_of(name)])
            self._shared[name] = f"m_{name} as ({body})"  # after its body: that has noted its own parents by now
        return f"m_{name}"

    def _member_column(self, name: str, column: str) -> str:
        return f"c{self._wanted_of(name).index(column)}"

    def _wanted_of(self, name: str) -> list[str]:
        """The columns of a dataset's members that are needed anywhere: its key, and what children join."""
        ways = [way for dataset in self.map.of_kind(SqlDataset).values() for way in dataset.match]
        joined = [column for way in ways if isinstance(way, Of) and way.of == name for column in way.on.values()]
        return list(dict.fromkeys([*self._dataset(name).key, *joined]))

    def _routes(self, name: str, dataset: SqlDataset, select: Sequence[str], conditions: Sequence[str]) -> list[str]:
        parts = []
        for way in dataset.match:
            if isinstance(way, Of):
                if self._reachable(way.of):
                    parts.append(self._of(dataset, way, select, conditions))
            elif self.scope.identifiers:
                parts.append(self._by(dataset, way, select, conditions))
        if name in self.scope.records:
            parts.append(self._named(name, dataset, select, conditions))
        return parts

    def _reachable(self, name: str) -> bool:
        """Whether anything can be found in a dataset: with named records alone most branches are dead."""
        if self.scope.identifiers or name in self.scope.records:
            return True
        return any(isinstance(way, Of) and self._reachable(way.of) for way in self._dataset(name).match)

    def _nothing(self, dataset: SqlDataset, select: Sequence[str]) -> str:
        none = f"(select null::int as ordinal, null::text as tenant) as s, {quoted(dataset.table)} as d"
        return self._select(select, none, ["false"])

    def _claimants(self, name: str) -> list[str]:
        """Datasets of the same table whose rows are not this one's: the subject's own before mentions in others'."""
        dataset = self._dataset(name)
        same = [
            n for n, d in self.map.of_kind(SqlDataset).items() if d.table == dataset.table and d.store == dataset.store
        ]
        if dataset.whose is Whose.OTHERS:
            return [n for n in same if self._dataset(n).whose is Whose.SUBJECT]
        return [n for n in same[: same.index(name)] if self._dataset(n).whose is Whose.SUBJECT]

    def _unclaimed(self, rows: str, claim: str, width: int, keys: int) -> str:
        """The rows less those of another dataset. NOT IN (nothing here is null) is hashed whatever the planner expects."""
        claimed = ", ".join(["y.ordinal", *(f"y.{self._member_column(claim, c)}" for c in self._dataset(claim).key)])
        mine = ", ".join(["x.ordinal", *(f"x.c{width + i}" for i in range(keys))])
        columns = "".join(f", x.c{i}" for i in range(width + keys))
        return (
            f"select x.ordinal, x.tenant{columns} from ({rows}) as x "
            f"where ({mine}) not in (select {claimed} from {self._members_of(claim)} as y)"
        )

    def _by(self, dataset: SqlDataset, way: By, select: Sequence[str], extra: Sequence[str] = ()) -> str:
        """The rows whose column, or the last joined table's, holds an identifier."""
        tables = [(dataset.table, "d"), *((join.table, f"j{i}") for i, join in enumerate(way.through))]
        tenants = [self.map.tenant_column(dataset), *(join.tenant for join in way.through)]
        table, alias = tables[-1]
        created = self._created(dataset, way)
        column = f"lower({way.column})" if way.stored is Stored.LOWER else way.column
        holds = {column: self._holds(table, f"{alias}.{quoted(way.column)}", way)}
        # The planner knows little of what arrays contain, and would compare all rows with all subjects.
        alone = self.catalog.column(table, way.column).element is not None
        relation, where = self._looked_up(table, alias, tenants[-1], holds, alone=alone)
        relations = [self._source(way, table, cutoff=created is not None), relation]
        for i, join in reversed(list(enumerate(way.through))):
            (near_table, near), tenant = tables[i], tenants[i]
            equal = {mine: f"{near}.{quoted(mine)} = j{i}.{quoted(far)}" for mine, far in join.on.items()}
            relation, more = self._looked_up(near_table, near, tenant, equal)
            relations.append(relation)
            where += [*more, *self._where(join.table, f"j{i}", join.where)]
        where += [*([created] if created else []), *self._where(dataset.table, "d", way.where)]
        return self._select(select, ", ".join(relations), [*where, *extra])

    def _looked_up(
        self, table: str, alias: str, tenant: str | None, equal: Mapping[str, str], *, alone: bool = False
    ) -> tuple[str, list[str]]:
        """A table as a relation of ``from``, and what is left for ``where``.

        Where an index serves one of the columns of ``equal``, the rows of one subject (or of one row before) are looked
        up after those of the other: OFFSET 0 makes the planner do so. Of two columns that go together it expects far
        too few rows, and of values that have become common since it last looked, such as the nulls that we leave; it
        would read the whole table, or take those for a short way.
        """
        conditions = list(equal.values())
        if tenant and tenant not in equal:
            conditions.append(f"{alias}.{quoted(tenant)} = s.tenant")
        if not alone and not any(self.catalog.serves(table, column, tenant) for column in equal):
            return f"{quoted(table)} as {alias}", conditions
        rows = f"select * from {quoted(table)} as {alias} where {' and '.join(conditions)} offset 0"
        return f"lateral ({rows}) as {alias}", []

    def _created(self, dataset: SqlDataset, way: By) -> str | None:
        """For a reusable identifier: created before the cut-off. The row that holds the identifier tells best."""
        if not self.map.reusable(way.by):
            return None
        table, alias, column = dataset.table, "d", dataset.created
        for i, join in enumerate(way.through):
            if join.created:
                table, alias, column = join.table, f"j{i}", join.created
        assert column is not None
        return f"{alias}.{quoted(column)} < {self._instant('s.cutoff', self._type(table, column))}"

    def _instant(self, expression: str, type_: str) -> str:
        """An instant in the terms of a column: one without a zone is read as UTC."""
        return expression if type_ == "timestamptz" else f"({expression} at time zone 'UTC')::{type_}"

    def _holds(self, table: str, column: str, way: By) -> str:
        type_ = self.catalog.column(table, way.column)
        if type_.element:
            return f"{column} @> array[s.value]"
        return f"lower({column}) = s.value" if way.stored is Stored.LOWER else f"{column} = s.value"

    def _source(self, way: By, table: str, *, cutoff: bool) -> str:
        column = self.catalog.column(table, way.column)
        type_ = column.element or ("text" if way.stored is Stored.LOWER else column.type)
        return self._relation((way.by.value, type_, cutoff, None))

    def _relation(self, what: tuple[str, str, bool, str | None]) -> str:
        kind, type_, cutoff, record = what
        if type_ not in _MATCHABLE and not type_.endswith('"citext"'):
            raise StoreError(FailureCode.SCHEMA_MISMATCH)
        source = self._sources.setdefault(what, Source(f"s{len(self._sources)}", kind, type_, cutoff, record))
        arrays = [
            f"%({source.name}_o)s::int[]",
            f"%({source.name}_t)s::text[]",
            f"%({source.name}_v)s::text[]::{type_}[]",
        ]
        names = "ordinal, tenant, value"
        if cutoff:
            arrays.append(f"%({source.name}_c)s::text[]::timestamptz[]")
            names += ", cutoff"
        return f"unnest({', '.join(arrays)}) as s({names})"

    def _of(self, dataset: SqlDataset, way: Of, select: Sequence[str], conditions: Sequence[str]) -> str:
        """The rows that belong to another dataset's rows."""
        parent = self._dataset(way.of)
        equal = {}
        for mine, theirs in way.on.items():
            cast = self._cast(dataset.table, mine, parent.table, theirs)
            equal[mine] = f"d.{quoted(mine)} = s.{self._member_column(way.of, theirs)}{cast}"
        relation, where = self._looked_up(dataset.table, "d", self.map.tenant_column(dataset), equal)
        where += self._where(dataset.table, "d", way.where)
        return self._select(select, f"{self._members_of(way.of)} as s, {relation}", [*where, *conditions])

    def _cast(self, table: str, column: str, other_table: str, other: str) -> str:
        mine, theirs = self._type(table, column), self._type(other_table, other)
        return "" if mine == theirs else f"::{mine}"

    def _named(self, name: str, dataset: SqlDataset, select: Sequence[str], conditions: Sequence[str]) -> str:
        """The rows that a request names by their ids."""
        column = self.map.record_column(name)
        if column is None:
            raise StoreError(FailureCode.BAD_COMMAND, table=dataset.table)
        source = self._relation(("", self._type(dataset.table, column), False, name))
        equal = {column: f"d.{quoted(column)} = s.value"}
        relation, where = self._looked_up(dataset.table, "d", self.map.tenant_column(dataset), equal)
        return self._select(select, f"{source}, {relation}", [*where, *conditions])

    def _select(self, select: Sequence[str], relation: str, where: Sequence[str]) -> str:
        columns = "".join(f", {expression} as c{i}" for i, expression in enumerate(select))
        condition = f" where {' and '.join(where)}" if where else ""
        return f"select s.ordinal, s.tenant{columns} from {relation}{condition}"

    def _unexpired(self, dataset: SqlDataset) -> list[str]:
        """A retained row is one only until its date; then the next dataset of its table has it."""
        return [f"{self._until(dataset, dataset.retain.until)} > now()"] if dataset.retain else []

    def _until(self, dataset: SqlDataset, until: Until) -> str:
        if until.column is None:
            return f"{self._bind(str(until.fixed))}::date::timestamp at time zone 'UTC'"
        column = f"d.{quoted(until.column)}"
        if self._type(dataset.table, until.column) != "timestamptz":
            column = f"({column}::timestamp at time zone 'UTC')"
        return f"({column} + {self._bind(until.plus)}::interval)"

    # --- small change ----------------------------------------------------------------------------------------------

    def _where(self, table: str, alias: str, conditions: Sequence[Condition]) -> list[str]:
        return [self._condition(table, alias, condition) for condition in conditions]

    def _condition(self, table: str, alias: str, condition: Condition) -> str:
        column, type_ = f"{alias}.{quoted(condition.column)}", self._type(table, condition.column)
        match condition.op:
            case Operator.IS_NULL:
                return f"{column} is null"
            case Operator.NOT_NULL:
                return f"{column} is not null"
            case Operator.IN | Operator.NOT_IN:
                values = condition.value if isinstance(condition.value, list) else []
                members = ", ".join(f"{self._bind(value)}::{type_}" for value in values)
                return f"{column} {'in' if condition.op is Operator.IN else 'not in'} ({members})"
            case other:
                return f"{column} {_COMPARISONS[other]} {self._bind(condition.value)}::{type_}"

    def _bind(self, value: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = value
        return f"%({name})s"

    def _mention(self, mode: Mode, kinds: tuple[str, ...]) -> Mention:
        plain = tuple(str(kind) for kind in kinds)
        return self._mentions.setdefault((mode, plain), Mention(f"{mode.value}{len(self._mentions)}", mode, plain))

    def _as_text(self, dataset: SqlDataset, column: str) -> str:
        name = f"d.{quoted(column)}"
        if self.catalog.column(dataset.table, column).element:
            return f"array_to_string({name}, E'\\n')"
        return f"{name}::text"

    def _dataset(self, name: str) -> SqlDataset:
        return self.map.sql(name)

    def _key_names(self, name: str) -> list[str]:
        return [f"k{i}" for i in range(len(self._dataset(name).key))]

    def _type(self, table: str, column: str) -> str:
        return self.catalog.column(table, column).type
