"""Mentions of a subject within free text, and in what is no JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from consumers.stores import logfiles_gzip, logfiles_reading
from consumers.stores.logfiles import Count, Scrub, Subject
from tests.stores.loglines import (
    ANNA,
    CUTOFF,
    EARLIER,
    HERS,
    RULE,
    YOUNG,
    erase,
    line,
    log,
    once,
    read,
    remaining,
    rule,
    seen,
    write,
)


@pytest.mark.parametrize(
    "before, after",
    [
        ("anna@example.org", "[erased]"),
        ("to <Anna@Example.ORG>, cc bob@x.org.", "to <[erased]>, cc bob@x.org."),
        ("mail anna@example.org. Then", "mail [erased]. Then"),
        ("mailto:anna@example.org?x=1", "mailto:[erased]?x=1"),
        ("GET /find?mail=anna%40example.org&n=1", "GET /find?mail=[erased]&n=1"),
        ("to=anna@example.org;anna@example.org", "to=[erased];[erased]"),
        ("“anna@example.org”", "“[erased]”"),
        ("'anna@example.org'", "'[erased]'"),
        ("请联系anna@example.org谢谢", "请联系[erased]谢谢"),
        ('{"e":"anna@example.org"}', '{"e":"[erased]"}'),
        ('{"e":"anna\\u0040example.org"}', '{"e":"[erased]"}'),
        ("😀anna@example.org😀 é", "😀[erased]😀 é"),
        ("call +39 333 1234567 now", "call [erased] now"),
        ("call +39 (0)333-123.45.67", None),  # in Italy the zero is part of the number
        ("call +39 333-123.45.67!", "call [erased]!"),
        ("電話＋３９３３３１２３４５６７です", "電話[erased]です"),
        ("0039 3331234567, 3", "[erased], 3"),
        ("tel=%2B393331234567", "tel=%2B[erased]"),
        ("id 12 393331234567 2026", "id 12 [erased] 2026"),
        ("x joanna@example.org", None),
        ("joe.anna@example.org joe+anna@example.org joe-anna@example.org", None),
        ("anna@example.org.uk anna@example.organic", None),
        ("anna@example", None),
        ("peñanna@example.org éanna@example.org", None),
        ("anna@example.orgé", None),
        ("user 42 of 42", None),
        ("+39 333 12345678 and 1393331234567", None),
        ("a393331234567 393331234567b", None),
        ("@ @@ anna@ @example.org %40", None),
    ],
)
@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("name", ["app-1.jsonl", "app.jsonl"])
def test_mentions_in_other_people_s_lines(folder, before, after, escaped, name):
    record = {"ts": EARLIER, "tenant": "t1", "user_id": 1, "email": "bob@x.org", "msg": before, "ip": "1.1.1.1"}
    raw = json.dumps(record, ensure_ascii=escaped).encode() + b"\n"
    path = write(folder / name, raw)
    store = log(folder)
    erase(store, ANNA)
    found = json.loads(read(path))
    if after is None:
        assert read(path) == raw
        return
    assert found == {**record, "msg": found["msg"]}
    assert remaining(store) == {}
    if name == "app-1.jsonl":
        assert found["msg"] == after
    else:
        assert path.stat().st_size == len(raw)
        assert "example.org" not in found["msg"].lower()
        assert [part.strip("*") for part in found["msg"].split("[erased]")] == after.split("[erased]")


def test_surrogates_in_text_when_asked(folder):
    how = rule(identifies={}, scrubs={"msg": Scrub(frozenset({"account_id"}), "X")})
    subject = Subject(
        1,
        "t1",
        {"account_id": frozenset({"auth0|a.b", "usr-77", "usr_8", "9f1c0d6e-0000-4000-8000-00000000000a"})},
        CUTOFF,
    )
    text = "usr-77, usr-778 9f1c0d6e-0000-4000-8000-00000000000a:auth0|a.b. (auth0|a.b) x-usr-77 客usr_8户"
    after = json.loads(once(folder, line(msg=text), how, subject))
    assert after["msg"] == "X, usr-778 X:X. (X) x-usr-77 客X户"


def test_numbers_that_are_identifiers(folder):
    assert json.loads(once(folder, line(msg=[393331234567, 5])))["msg"] == [0, 5]


# --- what is no JSON

HALF = b'{"tenant":"t1","user_id":42,"email":"anna@exam\n'
PANIC = b"panic: anna@example.org at 0x42 \xff\xfe\n"


def test_unparsed_lines_stay_and_are_reported(folder):
    text = HALF + PANIC + b"[1, 2\n" + b'"anna\\u0040example.org"\n' + HERS + b"5\n"
    path = write(folder / "app-1.jsonl", text)
    store = log(folder)
    erase(store, ANNA)
    lines = read(path).splitlines(keepends=True)
    assert lines[:4] == text.splitlines(keepends=True)[:4]
    assert seen(store) == Count(suspicious=2)


@pytest.mark.parametrize("name", ["app-1.jsonl", "app.jsonl"])
def test_unparsed_lines_are_scrubbed_when_asked(folder, name):
    path = write(folder / name, HALF, PANIC)
    store = log(folder, replace(RULE, scrub_unparsed=True))
    erase(store, ANNA)
    filled = b"[erased]" if name == "app-1.jsonl" else b"[erased]".ljust(16, b"*")
    assert read(path) == HALF + PANIC.replace(b"anna@example.org", filled)
    assert seen(store) == Count()
    young = write(folder / name, PANIC, mtime=YOUNG)  # their time is as unknown as their tenant
    erase(store, ANNA)
    assert b"example.org" not in read(young)


def test_deep_nesting_is_no_crash(folder):
    deep = b"[" * 100_000 + b"]" * 100_000 + b"\n"
    assert once(folder, deep + HERS).startswith(deep)


def test_overlong_lines_are_searched_in_parts(folder, monkeypatch):
    monkeypatch.setattr(logfiles_gzip, "CHUNK", 4096)
    monkeypatch.setattr(logfiles_reading, "MAX_LINE", 2000)
    long = b'{"tenant":"t1","msg":"' + b"x" * 4065 + b" anna@example.org " + b"y" * 30_000 + b'"}\n'
    path = write(folder / "app-1.jsonl", long, HERS, long[:-1])
    store = log(folder)
    erase(store, ANNA)
    lines = read(path).splitlines(keepends=True)
    assert (lines[0], lines[2]) == (long, long[:-1])
    found = seen(store)
    assert (found.pending, found.undated) == (0, 0)
    assert found.suspicious >= 2  # each part of a line counts
