from __future__ import annotations

from collections.abc import Callable

import pytest

from consumers.samples.fingerprint import differences, fingerprint, remains
from consumers.samples.stores import PRODUCTS, SampleStores
from consumers.samples.w1 import PER_PERSON, W1World, seed_w1

Filled = tuple[SampleStores, W1World]


@pytest.fixture(scope="module")
def filled(module_stores: Callable[[], SampleStores]) -> Filled:
    stores = module_stores()
    return stores, seed_w1(stores, 12, bystanders_per_subject=5)


def rows(stores: SampleStores, product: str, statement: str) -> list:
    with stores.cursor(product) as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_every_person_has_the_same(filled: Filled):
    stores, world = filled
    assert world.people == 72
    assert PER_PERSON["tickets"] == {"users": 1, "tickets": 3, "comments": 12}
    for product, tables in world.totals().items():
        for table, count in tables.items():
            assert rows(stores, product, f"select count(*) from {table}") == [(count,)], table
    per_ticket = rows(stores, "tickets", "select distinct count(*) from comments group by tenant, ticket_id")
    per_user = rows(stores, "tickets", "select distinct count(*) from tickets group by tenant, requester_id")
    per_session = rows(stores, "chat", "select distinct count(*) from messages group by session_id")
    per_visitor = rows(stores, "chat", "select distinct count(*) from sessions group by visitor_id")
    per_author = rows(stores, "guide", "select distinct count(*) from article_comments group by tenant, author_id")
    per_caller = rows(stores, "voice", "select distinct count(*) from calls group by tenant, caller_phone")
    per_logged = rows(stores, "logs", "select distinct count(*) from request_log group by tenant, user_id")
    found = [per_ticket, per_user, per_session, per_visitor, per_author, per_caller, per_logged]
    assert found == [[(4,)], [(3,)], [(4,)], [(2,)], [(2,)], [(1,)], [(10,)]]


def test_subjects_are_of_both_tenants_and_share_ids_and_addresses(filled: Filled):
    stores, world = filled
    assert len(world.subjects) == 12
    assert {subject.tenant for subject in world.subjects} == {"acme", "globex"}
    known = {
        (tenant, user_id): (email, phone)
        for tenant, user_id, email, phone in rows(stores, "tickets", "select tenant, id, email, phone from users")
    }
    assert all(known[subject.key] == (subject.email, subject.phone) for subject in world.subjects)
    assert len(known) == 72
    assert len(set(known.values())) == 36


@pytest.mark.parametrize("product", PRODUCTS)
def test_foreign_keys_hold_although_they_were_not_checked(filled: Filled, product: str):
    stores, _ = filled
    keys = rows(
        stores,
        product,
        "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint where contype = 'f'",
    )
    with stores.cursor(product) as cursor:
        for table, name, definition in keys:  # made anew, it is checked against every row
            cursor.execute(f"alter table {table} drop constraint {name}")
            cursor.execute(f"alter table {table} add constraint {name} {definition}")


def test_subjects_can_be_found_and_bystanders_compared(filled: Filled):
    stores, world = filled
    found = remains(stores, world.subjects[:2])
    assert {finding.product for finding in found} == set(PRODUCTS)
    before = fingerprint(stores, world.subjects)
    assert before.size() == {
        product: sum(tables.values()) * 60 + staff
        for (product, tables), staff in zip(PER_PERSON.items(), (2, 0, 40, 2, 0), strict=True)
    }
    with stores.cursor("guide") as cursor:
        cursor.execute("update article_comments set body = body || '!' where (tenant, author_id) = ('globex', 1002)")
    assert [one.place for one in differences(before, fingerprint(stores, world.subjects, like=before))] == [
        "article_comments"
    ]
