"""Data maps: what a product holds of people, where, and what becomes of it.

A map is YAML that a product team writes and reviews (``docs/data-maps.md``). It is refused on load, with every
reason at once, when it could touch more than the subject's data, or less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consumers.maps_model import (
    Action,
    By,
    Condition,
    DataMap,
    Dataset,
    Elements,
    Hide,
    HideValue,
    Join,
    JsonPaths,
    LineMatch,
    Link,
    LogDataset,
    Method,
    Nature,
    ObjectDataset,
    Of,
    Operator,
    Retention,
    Scrub,
    SqlDataset,
    Store,
    Stored,
    StoreKind,
    Trash,
    Treatment,
    Until,
    Value,
    Whose,
    Word,
)
from consumers.maps_reading import BAD, MapError, Problem, Source, decode, dotted, read
from consumers.maps_rules import check_rules

__all__ = [
    "Action",
    "By",
    "Condition",
    "DataMap",
    "Dataset",
    "Elements",
    "Hide",
    "HideValue",
    "Join",
    "JsonPaths",
    "LineMatch",
    "Link",
    "LogDataset",
    "MapError",
    "Method",
    "Nature",
    "ObjectDataset",
    "Of",
    "Operator",
    "Problem",
    "Retention",
    "Scrub",
    "Source",
    "SqlDataset",
    "Store",
    "StoreKind",
    "Stored",
    "Trash",
    "Treatment",
    "Until",
    "Value",
    "Whose",
    "Word",
    "dotted",
    "load",
    "load_text",
    "load_with_source",
]


def load(path: Path | str) -> DataMap:
    """The data map in a YAML file.

    Raises:
        MapError: the map is refused; all problems are listed, with file and line.
        OSError: the file cannot be read.
    """
    return load_with_source(path)[0]


def load_with_source(path: Path | str) -> tuple[DataMap, Source]:
    """The map, and the lines of its parts, for messages about it. Raises as :func:`load`."""
    path = Path(path)
    return _load(path.read_text(encoding="utf-8"), str(path))


def load_text(text: str, file: str = "map.yaml") -> DataMap:
    """The data map in a text; ``file`` is the name that problems carry. Raises :class:`MapError`."""
    return _load(text, file)[0]


def _load(text: str, file: str) -> tuple[DataMap, Source]:
    data, source = read(text, file)
    data_map = decode(DataMap, data, (), source)
    if data_map is BAD:
        _check_the_rest(data, source)
    else:
        check_rules(data_map, source)
    if source.problems:
        raise MapError(source.problems)
    assert isinstance(data_map, DataMap)
    return data_map, source


_NEUTRAL = {"product": "unread", "version": 1, "description": "-", "trash": "native", "backup_days": 0}


def _check_the_rest(data: dict[str, Any], source: Source) -> None:
    """Hold the datasets that could be read to the rules, so that one run shows the problems of all.

    What a rule says about a part that could not be read would be noise, and is left out.
    """
    bad = {problem.key[0] for problem in source.problems if problem.key}
    unread = {
        problem.key[1] for problem in source.problems if problem.key[:1] == ("datasets",) and len(problem.key) > 1
    }
    datasets = data.get("datasets")
    if not isinstance(datasets, dict):
        return
    rest = {key: data[key] for key in ("stores", "tenancy", "identifiers", *_NEUTRAL) if key in data and key not in bad}
    rest["datasets"] = {name: part for name, part in datasets.items() if name not in unread}
    scratch = Source(source.file, source.lines)
    data_map = decode(DataMap, {**_NEUTRAL, **rest}, (), scratch)
    if data_map is BAD:
        return
    check_rules(data_map, scratch)
    for problem in scratch.problems:
        about_unread = any(f"`{name}`" in problem.text for name in unread)
        if problem.key[:1] == ("datasets",) and "retain" not in problem.key and not about_unread:
            source.problems.append(problem)
