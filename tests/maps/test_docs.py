"""The page on data maps is true: its maps load, and it names every key, treatment and code."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from consumers.check import Code
from consumers.maps import load_text
from consumers.maps_model import (
    Action,
    DataMap,
    Limits,
    LogDataset,
    Method,
    ObjectDataset,
    Operator,
    SqlDataset,
    Store,
    StoreKind,
    Word,
)
from schemas.identifiers import IdentifierKind

PAGE = (Path(__file__).parents[2] / "docs" / "data-maps.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_first_map_loads() -> None:
    assert load_text(BLOCKS[0]).nameable == ("letters",)


def test_the_other_examples_load_as_parts_of_it() -> None:
    retained, files, lines, links = BLOCKS[1:]
    first = (
        BLOCKS[0]
        .replace("datasets:\n", links + "datasets:\n")
        .replace("identifiers:\n", "identifiers:\n  phone: reusable\n")
    )
    stores = "stores:\n  files: {kind: objects, setting: files}\n  folder: {kind: logfiles, setting: folder}\n"
    scans = "  scans: {table: scans, key: [id], match: [{by: user_id, column: owner}], action: delete}\n"
    users = (
        "  users: {table: users, key: [tenant, id], created: at, match: [{by: user_id, column: id}], action: delete}\n"
    )
    data_map = load_text(first.replace("stores:\n", stores) + retained + files + scans + lines + users)
    assert list(data_map.datasets) == ["letters", "invoices_kept", "invoices", "scan_files", "scans", "lines", "users"]


@pytest.mark.parametrize("words", [Code, Action, Method, Operator, Word, IdentifierKind, StoreKind])
def test_every_word_is_explained(words: type) -> None:
    assert [word.value for word in words if f"`{word.value}" not in PAGE and f"`action: {word.value}" not in PAGE] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", [DataMap, Store, Limits, SqlDataset, ObjectDataset, LogDataset])
def test_every_key_is_named(part: type[msgspec.Struct]) -> None:
    names = [field.encode_name for field in msgspec.structs.fields(part)]
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_the_defaults_are_those_of_the_code() -> None:
    limits, store = Limits(), Store(kind=StoreKind.SQL, setting="x")
    for name, value in (
        ("chunk_rows", limits.chunk_rows),
        ("max_rows", limits.max_rows),
        ("max_share", limits.max_share),
        ("max_share_from", limits.max_share_from),
        ("lock_timeout_ms", store.lock_timeout_ms),
        ("statement_timeout_ms", store.statement_timeout_ms),
    ):
        assert f"`{name}` ({value:,}" in PAGE
