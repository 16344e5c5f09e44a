"""Reading what is to be erased from options and from files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.client import Wish
from schemas.codes import Ground, Mode, Right
from schemas.identifiers import BadIdentifier, IdentifierKind, normalise
from schemas.messages import PlainIdentifier, Records

COLUMNS = frozenset({"tenant", "mode", "ground", "case", "event_id", *IdentifierKind})


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of a file that is no request. ``reason`` does not quote it."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every line that does not say otherwise."""

    tenant: str | None
    mode: Mode
    right: Right
    ground: Ground | None


def identifier(kind: IdentifierKind, text: str) -> PlainIdentifier:
    """Checked here already, so that a typing error is told at once. Raises :class:`BadIdentifier`."""
    return PlainIdentifier(kind=kind, value=normalise(kind, text))


def records(text: str) -> Records:
    """``product.dataset=id,id,…`` as records. Raises :class:`ValueError`."""
    place, _, ids = text.partition("=")
    product, _, dataset = place.partition(".")
    keys = tuple(key.strip() for key in ids.split(",") if key.strip())
    if not product or not dataset or not keys:
        raise ValueError("--record is written product.dataset=id,id,… as in tickets.tickets=17,18")
    return Records(product=product, dataset=dataset, keys=keys)


def read_file(path: Path, defaults: Defaults) -> Iterator[tuple[int, Wish | BadLine]]:
    """The requests in a CSV file with a header, or in a file of JSON lines; the number of each line comes with it.

    Raises :class:`ValueError` where the file as a whole cannot be used.
    """
    if path.suffix.lower() in (".ndjson", ".jsonl"):
        rows = _json_lines(path)
    elif path.suffix.lower() == ".csv":
        rows = _csv_lines(path)
    else:
        raise ValueError(f"{path.name}: the ending says what a file is; use .csv, .ndjson or .jsonl")
    for number, row in rows:
        yield number, row if isinstance(row, BadLine) else _wish(number, row, defaults)


def _csv_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        unknown = set(reader.fieldnames or ()) - COLUMNS
        if not reader.fieldnames or unknown:
            known = ", ".join(sorted(COLUMNS))
            raise ValueError(f"{path.name}: the first line names the columns, of these: {known}")
        for row in reader:
            if None in row or None in row.values():
                yield reader.line_num, BadLine(reader.line_num, "has not as many fields as the first line names")
            else:
                yield reader.line_num, {name: value for name, value in row.items() if value.strip()}


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                yield number, BadLine(number, "is not JSON")
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                yield number, BadLine(number, "is not a JSON object")


def _wish(number: int, row: dict[str, Any], defaults: Defaults) -> Wish | BadLine:
    unknown = set(row) - COLUMNS
    if unknown:
        return BadLine(number, "has a field that is none of: " + ", ".join(sorted(COLUMNS)))
    tenant = row.get("tenant", defaults.tenant)
    if not tenant:
        return BadLine(number, "names no tenant; give --tenant or a column of that name")
    try:
        identifiers = tuple(
            identifier(kind, value) for kind in IdentifierKind if kind in row for value in _values(row[kind])
        )
        mode = Mode(row.get("mode", defaults.mode))
        ground = Ground(row["ground"]) if "ground" in row else defaults.ground
    except BadIdentifier as error:
        return BadLine(number, str(error))
    except ValueError:
        return BadLine(
            number, "has a mode or ground that is not known; mode is trash or purge, ground 17_1_a to 17_1_f"
        )
    if not identifiers:
        return BadLine(number, "has no identifier; fill at least one of: " + ", ".join(IdentifierKind))
    return Wish(
        tenant=str(tenant),
        identifiers=identifiers,
        mode=mode,
        right=defaults.right,
        ground=ground,
        case=row.get("case"),
        event_id=row.get("event_id"),
    )


def _values(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
