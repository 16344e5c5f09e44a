"""The statements of a data map, compiled to PostgreSQL.

Everything that is special to its dialect is here, in :mod:`consumers.stores.sql_members`, in
:mod:`consumers.stores.sql_treatments` and in :mod:`consumers.stores.sql_catalog`.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumers.maps_model import (
    Action,
    By,
    Elements,
    HideValue,
    ObjectDataset,
    Scrub,
    SqlDataset,
    Treatment,
)
from consumers.stores.sql_catalog import quoted
from consumers.stores.sql_members import Members, Statement
from consumers.stores.sql_rows import Effect
from consumers.stores.sql_treatments import Mode, Treated


class Compiler(Members):
    """Compiles one statement. Make a new one for each; nothing is shared between them."""

    # --- statements ------------------------------------------------------------------------------------------------

    def find(self, name: str, effect: Effect) -> Statement:
        """(ordinal, key…, extras…) of the rows still to be worked, in key order, at most ``limit`` rows."""
        ctes = self._with(f"hit as ({self._rows(name, effect)})")
        return self._made(f"{ctes} {self._out(name, 'hit', self._extra_names(name))} limit %(limit)s")

    def count(self, names: Sequence[str], effect: Effect) -> Statement:
        """(dataset, ordinal, rows) for all the datasets in one go."""
        parts = [
            f"select {self._bind(name)}::text, c.ordinal, count(*) from ({self._rows(name, effect)}) as c group by c.ordinal"
            for name in names
        ]
        return self._made(self._with() + " union all ".join(parts))

    def act(self, name: str, effect: Effect, *, given: bool) -> Statement:
        """Work the rows given by key, or (``not given``) those that are found; (ordinal, key…, extras…) of the changed."""
        hit = self._given(name) if given else f"hit as materialized ({self._rows(name, effect)})"
        act = self._act(name, effect)
        extras = [] if given else self._extra_names(name)
        ctes = self._with(
            hit, f"one as ({self._one(self._key_names(name), extras)})", f"act as ({act}{self._back(name, extras)})"
        )
        changed = "(select unnest(act.ordinals) as ordinal, act.* from act) as changed"
        return self._made(f"{ctes} {self._out(name, changed, extras)}")

    def verify(self, name: str, effect: Effect) -> Statement:
        """(ordinal, rows, …) per post-condition, for subjects with a row that breaks one; ``columns`` names them."""
        conditions = self._conditions(name, effect)
        counts = [f"count(*) filter (where {condition})" for condition in conditions.values()]
        broken = " or ".join(f"({condition})" for condition in conditions.values())
        join = " and ".join(f"d.{quoted(column)} = hit.k{i}" for i, column in enumerate(self._dataset(name).key))
        table = quoted(self._dataset(name).table)
        mentions = " join w on w.ordinal = hit.ordinal" if self._mentions else ""
        sql = (
            f"{self._with(self._given(name))} select hit.ordinal, {', '.join(counts)}"
            f" from hit join {table} as d on {join}{mentions}"
            f" where {broken} group by hit.ordinal"
        )
        return self._made(sql, tuple(conditions))

    def link(self, index: int) -> Statement:
        """(ordinal, tenant, kind, value, person, a text per column of the link) of the rows to which identifiers lead."""
        link = self.map.links[index]
        dataset = self._dataset(link.dataset)
        columns = [column for _, column in link.columns()]
        given = [self._as_text(dataset, column) for column in columns]
        people = (
            (link.person,) if link.person else tuple(c for c in dataset.key if c != self.map.tenant_column(dataset))
        )
        person = " || '/' || ".join(f"d.{quoted(column)}::text" for column in people)
        parts = []
        for way in self.map.starts(link):
            select = [f"'{way.by.value}'", "s.value::text", person, *given]
            parts.append(self._by(dataset, way, select, extra=self._where(dataset.table, "d", link.where)))
        return self._made(" union ".join(parts))

    def live(self, name: str, columns: Sequence[str]) -> Statement:
        """(tenant, key…, created, a text per column) of all rows after key ``k0…``, in key order."""
        dataset = self._dataset(name)
        tenant = self.map.tenant_column(dataset)
        keys = [f"d.{quoted(column)}" for column in dataset.key]
        typed = [f"%(k{i})s::{self._type(dataset.table, column)}" for i, column in enumerate(dataset.key)]
        created = f"d.{quoted(dataset.created)}::timestamptz" if dataset.created else "null::timestamptz"
        texts = [self._as_text(dataset, column) for column in columns]
        selected = [f"d.{quoted(tenant)}" if tenant else "''", *(f"{key}::text" for key in keys), created, *texts]
        some = " or ".join(f"d.{quoted(column)} is not null" for column in columns)
        where = [f"({some})", *self._where(dataset.table, "d", dataset.where)]
        where.append(f"(%(first)s or ({', '.join(keys)}) > ({', '.join(typed)}))")
        return self._made(
            f"select {', '.join(selected)} from {quoted(dataset.table)} as d where {' and '.join(where)}"
            f" order by {', '.join(keys)} limit %(limit)s"
        )

    def way(self, name: str, index: int) -> Statement:
        """One match of a dataset alone, to see how the database would go about it."""
        dataset = self._dataset(name)
        select = [f"d.{quoted(column)}" for column in dataset.key]
        found = dataset.match[index]
        sql = self._by(dataset, found, select) if isinstance(found, By) else self._of(dataset, found, select, [])
        return self._made(self._with() + sql)

    # --- parts of statements ---------------------------------------------------------------------------------------

    def _made(self, sql: str, columns: tuple[str | None, ...] = ()) -> Statement:
        mentions = tuple(self._mentions.values())
        return Statement(sql, tuple(self._sources.values()), mentions, self._constants, columns)

    def _given(self, name: str) -> str:
        """The rows that the caller names by key, as a relation."""
        dataset = self._dataset(name)
        types = [self._type(dataset.table, column) for column in dataset.key]
        arrays = ["%(r_o)s::int[]", *(f"%(r_k{i})s::text[]::{type_}[]" for i, type_ in enumerate(types))]
        names = ", ".join(["ordinal", *self._key_names(name)])
        return f"hit as (select * from unnest({', '.join(arrays)}) as r({names}))"

    def _with(self, *relations: str) -> str:
        """The common table expressions, with ``w`` first if anything asked for mentions before."""
        parts = list(relations)
        if self._mentions:
            names = [mention.name for mention in self._mentions.values()]
            arrays = ["%(w_o)s::int[]", *(f"%({name})s::text[]" for name in names)]
            parts.insert(0, f"w as (select * from unnest({', '.join(arrays)}) as w({', '.join(['ordinal', *names])}))")
        parts = [*self._shared.values(), *parts]
        return f"with {', '.join(parts)} " if parts else ""

    def _one(self, keys: Sequence[str], extras: Sequence[str]) -> str:
        """The rows to touch, each once: of a row with several subjects all their identifiers count together."""
        glue = {Mode.VALUES: "E'\\n'", Mode.HINT: "E'\\n'", Mode.PATTERN: "'|'", Mode.NUMBERS: "'|'"}
        mentions = [f"string_agg(w.{m.name}, {glue[m.mode]}) as {m.name}" for m in self._mentions.values()]
        more = [f"min({extra}) as {extra}" for extra in extras]
        names = ", ".join(keys)
        selected = ", ".join([names, "array_agg(hit.ordinal) as ordinals", *more, *mentions])
        if not mentions:
            return f"select {selected} from hit group by {names} order by {names}"
        # In the order of subjects: PostgreSQL keeps the regular expressions it used last, and compiling one is dear.
        return f"select {selected} from hit join w using (ordinal) group by {names} order by min(hit.ordinal), {names}"

    def _back(self, name: str, extras: Sequence[str]) -> str:
        """What a changed row tells: its key and whose it is. Asking by a join again would trust the planner's guesses."""
        keys = [f"d.{quoted(column)} as k{i}" for i, column in enumerate(self._dataset(name).key)]
        return f" returning {', '.join([*keys, 'one.ordinals', *(f'one.{extra}' for extra in extras)])}"

    def _extra_names(self, name: str) -> list[str]:
        return [f"x{i}" for i in range(len(self.extras(name)))]

    def _out(self, name: str, relation: str, extras: Sequence[str]) -> str:
        keys = self._key_names(name)
        texts = [f"{key}::text as t{i}" for i, key in enumerate(keys)]
        return (
            f"select {', '.join(['ordinal', *texts, *extras])} from {relation} order by {', '.join([*keys, 'ordinal'])}"
        )

    def _act(self, name: str, effect: Effect) -> str:
        dataset = self._dataset(name)
        table = quoted(dataset.table)
        join = " and ".join(f"d.{quoted(column)} = one.k{i}" for i, column in enumerate(dataset.key))
        if effect is Effect.APPLY and dataset.action is Action.DELETE:
            return f"delete from {table} as d using one where {join}"
        if effect is Effect.APPLY:
            treated = self._treated(name, "one")
            sets = ", ".join(f"{quoted(column)} = {part.wanted}" for column, part in treated.items())
        else:
            sets, condition = self._hiding(dataset, effect)
            join = f"{join} and {condition}"
        return f"update {table} as d set {sets} from one where {join}"

    def _hiding(self, dataset: SqlDataset, effect: Effect) -> tuple[str, str]:
        hide = dataset.hide
        assert hide is not None
        column, type_ = quoted(hide.column), self._type(dataset.table, hide.column)
        if hide.value is HideValue.TRUE:
            wanted = "true" if effect is Effect.HIDE else "false"
            return f"{column} = {wanted}", f"d.{column} is distinct from {wanted}"
        at = self._instant("%(at)s::timestamptz", type_)
        if effect is Effect.HIDE:
            return f"{column} = {at}", f"d.{column} is null"
        return f"{column} = null", f"d.{column} = {at}"

    def _rows(self, name: str, effect: Effect) -> str:
        """(ordinal, k…, x…) of the rows of a dataset that are still to be worked."""
        dataset = self._dataset(name)
        pending = " or ".join(f"({c})" for c in self._conditions(name, effect).values() if c != "true")
        extras = [self._extra(dataset, extra) for extra in self.extras(name)]
        keys = [f"d.{quoted(column)}" for column in dataset.key]
        names = ["ordinal", *self._key_names(name), *self._extra_names(name)]
        mentions = effect is Effect.APPLY and any(isinstance(t, Scrub | Elements) for t in dataset.columns.values())
        if mentions or name in self._shared:
            relation = self._looked_at(name, pending, mentions=mentions, whole=bool(pending or extras))
            own = keys if pending or extras else [f"s.{self._member_column(name, c)}" for c in dataset.key]
            columns = ["s.ordinal", *own, *extras]
        else:
            members = self._members(name, [*keys, *extras], [f"({pending})"] if pending else [])
            relation = f"({members}) as m"
            columns = ["m.ordinal", *(f"m.c{i}" for i in range(len(keys) + len(extras)))]
        renamed = ", ".join(f"{column} as {new}" for column, new in zip(columns, names, strict=True))
        return f"select distinct {renamed} from {relation}"

    def _looked_at(self, name: str, pending: str, *, mentions: bool, whole: bool) -> str:
        """The members of a dataset as ``s``, with the row itself as ``d``, held to ``pending``.

        Texts are looked into only when it is known whose rows they are in: the planner may otherwise take the
        comparison for a way to join all rows of a table with all subjects.
        """
        dataset = self._dataset(name)
        relation = f"{self._members_of(name)} as s"
        if not whole:
            return relation
        same = [f"d.{quoted(column)} = s.{self._member_column(name, column)}" for column in dataset.key]
        relation += f" join {quoted(dataset.table)} as d on {' and '.join(same)}"
        if mentions:
            return (
                f"{relation} join w on w.ordinal = s.ordinal where case when w.ordinal = s.ordinal then {pending} end"
            )
        return f"{relation} where {pending}" if pending else relation

    def extras(self, name: str) -> tuple[str, ...]:
        """What :meth:`find` returns beyond the key: columns with objects' keys, and when retention ends."""
        objects = [d.column for d in self.map.of_kind(ObjectDataset).values() if d.rows == name]
        until = ["until"] if self._dataset(name).action is Action.RETAIN else []
        return (*dict.fromkeys(objects), *until)

    def _extra(self, dataset: SqlDataset, extra: str) -> str:
        if extra == "until" and dataset.retain is not None:
            return f"to_char({self._until(dataset, dataset.retain.until)} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        return f"d.{quoted(extra)}::text"

    def _conditions(self, name: str, effect: Effect) -> dict[str | None, str]:
        """What makes a row one that is still to be worked, by column; ``None``: that it is there at all."""
        dataset = self._dataset(name)
        if effect is not Effect.APPLY:
            assert dataset.hide is not None
            hidden = f"d.{quoted(dataset.hide.column)}"
            shown = f"{hidden} is not true" if dataset.hide.value is HideValue.TRUE else f"{hidden} is null"
            return {dataset.hide.column: shown if effect is Effect.HIDE else f"not ({shown})"}
        if dataset.action is Action.DELETE:
            return {None: "true"}
        if dataset.action is Action.RETAIN:
            return {}
        return {column: part.pending for column, part in self._treated(name, "w").items()}

    def _treated(self, name: str, w: str) -> dict[str, Treated]:
        dataset = self._dataset(name)
        tenant = self.map.tenant_column(dataset)
        key = " || '-' || ".join(f"d.{quoted(column)}::text" for column in dataset.key if column != tenant)

        def mention(mode: Mode, kinds: tuple[str, ...]) -> str:
            return f"{w}.{self._mention(mode, kinds).name}"

        def treated(column: str, treatment: Treatment) -> Treated:
            return Treated(self.catalog.column(dataset.table, column), treatment, key, self._bind, mention)

        return {column: treated(column, treatment) for column, treatment in dataset.columns.items()}
