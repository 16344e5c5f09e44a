"""Rows go to the server as arrays written as text: whatever is in them arrives as it was."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.store.database import array, connect, execute_rows

ID = str(uuid.UUID(int=7))
AWKWARD = [
    "",
    "NULL",
    "null",
    "{a,b}",
    'a"b',
    "a\\b",
    "\\x00",
    "it's",
    "%s %(a)s :a",
    "a,b",
    " a ",
    "é\U0001f600",
    "\n\t",
]
TYPES = (("a", "text"), ("b", "bytea"), ("c", "jsonb"), ("d", "bigint"), ("e", "boolean"), ("f", "uuid"))


@pytest.fixture
def connection(database: str) -> Iterator[sa.Connection]:
    engine = connect(database)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def sent(connection: sa.Connection, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    found = execute_rows(connection, "SELECT a, b, c::text, d, e, f::text FROM {rows}", TYPES, rows).all()
    return [(a, bytes(b or b""), json.loads(c or "null"), d, e, f) for a, b, c, d, e, f in found]


def test_rows_come_back_as_they_went(connection: sa.Connection):
    for n, text in enumerate(AWKWARD):
        raw, document = text.encode() + b"\x00\xff", {text: [text]}
        row = (text, raw, json.dumps(document), n, n % 2 == 0, ID)
        assert sent(connection, [row, row]) == [(text, raw, document, n, n % 2 == 0, ID)] * 2
    assert sent(connection, [(None,) * 6]) == [(None, b"", None, None, None, None)]
    assert sent(connection, [("", b"", "{}", -(2**63), True, ID)]) == [("", b"", {}, -(2**63), True, ID)]


def test_no_rows_are_none(connection: sa.Connection):
    assert sent(connection, []) == []
    assert array([]) == "{}"
