"""Sample stores seeded once; each test works on copies of the databases and files it names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consumers.product import Product
from consumers.samples.people import Subject
from consumers.samples.seed import SampleWorld, seed
from consumers.samples.stores import PRODUCTS, SampleStores
from tests.product.support import World

if TYPE_CHECKING:
    from tests.postgres import Postgres

PREFIX = "products_seed_"


@dataclass(frozen=True)
class Seeded:
    people: SampleWorld
    folder: Path


@pytest.fixture(scope="session")
def seeded(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    folder = tmp_path_factory.mktemp("seeded")
    for product in PRODUCTS:
        postgres.create_database(PREFIX + product)
    stores = SampleStores.on_server(postgres.admin, folder, PREFIX)
    stores.create_schemas()
    people = seed(stores, subjects=60, seed=7)
    stores.dispose()
    yield Seeded(people, folder)
    for product in PRODUCTS:
        postgres.drop_database(PREFIX + product)


class Copies:
    """Worlds of their own: copies of the seeded databases and files, dropped in the end."""

    def __init__(self, postgres: Postgres, seeded: Seeded, folder: Path) -> None:
        self._postgres, self._seeded, self._folder = postgres, seeded, folder
        self._worlds: list[World] = []
        self._urls: list[str] = []

    def __call__(self, *products: str) -> World:
        """A world for the products named; for all, if none is."""
        names = products or PRODUCTS
        folder = self._folder / str(len(self._worlds))
        copied = {"tickets": "objects/tickets", "voice": "objects/voice", "logs": "logs"}
        for part in ("objects", "logs"):
            (folder / part).mkdir(parents=True)
        for name, part in copied.items():
            if name in names:
                shutil.copytree(self._seeded.folder / part, folder / part, dirs_exist_ok=True)
        urls = dict.fromkeys(PRODUCTS, "postgresql://nobody@localhost:1/none")
        urls |= {name: self._postgres.create_database(template=PREFIX + name) for name in names}
        self._urls += [urls[name] for name in names]
        stores = SampleStores(**urls, objects=(folder / "objects").as_uri(), log_folder=folder / "logs")
        self._worlds.append(World(stores))
        return self._worlds[-1]

    def drop(self) -> None:
        for world in self._worlds:
            world.close()
        for url in self._urls:
            self._postgres.drop_database(url)


@pytest.fixture
def fresh(postgres: Postgres, seeded: Seeded, tmp_path: Path) -> Iterator[Copies]:
    """Make a world of its own for the products named."""
    copies = Copies(postgres, seeded, tmp_path)
    yield copies
    copies.drop()


@pytest.fixture(scope="module")
def shared_guide(
    postgres: Postgres, seeded: Seeded, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Product, Iterator[Subject]]]:
    """The guide over one copy for a whole module, and people nobody has used yet: for tests of one step each."""
    copies = Copies(postgres, seeded, tmp_path_factory.mktemp("shared"))
    written = (s for s in seeded.people.subjects if seeded.people.counts[s.key]["guide"]["article_comments"] > 1)
    yield copies("guide").product("guide"), written
    copies.drop()


@pytest.fixture
def guide(shared_guide: tuple[Product, Iterator[Subject]]) -> Product:
    return shared_guide[0]


@pytest.fixture
def someone(shared_guide: tuple[Product, Iterator[Subject]]) -> Subject:
    """Somebody with comments in the guide whom no other test has touched."""
    return next(shared_guide[1])


@pytest.fixture
def people(seeded: Seeded) -> SampleWorld:
    return seeded.people
