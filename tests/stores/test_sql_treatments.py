"""Every treatment on every type of column it fits: pending before, in the wanted state after, and not pending again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from consumers.maps import load_text
from consumers.stores.mentions import IP_ADDRESS, hints, mention_pattern, subject_pattern
from consumers.stores.sql import Batch, SqlStore, StoreError, Target
from schemas.codes import FailureCode
from tests.postgres import Postgres

MAP = """\
product: desk
version: 1
description: One table, one treated column.
stores:
  db: {kind: sql, setting: database}
tenancy: single_tenant
trash: deferred
backup_days: 1
identifiers: {user_id: surrogate, email: reusable, phone: reusable}
links:
  - {dataset: things, gives: {email: x, phone: x}}
datasets:
  things:
    table: things
    key: [id]
    created: created_at
    match:
      - {by: user_id, column: owner}
    action: redact
    columns:
      x: TREATMENT
    keep: [owner]
"""
ANNA = Target(
    1,
    "any",
    {
        "user_id": frozenset({"7"}),
        "email": frozenset({"anna@x.org", "a.r@x.org"}),
        "phone": frozenset({"+390612345678"}),
    },
    None,
    datetime(2030, 1, 1, tzinfo=UTC),
)


@pytest.fixture
def treat(postgres: Postgres, engine_for: Callable[..., sa.Engine]) -> Iterator[Callable[..., Any]]:
    url = postgres.create_database()
    engine = engine_for(url, poolclass=sa.NullPool)

    def run(type_: str, before: str, treatment: str, target: Target = ANNA) -> Any:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"drop table if exists things; create table things (id int primary key, owner int, x {type_},"
                f" created_at timestamptz not null default now()); insert into things values (5, 7, {before})"
            )
            store, batch = SqlStore(load_text(MAP.replace("TREATMENT", treatment))), Batch([target])
            found = store.find(connection, "things", batch)
            unmet = store.verify_rows(connection, "things", found, batch)
            assert [(u.column, u.rows) for u in unmet] == ([("x", 1)] if found else [])
            changed = store.sweep(connection, "things", batch)
            assert changed.counts() == found.counts()
            assert store.verify_rows(connection, "things", found, batch) == []
            assert not store.find(connection, "things", batch), "a second run must find nothing"
            return connection.exec_driver_sql("select x from things").scalar_one() if changed else "untouched"

    yield run
    postgres.drop_database(url)


@pytest.mark.parametrize(
    "type_, before, treatment, after",
    [
        ("text", "'a'", "null", None),
        ("text", "null", "null", "untouched"),
        ("text", "'a'", '{value: "-"}', "-"),
        ("text", "'-'", '{value: "-"}', "untouched"),
        ("text", "null", '{value: "-"}', "-"),
        ("text", "'a'", '{value: "user-{key}"}', "user-5"),
        ("integer", "3", "{value: 0}", 0),
        ("boolean", "true", "{value: false}", False),
        ("numeric(5,1)", "3", "{value: 1.5}", pytest.approx(1.5)),
        ("date", "'2000-05-05'", '{value: "1900-01-01"}', datetime(1900, 1, 1).date()),  # noqa: DTZ001
        ("jsonb", "'[1]'", "{value: {a: [1]}}", {"a": [1]}),
        ("json", "'[1]'", "{value: {a: [1]}}", {"a": [1]}),
        ("text[]", "'{a}'", "{value: [b, c]}", ["b", "c"]),
        ("text", "'a'", "clear", ""),
        ("varchar(9)", "'a'", "clear", ""),
        ("text[]", "'{a}'", "clear", []),
        ("int[]", "'{1}'", "clear", []),
        ("jsonb", "'[1]'", "clear", {}),
        ("json", "'{\"a\": 1}'", "clear", {}),
        ("inet", "'10.1.2.3'", "truncate_ip", "10.1.2.0/24"),
        ("inet", "'10.1.0.0/16'", "truncate_ip", "untouched"),
        ("cidr", "'10.1.2.3'", "truncate_ip", "10.1.2.0/24"),
        ("inet", "'2001:db8:1:2::3'", "truncate_ip", "2001:db8:1::/48"),
        ("inet", "null", "truncate_ip", "untouched"),
        ("text", "'10.1.2.3'", "truncate_ip", "10.1.2.0/24"),
        ("text", "''", "truncate_ip", "untouched"),
        ("text", "'Anna''s computer'", "truncate_ip", None),
        ("jsonb", "'{\"a\": {\"b\": 1, \"c\": 2}, \"d\": 3}'", "{json: [a.b, d, e.f]}", {"a": {"c": 2}}),
        ("json", "'{\"a\": null, \"c\": 2}'", "{json: [a]}", {"c": 2}),
        ("jsonb", "'{\"c\": 2}'", "{json: [a]}", "untouched"),
        ("jsonb", "'[1]'", "{json: [a]}", "untouched"),
        ("text[]", "'{b@x.org,ANNA@x.org,a.r@x.org,NULL}'", "{elements: [email]}", ["b@x.org", None]),
        ("text[]", "'{anna@x.org}'", "{elements: [email]}", []),
        ("text[]", "'{b,anna@x.org,c}'", "{elements: [email], with: nobody}", ["b", "nobody", "c"]),
        ("bigint[]", "'{8,7,9,7}'", "{elements: [user_id]}", [8, 9]),
        ("bigint[]", "'{8,7}'", "{elements: [user_id], with: 0}", [8, 0]),
        ("text[]", "'{joanna@x.org}'", "{elements: [email]}", "untouched"),
        ("jsonb", "'[\"anna@x.org\", \"b\", 3]'", "{elements: [email]}", ["b", 3]),
        ("jsonb", "'[7, 8]'", "{elements: [user_id], with: 0}", [0, 8]),
        ("jsonb", "'{\"no\": \"array\"}'", "{elements: [email]}", "untouched"),
        ("text", "'to Anna@X.org or +39 06 1234-5678'", "{scrub: [email, phone]}", "to [erased] or [erased]"),
        ("text", "'to joanna@x.org'", "{scrub: [email, phone]}", "untouched"),
        ("text", "'a.r@x.org, anna@x.org'", '{scrub: [email], with: "*"}', "*, *"),
        ("text", "'user 7 of 77'", "{scrub: [user_id]}", "user [erased] of 77"),
        ("text", "'anna@x.org from 10.1.2.3 and 2001:db8::1 at 10:30:00'", "{scrub: [email], ip: true}", "[erased] from [erased] and [erased] at 10:30:00"),
        ("text", "'v1.2.3.4.5 and std::string'", "{scrub: [email], ip: true}", "untouched"),
        ("jsonb", "'{\"m\": \"to anna@x.org\", \"n\": 7, \"p\": [7, 17], \"t\": 390612345678}'", "{scrub: [email, phone, user_id]}",
         {"m": "to [erased]", "n": None, "p": [None, 17], "t": None}),
        ("json", "'{\"m\":\"anna@x.org\"}'", "{scrub: [email]}", {"m": "[erased]"}),
    ],
)  # fmt: skip
def test_treatments(treat: Callable[..., Any], type_: str, before: str, treatment: str, after: Any) -> None:
    assert treat(type_, before, treatment) == after


@pytest.mark.parametrize(
    "type_, treatment",
    [("integer", "clear"), ("integer", "truncate_ip"), ("text", "{json: [a]}"), ("text", "{elements: [email]}"), ("integer", "{scrub: [email]}")],
)  # fmt: skip
def test_a_treatment_that_does_not_fit_is_a_mismatch(treat: Callable[..., Any], type_: str, treatment: str) -> None:
    with pytest.raises(StoreError) as caught:
        treat(type_, "null", treatment)
    assert (caught.value.code, caught.value.column) == (FailureCode.SCHEMA_MISMATCH, "x")


def test_a_subject_without_such_an_identifier_loses_nothing(treat: Callable[..., Any]) -> None:
    stranger = Target(1, "any", {"user_id": frozenset({"7"})})
    assert treat("text", "'text of anybody'", "{scrub: [email, phone]}", stranger) == "untouched"
    assert treat("text", "''", "{scrub: [email, phone]}", stranger) == "untouched"
    assert treat("text[]", "'{anna@x.org,\"\"}'", "{elements: [email]}", stranger) == "untouched"


FOUND = [
    "anna@x.org",
    "<Anna@X.ORG>",
    "mailto:anna%40x.org",
    "anna@x.org.",
    "(anna@x.org)",
    "anna@x.org, too",
    "anna@x.org/",
]
MISSED = [
    "joanna@x.org",
    "j.anna@x.org",
    "anna@x.org.uk",
    "anna@x.organic",
    "anna+news@x.org",
    "anna@xx.org",
    "anna-anna@x.org",
]
PHONES = [
    "+390612345678",
    "00390612345678",
    "+39 06 1234 5678",
    "+39 (06) 1234-5678",
    "tel:+39.06.12345678",
    "39/0612345678",
]
OTHER_PHONES = ["+3906123456789", "1+390612345678", "+39 06 1234 567", "9390612345678"]


@pytest.mark.parametrize("text", FOUND + PHONES)
def test_mentions_are_found(text: str) -> None:
    pattern = subject_pattern(ANNA.identifiers, ["email", "phone"])
    assert re.search(pattern, text, re.IGNORECASE)


@pytest.mark.parametrize("text", MISSED + OTHER_PHONES)
def test_other_people_are_not(text: str) -> None:
    pattern = subject_pattern(ANNA.identifiers, ["email", "phone"])
    assert not re.search(pattern, text, re.IGNORECASE)


def test_python_and_postgresql_read_the_patterns_alike(database: str, engine_for: Callable[..., sa.Engine]) -> None:
    texts = [
        *FOUND,
        *MISSED,
        *PHONES,
        *OTHER_PHONES,
        "10.0.0.1",
        "::1",
        "1:2:3",
        "fe80::1",
        "v1.2.3.4.5",
        "1.2.3.4.",
        "",
    ]
    patterns = [subject_pattern(ANNA.identifiers, kinds) for kinds in (["email"], ["phone"], ["user_id"], [])] + [
        IP_ADDRESS
    ]
    with engine_for(database).connect() as connection:
        for pattern in patterns:
            read = connection.exec_driver_sql(
                "select t ~* %(p)s from unnest(%(t)s::text[]) with ordinality x(t, n) order by n",
                {"p": pattern, "t": texts},
            )
            assert list(read.scalars()) == [bool(re.search(pattern, text, re.IGNORECASE)) for text in texts]


@given(st.sampled_from(["email", "phone", "user_id", "username"]), st.text(min_size=1, max_size=30))
def test_any_value_makes_a_pattern_that_finds_itself(kind: str, value: str) -> None:
    value = value.strip()
    if not value or (kind == "email" and "@" not in value):
        return
    assert re.search(mention_pattern(kind, value), value)
    assert all(hint == hint.lower() or kind == "phone" for hint in hints({kind: [value]}, [kind]))
