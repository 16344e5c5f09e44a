"""`products check`: each thing that can be wrong between a map and a live store, made wrong on purpose."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from consumers.check import Code, Finding, Level, check, check_files
from consumers.maps import load_text
from consumers.maps_reading import Source, read
from tests.postgres import Postgres

DDL = """
create table users (
    tenant text not null, id bigint not null, email text, name text, locale text, profile jsonb not null default '{}',
    ip inet, created_at timestamptz not null, deleted_at timestamptz, primary key (tenant, id)
);
create index users_email on users (tenant, email);
create table letters (
    id bigint primary key, tenant text not null, author_type text not null, author_id bigint, body text, copies text[],
    sent_at timestamptz not null
);
create index letters_author on letters (tenant, author_type, author_id);
create index letters_copies on letters using gin (copies);
create table papers (id uuid primary key, letter_id bigint not null references letters (id), object_key text not null);
create index papers_letter on papers (letter_id);
insert into users values ('acme', 1, 'anna@example.org', 'Anna', 'it', '{"address": {"city": "Roma"}, "theme": "dark"}',
                          '10.0.0.1', now(), null);
insert into letters values (1, 'acme', 'Contact', 1, 'hello', '{bruno@example.org}', now());
"""
TRIGGER = """
create function f() returns trigger language plpgsql as 'begin return new; end';
create trigger history before update on users for each row execute function f();
"""
MAP = """\
product: desk
version: 1
description: A desk.
stores:
  db: {kind: sql, setting: database}
  files: {kind: objects, setting: files}
tenancy: {column: tenant}
trash: native
backup_days: 30
identifiers: {user_id: surrogate, email: reusable}
links:
  - dataset: users
    gives: {user_id: id, email: email}
datasets:
  scans: {store: files, rows: papers, column: object_key}
  papers:
    table: papers
    key: [id]
    tenant_by_parent: true
    match:
      - {of: letters, on: {letter_id: id}}
    action: delete
  copies:
    table: letters
    key: [id]
    created: sent_at
    whose: others
    match:
      - {by: email, column: copies}
    action: redact
    columns:
      copies: {elements: [email]}
      body: {scrub: [email]}
  letters:
    table: letters
    key: [id]
    match:
      - {by: user_id, column: author_id, where: [{column: author_type, value: Contact}]}
    action: delete
  users:
    table: users
    key: [tenant, id]
    created: created_at
    match:
      - {by: user_id, column: id}
      - {by: email, column: email}
    hide: {column: deleted_at}
    action: redact
    columns:
      email: null
      name: {value: "-"}
      profile: {json: [address]}
      ip: truncate_ip
    keep: [locale]
"""


@pytest.fixture
def held(postgres: Postgres, engine_for: Callable[..., sa.Engine]) -> Iterator[Callable[..., list[Finding]]]:
    def build(url: str) -> None:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(DDL)
        engine.dispose()

    url = postgres.create_database(template=postgres.template("test_check", build))
    engine = engine_for(url, poolclass=sa.NullPool)

    def hold(ddl: str = "", text: str = MAP) -> list[Finding]:
        with engine.begin() as connection:
            if ddl:
                connection.exec_driver_sql(ddl)
            return check(load_text(text), connection, read(text, "desk/map.yaml")[1])

    yield hold
    engine.dispose()
    postgres.drop_database(url)


Held = Callable[..., list[Finding]]


def found(findings: list[Finding]) -> set[tuple[str, str | None, str | None]]:
    return {(f.code.value, f.dataset, f.column) for f in findings if f.code is not Code.WIDE_GRANT}


def test_a_map_that_fits_has_nothing_to_say(held: Held) -> None:
    assert found(held()) == set()


@pytest.mark.parametrize(
    "ddl, code, dataset, column",
    [
        ("drop table papers", "missing_table", "papers", None),
        ("alter table users drop column ip", "missing_column", "users", "ip"),
        ("alter table letters drop column sent_at", "missing_column", "copies", "sent_at"),
        ("alter table papers drop column object_key", "missing_column", "scans", "object_key"),
        ("alter table users drop column tenant", "no_tenant", "users", "tenant"),
        ("alter table users drop constraint users_pkey", "wrong_key", "users", None),
        ("alter table users alter deleted_at type date", "wrong_type", "users", "deleted_at"),
        ("alter table users alter profile type text", "wrong_type", "users", "profile"),
        ("alter table letters alter author_id type interval using null", "wrong_type", "letters", "author_id"),
        ("alter table users alter email set not null", "not_nullable", "users", "email"),
        ("create unique index on users (tenant, name)", "not_unique", "users", "name"),
        ("alter table users drop column name; alter table users add name text generated always as (locale) stored", "generated", "users", "name"),
        ("alter table users add phone text", "unmapped_column", "users", "phone"),
        ("alter table users add colour text", "unmapped_column", "users", "colour"),
        ("alter table letters add reply_email text", "identifier_not_matched", "letters", "reply_email"),
        ("alter table letters add customer_id bigint", "identifier_not_matched", "letters", "customer_id"),
        ("alter table letters add note jsonb", "unmapped_column", "copies", "note"),
        ("alter table letters add blob_key text", "file_not_mapped", "letters", "blob_key"),
        ("update users set profile = '{\"contact\": \"anna@example.org\"}'", "personal_path", "users", "profile"),
        ("update users set email = 'Anna@Example.org'", "other_spelling", "users", "email"),
        ("update users set locale = 'write to anna@example.org'", "personal_kept", "users", "locale"),
        ("create table visitors (id int primary key, email text)", "table_not_mapped", None, None),
        ("create table drafts (id int primary key, letter bigint references letters); create index on drafts (letter)", "child_not_mapped", "letters", "letter"),
        ("drop index papers_letter", "child_not_indexed", "letters", "letter_id"),
        ("drop index papers_letter", "whole_table_scan", "papers", "letter_id"),
        ("drop index users_email", "whole_table_scan", "users", "email"),
        ("drop index letters_copies", "whole_table_scan", "copies", "copies"),
        ("drop index users_email; create index on users (tenant)", "whole_table_scan", "users", "email"),
        (TRIGGER, "trigger", "users", None),
    ],
)  # fmt: skip
def test_what_changes_in_the_store_is_noticed(
    held: Held, ddl: str, code: str, dataset: str | None, column: str | None
) -> None:
    assert (code, dataset, column) in found(held(ddl))


@pytest.mark.parametrize(
    "old, new, finding",
    [
        (", where: [{column: author_type, value: Contact}]", "", ("polymorphic", "letters", "author_id")),
        ("    key: [id]\n    match:\n      - {by", "    key: [author_id]\n    match:\n      - {by", ("wrong_key", "letters", None)),
        ("{of: letters, on: {letter_id: id}}", "{of: letters, on: {letter_id: author_id}}", ("ambiguous_join", "papers", None)),
        ("gives: {user_id: id, email: email}", "gives: {user_id: id}", ("identifier_not_given", None, "email")),
        ("      - {by: email, column: email}\n", "", ("identifier_not_matched", "users", "email")),
        ("json: [address]", "json: [birthday]", ("personal_path", "users", "profile")),
        ("    keep: [locale]", "    keep: [locale, salary]", ("missing_column", "users", "salary")),
        ("    keep: [locale]", "    keep: [locale]\nignore: {agents: Staff.}", ("missing_table", None, None)),
        ("      ip: truncate_ip", "      ip: clear", ("wrong_type", "users", "ip")),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_map_is_noticed(
    held: Held, old: str, new: str, finding: tuple[str, str | None, str | None]
) -> None:
    assert MAP.count(old) == 1
    assert finding in found(held(text=MAP.replace(old, new)))


def test_a_shared_identifier_is_asked_about(held: Held) -> None:
    ddl = "alter table letters add via_email text; create index on letters (tenant, via_email)"
    text = MAP.replace(
        "where: [{column: author_type, value: Contact}]}\n    action",
        "where: [{column: author_type, value: Contact}]}\n      - {by: email, column: via_email}\n    action",
    )
    text = text.replace(
        "    table: letters\n    key: [id]\n    match",
        "    table: letters\n    key: [id]\n    created: sent_at\n    match",
    )
    assert ("shared_identifier", "letters", "via_email") in found(held(ddl, text))
    asked = text.replace("column: via_email}", "column: via_email, where: [{column: author_id, op: is_null}]}")
    assert ("shared_identifier", "letters", "via_email") not in found(held(text=asked))


def test_a_finding_names_its_line_and_never_a_value(held: Held) -> None:
    findings = held(
        "alter table users add phone text; update users set phone = '+390612345678', email = 'Anna@Example.org'"
    )
    users = MAP[: MAP.index("  users:\n    table")].count("\n") + 1
    assert any(
        f.line == users and str(f).startswith(f"desk/map.yaml:{users}: error unmapped_column: `phone`")
        for f in findings
    )
    assert not any("390612345678" in str(f) or "nna@" in str(f) for f in findings)


def test_a_reason_silences(held: Held) -> None:
    ddl = "alter table letters add customer_id bigint"
    text = MAP.replace(
        "  users:\n    table", "    justify: {customer_id: The tenant's own number.}\n  users:\n    table"
    )
    assert found(held(ddl, text)) == set()
    ignored = MAP + "ignore: {visitors: Test data.}\n"
    assert found(held("create table visitors (id int primary key, email text)", ignored)) == {
        ("identifier_not_matched", "letters", "customer_id")
    }


def test_rights_missing_and_rights_too_wide(held: Held) -> None:
    held(
        "create table other (id int primary key); create role test_check_role;"
        "grant select on all tables in schema public to test_check_role;"
        "grant update on users, other to test_check_role; grant delete on letters, users to test_check_role;"
        "grant truncate on papers to test_check_role; grant update on letters to test_check_role"
    )
    try:
        findings = held("set local role test_check_role")
    finally:
        held("drop owned by test_check_role; drop role test_check_role")
    said = {
        (f.level, f.code, f.hint.split(";")[0]) for f in findings if f.code in (Code.WIDE_GRANT, Code.MISSING_GRANT)
    }
    assert said == {
        (Level.ERROR, Code.MISSING_GRANT, "the role may not DELETE on `papers`"),
        (Level.WARNING, Code.WIDE_GRANT, "the map needs no TRUNCATE on `papers`"),
        (Level.WARNING, Code.WIDE_GRANT, "the map needs no DELETE on `users`"),
        (Level.WARNING, Code.WIDE_GRANT, "`other` is not in the map and the role may UPDATE it"),
    }


def test_a_superuser_is_too_wide(held: Held) -> None:
    assert [f.code for f in held()] == [Code.WIDE_GRANT]


def test_a_large_table_without_an_index_is_an_error(held: Held) -> None:
    held(
        "insert into users select 'acme', n, n || '@example.org', 'x', 'it', '{}', null, now(), null"
        " from generate_series(2, 12000) n; analyze users"
    )
    findings = held("drop index users_email")
    assert [f.level for f in findings if f.code is Code.WHOLE_TABLE_SCAN and f.dataset == "users"] == [Level.ERROR]


LOGS = """\
product: logs
version: 1
description: Lines.
stores:
  folder: {kind: logfiles, setting: folder}
tenancy: {column: tenant}
trash: deferred
backup_days: 1
identifiers: {user_id: surrogate, email: reusable}
datasets:
  lines:
    store: folder
    files: ["app-*.jsonl", "app-*.jsonl.gz"]
    tenant: tenant
    created: ts
    match:
      - {by: user_id, field: user.id}
      - {by: email, field: user.email}
    action: redact
    fields:
      user.id: null
      user.email: null
      message: {scrub: [email]}
    keep: [level]
"""
LINE = {
    "ts": "2026-01-01T00:00:00Z",
    "tenant": "acme",
    "level": "info",
    "user": {"id": 1, "email": "a@example.org"},
    "message": "m",
}


def lines(folder: Path, text: str = LOGS, **more: object) -> set[tuple[str, str | None, str | None]]:
    (folder / "app-1.jsonl").write_text(json.dumps({**LINE, **more}) + "\nno json\n")
    with gzip.open(folder / "app-0.jsonl.gz", "wt") as file:
        file.write(json.dumps(LINE) + "\n")
    return {(f.code.value, f.dataset, f.column) for f in check_files(load_text(text), folder, store="folder")}


def test_lines_of_files(tmp_path: Path) -> None:
    assert lines(tmp_path) == set()
    assert lines(tmp_path, phone="+390612345678") == {("unmapped_column", "lines", "phone")}
    assert lines(tmp_path, message="from 10.0.0.1") == {("scrub_incomplete", "lines", "message")}
    assert lines(tmp_path, LOGS.replace("keep: [level]", "keep: [level, session]")) == {
        ("missing_column", "lines", "session")
    }
    gone = LOGS.replace("      - {by: email, field: user.email}\n", "")
    assert lines(tmp_path, gone) == {("identifier_not_matched", "lines", "user.email")}
    (tmp_path / "audit.log").write_text("x")
    assert lines(tmp_path) == {("file_not_mapped", None, None)}


def test_no_source_is_needed(held: Held) -> None:
    assert Source("x").line(("datasets",)) == 1
