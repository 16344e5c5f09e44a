"""Drop any one thing from a shipped map: it is refused on load, or `products check` reports an error.

What survives is listed below with the reason, so that a new survivor fails the test.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consumers.check import check_files
from consumers.check_findings import Case, Level
from consumers.check_live import LiveSchema, read_schema
from consumers.check_personal import check_personal
from consumers.check_plans import check_plans
from consumers.check_references import check_references
from consumers.check_schema import check_schema
from consumers.maps import SqlDataset, load
from consumers.maps_model import DataMap
from consumers.maps_reading import BAD, Source, decode, dotted, read
from consumers.maps_rules import check_rules
from consumers.samples.seed import seed
from consumers.samples.stores import PRODUCTS, SampleStores
from tests.postgres import Postgres

PRODUCT_FOLDER = Path(__file__).parents[2] / "consumers"

GUARD_RAIL = "an extra check of files' keys; without it the same files go"
MENTION = "whether other people mention somebody in their free text cannot be known from the schema"
NARROW = (
    "third persons' comments would go, or those of a named ticket stay; the columns and the reference stay followed"
)
POLICY = "what law asks to keep, and whom a product serves with identifiers, stands in no schema"
COVERED = "covered by the other pattern"
SURVIVORS = {
    "tickets": {
        "datasets.preview_files.prefix": GUARD_RAIL,
        "datasets.attachment_files.prefix": GUARD_RAIL,
        "datasets.comment_mentions": MENTION,
        "datasets.comment_mentions.match[0]": MENTION,
        "datasets.comment_mentions.match[1]": MENTION,
        "datasets.comment_mentions.match[2]": MENTION,
        "datasets.event_mentions": MENTION,
        "datasets.ticket_events.columns.old_value.json[1]": "no old value of the samples names a recipient",
        "datasets.comments.match[1]": NARROW,
        "datasets.comments.match[1].on.author_id": NARROW,
        "datasets.comments.match[2]": NARROW,
        "datasets.comments.match[2].where": NARROW,
        "datasets.comments.match[2].where[0]": NARROW,
        "datasets.invoices_kept": POLICY,
        "links": POLICY,
        "links[0]": POLICY,
    },
    "chat": {
        "datasets.message_mentions": MENTION,
        "datasets.visitors.match[3].where[1]": "a visitor known by address as well would go by phone alone",
    },
    "guide": {"datasets.revision_mentions": MENTION},
    "voice": {
        "datasets.transcript_files.prefix": GUARD_RAIL,
        "datasets.recording_files.prefix": GUARD_RAIL,
    },
    "logs": {
        "datasets.lines.files[2]": COVERED,
        "datasets.lines.active": COVERED,
        "datasets.lines.active[0]": COVERED,
    },
}


@dataclass
class World:
    stores: SampleStores
    live: dict[str, LiveSchema]
    samples: dict[str, dict[str, dict[str, list[str]]]]


@pytest.fixture(scope="module")
def world(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("samples")
    urls = {product: postgres.create_database() for product in PRODUCTS}
    stores = SampleStores(**urls, objects=(folder / "objects").as_uri(), log_folder=folder / "logs")
    stores.create_schemas()
    seed(stores, 150)
    live = {}
    for product in PRODUCTS:
        data_map = load(PRODUCT_FOLDER / product / "map.yaml")
        tables = [dataset.table for dataset in data_map.of_kind(SqlDataset).values()]
        with stores.engine(product).begin() as connection:
            live[product] = read_schema(connection, tables)
    yield World(stores, live, {product: {} for product in PRODUCTS})
    stores.dispose()
    for url in urls.values():
        postgres.drop_database(url)


def plain(product: str) -> dict[str, Any]:
    data: dict[str, Any] = read((PRODUCT_FOLDER / product / "map.yaml").read_text(), "map.yaml")[0]
    return data


def places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Everything in a map that can be dropped, from whole datasets to single words of a list."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def without(data: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    mutant = copy.deepcopy(data)
    node: Any = mutant
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return mutant


def caught(world: World, product: str, data: dict[str, Any]) -> bool:
    source = Source("map.yaml")
    data_map = decode(DataMap, data, (), source)
    if data_map is BAD:
        return True
    check_rules(data_map, source)
    if source.problems:
        return True
    case = Case(data_map, source, world.live[product], "db", samples=world.samples[product])
    with world.stores.engine(product).begin() as connection:
        check_schema(case)
        check_references(case)
        check_personal(case, connection, 300)
        if not errors(case.findings):
            check_plans(case, connection)
    if product == "logs":
        case.findings += check_files(data_map, world.stores.log_folder, store="files")
    return errors(case.findings)


def errors(findings: list[Any]) -> bool:
    return any(finding.level is Level.ERROR for finding in findings)


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_shipped_map_has_no_errors(world: World, product: str) -> None:
    assert not caught(world, product, plain(product))


@pytest.mark.parametrize("product", PRODUCTS)
def test_whatever_is_dropped_is_noticed(world: World, product: str) -> None:
    data = plain(product)
    parts = {name: data[name] for name in ("identifiers", "links", "datasets", "ignore") if name in data}
    survivors = {dotted(path) for path in places(parts) if not caught(world, product, without(data, path))}
    assert survivors == set(SURVIVORS[product])
