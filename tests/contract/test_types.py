"""The narrow forms of text: what they must let through, and what they must not."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import types
from schemas.types import fits
from tests.contract import forms

GOOD: list[tuple[Any, str]] = [
    *(
        (types.SqlState, state)
        for state in ("40001", "40P01", "42S02", "0LP01", "HV00N", "HY000", "P0001", "XX000", "XAE03")
    ),
    *((types.Column, column) for column in ("email", "Email", "_id", "customFields", "a" * 63)),
    *((types.Name, name) for name in ("tickets", "ticket_comments", "a", "a" * 31)),
    (types.DateText, "2028-02-29"),
    (types.KeyId, "chat-2026.b_1"),
    (types.CaseReference, "DSR-2026/0117"),
]
BAD: list[tuple[Any, str]] = [
    *((types.SqlState, state) for state in ("SMITH", "4000", "400011", "40p01", "40 01", "")),
    *((types.Column, column) for column in ("e-mail", "e mail", "1st", "a" * 64, "größe", "")),
    *((types.Name, name) for name in ("Tickets", "anna@x", "1a", "a" * 32, "tickets\n", "a-b", "")),
    *(
        (types.DateText, date)
        for date in ("2026-13-01", "2026-00-10", "2026-01-32", "26-01-01", "2026-1-1", "1800-01-01")
    ),
    *((types.Digest, forms.DIGEST[:-1] + last) for last in "BCD_-z1"),
    (types.Digest, forms.DIGEST + "A"),
    (types.ActorId, "actor-Anna"),
    (types.RequestId, forms.REQUEST.upper()),
    (types.MessageId, "a\u0085"),
    (types.RecordKey, "a\0"),
]


@pytest.mark.parametrize("kind, value", GOOD, ids=lambda part: ascii(part)[:30])
def test_fits(kind: Any, value: str) -> None:
    assert fits(kind, value)


@pytest.mark.parametrize("kind, value", BAD, ids=lambda part: ascii(part)[:30])
def test_does_not_fit(kind: Any, value: str) -> None:
    assert not fits(kind, value)
