"""Sample stores seeded once; each test works on copies of the databases and files it names."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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


@pytest.fixture
def fresh(postgres: Postgres, seeded: Seeded, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make a world of its own for the products named (all, if none is)."""
    worlds: list[tuple[World, list[str]]] = []

    def make(*products: str) -> World:
        folder = tmp_path / str(len(worlds))
        shutil.copytree(seeded.folder, folder)
        urls = dict.fromkeys(PRODUCTS, "postgresql://nobody@localhost:1/none")
        urls |= {name: postgres.create_database(template=PREFIX + name) for name in products or PRODUCTS}
        stores = SampleStores(**urls, objects=(folder / "objects").as_uri(), log_folder=folder / "logs")
        worlds.append((World(stores), [urls[name] for name in products or PRODUCTS]))
        return worlds[-1][0]

    yield make
    for world, urls in worlds:
        world.close()
        for url in urls:
            postgres.drop_database(url)


@pytest.fixture
def people(seeded: Seeded) -> SampleWorld:
    return seeded.people
