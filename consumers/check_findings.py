"""What ``oblio products check`` finds: level, code, place in the map, and what to do. Never a value of the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from consumers.check_live import LiveSchema, LiveTable
from consumers.maps_model import DataMap, Of, SqlDataset, Whose
from consumers.maps_reading import Path, Source


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Something personal would stay, something of others would go, or the product would fail."""
    WARNING = "warning"
    """Works, and wants a look."""


class Code(StrEnum):
    """What was found."""

    MISSING_TABLE = "missing_table"
    MISSING_COLUMN = "missing_column"
    WRONG_TYPE = "wrong_type"
    WRONG_KEY = "wrong_key"
    NOT_NULLABLE = "not_nullable"
    NOT_UNIQUE = "not_unique"
    """A fixed value in a column that must be unique."""
    GENERATED = "generated"
    NO_TENANT = "no_tenant"
    UNUSED_TENANT = "unused_tenant"
    AMBIGUOUS_JOIN = "ambiguous_join"
    """A table without tenant is joined by columns that are not unique in its parent."""
    POLYMORPHIC = "polymorphic"
    """An id whose type column is not asked."""
    UNMAPPED_COLUMN = "unmapped_column"
    PERSONAL_KEPT = "personal_kept"
    PERSONAL_PATH = "personal_path"
    """A path in JSON, or a field of a line, that looks personal and stays."""
    IDENTIFIER_NOT_MATCHED = "identifier_not_matched"
    SHARED_IDENTIFIER = "shared_identifier"
    """A reusable identifier reaches rows of which a surrogate says that they are somebody else's."""
    IDENTIFIER_NOT_GIVEN = "identifier_not_given"
    """A column of a link's rows that holds an identifier, and is not handed on."""
    SCRUB_INCOMPLETE = "scrub_incomplete"
    """Free text out of which not all that could stand in it is taken."""
    OTHER_SPELLING = "other_spelling"
    """Identifiers are stored in another form than they are asked for."""
    FILE_NOT_MAPPED = "file_not_mapped"
    TABLE_NOT_MAPPED = "table_not_mapped"
    CHILD_NOT_MAPPED = "child_not_mapped"
    CHILD_NOT_FOLLOWED = "child_not_followed"
    CHILD_NOT_INDEXED = "child_not_indexed"
    WHOLE_TABLE_SCAN = "whole_table_scan"
    MISSING_GRANT = "missing_grant"
    WIDE_GRANT = "wide_grant"
    TRIGGER = "trigger"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. ``file`` and ``line`` are those of the data map; ``hint`` says what to do."""

    level: Level
    code: Code
    dataset: str | None
    column: str | None
    file: str
    line: int
    hint: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.level} {self.code}: {self.hint}"


@dataclass(slots=True)
class Case:
    """A map held against a live store: what all checks look at, and where they put what they find."""

    data_map: DataMap
    source: Source
    live: LiveSchema
    store: str
    findings: list[Finding] = field(default_factory=list)
    samples: dict[str, dict[str, list[str]]] = field(default_factory=dict, repr=False)
    """Some content of each table by column, once it was looked at."""

    def add(self, level: Level, code: Code, hint: str, path: Path = (), column: str | None = None) -> None:
        """Note a finding once; ``path`` is a place in the map."""
        dataset = str(path[1]) if path[:1] == ("datasets",) and len(path) > 1 else None
        finding = Finding(level, code, dataset, column, self.source.file, self.source.line(path), hint)
        if finding not in self.findings:
            self.findings.append(finding)

    def error(self, code: Code, hint: str, path: Path = (), column: str | None = None) -> None:
        self.add(Level.ERROR, code, hint, path, column)

    def warn(self, code: Code, hint: str, path: Path = (), column: str | None = None) -> None:
        self.add(Level.WARNING, code, hint, path, column)

    def datasets(self) -> Iterator[tuple[str, SqlDataset, LiveTable]]:
        """The store's SQL datasets whose table exists."""
        for name, dataset in self.data_map.of_kind(SqlDataset).items():
            if dataset.store == self.store and (table := self.live.tables.get(dataset.table)):
                yield name, dataset, table

    def same_table(self, table: str) -> list[SqlDataset]:
        """All datasets of a table."""
        return [dataset for dataset in self.data_map.of_kind(SqlDataset).values() if dataset.table == table]

    def mapped(self) -> set[str]:
        """Tables that a dataset works on."""
        return {dataset.table for dataset in self.data_map.of_kind(SqlDataset).values() if dataset.store == self.store}

    def justified(self, table: str, column: str) -> bool:
        """Whether any dataset of the table gives a reason for the column."""
        return any(column in dataset.justify for dataset in self.same_table(table))

    def leading(self, table: str) -> set[str]:
        """Columns of a table by which the subject's rows in it are found."""
        found: set[str] = set()
        for dataset in self.data_map.of_kind(SqlDataset).values():
            tenant = self.data_map.tenant_column(dataset)
            own = dataset.whose is Whose.SUBJECT
            for way in dataset.match:
                if isinstance(way, Of):
                    columns = set(way.on) - {tenant}
                    # With two columns it is a narrower way than the one by the identifier alone.
                    found.update(columns if own and dataset.table == table and len(columns) == 1 else ())
                elif not way.through:
                    found.update({way.column} if dataset.table == table else ())
                elif own:
                    found.update({way.column} if way.through[-1].table == table else ())
                    found.update(way.through[0].on if dataset.table == table else ())
        return found
