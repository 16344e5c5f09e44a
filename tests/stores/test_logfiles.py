"""Subjects found in log files, erased, and not found again: which bytes of a line change, and whose lines are touched."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.stores.logfiles import Count, LineAction, Outcome, Subject
from consumers.stores.logfiles_judgement import Context, Judge
from consumers.stores.objects import Failed
from schemas.identifiers import normalise
from tests.stores.loglines import (
    ANNA,
    BYSTANDERS,
    CUTOFF,
    EARLIER,
    HERS,
    LATER,
    OLD,
    RULE,
    YOUNG,
    erase,
    line,
    log,
    once,
    pending,
    read,
    remaining,
    rewrite,
    rule,
    seen,
    write,
)


@pytest.mark.parametrize("name", ["app-1.jsonl", "app-1.jsonl.gz", "app.jsonl"])
def test_found_erased_and_not_found_again(folder, name):
    path = write(folder / name, BYSTANDERS[0], HERS, *BYSTANDERS[1:])
    before = path.read_bytes()
    store = log(folder)
    plan = pending(store)
    assert path.read_bytes() == before
    assert plan.counts == {7: Count(pending=1)}

    result = rewrite(store, plan)
    assert result.outcome is Outcome.CHANGED
    assert result.in_place is (name == "app.jsonl")
    lines = read(path).splitlines(keepends=True)
    assert [lines[0], *lines[2:]] == BYSTANDERS
    assert json.loads(lines[1]) == {**json.loads(HERS), "email": "[erased]", "ip": "0.0.0.0"}

    assert seen(store) == Count()  # the user id stays, by the rule: still her line, nothing left in it
    after, inode = path.read_bytes(), path.stat().st_ino
    assert rewrite(store, plan).outcome is Outcome.UNCHANGED
    assert (path.read_bytes(), path.stat().st_ino) == (after, inode)


def test_all_subjects_in_one_pass(folder, monkeypatch):
    people = [
        Subject(n, "t1", {"user_id": frozenset({str(n)}), "email": frozenset({f"p{n}@x.org"})}, CUTOFF)
        for n in range(300)
    ]
    path = write(folder / "app-1.jsonl", *(line(user_id=n, email=f"p{n}@x.org", ip="1.1.1.1") for n in range(600)))
    reads: list[int] = []
    real = os.pread

    def counted(descriptor: int, size: int, at: int) -> bytes:
        reads.append(size)
        return real(descriptor, size, at)

    monkeypatch.setattr(os, "pread", counted)
    assert remaining(log(folder), *people) == dict.fromkeys(range(300), 1)
    assert sum(reads) == path.stat().st_size


def test_cost_does_not_grow_with_the_batch(folder):
    write(folder / "app-1.jsonl", *(line(user_id=n, email=f"p{n}@x.org", msg=f"from p{n}@x.org") for n in range(4000)))

    def seconds(batch: int) -> float:
        people = [Subject(n, "t1", {"email": frozenset({f"q{n}@x.org"})}, CUTOFF) for n in range(batch)]
        start = time.process_time()
        log(folder).plan(people)
        return time.process_time() - start

    one = min(seconds(1), seconds(1))
    assert seconds(4000) < 6 * one + 0.2  # building the index of 4,000 included; a product of the two would be 4,000 x


# --- the bytes of a line


@pytest.mark.parametrize(
    "before, after",
    [
        (
            b'{"tenant" : "t1","ts":"2026-02-01T10:00:00Z",\t"email":  "anna@example.org" , "n":1.50}\n',
            b'{"tenant" : "t1","ts":"2026-02-01T10:00:00Z",\t"email":  "[erased]" , "n":1.50}\n',
        ),
        (  # escapes, in the value, in the key and in the neighbour; CRLF stays
            b'{"\\u0074enant":"t1","user_id":42,"email":"Anna\\u0040EXAMPLE.org","x":"\\u00e9\\/"}\r\n',
            b'{"\\u0074enant":"t1","user_id":42,"email":"[erased]","x":"\\u00e9\\/"}\r\n',
        ),
        (  # no end of line at the end of a closed file
            b'{"tenant":"t1","user_id":"42","ip":"10.0.0.1"}',
            b'{"tenant":"t1","user_id":"42","ip":"0.0.0.0"}',
        ),
        (  # a key that stands twice: both values
            b'{"tenant":"t1","ts":"2026-02-01T10:00:00Z","email":"anna@example.org","email":"bob@example.org"}\n',
            b'{"tenant":"t1","ts":"2026-02-01T10:00:00Z","email":"[erased]","email":"[erased]"}\n',
        ),
        (  # what only a lenient parser reads
            b'{"tenant":"t1","user_id":42,"v":NaN,"email":"anna@example.org","s":"\\ud800"}\n',
            b'{"tenant":"t1","user_id":42,"v":NaN,"email":"[erased]","s":"\\ud800"}\n',
        ),
        (
            b'\xef\xbb\xbf{"tenant":"t1","user_id":42,"email":"anna@example.org"}\n',
            b'\xef\xbb\xbf{"tenant":"t1","user_id":42,"email":"[erased]"}\n',
        ),
        (  # nested, and flat with a dot in the key; null stays null
            b'{"tenant":"t1","user_id":42,"user":{"name":"Anna","id":1},"user.name":"Anna","email":null}\n',
            b'{"tenant":"t1","user_id":42,"user":{"name":null,"id":1},"user.name":null,"email":null}\n',
        ),
        (  # an array of values, an object as a whole
            b'{"tenant":"t1","user_id":42,"ip":["1.1.1.1",["2.2.2.2"]],"email":{"work":"a@b.c"}}\n',
            b'{"tenant":"t1","user_id":42,"ip":["0.0.0.0",["0.0.0.0"]],"email":"[erased]"}\n',
        ),
    ],
)
def test_only_the_values_change(folder, before, after):
    assert once(folder, before) == after


def test_only_the_element_that_names_her(folder):
    how = rule(
        identifies={"email": ("people.email", "to")},
        reusable=frozenset({"email"}),
        redacts={"people.name": "x", "people.email": "x", "to": "x", "ip": "x"},
    )
    bob, anna = {"email": "bob@x.org", "name": "Bob"}, {"email": "ANNA@example.org", "name": "Anna"}
    after = json.loads(once(folder, line(people=[bob, anna, bob], to=["bob@x.org"], ip="1.1.1.1"), how))
    assert after["people"] == [bob, {"email": "x", "name": "x"}, bob]
    assert (after["to"], after["ip"]) == (["x"], "x")  # no element of the same array: part of her line
    after = json.loads(once(folder, line(to=["bob@x.org", "anna@example.org"]), how))
    assert after["to"] == ["bob@x.org", "x"]


def test_function_of_the_value(folder):
    def truncated(ip: Any) -> Any:
        if not isinstance(ip, str) or ip.count(".") != 3:
            raise ValueError
        return ip.rpartition(".")[0] + ".0"

    how = rule(redacts={"ip": truncated})
    text = line(user_id=42, ip="10.1.2.3") + line(user_id=42, ip="here") + line(user_id=42, ip=5)
    assert [json.loads(row)["ip"] for row in once(folder, text, how).splitlines()] == ["10.1.2.0", None, None]


def test_a_line_that_is_not_emptied_stops_the_rewrite(folder):
    how = rule(redacts={"ip": lambda ip: ip + "0"})
    path = write(folder / "app-1.jsonl", HERS)
    with pytest.raises(Failed, match="left something"):
        erase(log(folder, how), ANNA)
    assert read(path) == HERS


def test_a_function_that_leaves_the_value_leaves_the_bytes(folder):
    how = rule(redacts={"msg": str.strip, "x": lambda x: 1})
    text = b'{"tenant":"t1","user_id":42,"msg":"\\u00e9\\/","x":1.0}\n'
    assert once(folder, text, how) == text.replace(b"1.0", b"1")


def test_whole_lines_go(folder):
    how = rule(action=LineAction.DELETE)
    assert once(folder, BYSTANDERS[0] + HERS + BYSTANDERS[1] + HERS.rstrip(), how) == BYSTANDERS[0] + BYSTANDERS[1]
    active = write(folder / "app.jsonl", BYSTANDERS[0], HERS.replace(b"\n", b"\r\n"), BYSTANDERS[1])
    erase(log(folder, how), ANNA)
    assert active.read_bytes() == BYSTANDERS[0] + b"{}".ljust(len(HERS) - 1) + b"\r\n" + BYSTANDERS[1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
IDENTIFIER = st.sampled_from(["anna@example.org", "ANNA@example.org", "bob@example.org", "", None, 42, "42"])
TEXT = st.lists(st.sampled_from(["anna@example.org", "bob@x.org", "é", "😀", '"', "\\", " ", "\n"]), max_size=6)
RECORD = st.fixed_dictionaries(
    {"tenant": st.sampled_from(["t1", "t2"]), "ts": st.just(EARLIER), "other": JSON},
    optional={
        "user_id": IDENTIFIER,
        "email": IDENTIFIER | st.lists(IDENTIFIER, max_size=3),
        "ip": JSON,
        "user": JSON | st.fixed_dictionaries({"name": JSON}),
        "msg": TEXT.map("|".join),
    },
)


@given(record=RECORD, escaped=st.booleans(), spaced=st.booleans())
def test_any_line_stays_json_and_loses_her(tmp_path_factory, record, escaped, spaced):
    separators = (" , ", " : ") if spaced else (",", ":")
    raw = json.dumps(record, ensure_ascii=escaped, separators=separators).encode() + b"\n"
    judge = Judge(RULE, [ANNA], normalise)
    for in_place in (False, True):
        context = Context(CUTOFF, in_place=in_place)
        assert judge.is_json(raw)
        verdict = judge.line(raw, context)
        if verdict is None or not verdict.changes:
            continue
        new = judge.rewritten(raw, verdict, context)
        after = json.loads(new)
        assert record["tenant"] == "t1"
        assert json.dumps(after["other"]) == json.dumps(record["other"])
        assert after.keys() == record.keys()
        assert not in_place or len(new) == len(raw)
        assert "anna@example.org" not in json.dumps([after.get("email"), after.get("msg")]).lower()


# --- whose line


def reached(folder: Path, text: bytes, subject: Subject = ANNA, mtime: float = OLD) -> Count:
    write(folder / "app-1.jsonl", text, mtime=mtime)
    return seen(log(folder), subject)


def test_reusable_identifiers_reach_back_only(folder):
    mine = {"email": "anna@example.org", "msg": "call +39 333 1234567"}
    assert reached(folder, line(**mine)).pending == 1
    later = reached(folder, line(**mine, ts=LATER))
    assert later == Count()
    # Owned by her surrogate: hers whenever it was written, the mention included.
    owned = reached(folder, line(**mine, ts=LATER, user_id=42))
    assert owned == Count(pending=1)
    assert "[erased]" in json.loads(once(folder, line(**mine, ts=LATER, user_id=42)))["msg"]


@pytest.mark.parametrize("ts", [None, "yesterday", "", True, [], "2026-13-01"])
def test_lines_without_a_time(folder, ts):
    text = line(email="anna@example.org", ts=ts)
    assert reached(folder, text, mtime=OLD).pending == 1  # nothing in the file is younger than the cut-off
    count = reached(folder, text, mtime=YOUNG)
    assert count == Count(undated=1)
    # Where a surrogate says whose it is, the time does not matter.
    assert reached(folder, line(email="anna@example.org", user_id=42, ts=ts), mtime=YOUNG) == Count(pending=1)


@pytest.mark.parametrize(
    "before, after",
    [
        ("2026-02-28T23:59:59.999999999Z", "2026-03-01T00:00:00.000000001Z"),
        ("2026-03-01T00:59:59+01:00", "2026-02-28T23:00:01-01:00"),
        ("2026-02-28 23:59:59,999", "2026-03-01 00:00:00,000"),
        (CUTOFF.timestamp() - 1, CUTOFF.timestamp() + 1),
        (int(CUTOFF.timestamp() * 1e3) - 1, int(CUTOFF.timestamp() * 1e3)),
        (str(int(CUTOFF.timestamp() * 1e6) - 10), str(int(CUTOFF.timestamp() * 1e6) + 10)),
        (int(CUTOFF.timestamp()) * 10**9 - 10**6, int(CUTOFF.timestamp()) * 10**9 + 10**6),
    ],
)
def test_forms_of_time(folder, before, after):
    assert reached(folder, line(email="anna@example.org", ts=before), mtime=YOUNG).pending == 1
    assert reached(folder, line(email="anna@example.org", ts=after), mtime=YOUNG) == Count()


def test_tenants_share_everything_but_the_line(folder):
    other = Subject(8, "t2", ANNA.identifiers, CUTOFF)
    one, two = line(user_id=42, email="anna@example.org"), line(tenant="t2", user_id=42, email="anna@example.org")
    path = write(folder / "app-1.jsonl", one, two)
    erase(log(folder), ANNA)
    first, second = read(path).splitlines(keepends=True)
    assert first != one
    assert second == two
    assert remaining(log(folder), ANNA, other) == {8: 1}


def test_no_tenant_no_touch(folder):
    for text in (b'{"user_id":42,"email":"anna@example.org"}\n', line(user_id=42, tenant=None, ip="1.1.1.1")):
        assert reached(folder, text) == Count(suspicious=1)
    two_tenants = b'{"tenant":"t1","tenant":"t2","user_id":42,"ip":"10.0.0.1"}\n'
    assert reached(folder, two_tenants).pending == 0


def test_ids_are_compared_whole(folder):
    for user in (4242, "042", 42.5, "42 ", True):
        expected = int(normalise("user_id", str(user)) == "42")
        assert reached(folder, line(user_id=user, ip="1.1.1.1")).pending == expected


def test_big_numbers_keep_their_digits(folder):
    subject = Subject(1, "t1", {"user_id": frozenset({"123456789012345678901234567890"})}, CUTOFF)
    text = b'{"tenant":"t1","user_id":123456789012345678901234567890,"ip":"1.1.1.1"}\n'
    assert reached(folder, text, subject).pending == 1
    assert reached(folder, text.replace(b"890,", b"891,"), subject).pending == 0


def test_cutoff_is_each_subject_s_own(folder):
    later = Subject(9, "t1", {"email": frozenset({"anna@example.org"})}, CUTOFF + timedelta(days=5))
    write(folder / "app-1.jsonl", line(email="anna@example.org", ts=LATER))
    assert remaining(log(folder), ANNA, later) == {9: 1}
