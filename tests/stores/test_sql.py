"""The SQL store on a real PostgreSQL, with the help desk's map and schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from consumers.maps import DataMap, load
from consumers.maps_model import SqlDataset
from consumers.stores.sql import Batch, Effect, Live, Rows, SqlStore, StoreError, Target
from consumers.stores.sql_catalog import Catalog, read_columns, read_indexes
from schemas.codes import FailureCode
from tests.postgres import Postgres

PRODUCT = Path(__file__).parents[2] / "consumers" / "tickets"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
OLD = NOW - timedelta(days=400)
ANNA, BRUNO, CARLA = 1, 2, 3

# Two tenants whose ids collide and who share addresses. In each, Anna (1) is the subject of most tests, Bruno (2) and
# Carla (3) are bystanders. Ticket 10 is Anna's; in ticket 20, Bruno's, she is in copy and has written comment 22.
SEED = """
insert into agents values (:t, 1, 'Agent One', 'agent@desk.example', :old);
insert into users (tenant, id, external_id, email, phone, name, locale, time_zone, profile, alternate_emails, created_at) values
    (:t, 1, 'C-1', 'anna@example.org', '+390612345678', 'Anna Rossi', 'it', 'Europe/Rome',
     '{"address": {"city": "Roma"}, "birthday": "1990-01-01", "preferences": {"theme": "dark"}}', '{anna.rossi@example.org}', :old),
    (:t, 2, 'C-2', 'bruno@example.org', '+390612345678', 'Bruno Rossi', 'it', 'Europe/Rome', '{}', '{}', :old),
    (:t, 3, 'C-3', 'joanna@example.org', '+393331112222', 'Carla Bianchi', 'it', 'Europe/Rome', '{}', '{}', :old);
insert into tickets (tenant, id, requester_id, assignee_id, subject, description, status, channel, priority, custom_fields,
                     cc_emails, created_at, updated_at) values
    (:t, 10, 1, 1, 'Anna asks', 'I am Anna', 'open', 'email', 'low',
     '{"contact": {"email": "anna@example.org"}, "severity": 2}', '{bruno@example.org}', :old, :old),
    (:t, 20, 2, 1, 'Bruno asks', 'Write to anna@example.org too', 'open', 'web', 'low',
     '{"contact": {"email": "bruno@example.org"}}', '{anna@example.org,joanna@example.org}', :old, :old),
    (:t, 30, 3, 1, 'Carla asks', 'joanna@example.org', 'closed', 'web', 'low', '{}', '{}', :old, :old);
insert into comments (id, tenant, ticket_id, author_type, author_id, body, via_email, created_at) overriding system value values
    (:base + 11, :t, 10, 'Contact', 1, 'Hello, Anna here', 'anna@example.org', :old),
    (:base + 12, :t, 10, 'Agent', 1, 'Dear Anna <anna@example.org>', null, :old),
    (:base + 21, :t, 20, 'Agent', 1, 'I wrote to ANNA@example.org, not joanna@example.org; call +39 06 1234-5678', null, :old),
    (:base + 22, :t, 20, 'Contact', 1, 'Anna in copy', 'anna@example.org', :old),
    (:base + 23, :t, 20, 'Contact', 2, 'Thanks', 'bruno@example.org', :old),
    (:base + 31, :t, 30, 'Contact', 3, 'anna@example.org stands here out of reach', null, :old);
insert into attachments values
    (('00000000-0000-0000-0000-' || lpad((:base + 1)::text, 12, '0'))::uuid, :base + 11, 'tickets/' || :t || '/a', 'anna.pdf', 'x', 1, :old),
    (('00000000-0000-0000-0000-' || lpad((:base + 2)::text, 12, '0'))::uuid, :base + 23, 'tickets/' || :t || '/b', 'bruno.pdf', 'x', 1, :old);
insert into attachment_previews values
    (('00000000-0000-0000-0000-' || lpad((:base + 1)::text, 12, '0'))::uuid, 1, 'tickets/' || :t || '/a1', 'ocr'),
    (('00000000-0000-0000-0000-' || lpad((:base + 1)::text, 12, '0'))::uuid, 2, 'tickets/' || :t || '/a2', 'ocr');
insert into ticket_events values
    (:t, 10, 1, 'Contact', 1, 'created', null, '{"status": "new"}', :old),
    (:t, 10, 2, 'System', null, 'notified', null, '{"to": "anna@example.org", "status": "open"}', :old),
    (:t, 20, 1, 'Agent', 1, 'cc', null, '{"email": "anna@example.org"}', :old),
    (:t, 20, 2, 'Agent', 1, 'cc', null, '{"email": "joanna@example.org"}', :old);
insert into satisfaction_ratings values (:t, 1, 10, 1, 5, 'Anna was pleased', :old), (:t, 2, 20, 2, 1, 'no', :old);
insert into invoices values
    (:t, 1, 'I-1', 1, 'Anna Rossi', 'anna@example.org', '{}', 10, 'EUR', :old),
    (:t, 2, 'I-2', 1, 'Anna Rossi', 'anna@example.org', '{}', 10, 'EUR', now() - interval '11 years');
"""


def _build(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql((PRODUCT / "schema.sql").read_text())
        for tenant, base in (("acme", 0), ("zeta", 1000)):
            connection.execute(sa.text(SEED), {"t": tenant, "base": base, "old": OLD})
    engine.dispose()


@pytest.fixture(scope="module")
def data_map() -> DataMap:
    return load(PRODUCT / "map.yaml")


@pytest.fixture(scope="module")
def store(data_map: DataMap) -> SqlStore:
    return SqlStore(data_map)


@pytest.fixture
def engine(postgres: Postgres, engine_for: Callable[..., sa.Engine]) -> Iterator[sa.Engine]:
    url = postgres.create_database(template=postgres.template("test_sql_tickets", _build))
    yield engine_for(url, poolclass=sa.NullPool)
    postgres.drop_database(url)


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.begin() as connection:
        yield connection


def target(ordinal: int = 7, tenant: str = "acme", cutoff_at: datetime | None = NOW, **identifiers: Any) -> Target:
    named = {kind: frozenset({value} if isinstance(value, str) else value) for kind, value in identifiers.items()}
    return Target(ordinal, tenant, named, None, cutoff_at)


def anna(ordinal: int = 7, tenant: str = "acme", cutoff_at: datetime | None = NOW) -> Target:
    emails = {"anna@example.org", "anna.rossi@example.org"}
    return target(ordinal, tenant, cutoff_at, user_id="1", external_id="C-1", email=emails, phone="+390612345678")


def snapshot(connection: sa.Connection, tenant: str | None = None) -> dict[str, list[Any]]:
    """All rows of all tables as text, of one tenant where the table has one."""
    tables = connection.exec_driver_sql(
        "select relname, exists (select from pg_attribute a where attrelid = c.oid and attname = 'tenant')"
        " from pg_class c where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1"
    ).all()
    return {
        table: [
            row
            for (row,) in connection.exec_driver_sql(
                f"select t::text from {table} as t where %(tenant)s::text is null or {'tenant = %(tenant)s' if has else 'false'} order by 1",
                {"tenant": tenant},
            )
        ]
        for table, has in tables
    }


def erase(connection: sa.Connection, store: SqlStore, batch: Batch) -> dict[str, Rows]:
    return {name: store.sweep(connection, name, batch) for name in store.datasets}


def one(connection: sa.Connection, sql: str) -> Any:
    return connection.exec_driver_sql(sql).scalar_one()


def test_find_reaches_what_is_the_subjects_and_nothing_else(connection: sa.Connection, store: SqlStore) -> None:
    found = {name: list(store.find(connection, name, Batch([anna()])).pairs()) for name in store.datasets}
    preview = "00000000-0000-0000-0000-000000000001"
    assert found == {
        "attachment_previews": [(7, (preview, "1")), (7, (preview, "2"))],
        "attachments": [(7, (preview,))],
        "comment_mentions": [(7, ("21",))],
        "event_mentions": [(7, ("acme", "20", "1"))],
        "ticket_copies": [(7, ("acme", "20"))],
        "comments": [(7, ("11",)), (7, ("12",)), (7, ("22",))],
        "ticket_events": [(7, ("acme", "10", "2"))],
        "satisfaction_ratings": [(7, ("acme", "1"))],
        "tickets": [(7, ("acme", "10"))],
        "invoices_kept": [(7, ("acme", "1"))],
        "invoices": [(7, ("acme", "2"))],
        "users": [(7, ("acme", "1"))],
    }


def test_a_sweep_leaves_nothing_and_verifies(connection: sa.Connection, store: SqlStore) -> None:
    batch = Batch([anna()])
    store.guard(connection)
    counted = store.count(connection, batch)
    done = erase(connection, store, batch)
    assert counted == {name: rows.counts() for name, rows in done.items() if rows}
    assert all(store.verify_rows(connection, name, rows, batch) == [] for name, rows in done.items())
    assert store.remains(connection, batch) == {}
    again = {name: len(store.find(connection, name, batch)) for name in store.datasets}
    assert {name for name, rows in again.items() if rows} == {"invoices_kept"}  # what law keeps is found for ever


def test_what_is_kept_and_what_is_scrubbed(connection: sa.Connection, store: SqlStore) -> None:
    erase(connection, store, Batch([anna()]))
    ticket = connection.exec_driver_sql("select * from tickets where tenant = 'acme' and id = 10").mappings().one()
    assert (ticket["subject"], ticket["cc_emails"], ticket["custom_fields"]) == ("[erased]", [], {"severity": 2})
    assert (ticket["status"], ticket["channel"], ticket["created_at"]) == ("open", "email", OLD)
    user = connection.exec_driver_sql("select * from users where tenant = 'acme' and id = 1").mappings().one()
    assert (user["email"], user["phone"], user["name"], user["alternate_emails"]) == (None, None, "[erased]", [])
    assert user["profile"] == {"preferences": {"theme": "dark"}}
    body = one(connection, "select body from comments where id = 21")
    assert body == "I wrote to [erased], not joanna@example.org; call [erased]"
    assert one(connection, "select cc_emails from tickets where tenant = 'acme' and id = 20") == ["joanna@example.org"]
    assert one(
        connection, "select new_value from ticket_events where tenant = 'acme' and ticket_id = 20 and seq = 1"
    ) == {"email": "[erased]"}


def test_bystanders_stay_as_they_were(connection: sa.Connection, store: SqlStore) -> None:
    other_tenant = snapshot(connection, "zeta")
    before = snapshot(connection)
    erase(connection, store, Batch([anna()]))
    after = snapshot(connection)
    assert snapshot(connection, "zeta") == other_tenant
    touched = {(table, row) for table, rows in before.items() for row in rows if row not in after[table]}
    assert len(touched) == 2 + 1 + 4 + 2 + 2 + 1 + 1 + 1  # Anna's rows, and the four that mention her
    for _, row in touched:
        assert "anna" in row.lower() or "acme,1," in row or "/acme/" in row or "000000000001," in row


def test_find_act_and_verify_by_key_give_the_same_as_a_sweep(engine: sa.Engine, store: SqlStore) -> None:
    batch = Batch([anna()])
    with engine.begin() as connection:
        swept = {name: rows.counts() for name, rows in erase(connection, store, batch).items()}
        expected = snapshot(connection)
        connection.rollback()
    with engine.begin() as connection:
        found = {name: store.find(connection, name, batch) for name in store.datasets}
        plain = {name: rows.to_plain() for name, rows in found.items()}
        for name, rows in plain.items():
            acted = store.act(connection, name, Rows.from_plain(rows), batch)
            assert acted.counts() == swept[name]
            assert store.verify_rows(connection, name, found[name], batch) == []
        assert snapshot(connection) == expected


def test_verification_sees_what_was_not_done(connection: sa.Connection, store: SqlStore) -> None:
    batch = Batch([anna()])
    found = {name: store.find(connection, name, batch) for name in store.datasets}
    unmet = {
        (u.dataset, u.column): u.rows
        for name, rows in found.items()
        for u in store.verify_rows(connection, name, rows, batch)
    }
    assert unmet == {
        ("attachment_previews", None): 2,
        ("attachments", None): 1,
        ("comment_mentions", "body"): 1,
        ("event_mentions", "new_value"): 1,
        ("ticket_copies", "cc_emails"): 1,
        ("ticket_copies", "description"): 1,
        ("comments", "body"): 3,
        ("comments", "via_email"): 2,
        ("ticket_events", "new_value"): 1,
        ("satisfaction_ratings", "user_id"): 1,
        ("satisfaction_ratings", "remark"): 1,
        ("tickets", "subject"): 1,
        ("tickets", "description"): 1,
        ("tickets", "custom_fields"): 1,
        ("tickets", "cc_emails"): 1,
        ("invoices", None): 1,
        ("users", "external_id"): 1,
        ("users", "email"): 1,
        ("users", "phone"): 1,
        ("users", "name"): 1,
        ("users", "profile"): 1,
        ("users", "alternate_emails"): 1,
    }


def test_many_subjects_of_two_tenants_in_one_batch(connection: sa.Connection, store: SqlStore) -> None:
    bruno = target(8, user_id="2", email="bruno@example.org")
    batch = Batch([anna(), bruno, anna(9, "zeta"), target(10, user_id="77", email="nobody@example.org")])
    done = erase(connection, store, batch)
    assert done["tickets"].counts() == {7: 1, 8: 1, 9: 1}
    assert done["comments"].counts() == {7: 3, 8: 2, 9: 3}  # 22 is Anna's, though in Bruno's ticket
    assert store.remains(connection, batch) == {}
    assert all(store.verify_rows(connection, name, rows, batch) == [] for name, rows in done.items())
    assert one(connection, "select description from tickets where tenant = 'acme' and id = 30") == "joanna@example.org"


def test_a_row_that_mentions_two_subjects_loses_both(connection: sa.Connection, store: SqlStore) -> None:
    carla = target(8, user_id="3", email="joanna@example.org")
    batch = Batch([anna(), carla])
    rows = store.sweep(connection, "comment_mentions", batch)
    assert rows.counts() == {7: 1, 8: 1}
    assert (
        one(connection, "select body from comments where id = 21") == "I wrote to [erased], not [erased]; call [erased]"
    )
    assert store.sweep(connection, "ticket_copies", batch).counts() == {7: 1, 8: 1}
    assert one(connection, "select cc_emails from tickets where tenant = 'acme' and id = 20") == []


def test_a_reusable_identifier_does_not_reach_beyond_the_cutoff(connection: sa.Connection, store: SqlStore) -> None:
    before_all = OLD - timedelta(days=1)
    by_email = Batch([target(cutoff_at=before_all, email="anna@example.org")])
    assert store.count(connection, by_email) == {}
    by_id = Batch([target(cutoff_at=before_all, email="anna@example.org", user_id="1")])
    assert set(store.count(connection, by_id)) >= {"users", "tickets", "comments"}
    assert "ticket_copies" not in store.count(connection, by_id)
    assert "ticket_copies" in store.count(connection, Batch([target(cutoff_at=None, email="anna@example.org")]))


def test_values_that_no_column_can_hold_find_nothing_and_harm_nobody(
    connection: sa.Connection, store: SqlStore
) -> None:
    odd = ["x'; drop table users; --", "99999999999999999999", "{1,2}", '"', "\\", "1 or 1=1", "%", "a\nb", "1.0", "½"]
    batch = Batch([target(8, user_id=odd, external_id=odd, email=odd, phone=odd), anna()])
    assert {ordinal for counts in store.count(connection, batch).values() for ordinal in counts} == {7}
    done = erase(connection, store, batch)
    assert done["users"].counts() == {7: 1}


def test_trash_hides_and_restore_brings_back_exactly_that(connection: sa.Connection, store: SqlStore) -> None:
    connection.exec_driver_sql("update tickets set deleted_at = now() - interval '9 days' where id = 30")
    connection.exec_driver_sql(
        "update tickets set requester_id = 1 where id = 30"
    )  # Anna's, but trashed by the product
    before = snapshot(connection)
    batch = Batch([anna()])
    hidden = {n: store.sweep(connection, n, batch, effect=Effect.HIDE, at=NOW) for n in store.datasets}
    assert {name: rows.counts() for name, rows in hidden.items() if rows} == {"tickets": {7: 1}, "users": {7: 1}}
    assert one(connection, "select deleted_at from users where tenant = 'acme' and id = 1") == NOW
    assert store.remains(connection, batch, effect=Effect.HIDE) == {}
    assert all(store.verify_rows(connection, n, rows, batch, effect=Effect.HIDE) == [] for n, rows in hidden.items())
    for name, rows in hidden.items():
        back = store.act(connection, name, rows, batch, effect=Effect.UNHIDE, at=NOW)
        assert back.counts() == rows.counts()
        assert store.verify_rows(connection, name, rows, batch, effect=Effect.UNHIDE) == []
    assert snapshot(connection) == before


def test_restore_conflicts_with_a_new_registration(engine: sa.Engine, store: SqlStore) -> None:
    batch = Batch([anna()])
    with engine.begin() as connection:
        rows = store.sweep(connection, "users", batch, effect=Effect.HIDE, at=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "insert into users (tenant, id, email, name, locale, time_zone) values ('acme', 99, 'anna@example.org', 'New', 'it', 'UTC')"
        )
    with engine.connect() as connection, pytest.raises(StoreError) as caught:
        store.act(connection, "users", rows, batch, effect=Effect.UNHIDE, at=NOW)
    assert caught.value.code is FailureCode.RESTORE_CONFLICT
    assert (caught.value.sqlstate, caught.value.constraint) == ("23505", "users_live_email")
    assert "anna" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_purge_after_trash_reaches_hidden_rows(connection: sa.Connection, store: SqlStore) -> None:
    batch = Batch([anna()])
    for name in store.datasets:
        store.sweep(connection, name, batch, effect=Effect.HIDE, at=NOW)
    done = erase(connection, store, batch)
    assert done["tickets"].counts() == done["users"].counts() == {7: 1}


def test_named_records_bring_what_belongs_to_them_and_no_more(connection: sa.Connection, store: SqlStore) -> None:
    named = Target(7, "acme", {}, {"tickets": frozenset({"10", "no number"})}, NOW)
    counts = store.count(connection, Batch([named]))
    assert counts == {
        "attachment_previews": {7: 2},
        "attachments": {7: 1},
        "comments": {7: 2},
        "ticket_events": {7: 1},
        "satisfaction_ratings": {7: 1},
        "tickets": {7: 1},
    }
    mixed = Batch([named, anna(8, "zeta")])
    assert store.count(connection, mixed)["comments"] == {7: 2, 8: 3}
    assert erase(connection, store, mixed)["tickets"].counts() == {7: 1, 8: 1}
    assert one(connection, "select name from users where tenant = 'acme' and id = 1") == "Anna Rossi"


def test_a_retained_row_tells_until_when(connection: sa.Connection, store: SqlStore) -> None:
    assert store.extras("invoices_kept") == ("until",)
    rows = store.find(connection, "invoices_kept", Batch([anna()]))
    assert rows.extras[0] == [(OLD.replace(year=OLD.year + 10)).strftime("%Y-%m-%dT%H:%M:%SZ")]
    before = snapshot(connection)["invoices"]
    assert store.act(connection, "invoices_kept", rows, Batch([anna()])) == rows
    assert snapshot(connection)["invoices"] == before


def test_rows_that_lead_to_files_tell_their_keys(connection: sa.Connection, store: SqlStore) -> None:
    assert store.extras("attachment_previews") == ("object_key",)
    rows = store.find(connection, "attachment_previews", Batch([anna(), anna(8, "zeta")]))
    assert rows.extras[0] == ["tickets/acme/a1", "tickets/acme/a2", "tickets/zeta/a1", "tickets/zeta/a2"]
    assert rows.ordinals == [7, 7, 8, 8]


def test_a_limit_bounds_what_is_found(connection: sa.Connection, store: SqlStore) -> None:
    assert len(store.find(connection, "comments", Batch([anna()]), limit=2)) == 2


def test_links_lead_to_the_other_identifiers_of_one_person(connection: sa.Connection, store: SqlStore) -> None:
    carla, nobody = target(8, email="joanna@example.org"), target(9, email="nobody@example.org")
    links = store.link(connection, Batch([carla, nobody]))
    assert links[8].derived == {
        "user_id": frozenset({"3"}),
        "external_id": frozenset({"C-3"}),
        "phone": frozenset({"+393331112222"}),
    }
    assert (links[8].persons, links[8].ambiguous) == (1, False)
    assert (links[9].derived, links[9].persons, links[9].ambiguous) == ({}, 0, False)


def test_a_shared_phone_is_ambiguous_and_leads_to_nobody_else(connection: sa.Connection, store: SqlStore) -> None:
    links = store.link(connection, Batch([target(7, email="anna@example.org"), target(8, phone="+390612345678")]))
    assert links[7].derived["user_id"] == {
        "1"
    }  # the phone that was found is Bruno's as well, and is not followed to him
    assert links[7].derived["email"] == {"anna.rossi@example.org"}
    assert links[7].persons == 1
    assert links[7].shared == {"phone"}
    assert links[8].derived["user_id"] == {"1", "2"}
    assert links[8].persons == 2
    assert links[7].ambiguous
    assert links[8].ambiguous


def test_live_identifiers_come_page_by_page(connection: sa.Connection, store: SqlStore) -> None:
    found: list[Live] = []
    cursor, pages = None, 0
    while pages == 0 or cursor:
        page, cursor = store.live_identifiers(connection, cursor, limit=2)
        found, pages = found + page, pages + 1
    users = {(live.tenant, live.kind, live.value) for live in found if live.dataset == "users"}
    assert ("zeta", "email", "joanna@example.org") in users
    assert len(users) == 2 * (3 + 3 + 3)
    assert {live.value for live in found if live.dataset == "ticket_copies" and live.tenant == "acme"} == {
        "bruno@example.org",
        "anna@example.org",
        "joanna@example.org",
    }
    assert all(live.created == OLD for live in found if live.dataset == "users")
    assert "joanna" not in repr(found)


def test_size_is_estimated_or_counted(engine: sa.Engine, store: SqlStore) -> None:
    with engine.connect() as connection:
        assert store.size(connection, "tickets") == 6
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("analyze tickets")
        assert store.size(connection, "tickets") == 6


def test_a_locked_row_is_contention(engine: sa.Engine, store: SqlStore) -> None:
    batch = Batch([anna()])
    with engine.begin() as holder, engine.connect() as connection:
        holder.exec_driver_sql("select from users where tenant = 'acme' and id = 1 for update")
        store.guard(connection)
        connection.exec_driver_sql("set local lock_timeout = 50")
        with pytest.raises(StoreError) as caught:
            store.sweep(connection, "users", batch)
    assert (caught.value.code, caught.value.sqlstate, caught.value.contended) == (FailureCode.CONTENTION, "55P03", True)


def test_a_slow_statement_is_a_timeout(engine: sa.Engine, store: SqlStore) -> None:
    with engine.begin() as holder, engine.connect() as connection:
        holder.exec_driver_sql("select from users where tenant = 'acme' and id = 1 for update")
        connection.exec_driver_sql("set local statement_timeout = 50")
        with pytest.raises(StoreError) as caught:
            store.sweep(connection, "users", Batch([anna()]))
    assert (caught.value.code, caught.value.contended) == (FailureCode.STORE_TIMEOUT, True)


def test_a_missing_column_is_a_mismatch_by_name(connection: sa.Connection, data_map: DataMap) -> None:
    connection.exec_driver_sql("alter table satisfaction_ratings drop column remark")
    with pytest.raises(StoreError) as caught:
        SqlStore(data_map).count(connection, Batch([anna()]))
    assert caught.value.code is FailureCode.SCHEMA_MISMATCH
    assert (caught.value.table, caught.value.column) == ("satisfaction_ratings", "remark")


def test_a_missing_right_is_denied(engine: sa.Engine, store: SqlStore) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("create role test_sql_reader")
        connection.exec_driver_sql("grant select on all tables in schema public to test_sql_reader")
        connection.exec_driver_sql("set local role test_sql_reader")
        assert store.find(connection, "users", Batch([anna()]))
        with pytest.raises(StoreError) as caught:
            store.sweep(connection, "users", Batch([anna()]))
        assert (caught.value.code, caught.value.sqlstate) == (FailureCode.DENIED, "42501")
        connection.rollback()


def test_a_broken_connection_is_unavailable(engine: sa.Engine, store: SqlStore) -> None:
    with engine.connect() as victim, engine.connect() as other:
        pid = victim.exec_driver_sql("select pg_backend_pid()").scalar_one()
        other.exec_driver_sql("select pg_terminate_backend(%(pid)s)", {"pid": pid})
        with pytest.raises(StoreError) as caught:
            store.count(victim, Batch([anna()]))
        assert caught.value.code is FailureCode.STORE_UNAVAILABLE
        victim.invalidate()


def test_an_empty_batch_finds_nothing(connection: sa.Connection, store: SqlStore) -> None:
    assert store.count(connection, Batch([])) == {}
    assert store.link(connection, Batch([])) == {}
    assert not any(erase(connection, store, Batch([])).values())


def test_the_number_of_subjects_does_not_change_the_number_of_statements(engine: sa.Engine, store: SqlStore) -> None:
    def statements(batch: Batch) -> int:
        counted = 0

        def count(*_: Any) -> None:
            nonlocal counted
            counted += 1

        with engine.connect() as connection:
            store.count(connection, batch)
            sa.event.listen(connection, "before_cursor_execute", count)
            rows = erase(connection, store, batch)
            assert counted == len(store.datasets)
            for name in store.datasets:
                store.verify_rows(connection, name, rows[name], batch)
            store.remains(connection, batch)
        return counted

    many = [anna(ordinal, tenant) for ordinal, tenant in enumerate(["acme", "zeta"] * 100)]
    assert statements(Batch([anna()])) == statements(Batch(many)) <= 2 * len(store.datasets) + 1


def test_rows_of_somebody_outside_the_batch_are_refused(connection: sa.Connection, store: SqlStore) -> None:
    rows = store.find(connection, "comments", Batch([anna(7)]))
    with pytest.raises(ValueError, match="not in the batch"):
        store.act(connection, "comments", rows, Batch([anna(8)]))
    with pytest.raises(ValueError, match="not in the batch"):
        store.verify_rows(connection, "comments", rows, Batch([anna(8)]))


def test_indexes_are_known_by_what_they_lead_to(connection: sa.Connection) -> None:
    connection.exec_driver_sql('create table mail ("To" text, "from" varchar, body text, tenant text)')
    connection.exec_driver_sql('create index on mail (tenant, "To"); create index on mail (lower("from"))')
    connection.exec_driver_sql("create index on mail (body) where tenant is null")
    tables = ["mail", "tickets", "users"]
    catalog = Catalog(read_columns(connection, tables), read_indexes(connection, tables))
    assert catalog.serves("mail", "To", "tenant")
    assert catalog.serves("mail", "lower(from)", "tenant")
    assert not catalog.serves("mail", "from", "tenant")
    assert not catalog.serves("mail", "To", None)
    assert not catalog.serves("mail", "body", "tenant"), "an index over some rows serves some rows"
    assert catalog.serves("tickets", "requester_id", "tenant")
    assert not catalog.serves("tickets", "id", None)
    assert catalog.serves("users", "email", "tenant")
    assert not catalog.serves("elsewhere", "id", "tenant")


def test_without_its_indexes_a_store_finds_the_same(connection: sa.Connection, data_map: DataMap) -> None:
    batch = Batch([anna(7), anna(8, "zeta")])
    found = {name: SqlStore(data_map).find(connection, name, batch) for name in data_map.of_kind(SqlDataset)}
    for (index,) in connection.exec_driver_sql(
        "select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid"
        " where c.relnamespace = 'public'::regnamespace and not i.indisprimary and not exists"
        " (select from pg_constraint k where k.conindid = i.indexrelid)"
    ).all():
        connection.exec_driver_sql(f"drop index {index}")
    bare = SqlStore(data_map)
    assert {name: bare.find(connection, name, batch) for name in bare.datasets} == found
