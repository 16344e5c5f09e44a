"""What a product holds of people, whichever stores hold it: the map's datasets behind one set of calls.

The first SQL store of the map is the product's home: its database keeps receipts and plans too, so that an effect
there and the line that tells of it are one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa

from consumers.lines import Lines
from consumers.maps import DataMap, LogDataset, ObjectDataset, SqlDataset, StoreKind
from consumers.settings import ProductSettings
from consumers.stores.objects import ObjectStore
from consumers.stores.sql import SqlStore
from consumers.stores.sql_batch import Batch
from consumers.stores.sql_errors import store_errors
from consumers.stores.sql_rows import Effect, Linked, Rows

Found = dict[str, Rows]
"""Rows by dataset, in working order."""


@dataclass(slots=True)
class Session:
    """One transaction of the home database, and one of each other database that was asked for.

    The others commit first: what the home then says of them is at most too little, and repeating is harmless.
    """

    home: sa.Connection
    _holdings: Holdings
    _stack: ExitStack
    _others: dict[str, sa.Connection] = field(default_factory=dict)

    def on(self, store: str) -> sa.Connection:
        """The connection to a store of the map."""
        if store == self._holdings.home_name:
            return self.home
        if store not in self._others:
            with store_errors():
                connection = self._stack.enter_context(self._holdings.engines[store].begin())
            self._holdings.sql[store].guard(connection)
            self._others[store] = connection
        return self._others[store]


class Holdings:
    """The stores of one product."""

    def __init__(self, data_map: DataMap, settings: ProductSettings) -> None:
        self.map = data_map
        kinds = {name: store.kind for name, store in data_map.stores.items()}
        of = {name: store.setting for name, store in data_map.stores.items()}
        sql = [name for name, kind in kinds.items() if kind is StoreKind.SQL]
        if not sql:
            raise ValueError(f"{data_map.product}: a product needs an SQL store, for its receipts if for nothing else")
        self.home_name = sql[0]
        self.engines = {name: settings.engine(of[name]) for name in sql}
        self.sql = {name: SqlStore(data_map, name) for name in sql}
        self.objects = {
            name: ObjectStore(settings.addresses[of[name]]) for name, kind in kinds.items() if kind is StoreKind.OBJECTS
        }
        self.files = data_map.of_kind(ObjectDataset)
        self.lines = {
            name: Lines(data_map, name, settings.addresses[of[dataset.store]])
            for name, dataset in data_map.of_kind(LogDataset).items()
        }
        self._sizes: dict[str, int] = {}

    @cached_property
    def rows(self) -> dict[str, SqlDataset]:
        """The SQL datasets, in working order."""
        return self.map.of_kind(SqlDataset)

    @cached_property
    def leading(self) -> dict[str, dict[str, int]]:
        """Of each dataset whose rows lead to files: the object datasets, and where their key is among the extras."""
        found: dict[str, dict[str, int]] = {}
        for name, dataset in self.files.items():
            extras = self.store(dataset.rows).extras(dataset.rows)
            found.setdefault(dataset.rows, {})[name] = extras.index(dataset.column)
        return found

    @property
    def single(self) -> bool:
        """Whether all rows are in the home database, so that effect and receipt can share a transaction."""
        return len(self.sql) == 1

    @property
    def home(self) -> sa.Engine:
        return self.engines[self.home_name]

    def store(self, dataset: str) -> SqlStore:
        return self.sql[self.rows[dataset].store]

    def object_store(self, dataset: str) -> ObjectStore:
        """The store of an object dataset."""
        return self.objects[self.files[dataset].store]

    def dispose(self) -> None:
        for engine in self.engines.values():
            engine.dispose()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Transactions that commit at the end, or roll back with whatever is raised. Raises :class:`StoreError`."""
        with store_errors(), ExitStack() as stack:
            home = stack.enter_context(self.home.begin())
            self.sql[self.home_name].guard(home)
            yield Session(home, self, stack)

    # --- rows ---------------------------------------------------------------------------------------------------

    def find(self, session: Session, batch: Batch, effect: Effect, limit: int | None = None) -> Found:
        """Rows of every SQL dataset, before any effect. ``limit``: no more than that many of each."""
        return {
            name: self.store(name).find(session.on(dataset.store), name, batch, effect=effect, limit=limit)
            for name, dataset in self.rows.items()
        }

    def count(self, session: Session, batch: Batch) -> dict[str, dict[int, int]]:
        """Rows per dataset and ordinal; nothing is touched."""
        found: dict[str, dict[int, int]] = {}
        for name, store in self.sql.items():
            found.update(store.count(session.on(name), batch))
        return found

    def remains(self, session: Session, batch: Batch, effect: Effect) -> dict[str, dict[int, int]]:
        """Rows that the identifiers still find and that should be gone (hidden, in the trash phase)."""
        found: dict[str, dict[int, int]] = {}
        for name, store in self.sql.items():
            found.update(store.remains(session.on(name), batch, effect=effect))
        return found

    def link(self, session: Session, batch: Batch) -> dict[int, Linked]:
        """Where the identifiers lead. With several stores each speaks of its own persons; the most count."""
        merged: dict[int, Linked] = {}
        for name, store in self.sql.items():
            for ordinal, linked in store.link(session.on(name), batch).items():
                merged[ordinal] = _merged(merged[ordinal], linked) if ordinal in merged else linked
        return merged

    def size(self, session: Session, dataset: str) -> int:
        """Estimated rows of a dataset's table; asked for once."""
        if dataset not in self._sizes:
            connection = session.on(self.rows[dataset].store)
            self._sizes[dataset] = self.store(dataset).size(connection, dataset)
        return self._sizes[dataset]


def _merged(one: Linked, other: Linked) -> Linked:
    kinds = one.derived.keys() | other.derived.keys()
    derived: Mapping[str, frozenset[str]] = {
        kind: one.derived.get(kind, frozenset()) | other.derived.get(kind, frozenset()) for kind in kinds
    }
    return Linked(derived, max(one.persons, other.persons), one.shared | other.shared)
