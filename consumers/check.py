"""``oblio products check``: a data map held against the live store.

What a map says can be right in itself and wrong about the database: a column renamed last week, a new one that holds
addresses, a child table that nobody thought of, an index that is not there. All of it is looked for without changing
anything and without quoting any content.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection

from consumers.check_findings import Case, Code, Finding, Level
from consumers.check_grants import check_grants
from consumers.check_live import LiveSchema, read_schema
from consumers.check_personal import check_lines, check_personal
from consumers.check_plans import check_plans
from consumers.check_references import check_references
from consumers.check_schema import check_schema
from consumers.maps_model import By, DataMap, LogDataset, SqlDataset, StoreKind
from consumers.maps_reading import Source

__all__ = ["Code", "Finding", "Level", "check", "check_files", "check_product"]

SAMPLE_ROWS = 500
SAMPLE_FILES = 5


def check(
    data_map: DataMap,
    connection: Connection,
    source: Source | None = None,
    *,
    store: str = "db",
    rows: int = SAMPLE_ROWS,
) -> list[Finding]:
    """Hold the datasets of one SQL store against it.

    Args:
        data_map: the map.
        connection: to the store, as the role that the product uses. Nothing is changed.
        source: the map's lines (see :func:`consumers.maps.load_with_source`), for findings that name them.
        store: the store's name in the map.
        rows: how many rows of each table are looked at; their content stays in memory.

    Returns:
        Findings in the order of the map, errors first within a line; empty when all is well.

    Raises:
        StoreError: the store cannot be reached or read.
    """
    case = Case(
        data_map,
        source or Source(f"{data_map.product}/map.yaml"),
        read_schema(connection, _tables(data_map, store)),
        store,
    )
    check_schema(case)
    check_personal(case, connection, rows)
    check_references(case)
    check_plans(case, connection)
    check_grants(case)
    return _ordered(case.findings)


def check_files(
    data_map: DataMap, folder: Path, source: Source | None = None, *, store: str, lines: int = SAMPLE_ROWS
) -> list[Finding]:
    """Hold the log datasets of one store against its files: the first lines of a few of them.

    Raises OSError when the folder or a file cannot be read.
    """
    case = Case(data_map, source or Source(f"{data_map.product}/map.yaml"), LiveSchema({}, (), superuser=False), store)
    for name, dataset in data_map.of_kind(LogDataset).items():
        if dataset.store != store:
            continue
        paths = sorted({path for pattern in dataset.files for path in folder.glob(pattern)})
        if not paths:
            hint = f"no file in the folder matches {', '.join(dataset.files)}"
            case.warn(Code.MISSING_TABLE, hint, ("datasets", name, "files"))
        check_lines(case, name, dataset, _first_lines(paths[-SAMPLE_FILES:], lines))
    _check_other_files(case, folder)
    return _ordered(case.findings)


def _check_other_files(case: Case, folder: Path) -> None:
    datasets = [d for d in case.data_map.of_kind(LogDataset).values() if d.store == case.store]
    covered = {path for d in datasets for pattern in (*d.files, *d.active) for path in folder.glob(pattern)}
    others = [p for p in folder.rglob("*") if p.is_file() and p not in covered and not p.name.startswith(".")]
    if others:
        suffixes = ", ".join(sorted({path.suffix or "no suffix" for path in others}))
        hint = f"{len(others)} files in the folder match no dataset ({suffixes}); add a pattern under `files:`"
        case.error(Code.FILE_NOT_MAPPED, hint, ("stores", case.store))


def check_product(
    data_map: DataMap, source: Source, databases: Mapping[str, Connection], folders: Mapping[str, Path]
) -> list[Finding]:
    """All checks of one product: its SQL stores and its log folders, by their names in the map."""
    findings: list[Finding] = []
    for name, store in data_map.stores.items():
        if store.kind is StoreKind.SQL and name in databases:
            findings += check(data_map, databases[name], source, store=name)
        elif store.kind is StoreKind.LOGFILES and name in folders:
            findings += check_files(data_map, folders[name], source, store=name)
    return _ordered(findings)


def _tables(data_map: DataMap, store: str) -> Iterator[str]:
    for dataset in data_map.of_kind(SqlDataset).values():
        if dataset.store == store:
            yield dataset.table
            yield from (join.table for way in dataset.match if isinstance(way, By) for join in way.through)
    yield from data_map.ignore


def _first_lines(paths: Iterable[Path], lines: int) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
            yield from islice(file, lines)


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: (f.line, f.level is not Level.ERROR, f.code, f.hint))
