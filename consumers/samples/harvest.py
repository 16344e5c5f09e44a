"""What the generators make: rows per table and objects per key, and how rows get into PostgreSQL quickly (COPY)."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from consumers.samples.people import Subject
from consumers.samples.phrases import LANGUAGES, PRODUCTS, Phrases

AS_OF = datetime(2026, 6, 30, 12, 0, tzinfo=UTC)  # the samples' present: nothing in them is younger

Key = tuple[str, int]  # tenant, user id

STAFF = ("Robin Ashdown", "Kim Tolland", "Sasha Wyndham", "Noor Haddad", "Mika Salonen", "Dana Kowalczyk")


@dataclass
class Harvest:
    """Rows and objects of one product, and how much of it belongs to whom."""

    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    objects: dict[str, bytes] = field(default_factory=dict)
    counts: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, table: str, owner: Subject | None, *row: Any) -> None:
        """One row, in the order of the table's columns; ``owner`` is the subject it belongs to, if any."""
        self.tables[table].append(row)
        if owner is not None:
            self.counts[owner.key][table] += 1

    def put(self, key: str, owner: Subject, content: bytes) -> None:
        """One object."""
        self.objects[key] = content
        self.counts[owner.key]["files"] += 1


class Neighbours:
    """The people of each tenant, to pick somebody else from."""

    def __init__(self, people: Sequence[Subject]) -> None:
        self.tenants: dict[str, list[Subject]] = defaultdict(list)
        for person in people:
            self.tenants[person.tenant].append(person)

    def other(self, person: Subject, rng: Random) -> Subject:
        """Somebody else of the same tenant."""
        while (other := rng.choice(self.tenants[person.tenant])) is person:
            pass
        return other


class Voice:
    """How one subject writes and is written to: fills the templates of their language."""

    def __init__(self, person: Subject, rng: Random) -> None:
        self._rng = rng
        self.phrases: Phrases = LANGUAGES[person.language]
        self.order = f"{rng.choice('ABCDEFGH')}{rng.randrange(10**6):06d}"
        self.product = rng.choice(PRODUCTS)
        self._values = {
            "name": person.name,
            "first": person.first_name,
            "email": person.email,
            "phone": person.phone,
            "order": self.order,
            "product": self.product,
        }

    def fill(self, template: str) -> str:
        return template.format_map(self._values)

    def one_of(self, templates: Sequence[str]) -> str:
        return self.fill(self._rng.choice(templates))


def how_many(person: Subject, rng: Random, choices: Sequence[int]) -> int:
    """One of ``choices``; never none for who shares an address with the other tenant: they show the most."""
    return max(rng.choice(choices), int(person.email_elsewhere))


def likely(person: Subject, rng: Random, probability: float) -> bool:
    """True so often; nearly always for who shares an address with the other tenant."""
    return rng.random() < (0.9 if person.email_elsewhere else probability)


def moment(rng: Random, days: int, before: datetime = AS_OF) -> datetime:
    """A time within ``days`` days before ``before``, to the second."""
    return before - timedelta(seconds=rng.randrange(60, days * 86_400))


def later(rng: Random, start: datetime, seconds: int) -> datetime:
    """A time up to ``seconds`` after ``start``, never after the samples' present."""
    return min(start + timedelta(seconds=rng.randrange(1, seconds)), AS_OF)


def copy_rows(cursor: Any, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
    """Write ``rows`` into ``table`` by COPY; ``columns`` as they stand in SQL, in the order of the values."""
    text = "".join("\t".join(map(_field, row)) + "\n" for row in rows)
    cursor.copy_expert(f"copy {table} ({columns}) from stdin", io.StringIO(text))


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False).translate(_ESCAPES)
    if isinstance(value, (list, tuple)):
        quoted = ('"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"' for item in value)
        return ("{" + ",".join(quoted) + "}").translate(_ESCAPES)
    return str(value)  # numbers, dates and times print as PostgreSQL reads them
