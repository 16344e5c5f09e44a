"""Houses for the tests: a fresh database each, with store and bus installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engine.house import House, fresh
from tests.postgres import Postgres


@pytest.fixture
def house_for(postgres: Postgres) -> Iterator[Callable[..., House]]:
    """Make a house; ``House``'s options are taken."""
    houses: list[House] = []

    def make(**options: Any) -> House:
        houses.append(House(fresh(postgres), **options))
        return houses[-1]

    yield make
    for house in houses:
        house.close()
        postgres.drop_database(house.url)


@pytest.fixture
def house(house_for: Callable[..., House]) -> House:
    """A house with five products, no grace and no settling."""
    return house_for()
