"""Maps are refused on load with every reason at once, and each reason names its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.maps import Action, By, Elements, MapError, Scrub, SqlDataset, Value, Word, load, load_text

GOOD = """\
product: desk
version: 1
description: A desk.
stores:
  db: {kind: sql, setting: database}
  files: {kind: objects, setting: files}
  folder: {kind: logfiles, setting: folder}
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
  mentions:
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
    created: sent_at
    match:
      - {by: user_id, column: author_id, where: [{column: author_type, value: Contact}]}
    action: redact
    columns:
      body: {value: "[erased]"}
      author_id: null
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
      tags: clear
      profile: {json: [address.street, birthday]}
      address: {elements: [email], with: nobody}
      nick: {value: "user-{key}"}
      ip: truncate_ip
    keep: [locale]
  lines:
    store: folder
    files: ["*.jsonl"]
    tenant: tenant
    created: ts
    match:
      - {by: user_id, field: user.id}
    action: redact
    fields:
      user.id: null
      message: {scrub: [email]}
"""


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def problems(text: str) -> list[tuple[int, str]]:
    with pytest.raises(MapError) as caught:
        load_text(text, "desk/map.yaml")
    assert all(str(problem).startswith(f"desk/map.yaml:{problem.line}: ") for problem in caught.value.problems)
    return [(problem.line, problem.text) for problem in caught.value.problems]


def test_a_good_map_is_read_as_it_stands() -> None:
    data_map = load_text(GOOD)
    assert list(data_map.datasets) == ["scans", "papers", "mentions", "letters", "users", "lines"]
    users = data_map.sql("users")
    assert users.action is Action.REDACT
    assert users.columns["tags"] is Word.CLEAR
    assert users.columns["email"] is None
    assert users.columns["nick"] == Value(value="user-{key}")
    assert users.columns["address"] == Elements(elements=("email",), with_="nobody")  # type: ignore[arg-type]
    mentions = data_map.sql("mentions")
    assert mentions.columns["body"] == Scrub(scrub=("email",), with_="[erased]")  # type: ignore[arg-type]
    assert [way.column for way in users.match if isinstance(way, By)] == ["id", "email"]
    assert data_map.needs == {"user_id", "email"}
    assert data_map.supplies == {"user_id", "email"}
    assert data_map.matches({"email"})
    assert not data_map.matches({"phone"})
    assert data_map.nameable == ("letters", "users")
    assert data_map.record_column("users") == "id"


def test_the_digest_is_that_of_the_meaning() -> None:
    digest = load_text(GOOD).digest()
    assert len(digest) == 43
    assert (
        load_text(
            "# a comment\n" + GOOD.replace("version: 1\n", "").replace("product: desk\n", "version: 1\nproduct: desk\n")
        ).digest()
        == digest
    )
    assert load_text(GOOD.replace("birthday", "birthdays")).digest() != digest
    swapped = GOOD.replace("  scans: {store: files, rows: papers, column: object_key}\n", "")
    assert (
        load_text(
            swapped.replace(
                "  mentions:", "  scans: {store: files, rows: papers, column: object_key}\n  mentions:", 0
            ).replace("  files: {kind: objects, setting: files}\n", "")
        ).digest()
        != digest
    )


BAD = [
    # what is changed, into what, the line that must be named (by its content), and what the text must say
    ("    key: [id]\n    created: sent_at\n    match", "    keys: [id]\n    created: sent_at\n    match", "keys: [id]", "did you mean `key`?"),
    ("version: 1", "version: 2", "version: 2", "Expected `int` <= 1"),
    ("trash: native", "trash: soft", "trash: soft", "write one of native, deferred"),
    ("    table: users\n", "    table: users; drop table users\n", "table: users; drop", "no SQL"),
    ("      tags: clear", "      tags: wipe", "tags: wipe", "write one of clear, truncate_ip, null"),
    ("      tags: clear", "      tags: {hash: sha256}", "tags: {hash", "a hash of an identifier is still personal data"),
    ("      tags: clear", "      tags: clear\n      tags: null", "columns:\n      email", "stands here twice"),
    ("      - {by: user_id, column: id}\n      - {by: email, column: email}\n", "      []\n", "    match:\n      []", "would touch the whole table"),
    ("    tenant_by_parent: true\n    match:\n      - {of: letters, on: {letter_id: id}}", "    tenant_by_parent: true\n    match:\n      - {by: user_id, column: owner}", "- {by: user_id, column: owner}", "nothing separates tenants"),
    ("    tenant_by_parent: true\n    match:\n      - {of: letters, on: {letter_id: id}}", "    tenant_by_parent: true\n    match:\n      - {of: users, on: {user_id: id}}", "- {of: users", "joins part of its key and reaches no tenant"),
    ("      - {by: email, column: email}\n", "      - {by: phone, column: phone}\n", "- {by: phone", "phone is not under `identifiers:`"),
    ("    created: created_at\n", "", "- {by: email, column: email}", "email is reusable: name the creation column"),
    ("      - {of: letters, on: {letter_id: id}}", "      - {of: leters, on: {letter_id: id}}", "- {of: leters", "no other SQL dataset `leters`"),
    ("      - {of: letters, on: {letter_id: id}}", "      - {of: letters, on: {}}", "- {of: letters, on: {}}", "would reach the whole table"),
    ("      profile: {json: [address.street, birthday]}", "      id: null", "      id: null", "`id` is a key column"),
    ("      profile: {json: [address.street, birthday]}", "      tenant: null", "      tenant: null", "is the tenant column"),
    ("      profile: {json: [address.street, birthday]}", "      deleted_at: null", "      deleted_at: null", "is the hide column"),
    ("      profile: {json: [address.street, birthday]}", "      created_at: null", "      created_at: null", "is the creation column"),
    ("    keep: [locale]", "    keep: [email]", "      email: null", "stands under `keep:` as well"),
    ("      email: null\n", "", "- {by: email, column: email}", "`email` names the subject"),
    ("      author_id: null\n", "", "- {by: user_id, column: author_id", "or name it under `keep:`"),
    ("    hide: {column: deleted_at}\n", "", "trash: native", "native trash needs a dataset with `hide:`"),
    ("trash: native", "trash: deferred", "hide: {column", "means nothing with `trash: deferred`"),
    ("    whose: others\n", "    whose: others\n    hide: {column: gone_at}\n", "whose: others", "never deleted or hidden"),
    ("    action: redact\n    columns:\n      body: {value", "    action: anonymise\n    columns:\n      body: {value", "    action: anonymise", "`method:` (null_link, replace_author) goes with"),
    ("    action: redact\n    columns:\n      body: {value", "    action: retain\n    columns:\n      body: {value", "    action: retain", "`retain:` (ground, basis, until) goes with"),
    ("    action: delete\n", "    action: delete\n    columns: {note: null}\n", "    action: delete", "concerns whole rows"),
    ("setting: files}", "setting: files}\n  spare: {kind: sql, setting: spare}", "  spare:", "no dataset is in store `spare`"),
    ("rows: papers", "rows: users_", "scans:", "there is no SQL dataset `users_`"),
    ("store: files, rows", "store: db, rows", "scans:", "is a store of kind sql, this needs objects"),
    ("    tenant: tenant\n", "", "lines:", "nothing separates tenants here"),
    ("      user.id: null\n", "", "- {by: user_id, field: user.id}", "give it a treatment under `fields:`"),
    ("      user.id: null\n", "      user.id: null\n      roles: {value: [none]}\n", "roles: {value", "a field of a line cannot become one"),
    ('files: ["*.jsonl"]', 'files: ["*.jsonl", ../x.log]', "files: [\"*.jsonl\"", "without `..` and `**`"),
    ('files: ["*.jsonl"]', 'files: ["**/*.jsonl"]', "files: [\"**/", "without `..` and `**`"),
    ('files: ["*.jsonl"]', 'files: ["*.jsonl"]\n    active: [app.jsonl.gz]', "active: [", "is not compressed"),
    ("identifiers: {user_id: surrogate, ", "identifiers: {user_id: surrogate, phone: reusable, ", "identifiers:", "no dataset and no link uses phone"),
    ("where: [{column: author_type, value: Contact}]", "where: [{column: author_type, op: in, value: Contact}]", "- {by: user_id, column: author_id", "needs a list of values"),
    ("where: [{column: author_type, value: Contact}]", "where: [{column: author_type}]", "- {by: user_id, column: author_id", "for nothing write `op: is_null`"),
    ("backup_days: 30", "backup_days: soon", "backup_days: soon", "Expected `int`"),
    ("description: A desk.\n", "", "product: desk", "`description` is missing here"),
    ("      body: {value: \"[erased]\"}", "      body: \"[erased]\"", "      body: \"[erased]\"", "a mapping with `value:`"),
]  # fmt: skip


@pytest.mark.parametrize("old, new, place, text", BAD, ids=[bad[3][:40] for bad in BAD])
def test_each_fault_names_its_line_and_what_to_do(old: str, new: str, place: str, text: str) -> None:
    assert GOOD.count(old) >= 1
    broken = GOOD.replace(old, new, 1)
    found = problems(broken)
    assert any(line == line_of(broken, place) and text in said for line, said in found), found


def test_all_faults_are_told_at_once() -> None:
    broken = (
        GOOD.replace("trash: native", "trash: soft")
        .replace("      tags: clear", "      tags: wipe")
        .replace("      author_id: null\n", "")
        .replace("{of: letters, on: {letter_id: id}}", "{of: letters, on: {}}")
    )
    lines = [line for line, _ in problems(broken)]
    places = ("trash: soft", "{of: letters, on: {}}", "- {by: user_id, column: author_id", "tags: wipe")
    assert [line_of(broken, place) for place in places] == lines


def test_children_go_before_parents() -> None:
    letters = GOOD[GOOD.index("  letters:") : GOOD.index("  users:")]
    broken = GOOD.replace(letters, "").replace("  scans:", letters + "  scans:")
    assert any("`letters` stands before `papers`" in said for _, said in problems(broken))


def test_files_go_before_the_rows_that_lead_to_them() -> None:
    scans = "  scans: {store: files, rows: papers, column: object_key}\n"
    broken = GOOD.replace(scans, "").replace("  mentions:\n", scans + "  mentions:\n")
    assert any("must go after them" in said for _, said in problems(broken))


RETAINED = """\
  kept:
    table: invoices
    key: [id]
    match:
      - {by: user_id, column: user_id}
    action: retain
    retain: {ground: 17_3_b, basis: Tax law., until: {column: issued_at, plus: P10Y}}
  invoices:
    table: invoices
    key: [id]
    match:
      - {by: user_id, column: user_id}
    action: delete
"""


@pytest.mark.parametrize(
    "old, new, text",
    [
        ("ground: 17_3_b, ", "", "`ground` is missing"),
        ("17_3_b", "because", "write one of 17_3_a"),
        ("basis: Tax law., ", "", "`basis` is missing"),
        (", until: {column: issued_at, plus: P10Y}", "", "`until` is missing"),
        ("{column: issued_at, plus: P10Y}", "{column: issued_at}", "say when it ends"),
        ("{column: issued_at, plus: P10Y}", "{column: issued_at, plus: 10 years}", "no name that may stand here"),
        (RETAINED[RETAINED.index("  invoices:") :], "", "say what happens afterwards"),
    ],
)
def test_what_is_retained_says_why_and_until_when(old: str, new: str, text: str) -> None:
    good = GOOD.replace("  users:\n", RETAINED + "  users:\n", 1)
    assert load_text(good).sql("kept").retain is not None
    assert any(text in said for _, said in problems(good.replace(old, new, 1)))


def test_anonymising_cuts_every_link() -> None:
    good = GOOD.replace(
        'action: redact\n    columns:\n      body: {value: "[erased]"}',
        "action: anonymise\n    method: null_link\n    columns:",
    )
    assert load_text(good).sql("letters").method == "null_link"
    assert any(
        "must cut it" in said for _, said in problems(good.replace("      author_id: null\n", "      body: null\n"))
    )
    wrong = good.replace("null_link", "replace_author")
    assert any("wants a `value:` here" in said for _, said in problems(wrong))
    assert any("hash" in said for _, said in problems(good.replace("null_link", "hash")))


def test_a_table_reached_by_a_join_must_have_its_tenant_named() -> None:
    through = "{by: email, column: copies, through: [{table: users, on: {author_id: id}, created: created_at}]}"
    broken = GOOD.replace("{by: email, column: copies}", through)
    assert any("`users` has a tenant column" in said for _, said in problems(broken))


def test_text_that_is_no_map() -> None:
    assert problems("product: [a\n")[0][1].startswith("this is not YAML")
    assert problems("- a\n- b\n") == [(1, "a data map is a mapping; begin with `product:`")]
    assert problems("")[0][0] == 1
    assert any("expected a mapping" in said for _, said in problems("product: desk\ndatasets: 3\n"))


@pytest.mark.parametrize("product", ["tickets", "chat", "guide", "voice", "logs"])
def test_shipped_maps_load(product: str) -> None:
    data_map = load(Path(__file__).parents[2] / "consumers" / product / "map.yaml")
    assert data_map.product == product
    assert data_map.of_kind(SqlDataset)
