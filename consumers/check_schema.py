"""Whether tables, columns, keys and types are what the map says, and whether every way reaches the tenant."""

from __future__ import annotations

from consumers.check_findings import Case, Code
from consumers.check_live import LiveTable
from consumers.maps_model import (
    By,
    Condition,
    Elements,
    Hide,
    HideValue,
    JsonPaths,
    ObjectDataset,
    Of,
    Scrub,
    SqlDataset,
    Stored,
    Treatment,
    Value,
    Word,
)
from consumers.maps_reading import Path
from consumers.stores.sql_catalog import ColumnType

TIMES = frozenset({"timestamptz", "timestamp", "date"})
_IDENTIFIERS = frozenset({"text", "varchar", "bpchar", "int2", "int4", "int8", "uuid"})


def check_schema(case: Case) -> None:
    """Note what does not fit the live schema."""
    for name, dataset in case.data_map.of_kind(SqlDataset).items():
        if dataset.store != case.store:
            continue
        table = case.live.tables.get(dataset.table)
        if table is None:
            hint = f"there is no table `{dataset.table}`; correct the name, or create it"
            case.error(Code.MISSING_TABLE, hint, ("datasets", name, "table"))
            continue
        _Dataset(case, name, dataset, table).check()
    for i, link in enumerate(case.data_map.links):
        table = case.live.tables.get(case.data_map.sql(link.dataset).table)
        wanted = [column for _, column in link.columns()] + [link.person] * (link.person is not None)
        for column in wanted:
            if table and column not in table.columns:
                case.error(Code.MISSING_COLUMN, f"`{table.name}` has no column `{column}`", ("links", i), column)
    for table_name in case.data_map.ignore:
        if table_name not in case.live.tables:
            hint = f"`{table_name}` does not exist; take it out of `ignore:`"
            case.warn(Code.MISSING_TABLE, hint, ("ignore", table_name))


class _Dataset:
    def __init__(self, case: Case, name: str, dataset: SqlDataset, table: LiveTable) -> None:
        self.case, self.name, self.dataset, self.table = case, name, dataset, table
        self.path: Path = ("datasets", name)

    def check(self) -> None:
        self._key()
        self._tenant()
        self._times()
        for i, condition in enumerate(self.dataset.where):
            self._condition(self.table, condition, (*self.path, "where", i))
        for i, way in enumerate(self.dataset.match):
            if isinstance(way, By):
                self._by(way, (*self.path, "match", i))
            else:
                self._of(way, (*self.path, "match", i))
        for column, treatment in self.dataset.columns.items():
            if found := self._column(self.table, column, (*self.path, "columns", column)):
                self._treatment(found, treatment, (*self.path, "columns", column))
        for column in (*self.dataset.keep, *(path for path in self.dataset.justify if "." not in path)):
            self._column(self.table, column, (*self.path, "keep"))
        for name, files in self.case.data_map.of_kind(ObjectDataset).items():
            if files.rows == self.name:
                self._column(self.table, files.column, ("datasets", name, "column"))

    def _column(self, table: LiveTable, column: str, path: Path) -> ColumnType | None:
        if column not in table.columns:
            self.case.error(Code.MISSING_COLUMN, f"`{table.name}` has no column `{column}`", path, column)
        return table.columns.get(column)

    def _condition(self, table: LiveTable, condition: Condition, path: Path) -> None:
        self._column(table, condition.column, path)

    def _key(self) -> None:
        found = [self._column(self.table, column, (*self.path, "key")) for column in self.dataset.key]
        if all(found) and not self.table.unique(self.dataset.key):
            hint = f"`key:` of {self.name} is no primary key of `{self.table.name}`: two rows may agree in it"
            self.case.error(Code.WRONG_KEY, hint, (*self.path, "key"))

    def _tenant(self) -> None:
        tenancy = self.case.data_map.tenancy
        column = self.case.data_map.tenant_column(self.dataset)
        if column and column not in self.table.columns:
            hint = f"`{self.table.name}` has no tenant column `{column}`; name it with `tenant:`, or say `tenant_by_parent: true`"
            self.case.error(Code.NO_TENANT, hint, self.path, column)
        elif column and self.table.columns[column].category != "S":
            hint = f"`{column}` holds no text, and tenants have names"
            self.case.error(Code.WRONG_TYPE, hint, self.path, column)
        elif not isinstance(tenancy, str) and self.dataset.tenant_by_parent and tenancy.column in self.table.columns:
            hint = (
                f"`{self.table.name}` has a tenant column `{tenancy.column}` of its own; take `tenant_by_parent` away"
            )
            self.case.error(Code.UNUSED_TENANT, hint, (*self.path, "tenant_by_parent"), tenancy.column)

    def _times(self) -> None:
        hide, retain = self.dataset.hide, self.dataset.retain
        wanted: list[tuple[str | None, Path]] = [(self.dataset.created, (*self.path, "created"))]
        wanted.append((retain.until.column if retain else None, (*self.path, "retain", "until")))
        for column, path in wanted:
            if column and (found := self._column(self.table, column, path)) and found.type not in TIMES:
                self.case.error(Code.WRONG_TYPE, f"`{column}` is no time but {found.type}", path, column)
        if hide and (found := self._column(self.table, hide.column, (*self.path, "hide"))):
            self._hide(hide, found)

    def _hide(self, hide: Hide, column: ColumnType) -> None:
        wanted = TIMES - {"date"} if hide.value is HideValue.NOW else {"bool"}
        if column.type not in wanted or (column.not_null and hide.value is HideValue.NOW):
            hint = f"`{hide.column}` must be {' or '.join(sorted(wanted))} and take null, for `value: {hide.value}`"
            self.case.error(Code.WRONG_TYPE, hint, (*self.path, "hide"), hide.column)

    def _by(self, way: By, path: Path) -> None:
        table: LiveTable | None = self.table
        for i, join in enumerate(way.through):
            here: Path = (*path, "through", i)
            near, table = table, self.case.live.tables.get(join.table)
            if table is None:
                self.case.error(Code.MISSING_TABLE, f"there is no table `{join.table}`", here)
                return
            for mine, theirs in join.on.items():
                if near:
                    self._column(near, mine, here)
                self._column(table, theirs, here)
            for column in (join.tenant, join.created):
                if column:
                    self._column(table, column, here)
            tenancy = self.case.data_map.tenancy
            if not isinstance(tenancy, str) and join.tenant is None and tenancy.column in table.columns:
                hint = f"`{join.table}` has a tenant column; give it as `tenant:` of this join"
                self.case.error(Code.NO_TENANT, hint, here, tenancy.column)
            for condition in join.where:
                self._condition(table, condition, here)
        assert table is not None
        found = self._column(table, way.column, path)
        if found and (found.element or found.type) not in _IDENTIFIERS and not found.type.endswith('"citext"'):
            hint = f"`{way.column}` is {found.type}: an identifier is text, a number, a UUID, or an array of them"
            self.case.error(Code.WRONG_TYPE, hint, path, way.column)
        if found and found.element and way.stored is not Stored.EXACT:
            self.case.error(Code.WRONG_TYPE, "elements of an array are compared as they stand", path, way.column)
        for condition in way.where:
            self._condition(self.table, condition, path)
        self._polymorphic(table, way.column, way, path)

    def _of(self, way: Of, path: Path) -> None:
        parent = self.case.data_map.sql(way.of)
        parent_table = self.case.live.tables.get(parent.table)
        for mine, theirs in way.on.items():
            self._column(self.table, mine, path)
            if parent_table:
                self._column(parent_table, theirs, path)
            self._polymorphic(self.table, mine, way, path)
        for condition in way.where:
            self._condition(self.table, condition, path)
        tenants = (self.case.data_map.tenant_column(self.dataset), self.case.data_map.tenant_column(parent))
        shared = {tenants[1]} if all(tenants) and tenants[0] not in way.on else set()
        if parent_table is None or parent_table.unique({*way.on.values(), *(c for c in shared if c)}):
            return
        if not self._both_reach(way, parent_table):
            hint = (
                f"several rows of `{way.of}` may have the same {', '.join(way.on.values())}: join on a unique key of it"
            )
            self.case.error(Code.AMBIGUOUS_JOIN, hint, path)

    def _both_reach(self, way: Of, parent: LiveTable) -> bool:
        """Whether both sides point at one row of a third table, which has the tenant."""
        mine = {
            (r.parent, r.parent_columns)
            for r in self.case.live.parents(self.table.name)
            if set(r.columns) == set(way.on)
        }
        theirs = [r for r in self.case.live.parents(parent.name) if set(r.columns) == set(way.on.values())]
        return any((r.parent, r.parent_columns) in mine for r in theirs)

    def _polymorphic(self, table: LiveTable, column: str, way: By | Of, path: Path) -> None:
        stem = column.removesuffix("_id")
        kind = f"{stem}_type"
        conditions = [*way.where, *self.dataset.where]
        if isinstance(way, By):
            conditions += [condition for join in way.through for condition in join.where]
        if stem != column and kind in table.columns and kind not in [condition.column for condition in conditions]:
            hint = f"`{column}` means nothing without `{kind}`: add a condition on it under `where:`"
            self.case.error(Code.POLYMORPHIC, hint, path, column)

    def _treatment(self, column: ColumnType, treatment: Treatment, path: Path) -> None:
        if column.generated:
            hint = f"`{column.name}` is generated; treat the columns it is made of"
            self.case.error(Code.GENERATED, hint, path, column.name)
        if treatment is None and column.not_null:
            hint = f"`{column.name}` takes no null; give it a `value:`"
            self.case.error(Code.NOT_NULLABLE, hint, path, column.name)
        if not _fits(column, treatment):
            what = "null" if treatment is None else treatment.value if isinstance(treatment, Word) else treatment.marker
            self.case.error(Code.WRONG_TYPE, f"`{what}` does nothing to a column of {column.type}", path, column.name)
        if isinstance(treatment, Value) and "{key}" not in str(treatment.value) and self._unique(column.name):
            hint = f"`{column.name}` must be unique: write {{key}} into the value, or use null"
            self.case.error(Code.NOT_UNIQUE, hint, path, column.name)

    def _unique(self, column: str) -> bool:
        among = {column, self.case.data_map.tenant_column(self.dataset)}
        return any(i.unique and column in i.columns and set(i.columns) <= among for i in self.table.indexes)


def _fits(column: ColumnType, treatment: Treatment) -> bool:
    match treatment:
        case JsonPaths():
            return column.is_json
        case Elements():
            return column.is_json or column.element is not None
        case Scrub():
            return column.is_text or column.is_json
        case Word.CLEAR:
            return column.is_text or column.is_json or column.element is not None
        case Word.TRUNCATE_IP:
            return column.is_text or column.type in ("inet", "cidr")
        case _:
            return True
