"""What one undisturbed request costs: events, bytes, statements. Whoever makes it dearer should know."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from tests.engine.house import House, wish

REQUESTS = 100
EVENTS = 9
"""Accepted; two waves dispatched; five answers; ended."""
BYTES = EVENTS * 340
"""All canonical bytes of one request: two complete digests and the counts per dataset make an answer's event long."""
STATEMENTS = 0.75
"""Statements of the store per request, of a batch of 100."""


def counted(engine: sa.Engine) -> Counter[str]:
    """Count the statements that go to the server from now on, by their beginning."""
    found: Counter[str] = Counter()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found[" ".join(statement.split())[:60]] += 1

    sa.event.listen(engine, "before_cursor_execute", note)
    return found


def test_events_bytes_and_statements_of_a_request(house: House):
    house.step(2)
    house.ask(*(wish(f"person{n}") for n in range(REQUESTS)))
    statements = counted(house.database)
    house.settle()
    ran = statements.total()
    assert house.ends() == ["completed"] * REQUESTS
    rows = house.sql("SELECT id, count(*), sum(length(body)), max(length(body)) FROM oblio.events GROUP BY id")
    assert {count for _, count, _, _ in rows} == {EVENTS}
    assert max(total for _, _, total, _ in rows) <= BYTES
    assert ran / REQUESTS <= STATEMENTS, statements.most_common()


def test_an_idle_engine_asks_little(house: House):
    house.settle()
    statements = counted(house.database)
    house.step(10)
    assert statements.total() / 10 <= 5, statements.most_common()
