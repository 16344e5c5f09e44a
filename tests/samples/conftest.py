from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.samples.seed import SampleWorld, seed
from consumers.samples.stores import PRODUCTS, SampleStores
from tests.postgres import Postgres

SUBJECTS = 120


def stores_at(urls: dict[str, str], folder: Path) -> SampleStores:
    return SampleStores(**urls, objects=(folder / "objects").as_uri(), log_folder=folder / "logs")


@pytest.fixture(scope="module")
def module_stores(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], SampleStores]]:
    """Make stores with schemas and nothing else, for the tests of one module."""
    made: list[SampleStores] = []
    urls: list[str] = []

    def make() -> SampleStores:
        of_product = {product: postgres.create_database() for product in PRODUCTS}
        urls.extend(of_product.values())
        folder = tmp_path_factory.mktemp("stores")
        (folder / "objects").mkdir()
        (folder / "logs").mkdir()
        made.append(stores_at(of_product, folder))
        made[-1].create_schemas()
        return made[-1]

    yield make
    for stores in made:
        stores.dispose()
    for url in urls:
        postgres.drop_database(url)


@pytest.fixture(scope="session")
def seeded(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SampleStores, SampleWorld]]:
    """The sample world, once a session: read it, change nothing."""
    stores = stores_at(
        {product: postgres.create_database() for product in PRODUCTS}, tmp_path_factory.mktemp("samples")
    )
    stores.create_schemas()
    world = seed(stores, SUBJECTS)
    stores.dispose()
    yield stores, world
    stores.dispose()


@pytest.fixture
def world(seeded: tuple[SampleStores, SampleWorld]) -> SampleWorld:
    return seeded[1]


@pytest.fixture
def sample(seeded: tuple[SampleStores, SampleWorld]) -> SampleStores:
    """The shared stores: read only."""
    return seeded[0]


@pytest.fixture(scope="module")
def own(
    seeded: tuple[SampleStores, SampleWorld], postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SampleStores]:
    """A copy of the seeded stores for the tests of one module to change, each minding what it compares with."""
    original = seeded[0]
    original.dispose()  # a database with connections cannot be a template
    urls = {product: postgres.create_database(template=original.url(product).database) for product in PRODUCTS}
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(Path(original.log_folder).parent, folder, dirs_exist_ok=True)
    stores = stores_at(urls, folder)
    yield stores
    stores.dispose()
    for url in urls.values():
        postgres.drop_database(url)
