"""The registry grows by a version when the products change, and only then."""

from __future__ import annotations

import threading

import pytest

from orchestrator.store.registry import Link, ProductEntry, register
from schemas.identifiers import IdentifierKind
from tests.engine.house import House

TICKETS = ProductEntry(
    name="tickets",
    kinds=(IdentifierKind.EMAIL,),
    links=(Link((IdentifierKind.EMAIL,), (IdentifierKind.PHONE,)),),
    datasets=("tickets", "comments"),
    map="sha256",
    backup_days=35,
    trash="native",
)
VOICE = ProductEntry(name="voice", wave=2, kinds=(IdentifierKind.PHONE,))


def test_a_change_makes_a_version_and_the_same_makes_none(house: House):
    assert register(house.store, [TICKETS, VOICE], 1) == 1
    assert register(house.store, [VOICE, TICKETS], 2) == 1
    assert register(house.store, [TICKETS], 3) == 2
    assert register(house.store, [TICKETS, VOICE], 4) == 3
    versions = house.queries.registry()
    assert [(version.version, version.at) for version in versions] == [(3, 4), (2, 3), (1, 1)]
    assert versions[0].products == (TICKETS, VOICE)


def test_what_is_stored_serves_as_policy(house: House):
    register(house.store, [TICKETS], 1)
    [version] = house.queries.registry()
    product = version.products[0].product
    assert product.finds(frozenset({IdentifierKind.EMAIL})) == {IdentifierKind.EMAIL, IdentifierKind.PHONE}
    assert product.datasets == {"tickets", "comments"}


def test_two_of_one_name_are_refused(house: House):
    with pytest.raises(ValueError, match="same name"):
        register(house.store, [TICKETS, TICKETS], 1)
    assert house.queries.registry() == []


def test_two_instances_at_once_make_one_version(house: House):
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(register(house.store, [TICKETS], 1))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [1, 1, 1]
