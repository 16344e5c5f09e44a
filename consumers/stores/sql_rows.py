"""What goes into the SQL store and what comes out: targets, rows, findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Key = tuple[str, ...]
"""A primary key as text, column by column: JSON-safe, and the same for integers, UUIDs and words."""


class Effect(StrEnum):
    """What is done to rows."""

    APPLY = "apply"
    """The map's action: delete, redact, anonymise, or leave what is retained."""
    HIDE = "hide"
    """Into the trash."""
    UNHIDE = "unhide"
    """Out of the trash again."""


@dataclass(frozen=True, slots=True)
class Target:
    """One subject, or named records, of one tenant.

    ``ordinal`` is the caller's number for it within the batch. ``identifiers`` are in normal form. ``records`` maps
    datasets to ids within the tenant; when given, only these records (and what belongs to them) are reached.
    ``cutoff_at``: reusable identifiers reach only rows created before it; ``None`` sets no limit.
    """

    ordinal: int
    tenant: str
    identifiers: Mapping[str, frozenset[str]]
    records: Mapping[str, frozenset[str]] | None = None
    cutoff_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Target({self.ordinal}, {self.tenant}, …)"  # whose it is does not belong in a log


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows by primary key, column by column, in key order. A row of two subjects stands once for each.

    ``extras`` are further columns by position, named by ``SqlStore.extras``.
    """

    ordinals: list[int] = field(default_factory=list)
    keys: tuple[list[str], ...] = ()
    extras: tuple[list[str | None], ...] = ()

    @classmethod
    def of(cls, records: Sequence[Sequence[Any]], width: int) -> Rows:
        """Rows from records of (ordinal, key columns…, extras…); ``width`` is the number of key columns."""
        if not records:
            return cls()
        columns = [list(column) for column in zip(*records, strict=True)]
        return cls(columns[0], tuple(columns[1 : width + 1]), tuple(columns[width + 1 :]))

    def __len__(self) -> int:
        return len(self.ordinals)

    def counts(self) -> dict[int, int]:
        """Rows per ordinal."""
        return dict(Counter(self.ordinals))

    def pairs(self) -> Iterator[tuple[int, Key]]:
        """Each ordinal with its row's key."""
        return zip(self.ordinals, zip(*self.keys, strict=True), strict=True)

    def take(self, positions: Iterable[int]) -> Rows:
        """The rows at these positions, in this order."""
        at = list(positions)
        if not at:
            return Rows()
        return Rows(
            [self.ordinals[i] for i in at],
            tuple([column[i] for i in at] for column in self.keys),
            tuple([column[i] for i in at] for column in self.extras),
        )

    def chunks(self, size: int) -> Iterator[Rows]:
        """Slices of at most ``size`` rows, in key order."""
        if 0 < len(self) <= size:
            yield self
            return
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))

    def only(self, ordinals: Collection[int]) -> Rows:
        """The rows of these subjects."""
        return self.take(i for i, ordinal in enumerate(self.ordinals) if ordinal in ordinals)

    def union(self, other: Rows) -> Rows:
        """Both, each (ordinal, key) once; extras are kept from the first that has the row."""
        seen = set(self.pairs())
        fresh = other.take(i for i, pair in enumerate(other.pairs()) if pair not in seen)
        if not fresh or not self:
            return self or fresh
        return Rows(
            self.ordinals + fresh.ordinals,
            tuple(mine + theirs for mine, theirs in zip(self.keys, fresh.keys, strict=True)),
            tuple(mine + theirs for mine, theirs in zip(self.extras, fresh.extras, strict=True)),
        )

    def minus(self, other: Rows) -> Rows:
        """The rows whose (ordinal, key) is not in ``other``."""
        gone = set(other.pairs())
        return self.take(i for i, pair in enumerate(self.pairs()) if pair not in gone)

    def to_plain(self) -> list[Any]:
        """Lists of integers and text, for a plan."""
        return [self.ordinals, list(self.keys), list(self.extras)]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> Rows:
        """The opposite of :meth:`to_plain`."""
        ordinals, keys, extras = plain
        return cls(list(ordinals), tuple(list(c) for c in keys), tuple(list(c) for c in extras))


@dataclass(frozen=True, slots=True)
class Unmet:
    """A post-condition that does not hold: ``rows`` rows of ``dataset``; ``column`` is None where a row is still there."""

    ordinal: int
    dataset: str
    column: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Linked:
    """Where a subject's identifiers led.

    ``derived`` holds only what was not given. ``persons``: how many different people the given identifiers led to.
    ``shared``: kinds of identifiers (given or derived) that lead to other people as well.
    """

    derived: Mapping[str, frozenset[str]]
    persons: int
    shared: frozenset[str]

    @property
    def ambiguous(self) -> bool:
        """Whether a person must decide who is meant."""
        return self.persons > 1 or bool(self.shared)

    def __repr__(self) -> str:
        return f"Linked({sorted(self.derived)}, persons={self.persons}, shared={sorted(self.shared)})"


@dataclass(frozen=True, slots=True)
class Live:
    """One identifier that a store holds now. ``created`` is the row's creation, where the map names a column."""

    dataset: str
    tenant: str
    kind: str
    value: str
    key: Key
    created: datetime | None

    def __repr__(self) -> str:
        return f"Live({self.dataset}, {self.tenant}, {self.kind}, …)"
