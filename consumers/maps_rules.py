"""What the parts of a data map must not say together.

A map is refused here when it could touch more than the subject's data: a whole table, another tenant, a stranger who
got the e-mail address later; or less: a child that can no longer be found once its parent is gone.
"""

from __future__ import annotations

from collections.abc import Iterator

from consumers.maps_model import (
    Action,
    By,
    Condition,
    DataMap,
    Dataset,
    Elements,
    JsonPaths,
    LogDataset,
    Method,
    Nature,
    ObjectDataset,
    Of,
    Operator,
    Scrub,
    SqlDataset,
    StoreKind,
    Trash,
    Treatment,
    Value,
    Whose,
)
from consumers.maps_reading import Path, Source
from schemas.identifiers import IdentifierKind

_KIND_OF_STORE = {SqlDataset: StoreKind.SQL, ObjectDataset: StoreKind.OBJECTS, LogDataset: StoreKind.LOGFILES}
_LISTS = {Operator.IN, Operator.NOT_IN}
_NULLS = {Operator.IS_NULL, Operator.NOT_NULL}


def check_rules(data_map: DataMap, source: Source) -> None:
    """Note in ``source`` every rule that the map breaks."""
    _check_top(data_map, source)
    _check_links(data_map, source)
    for name, dataset in data_map.datasets.items():
        path: Path = ("datasets", name)
        _check_store(data_map, dataset, path, source)
        if isinstance(dataset, SqlDataset):
            _Sql(data_map, name, dataset, source).check()
        elif isinstance(dataset, ObjectDataset):
            _check_objects(data_map, name, dataset, source)
        else:
            _check_log(data_map, dataset, path, source)


def _check_top(data_map: DataMap, source: Source) -> None:
    if not data_map.datasets:
        source.problem(("datasets",), "name at least one dataset")
    for store in data_map.stores.keys() - {dataset.store for dataset in data_map.datasets.values()}:
        source.problem(("stores", store), f"no dataset is in store `{store}`; take it away, or add what is missing")
    if data_map.product in data_map.after:
        source.problem(("after",), "a product cannot wait for itself; take it out of the list")
    hiding = [name for name, dataset in data_map.of_kind(SqlDataset).items() if dataset.hide]
    if data_map.trash is Trash.NATIVE and not hiding:
        source.problem(("trash",), "native trash needs a dataset with `hide:`; else write `trash: deferred`")
    if data_map.trash is Trash.DEFERRED:
        for name in hiding:
            source.problem(("datasets", name, "hide"), "`hide:` means nothing with `trash: deferred`; take one away")
    used = data_map.needs | data_map.supplies
    for kind in data_map.identifiers:
        if kind not in used:
            source.problem(("identifiers", kind.value), f"no dataset and no link uses {kind.value}; take it away")


def _check_links(data_map: DataMap, source: Source) -> None:
    for i, link in enumerate(data_map.links):
        path: Path = ("links", i)
        dataset = data_map.datasets.get(link.dataset)
        if not isinstance(dataset, SqlDataset):
            source.problem((*path, "dataset"), f"there is no SQL dataset `{link.dataset}`")
            continue
        if not data_map.starts(link):
            source.problem(path, f"`{link.dataset}` has no `by:` match to start from; give this link a `match:`")
        for j, way in enumerate(link.match):
            _Sql(data_map, link.dataset, dataset, source, path).by(way, ("match", j))
        for kind in link.gives:
            _check_kind(data_map, kind, (*path, "gives", kind.value), source)
        _check_conditions(link.where, path, source)


def _check_kind(data_map: DataMap, kind: IdentifierKind, path: Path, source: Source) -> None:
    if kind not in data_map.identifiers:
        source.problem(path, f"{kind.value} is not under `identifiers:`; say there whether it is surrogate or reusable")


def _check_store(data_map: DataMap, dataset: Dataset, path: Path, source: Source) -> None:
    store = data_map.stores.get(dataset.store)
    wanted = _KIND_OF_STORE[type(dataset)]
    if store is None:
        source.problem(
            (*path, "store"), f"there is no store `{dataset.store}`; name one of {', '.join(data_map.stores)}"
        )
    elif store.kind is not wanted:
        source.problem((*path, "store"), f"`{dataset.store}` is a store of kind {store.kind}, this needs {wanted}")


def _check_conditions(where: tuple[Condition, ...], path: Path, source: Source) -> None:
    for i, condition in enumerate(where):
        at = (*path, "where", i)
        is_list = isinstance(condition.value, list)
        if condition.op in _LISTS and not (is_list and condition.value):
            source.problem(at, f"`op: {condition.op}` needs a list of values that is not empty")
        elif condition.op in _NULLS and condition.value is not None:
            source.problem(at, f"`op: {condition.op}` takes no value")
        elif condition.op not in _LISTS | _NULLS and (is_list or condition.value is None):
            source.problem(at, f"`op: {condition.op}` needs one value; for nothing write `op: is_null`")


class _Sql:
    """The rules of one SQL dataset."""

    def __init__(
        self, data_map: DataMap, name: str, dataset: SqlDataset, source: Source, path: Path | None = None
    ) -> None:
        self.map, self.name, self.dataset, self.source = data_map, name, dataset, source
        self.path: Path = path or ("datasets", name)
        self.order = list(data_map.datasets)
        self.tenant = data_map.tenant_column(dataset)
        self.single_tenant = isinstance(data_map.tenancy, str)

    def check(self) -> None:
        self._keys()
        _check_conditions(self.dataset.where, self.path, self.source)
        if not self.dataset.match:
            self._bad(
                ("match",), "without a match this would touch the whole table; say how rows belong to the subject"
            )
        for i, way in enumerate(self.dataset.match):
            _check_conditions(way.where, (*self.path, "match", i), self.source)
            if isinstance(way, By):
                self.by(way, ("match", i))
            else:
                self._of(way, ("match", i))
        self._action()
        self._columns()

    def _bad(self, below: Path, text: str) -> None:
        self.source.problem((*self.path, *below), text)

    def _keys(self) -> None:
        dataset = self.dataset
        if not dataset.key or len(set(dataset.key)) < len(dataset.key):
            self._bad(("key",), "list the columns of the primary key, each once")
        if dataset.tenant and dataset.tenant_by_parent:
            self._bad(("tenant",), "a table has a tenant column or none; take away `tenant` or `tenant_by_parent`")

    def by(self, way: By, at: Path) -> None:
        """The rules of one match by identifier."""
        _check_kind(self.map, way.by, (*self.path, *at, "by"), self.source)
        for i, join in enumerate(way.through):
            _check_conditions(join.where, (*self.path, *at, "through", i), self.source)
            if not join.on:
                self._bad((*at, "through", i), "a join without `on:` would reach the whole table")
            self._after_reaching(join.table, (*at, "through", i))
        self._by_tenant(way, at)
        created = self.dataset.created or any(join.created for join in way.through)
        if self.map.identifiers.get(way.by) is Nature.REUSABLE and not created:
            self._bad(
                at,
                f"{way.by.value} is reusable: name the creation column (`created:`), or rows of a later owner would go",
            )

    def _by_tenant(self, way: By, at: Path) -> None:
        if self.single_tenant:
            return
        reached = [self.tenant, *(join.tenant for join in way.through)]
        if not any(reached):
            self._bad(
                at, "nothing separates tenants here: match `of` a dataset, or `through` a table, with a tenant column"
            )
            return
        for i, join in enumerate(way.through):
            near = reached[i]
            if join.tenant is None and any(self._tenant_of(join.table)):
                self._bad((*at, "through", i), f"`{join.table}` has a tenant column; give it as `tenant:` of this join")
                return
            if join.tenant is None and near is None and not any(reached[i + 2 :]):
                self._bad((*at, "through", i), f"`{join.table}` does not reach the tenant; give its `tenant:` column")
        if way.through and way.through[0].tenant is None and self._part_of_key(self.dataset, set(way.through[0].on)):
            self._bad(
                (*at, "through", 0), f"ids of `{self.dataset.table}` collide between tenants: join on its whole key"
            )

    def _tenant_of(self, table: str) -> Iterator[str | None]:
        """The tenant column of a table, as the datasets on it know it."""
        for dataset in self.map.of_kind(SqlDataset).values():
            if dataset.table == table:
                yield self.map.tenant_column(dataset)

    def _of(self, way: Of, at: Path) -> None:
        parent = self.map.datasets.get(way.of)
        if not isinstance(parent, SqlDataset) or way.of == self.name:
            self._bad((*at, "of"), f"there is no other SQL dataset `{way.of}`")
            return
        if parent.store != self.dataset.store:
            self._bad((*at, "of"), f"`{way.of}` is in store `{parent.store}`; rows can be joined within one store only")
        if not way.on:
            self._bad(at, "without `on:` this would reach the whole table")
        if self.order.index(self.name) > self.order.index(way.of):
            self._bad(at, f"`{way.of}` stands before `{self.name}`, which is found by it; children go before parents")
        if self.single_tenant or self.tenant:
            return
        if self._part_of_key(parent, set(way.on.values())):
            self._bad(
                at, f"ids of `{way.of}` collide between tenants: this joins part of its key and reaches no tenant"
            )

    def _part_of_key(self, dataset: SqlDataset, columns: set[str]) -> bool:
        """Whether the columns are the key of a table without its tenant column."""
        tenant = self.map.tenant_column(dataset)
        return tenant in dataset.key and columns == set(dataset.key) - {tenant}

    def _after_reaching(self, table: str, at: Path) -> None:
        mine = self.order.index(self.name)
        for name, other in self.map.of_kind(SqlDataset).items():
            acts = other.action is not Action.RETAIN and other.table != self.dataset.table
            if other.table == table and acts and self.order.index(name) < mine:
                self._bad(
                    at, f"`{name}` stands before `{self.name}`, which is reached through its table; move it below"
                )

    def _action(self) -> None:
        dataset = self.dataset
        if (dataset.action is Action.ANONYMISE) != (dataset.method is not None):
            methods = ", ".join(method.value for method in Method)
            self._bad(("action",), f"`method:` ({methods}) goes with `action: anonymise`, and only with it")
        if (dataset.action is Action.RETAIN) != (dataset.retain is not None):
            self._bad(("action",), "`retain:` (ground, basis, until) goes with `action: retain`, and only with it")
        if dataset.whose is Whose.OTHERS and (dataset.action is not Action.REDACT or dataset.hide):
            self._bad(("whose",), "other people's records are never deleted or hidden; write `action: redact`")
        if dataset.action is Action.RETAIN:
            self._retain()
        if dataset.action in (Action.REDACT, Action.ANONYMISE) and not dataset.columns:
            self._bad(("action",), f"`action: {dataset.action}` needs `columns:` with a treatment each")
        if dataset.action in (Action.DELETE, Action.RETAIN) and (dataset.columns or dataset.keep):
            self._bad(("action",), f"`action: {dataset.action}` concerns whole rows; take away `columns:` and `keep:`")

    def _retain(self) -> None:
        retain, below = self.dataset.retain, self.order[self.order.index(self.name) + 1 :]
        if self.dataset.hide:
            self._bad(("hide",), "what is retained cannot be hidden; take `hide:` away")
        if retain is None:
            return
        until = retain.until
        if (until.fixed is None) == (until.column is None) or (until.column is None) != (until.plus is None):
            self._bad(("retain", "until"), "say when it ends: `column:` and `plus:` (as P10Y), or `fixed:` (a date)")
        heirs = [self.map.datasets[name] for name in below]
        if not any(
            isinstance(heir, SqlDataset) and heir.table == self.dataset.table and heir.action is not Action.RETAIN
            for heir in heirs
        ):
            self._bad(
                ("retain",), f"say what happens afterwards: a dataset below on `{self.dataset.table}` with an action"
            )

    def _columns(self) -> None:
        dataset = self.dataset
        fixed: dict[str | None, str] = {
            **dict.fromkeys(dataset.key, "a key column"),
            self.tenant: "the tenant column",
            dataset.created: "the creation column",
        }
        if dataset.hide:
            fixed[dataset.hide.column] = "the hide column"
        for column, treatment in dataset.columns.items():
            at: Path = ("columns", column)
            if column in fixed:
                self._bad(at, f"`{column}` is {fixed[column]} and cannot be overwritten")
            if column in dataset.keep:
                self._bad(at, f"`{column}` stands under `keep:` as well; decide for one")
            if isinstance(treatment, Scrub) and treatment.ip and dataset.whose is Whose.OTHERS:
                self._bad(at, "an address in another person's record may be theirs; take `ip:` away")
            _check_treatment(self.map, treatment, (*self.path, *at), self.source)
        if dataset.action in (Action.REDACT, Action.ANONYMISE):
            for at, column, reusable in self._own_references():
                self._reference(at, column, reusable)

    def _own_references(self) -> Iterator[tuple[Path, str, bool]]:
        """Columns of this very table that lead to the subject, and whether by a reusable identifier."""
        for i, way in enumerate(self.dataset.match):
            if isinstance(way, Of):
                yield from (((*("match", i), "on"), column, False) for column in way.on if column != self.tenant)
            elif not way.through:
                yield ("match", i, "column"), way.column, self.map.identifiers.get(way.by) is Nature.REUSABLE

    def _reference(self, at: Path, column: str, reusable: bool) -> None:
        dataset = self.dataset
        if column in dataset.columns:
            wanted = dataset.method is Method.REPLACE_AUTHOR
            if dataset.action is Action.ANONYMISE and wanted != isinstance(dataset.columns[column], Value):
                self._bad(
                    ("columns", column), f"`method: {dataset.method}` wants {'a `value:`' if wanted else '`null`'} here"
                )
        elif dataset.action is Action.ANONYMISE:
            self._bad(
                at, f"`{column}` leads to the subject: anonymising must cut it; give it a treatment under `columns:`"
            )
        elif reusable:
            self._bad(at, f"`{column}` names the subject: give it a treatment under `columns:`")
        elif column not in dataset.keep and column not in dataset.key and dataset.whose is Whose.SUBJECT:
            self._bad(
                at, f"`{column}` leads to the subject: give it a treatment under `columns:`, or name it under `keep:`"
            )


def _check_treatment(data_map: DataMap, treatment: Treatment, path: Path, source: Source) -> None:
    if isinstance(treatment, JsonPaths) and not treatment.json:
        source.problem(path, "name at least one path")
    if isinstance(treatment, Scrub | Elements):
        kinds = treatment.scrub if isinstance(treatment, Scrub) else treatment.elements
        if not kinds:
            source.problem(path, "name at least one kind of identifier")
        for kind in kinds:
            _check_kind(data_map, kind, path, source)


def _check_objects(data_map: DataMap, name: str, dataset: ObjectDataset, source: Source) -> None:
    path: Path = ("datasets", name)
    order = list(data_map.datasets)
    rows = data_map.datasets.get(dataset.rows)
    if not isinstance(rows, SqlDataset):
        source.problem((*path, "rows"), f"there is no SQL dataset `{dataset.rows}`")
    elif order.index(dataset.rows) < order.index(name):
        source.problem(
            (*path, "rows"), f"the rows of `{dataset.rows}` lead to these files and must go after them; move it below"
        )
    elif rows.whose is Whose.OTHERS:
        source.problem(
            (*path, "rows"), f"`{dataset.rows}` holds other people's records; their files are not the subject's"
        )
    if dataset.action is not Action.DELETE:
        source.problem((*path, "action"), "files are deleted; take `action:` away")


def _check_patterns(dataset: LogDataset, path: Path, source: Source) -> None:
    for key, patterns in (("files", dataset.files), ("active", dataset.active)):
        for i, pattern in enumerate(patterns):
            if any(part in ("", ".", "..") or "**" in part for part in pattern.split("/")):
                source.problem((*path, key, i), "a pattern is relative to the store's folder, without `..` and `**`")
            elif key == "active" and pattern.endswith(".gz"):
                source.problem((*path, key, i), "a file that is being written is not compressed; name the plain one")


def _check_log(data_map: DataMap, dataset: LogDataset, path: Path, source: Source) -> None:
    _check_patterns(dataset, path, source)
    if not isinstance(data_map.tenancy, str) and dataset.tenant is None:
        source.problem((*path, "tenant"), "nothing separates tenants here: name the field with the tenant")
    if not dataset.match:
        source.problem((*path, "match"), "without a match this would touch every line")
    for i, way in enumerate(dataset.match):
        at: Path = (*path, "match", i)
        _check_kind(data_map, way.by, (*at, "by"), source)
        named = way.field in dataset.fields
        kept = way.field in dataset.keep and data_map.identifiers.get(way.by) is not Nature.REUSABLE
        if dataset.action is Action.REDACT and not (named or kept):
            source.problem(at, f"`{way.field}` names the subject: give it a treatment under `fields:`")
    if dataset.action not in (Action.REDACT, Action.DELETE):
        source.problem((*path, "action"), "lines are redacted or deleted")
    if dataset.action is Action.REDACT and not dataset.fields:
        source.problem((*path, "action"), "`action: redact` needs `fields:` with a treatment each")
    for field, treatment in dataset.fields.items():
        here: Path = (*path, "fields", field)
        if field in (dataset.tenant, dataset.created):
            source.problem(here, f"`{field}` separates tenants or tells the time, and cannot be overwritten")
        if field in dataset.keep:
            source.problem(here, f"`{field}` stands under `keep:` as well; decide for one")
        if isinstance(treatment, JsonPaths | Elements):
            source.problem(here, "a field of a line takes null, `value:`, `scrub:`, `clear` or `truncate_ip`")
        if isinstance(treatment, Value) and isinstance(treatment.value, list):
            source.problem(
                here, "paths pass through lists, so a field of a line cannot become one; give a single value"
            )
        _check_treatment(data_map, treatment, here, source)
