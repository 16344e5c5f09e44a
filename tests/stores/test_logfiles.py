from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import json
import multiprocessing
import os
import stat
import threading
import time
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.stores import logfiles
from consumers.stores.logfiles import (
    Count,
    FileState,
    Guards,
    LineAction,
    LineRule,
    LogFiles,
    LogSource,
    Outcome,
    Scrub,
    Stopped,
    Subject,
    Totals,
)
from consumers.stores.objects import Denied, Failed, Unavailable
from schemas.identifiers import normalise

# A child that only writes a file, or dies in the midst of a rewrite, takes no lock that another thread may hold.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

CUTOFF = datetime(2026, 3, 1, tzinfo=UTC)
EARLIER, LATER = "2026-02-01T10:00:00Z", "2026-03-02T10:00:00Z"
OLD = CUTOFF.timestamp() - 60
FORK = multiprocessing.get_context("fork")

RULE = LineRule(
    identifies={"user_id": ("user_id",), "email": ("email",)},
    tenant="tenant",
    created="ts",
    reusable=frozenset({"email", "phone"}),
    redacts={"email": "[erased]", "ip": "0.0.0.0", "user.name": None},
    scrubs={"msg": Scrub(frozenset({"email", "phone"}))},
)
ANNA = Subject(
    7,
    "t1",
    {"user_id": frozenset({"42"}), "email": frozenset({"anna@example.org"}), "phone": frozenset({"+393331234567"})},
    CUTOFF,
)


def line(**values: Any) -> bytes:
    return json.dumps({"ts": EARLIER, "tenant": "t1", **values}, ensure_ascii=False).encode() + b"\n"


HERS = line(user_id=42, email="anna@example.org", ip="10.0.0.1", msg="hello")
BYSTANDERS = [
    line(user_id=43, email="joanna@example.org", ip="10.0.0.2", msg="wrote to joanna@example.org"),
    line(tenant="t2", user_id=42, email="anna@example.org", ip="10.0.0.3", msg="anna@example.org of another tenant"),
    b"\n",
    b'{ "tenant":"t1" ,  "user_id" : 4242, "odd" : [1 , 2,{}], "ts":"x"}\r\n',
]


def write(path: Path, *lines: bytes, mtime: float = OLD) -> Path:
    data = b"".join(lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data, mtime=5))
    else:
        path.write_bytes(data)
    os.utime(path, (mtime, mtime))
    return path


def read(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def log(folder: Path, rules: tuple[LineRule, ...] = (RULE,), **options: Any) -> LogFiles:
    options = {"patterns": ("app-*.jsonl", "app-*.jsonl.gz"), "active": ("app.jsonl",), "settle_s": 0, **options}
    return LogFiles(LogSource(folder, **options), rules, normalise)


def erase(store: LogFiles, *subjects: Subject, guards: Guards | None = None) -> list[Any]:
    return [store.rewrite(plan, subjects, guards) for plan in store.plan(subjects)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app.jsonl").touch()
    return tmp_path


def once(folder: Path, text: bytes, rule: LineRule = RULE, subject: Subject = ANNA, **options: Any) -> bytes:
    """What becomes of one file's text."""
    path = write(folder / "app-1.jsonl", text)
    store = log(folder, (rule,), **options)
    erase(store, subject)
    assert store.verify([subject]).remaining == {}
    return read(path)


# --- plan, rewrite, verify


@pytest.mark.parametrize("name", ["app-1.jsonl", "app-1.jsonl.gz", "app.jsonl"])
def test_plan_rewrite_verify(folder, name):
    path = write(folder / name, BYSTANDERS[0], HERS, *BYSTANDERS[1:])
    before = path.read_bytes()
    store = log(folder)
    (plan,) = [plan for plan in store.plan([ANNA]) if plan.pending]
    assert path.read_bytes() == before
    assert plan.counts == {7: Count(matched=1, pending=1, values=2)}
    assert (plan.lines, plan.unparsed) == (5, 0)
    assert store.verify([ANNA]).remaining == {7: 1}

    result = store.rewrite(plan, [ANNA])
    assert (result.outcome, result.counts) == (Outcome.CHANGED, plan.counts)
    assert result.in_place is (name == "app.jsonl")
    lines = read(path).splitlines(keepends=True)
    assert [lines[0], *lines[2:]] == BYSTANDERS
    assert json.loads(lines[1]) == {**json.loads(HERS), "email": "[erased]", "ip": "0.0.0.0"}

    totals = store.verify([ANNA])
    assert totals.remaining == {}
    assert totals.counts == {7: Count(matched=1)}  # the user id stays, by the rule: still her line, nothing left in it
    after, inode = path.read_bytes(), path.stat().st_ino
    assert store.rewrite(plan, [ANNA]).outcome is Outcome.UNCHANGED
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
    plans = log(folder).plan(people)
    assert sum(reads) == path.stat().st_size
    assert Totals.of(plans).remaining == dict.fromkeys(range(300), 1)


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
    rule = LineRule(
        identifies={"email": ("people.email", "to")},
        tenant="tenant",
        created="ts",
        reusable=frozenset({"email"}),
        redacts={"people.name": "x", "people.email": "x", "to": "x", "ip": "x"},
    )
    bob, anna = {"email": "bob@x.org", "name": "Bob"}, {"email": "ANNA@example.org", "name": "Anna"}
    after = json.loads(once(folder, line(people=[bob, anna, bob], to=["bob@x.org"], ip="1.1.1.1"), rule))
    assert after["people"] == [bob, {"email": "x", "name": "x"}, bob]
    assert (after["to"], after["ip"]) == (["x"], "x")  # no element of the same array: part of her line
    after = json.loads(once(folder, line(to=["bob@x.org", "anna@example.org"]), rule))
    assert after["to"] == ["bob@x.org", "x"]


def test_actor_and_target_are_two_rules(folder):
    rules = tuple(
        LineRule(identifies={"user_id": (f"{who}.id",)}, tenant="tenant", redacts={f"{who}.name": None})
        for who in ("actor", "target")
    )
    path = write(folder / "app-1.jsonl", line(actor={"id": 1, "name": "Bob"}, target={"id": 42, "name": "Anna"}))
    erase(log(folder, rules), ANNA)
    after = json.loads(read(path))
    assert (after["actor"]["name"], after["target"]["name"]) == ("Bob", None)


def test_function_of_the_value(folder):
    def truncated(ip: Any) -> Any:
        if not isinstance(ip, str) or ip.count(".") != 3:
            raise ValueError
        return ip.rpartition(".")[0] + ".0"

    rule = LineRule(identifies={"user_id": ("user_id",)}, tenant="tenant", redacts={"ip": truncated})
    text = line(user_id=42, ip="10.1.2.3") + line(user_id=42, ip="here") + line(user_id=42, ip=5)
    assert [json.loads(row)["ip"] for row in once(folder, text, rule).splitlines()] == ["10.1.2.0", None, None]


def test_a_line_that_is_not_emptied_stops_the_rewrite(folder):
    rule = LineRule(identifies={"user_id": ("user_id",)}, tenant="tenant", redacts={"ip": lambda ip: ip + "0"})
    path = write(folder / "app-1.jsonl", HERS)
    with pytest.raises(Failed, match="left something"):
        erase(log(folder, (rule,)), ANNA)
    assert read(path) == HERS


def test_a_function_that_leaves_the_value_leaves_the_bytes(folder):
    rule = LineRule(identifies={"user_id": ("user_id",)}, tenant="tenant", redacts={"msg": str.strip, "x": lambda x: 1})
    text = b'{"tenant":"t1","user_id":42,"msg":"\\u00e9\\/","x":1.0}\n'
    assert once(folder, text, rule) == text.replace(b"1.0", b"1")


def test_whole_lines_go(folder):
    rule = LineRule(identifies={"user_id": ("user_id",)}, tenant="tenant", action=LineAction.DELETE)
    assert once(folder, BYSTANDERS[0] + HERS + BYSTANDERS[1] + HERS.rstrip(), rule) == BYSTANDERS[0] + BYSTANDERS[1]
    active = write(folder / "app.jsonl", BYSTANDERS[0], HERS.replace(b"\n", b"\r\n"), BYSTANDERS[1])
    erase(log(folder, (rule,)), ANNA)
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
    judge = logfiles._Judge((RULE,), [ANNA], normalise, scrub_unparsed=False)
    for in_place in (False, True):
        context = logfiles._Context(CUTOFF, in_place=in_place)
        is_json, verdict = judge.line(raw, context)
        assert is_json
        if verdict is None or not verdict.changes:
            continue
        new = LogFiles._new(raw, verdict, judge, context)
        after = json.loads(new)
        assert record["tenant"] == "t1"
        assert json.dumps(after["other"]) == json.dumps(record["other"])
        assert after.keys() == record.keys()
        assert not in_place or len(new) == len(raw)
        assert "anna@example.org" not in json.dumps([after.get("email"), after.get("msg")]).lower()


# --- whose line


def reached(folder: Path, text: bytes, subject: Subject = ANNA, mtime: float = OLD) -> Count:
    write(folder / "app-1.jsonl", text, mtime=mtime)
    return Totals.of(log(folder).plan([subject])).counts.get(subject.ordinal, Count())


YOUNG = CUTOFF.timestamp() + 86_400


def test_reusable_identifiers_reach_back_only(folder):
    mine = {"email": "anna@example.org", "msg": "call +39 333 1234567"}
    assert reached(folder, line(**mine)).pending == 1
    later = reached(folder, line(**mine, ts=LATER))
    assert (later.pending, later.after_cutoff, later.matched) == (0, 1, 0)
    # Owned by her surrogate: hers whenever it was written, the mention included.
    owned = reached(folder, line(**mine, ts=LATER, user_id=42))
    assert (owned.pending, owned.matched, owned.values) == (1, 1, 2)


@pytest.mark.parametrize("ts", [None, "yesterday", "", True, [], "2026-13-01"])
def test_lines_without_a_time(folder, ts):
    text = line(email="anna@example.org", ts=ts)
    assert reached(folder, text, mtime=OLD).pending == 1  # nothing in the file is younger than the cut-off
    count = reached(folder, text, mtime=YOUNG)
    assert (count.pending, count.undated) == (0, 1)


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
    count = reached(folder, line(email="anna@example.org", ts=after), mtime=YOUNG)
    assert (count.pending, count.after_cutoff) == (0, 1)


def test_times_without_an_offset_are_in_the_rule_s_zone(folder):
    from zoneinfo import ZoneInfo

    rule = LineRule(
        identifies={"email": ("email",)},
        tenant=None,
        created="ts",
        reusable=frozenset({"email"}),
        redacts={"email": None},
        zone=ZoneInfo("Europe/Rome"),
    )
    write(folder / "app-1.jsonl", line(email="anna@example.org", ts="2026-03-01T00:59:00"), mtime=YOUNG)
    assert Totals.of(log(folder, (rule,)).plan([ANNA])).remaining == {7: 1}


def test_reusable_needs_a_time():
    with pytest.raises(ValueError, match="time"):
        LineRule(identifies={"email": ("email",)}, tenant=None, reusable=frozenset({"email"}))


def test_tenants_share_everything_but_the_line(folder):
    other = Subject(8, "t2", ANNA.identifiers, CUTOFF)
    one, two = line(user_id=42, email="anna@example.org"), line(tenant="t2", user_id=42, email="anna@example.org")
    path = write(folder / "app-1.jsonl", one, two)
    erase(log(folder), ANNA)
    first, second = read(path).splitlines(keepends=True)
    assert first != one
    assert second == two
    assert Totals.of(log(folder).plan([ANNA, other])).remaining == {8: 1}


def test_no_tenant_no_touch(folder):
    for text in (b'{"user_id":42,"email":"anna@example.org"}\n', line(user_id=42, tenant=None, ip="1.1.1.1")):
        count = reached(folder, text)
        assert (count.pending, count.suspicious) == (0, 1)
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


# --- free text


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
    assert store.verify([ANNA]).remaining == {}
    if name == "app-1.jsonl":
        assert found["msg"] == after
    else:
        assert path.stat().st_size == len(raw)
        assert "example.org" not in found["msg"].lower()
        assert [part.strip("*") for part in found["msg"].split("[erased]")] == after.split("[erased]")


def test_surrogates_in_text_when_asked(folder):
    rule = LineRule(identifies={}, tenant="tenant", scrubs={"msg": Scrub(frozenset({"account_id"}), "X")})
    subject = Subject(
        1,
        "t1",
        {"account_id": frozenset({"auth0|a.b", "usr-77", "usr_8", "9f1c0d6e-0000-4000-8000-00000000000a"})},
        CUTOFF,
    )
    text = "usr-77, usr-778 9f1c0d6e-0000-4000-8000-00000000000a:auth0|a.b. (auth0|a.b) x-usr-77 客usr_8户"
    after = json.loads(once(folder, line(msg=text), rule, subject))
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
    totals = store.verify([ANNA])
    assert (totals.lines, totals.unparsed) == (6, 5)
    assert totals.counts[7].suspicious == 2
    assert totals.remaining == {}


@pytest.mark.parametrize("name", ["app-1.jsonl", "app.jsonl"])
def test_unparsed_lines_are_scrubbed_when_asked(folder, name):
    path = write(folder / name, HALF, PANIC)
    store = log(folder, scrub_unparsed=True)
    erase(store, ANNA)
    filled = b"[erased]" if name == "app-1.jsonl" else b"[erased]".ljust(16, b"*")
    assert read(path) == HALF + PANIC.replace(b"anna@example.org", filled)
    assert store.verify([ANNA]).remaining == {}
    young = write(folder / name, PANIC, mtime=YOUNG)  # whose address it was then, nobody knows
    erase(store, ANNA)
    assert read(young) == PANIC


def test_deep_nesting_is_no_crash(folder):
    deep = b"[" * 100_000 + b"]" * 100_000 + b"\n"
    assert once(folder, deep + HERS).startswith(deep)


def test_overlong_lines_are_searched_in_parts(folder, monkeypatch):
    monkeypatch.setattr(logfiles, "_CHUNK", 4096)
    long = b'{"tenant":"t1","msg":"' + b"x" * 4065 + b" anna@example.org " + b"y" * 30_000 + b'"}\n'
    path = write(folder / "app-1.jsonl", long, HERS, long[:-1])
    store = log(folder, max_line=2000)
    erase(store, ANNA)
    lines = read(path).splitlines(keepends=True)
    assert (lines[0], lines[2]) == (long, long[:-1])
    totals = store.verify([ANNA])
    assert totals.counts[7] == Count(matched=1, suspicious=2)
    assert (totals.lines, totals.unparsed, totals.remaining) == (3, 2, {})


# --- gzip


def member(data: bytes, *, name: bytes = b"", mtime: int = 0, comment: bytes = b"", level: int = 6) -> bytes:
    """A gzip member with every optional part of its header."""
    flags = (8 if name else 0) | (16 if comment else 0) | 4 | 2
    header = b"\x1f\x8b\x08" + bytes([flags]) + mtime.to_bytes(4, "little") + bytes([2 if level == 9 else 0, 3])
    header += b"\x05\x00extra" + (name + b"\0" if name else b"") + (comment + b"\0" if comment else b"")
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(data) + packer.flush()
    return header + body + zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")


def members(data: bytes) -> list[tuple[bytes, bytes]]:
    """Header and text of each member."""
    found: list[tuple[bytes, bytes]] = []
    for text, begins in logfiles._gunzipped(data, iter(())):
        if begins is not None:
            found.append((begins.header, b""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + text)
    return found


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_gzip_framing_stays(folder, monkeypatch, chunk):
    monkeypatch.setattr(logfiles, "_CHUNK", chunk)
    half = len(HERS) // 2
    parts = [
        BYSTANDERS[0] + HERS[:half],  # her line spans three members
        HERS[half : half + 9],
        HERS[half + 9 :] + BYSTANDERS[1][:5],  # and a bystander's two
        BYSTANDERS[1][5:] + HERS,
        b"",
        BYSTANDERS[3],
    ]
    raw = b"".join(
        member(part, name=b"app.jsonl", mtime=1000 + n, comment=b"c" * n, level=9 if n else 6)
        for n, part in enumerate(parts)
    )
    path = folder / "app-1.jsonl.gz"
    path.write_bytes(raw + b"\0" * 8)
    store = log(folder)
    (result,) = [r for r in erase(store, ANNA) if r.name == path.name]
    assert result.outcome is Outcome.CHANGED
    assert result.counts == {7: Count(matched=2, pending=2, values=4)}
    after = path.read_bytes()
    assert after.endswith(b"\0" * 8)
    assert [header for header, _ in members(after)][:6] == [header for header, _ in members(raw)]
    new = json.dumps({**json.loads(HERS), "email": "[erased]", "ip": "0.0.0.0"}).encode() + b"\n"
    assert [text for _, text in members(after)][:6] == [
        BYSTANDERS[0] + new,
        b"",
        BYSTANDERS[1][:5],
        BYSTANDERS[1][5:] + new,
        b"",
        BYSTANDERS[3],
    ]
    assert gzip.decompress(after) == b"".join([BYSTANDERS[0], new, BYSTANDERS[1], new, BYSTANDERS[3]])
    assert store.verify([ANNA]).remaining == {}


@pytest.mark.parametrize("level", [1, 6, 9])
def test_untouched_members_are_packed_as_they_were(folder, level):
    others = gzip.compress(b"".join(line(user_id=n, n=n * n) for n in range(2000)), level, mtime=9)
    path = folder / "app-1.jsonl.gz"
    path.write_bytes(others + gzip.compress(HERS, level))
    erase(log(folder), ANNA)
    assert path.read_bytes().startswith(others)
    assert b"anna" not in read(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:-9],
        lambda raw: raw[:6],
        lambda raw: raw[:-8] + b"\0\0\0\0" + raw[-4:],
        lambda raw: raw + b"garbage",
        lambda raw: raw[:20] + b"\xff\xff\xff" + raw[23:],
    ],
)
def test_broken_gzip_is_told_and_left(folder, spoil):
    path = folder / "app-1.jsonl.gz"
    path.write_bytes(spoil(gzip.compress(HERS * 3)))
    before = path.read_bytes()
    store = log(folder)
    (plan,) = [plan for plan in store.plan([ANNA]) if plan.name == path.name]
    assert not plan.readable
    assert store.rewrite(plan, [ANNA]).outcome is Outcome.UNREADABLE
    assert store.verify([ANNA]).unreadable == (path.name,)
    assert path.read_bytes() == before
    assert names(folder) == [path.name, "app.jsonl"]


# --- the file itself


def test_mode_owner_attributes_and_time_stay(folder):
    path = write(folder / "app-1.jsonl", HERS)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    with contextlib.suppress(OSError):
        os.setxattr(path, "user.origin", b"web-1")
    before, attributes = path.stat(), os.listxattr(path)
    erase(log(folder), ANNA)
    after = path.stat()
    assert after.st_ino != before.st_ino
    assert stat.filemode(after.st_mode) == "-rw-r-----"
    assert (after.st_uid, after.st_gid, after.st_mtime_ns) == (before.st_uid, before.st_gid, before.st_mtime_ns)
    assert os.listxattr(path) == attributes


def test_owner_that_cannot_be_kept(folder, monkeypatch):
    path = write(folder / "app-1.jsonl", HERS)

    def refuse(*args: Any) -> None:
        raise PermissionError(errno.EPERM, "no", str(path))

    monkeypatch.setattr(os, "fchmod", refuse)
    store = log(folder)
    (plan,) = [plan for plan in store.plan([ANNA]) if plan.pending]
    with pytest.raises(Denied) as caught:
        store.rewrite(plan, [ANNA])
    assert str(caught.value) == "denied (EPERM)"
    assert read(path) == HERS
    assert names(folder) == ["app-1.jsonl", "app.jsonl"]


def test_full_disk(folder, monkeypatch):
    path = write(folder / "app-1.jsonl", HERS)

    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "no")

    store = log(folder)
    (plan,) = [plan for plan in store.plan([ANNA]) if plan.pending]
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Failed, match="ENOSPC"):
        store.rewrite(plan, [ANNA])
    assert read(path) == HERS
    assert names(folder) == ["app-1.jsonl", "app.jsonl"]


def test_copy_that_reads_differently_is_not_used(folder, monkeypatch):
    path = write(folder / "app-1.jsonl", HERS)
    store = log(folder)
    (plan,) = [plan for plan in store.plan([ANNA]) if plan.pending]
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data).replace(b"hello", b"jello")))
    with pytest.raises(Failed, match="differently"):
        store.rewrite(plan, [ANNA])
    assert read(path) == HERS


def test_synced_before_and_after_the_rename(folder, monkeypatch):
    write(folder / "app-1.jsonl", HERS)
    store = log(folder)
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(*args: Any, **kwargs: Any) -> None:
        calls.append("rename")
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    erase(store, ANNA)
    assert calls == ["file", "rename", "folder"]
    calls.clear()
    write(folder / "app.jsonl", HERS)
    erase(store, ANNA)
    assert calls == ["file"]


# --- which files


def states(store: LogFiles) -> dict[str, FileState]:
    return {file.name: file.state for file in store.files()}


def test_states(tmp_path):
    for name in ("app-1.jsonl", "app-2.jsonl", "app-2.jsonl.gz", "app-3.jsonl.gz", "app.jsonl", "other.jsonl"):
        write(tmp_path / name, HERS)
    (tmp_path / "app-9.jsonl").symlink_to(tmp_path / "app-1.jsonl")
    (tmp_path / "app-8.jsonl").mkdir()
    assert states(log(tmp_path)) == {
        "app-1.jsonl": FileState.CLOSED,
        "app-2.jsonl": FileState.CLOSED,
        "app-2.jsonl.gz": FileState.UNSETTLED,  # is being written by the compressor
        "app-3.jsonl.gz": FileState.CLOSED,
        "app.jsonl": FileState.ACTIVE,
    }
    # Renamed a moment ago, though not written for long: its writer may not have noticed yet.
    assert states(log(tmp_path, settle_s=60))["app-1.jsonl"] is FileState.UNSETTLED
    store = log(tmp_path, settle_s=60)
    store._now = lambda: time.time() + 3
    assert states(store)["app-1.jsonl"] is FileState.CLOSED
    write(tmp_path / "app-1.jsonl", HERS, mtime=time.time())
    assert states(store)["app-1.jsonl"] is FileState.UNSETTLED


def test_newest_counts_as_active_where_none_is_named(tmp_path):
    for n, name in enumerate(("app-1.jsonl", "app-3.jsonl", "app-2.jsonl", "app-4.jsonl.gz")):
        write(tmp_path / name, HERS, mtime=OLD + n)
    for active in ((), ("app.jsonl",)):  # also in the moment between rotation and reopening
        found = states(log(tmp_path, active=active))
        assert [name for name, state in found.items() if state is FileState.ACTIVE] == ["app-2.jsonl"]
    assert erase(log(tmp_path, active=()), ANNA)[1].in_place


def test_files_in_folders_below(tmp_path):
    for where in ("eu/web", "us/web", ".trash/web"):
        (tmp_path / where).mkdir(parents=True)
        write(tmp_path / where / "app-1.log", HERS)
        write(tmp_path / where / "app.log", HERS)
    store = log(tmp_path, patterns=("*/web/app-*.log",), active=("*/web/app.log",))
    assert list(states(store)) == [f"{zone}/web/app{n}.log" for zone in ("eu", "us") for n in ("-1", "")]
    assert {result.outcome for result in erase(store, ANNA)} == {Outcome.CHANGED}
    assert store.verify([ANNA]).remaining == {}


@pytest.mark.parametrize("pattern", ["../x", "/x", "a//b", "**/x", "a/./b", ""])
def test_patterns_stay_below_the_folder(tmp_path, pattern):
    with pytest.raises(ValueError, match="pattern"):
        LogSource(tmp_path, (pattern,))


def test_missing_folder_is_no_clean_folder(tmp_path):
    store = log(tmp_path / "anna@example.org")
    for call in (store.files, lambda: store.plan([ANNA]), lambda: store.verify([ANNA])):
        with pytest.raises(Unavailable) as caught:
            call()
        assert "anna" not in str(caught.value)


def test_own_rename_needs_no_settling(folder):
    write(folder / "app-1.jsonl", HERS)
    store = log(folder, settle_s=60)
    store._now = lambda: time.time() + 3
    assert erase(store, ANNA)[0].outcome is Outcome.CHANGED
    store._now = time.time
    assert states(store)["app-1.jsonl"] is FileState.CLOSED
    assert states(log(folder, settle_s=60))["app-1.jsonl"] is FileState.UNSETTLED


def test_found_again_after_rotation(folder):
    path = write(folder / "app.jsonl", HERS)
    store = log(folder)
    (plan,) = store.plan([ANNA])
    path.rename(folder / "app-5.jsonl")
    path.touch()
    result = store.rewrite(plan, [ANNA])
    assert (result.name, result.outcome, result.in_place) == ("app-5.jsonl", Outcome.CHANGED, False)


def test_found_again_after_all_names_moved(folder):
    write(folder / "app-2.jsonl", BYSTANDERS[0], mtime=OLD - 20)
    write(folder / "app-1.jsonl", HERS, mtime=OLD - 10)
    write(folder / "app.jsonl", HERS, HERS)
    store = log(folder)
    plans = [plan for plan in store.plan([ANNA]) if plan.pending]
    with (folder / "app.jsonl").open("ab") as out:  # and one more before it is rotated
        out.write(HERS)
    for old, new in (("-2", "-3"), ("-1", "-2"), ("", "-1")):
        (folder / f"app{old}.jsonl").rename(folder / f"app{new}.jsonl")
    write(folder / "app.jsonl", BYSTANDERS[0], mtime=time.time())
    results = {plan.name: store.rewrite(plan, [ANNA]) for plan in plans}
    assert {name: result.name for name, result in results.items()} == {
        "app-1.jsonl": "app-2.jsonl",
        "app.jsonl": "app-1.jsonl",
    }
    assert store.verify([ANNA]).remaining == {}


def test_an_inode_number_given_anew_misleads_nobody(folder):
    path = write(folder / "app-1.jsonl", HERS, mtime=OLD - 10)
    store = log(folder)
    plan = next(plan for plan in store.plan([ANNA]) if plan.pending)
    path.rename(folder / "app-2.jsonl")  # what has its inode now is something else, larger and newer
    write(folder / "app-2.jsonl", BYSTANDERS[0] * 9, mtime=OLD)
    write(path, HERS, mtime=OLD - 10)  # and the name leads to another worker's copy
    assert store.rewrite(plan, [ANNA]).name == "app-1.jsonl"


def test_gone_is_done(folder):
    path = write(folder / "app-1.jsonl", HERS)
    store = log(folder)
    plan = store.plan([ANNA])[0]
    path.unlink()
    assert store.rewrite(plan, [ANNA]).outcome is Outcome.ABSENT


def test_verify_sees_what_is_renamed_while_it_reads(folder):
    write(folder / "app-1.jsonl", BYSTANDERS[0])
    path = write(folder / "app.jsonl", HERS)
    moved = False

    def rotate() -> bool:
        nonlocal moved
        if not moved:
            path.rename(folder / "app-0.jsonl")
            path.touch()
            moved = True
        return True

    totals = log(folder).verify([ANNA], Guards(may_continue=rotate))
    assert totals.remaining == {7: 1}


# --- busy


def busy(store: LogFiles, guards: Guards | None = None) -> str:
    plan = next(plan for plan in store.plan([ANNA]) if plan.pending)
    result = store.rewrite(plan, [ANNA], guards)
    assert result.outcome is Outcome.BUSY
    return str(result.reason)


def test_unsettled_is_busy(folder):
    path = write(folder / "app-1.jsonl", HERS, mtime=time.time())
    assert busy(log(folder, settle_s=60)) == "unsettled"
    assert read(path) == HERS


def test_locked_is_busy(folder):
    path = write(folder / "app-1.jsonl", HERS)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert busy(log(folder)) == "locked"
    assert read(path) == HERS


@pytest.mark.parametrize("name", ["app-1.jsonl", "app.jsonl"])
def test_replaced_between_opening_and_lock_is_busy(folder, monkeypatch, name):
    path = write(folder / name, HERS)
    lock = logfiles._lock

    def late(descriptor: int) -> None:
        write(folder / "new", HERS).replace(path)
        lock(descriptor)

    monkeypatch.setattr(logfiles, "_lock", late)
    assert busy(log(folder)) == "changed"
    assert read(path) == HERS


@pytest.mark.parametrize("change", ["append", "touch", "replace", "rename", "truncate"])
def test_changed_between_opening_and_rename_is_busy(folder, change):
    path = write(folder / "app-1.jsonl", HERS)

    def meddle() -> None:
        if change == "append":
            with path.open("ab") as writer:
                writer.write(BYSTANDERS[0])
        elif change == "touch":
            os.utime(path, (OLD + 1, OLD + 1))
        elif change == "replace":
            write(folder / "new", HERS).replace(path)
        elif change == "rename":
            path.rename(folder / "gone")
        else:
            os.truncate(path, 0)

    assert busy(log(folder), Guards(still_mine=meddle)) == "changed"
    assert not list(folder.glob(".oblio-*"))
    left = {"append": HERS + BYSTANDERS[0], "truncate": b""}.get(change, HERS)
    assert (folder / "gone" if change == "rename" else path).read_bytes() == left


def rewritten(path: Path, text: bytes) -> None:
    path.write_bytes(text)


@pytest.mark.parametrize("change", [b"", BYSTANDERS[1] * 20])
def test_truncated_under_an_overwrite_is_busy(folder, change):
    path = write(folder / "app.jsonl", BYSTANDERS[0], HERS)
    assert busy(log(folder), Guards(still_mine=partial(rewritten, path, change))) == "changed"
    assert path.read_bytes() == change  # no hole, nothing written into other people's lines


# --- guards


class Lost(Exception):
    pass


@pytest.mark.parametrize("name", ["app-1.jsonl", "app.jsonl"])
def test_a_lost_lease_is_raised_as_it_is(folder, name):
    path = write(folder / name, HERS)
    store = log(folder)

    def lost() -> None:
        raise Lost

    plan = next(plan for plan in store.plan([ANNA]) if plan.pending)
    with pytest.raises(Lost):
        store.rewrite(plan, [ANNA], Guards(still_mine=lost))
    assert read(path) == HERS
    assert not list(folder.glob(".oblio-*"))


@pytest.mark.parametrize("name", ["app-1.jsonl", "app.jsonl"])
@pytest.mark.parametrize("asked", [0, 1])
def test_stop_before_the_file_and_before_the_write(folder, name, asked):
    path = write(folder / name, HERS)
    store = log(folder)
    answers = [True] * asked + [False]
    plan = next(plan for plan in store.plan([ANNA]) if plan.pending)
    assert store.rewrite(plan, [ANNA], Guards(lambda: answers.pop(0))).outcome is Outcome.STOPPED
    assert read(path) == HERS
    with pytest.raises(Stopped):
        store.plan([ANNA], guards=Guards(lambda: False))


def test_in_place_asks_again_and_again(folder):
    write(folder / "app.jsonl", *[HERS] * 200)
    asked: list[bool] = []
    erase(log(folder), ANNA, guards=Guards(still_mine=lambda: asked.append(True)))
    assert len(asked) >= 200 * 2 / 66


# --- crashes


class Dying:
    """Stands in for the ``os`` module and ends the process, without any clean-up, before the n-th call."""

    def __init__(self, die_at: int) -> None:
        self._left = die_at

    def __getattr__(self, name: str) -> Any:
        value = getattr(os, name)
        if not callable(value) or isinstance(value, type) or name in ("fspath", "getpid"):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                os._exit(77)
            return value(*args, **kwargs)

        return call


def rewrite_and_die(store: LogFiles, plan: Any, at: int) -> None:
    vars(logfiles)["os"] = Dying(at)
    store.rewrite(plan, [ANNA])


def in_child(work: Any) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("name", ["app-1.jsonl", "app-1.jsonl.gz", "app.jsonl"])
def test_killed_at_every_call(tmp_path, monkeypatch, name):
    text = [BYSTANDERS[0], HERS, line(user_id=1, msg="anna@example.org and anna@example.org"), BYSTANDERS[1]]

    def fresh(folder: Path) -> Path:
        folder.mkdir()
        (folder / "app.jsonl").touch()
        return write(folder / name, *text)

    undisturbed = fresh(tmp_path / "undisturbed")
    (result,) = [result for result in erase(log(undisturbed.parent), ANNA) if result.counts]
    deaths = leftovers = 0
    while True:
        path = fresh(tmp_path / str(deaths))
        store = log(path.parent)
        plan = next(plan for plan in store.plan([ANNA]) if plan.pending)
        assert plan.counts == result.counts

        status = in_child(partial(rewrite_and_die, store, plan, deaths))
        if name != "app.jsonl":
            assert read(path) in (b"".join(text), read(undisturbed))
        else:  # value by value: each line is JSON at every moment, and no length moved
            assert len([json.loads(row) for row in path.read_bytes().splitlines()]) == len(text)
            assert path.stat().st_size == undisturbed.stat().st_size
        leftovers += len(list(path.parent.glob(".oblio-*")))
        store.rewrite(plan, [ANNA])
        assert read(path) == read(undisturbed)
        assert names(path.parent) == sorted({name, "app.jsonl"})
        assert store.verify([ANNA]).remaining == {}
        if status == 0:
            break
        assert status == 77
        deaths += 1
    assert deaths > 20
    assert name == "app.jsonl" or leftovers > 10


def test_living_workers_keep_their_temporary_file(folder):
    dead = folder / ".oblio-0123456789abcdef.tmp"
    alive = folder / ".oblio-fedcba9876543210.tmp"
    ours_not = folder / ".other.tmp"
    for path in (dead, alive, ours_not):
        path.write_bytes(HERS)
    with alive.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert log(folder).clean() == 1
    assert names(folder) == [alive.name, ours_not.name, "app.jsonl"]


# --- company


def test_two_workers(folder):
    people = [Subject(n, "t1", {"user_id": frozenset({str(n)})}, CUTOFF) for n in range(40)]
    for n in range(20):
        name = folder / (f"app-{n}.jsonl.gz" if n % 2 else f"app-{n}.jsonl")
        write(name, *(line(user_id=m, ip="10.0.0.1", n=n) for m in range(80)), mtime=OLD - n)

    def work(mine: list[Subject]) -> None:
        store = log(folder)
        todo = list(store.plan(mine))
        until = time.monotonic() + 10
        while todo and time.monotonic() < until:
            plan = todo.pop(0)
            if store.rewrite(plan, mine).outcome is Outcome.BUSY:
                todo.append(plan)

    workers = [FORK.Process(target=work, args=(people[n::2],)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert log(folder).verify(people).remaining == {}
    assert not list(folder.glob(".oblio-*"))
    for path in folder.glob("app-*"):
        rows = [json.loads(row) for row in read(path).splitlines()]
        assert [row["user_id"] for row in rows] == list(range(80))
        assert {row["ip"] for row in rows[40:]} == {"10.0.0.1"}


def writer(path: Path, stop: Any, counter: Any, reopen: bool) -> None:
    """Appends as fast as it can, in pieces that do not respect lines; every fifth line is hers."""
    number = 0
    descriptor = -1
    while not stop.is_set():
        if descriptor < 0 or (reopen and number % 50 == 0):
            if descriptor >= 0:
                os.close(descriptor)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        hers = {"user_id": 42, "email": "anna@example.org", "msg": "écrit à anna@example.org"}
        row = line(n=number, **(hers if number % 5 == 0 else {"user_id": 1}))
        cut = number % len(row)
        os.write(descriptor, row[:cut])
        os.write(descriptor, row[cut:])
        number += 1
        counter.value = number
        if number % 20 == 0:
            time.sleep(0.001)


def with_writer(path: Path, reopen: bool, work: Any) -> int:
    stop, counter = FORK.Event(), FORK.Value("i", 0)
    process = FORK.Process(target=writer, args=(path, stop, counter, reopen))
    process.start()
    try:
        work(counter)
    finally:
        stop.set()
        process.join()
    return int(counter.value)


def test_a_writer_at_full_speed_loses_no_line(folder):
    path = folder / "app.jsonl"
    store = log(folder)
    outcomes: list[Outcome] = []

    def work(counter: Any) -> None:
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            outcomes.extend(result.outcome for result in erase(store, ANNA))

    written = with_writer(path, False, work)
    assert written > 500
    assert outcomes.count(Outcome.CHANGED) > 2
    assert set(outcomes) <= {Outcome.CHANGED, Outcome.UNCHANGED}
    rows = [json.loads(row) for row in path.read_bytes().splitlines()]
    assert [row["n"] for row in rows] == list(range(written))
    erase(store, ANNA)
    assert store.verify([ANNA]).remaining == {}
    assert b"anna@" not in path.read_bytes()


def test_rotation_by_the_hook_loses_no_line(folder):
    path = folder / "app.jsonl"
    rotations: list[int] = []

    def rotate() -> None:
        path.rename(folder / f"app-{len(rotations)}.jsonl")
        rotations.append(1)
        until = time.monotonic() + 0.2
        while not path.exists() and time.monotonic() < until:  # as a product that answers when it has reopened
            time.sleep(0.001)

    store = log(folder, rotate=rotate, rotate_quiet_s=0.02)
    results: list[Any] = []

    def work(counter: Any) -> None:
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            results.extend(erase(store, ANNA))

    written = with_writer(path, True, work)
    assert rotations
    assert any(result.outcome is Outcome.CHANGED and not result.in_place for result in results)
    rows = [json.loads(row)["n"] for file in folder.glob("app*.jsonl") for row in file.read_bytes().splitlines()]
    assert sorted(rows) == list(range(written))
    erase(store, ANNA)
    assert store.verify([ANNA]).remaining == {}


@pytest.mark.parametrize(
    "hook", [["false"], ["/nowhere/rotate"], ["sleep", "5"], ["true"], lambda: 1 / 0], ids=lambda hook: str(hook)[:12]
)
def test_a_hook_that_fails_leaves_in_place(folder, hook):
    path = write(folder / "app.jsonl", HERS)
    (result,) = erase(log(folder, rotate=hook, rotate_wait_s=0.1, rotate_quiet_s=0), ANNA)
    assert (result.outcome, result.in_place, result.rotate_failed) == (Outcome.CHANGED, True, True)
    assert path.stat().st_size == len(HERS)


def test_a_hook_that_copies_and_truncates(folder):
    path = write(folder / "app.jsonl", HERS)
    store = log(folder, rotate=["sh", "-c", f"cp {path} {folder}/app-1.jsonl && : > {path}"], rotate_quiet_s=0)
    assert busy(store) == "changed"
    assert store.verify([ANNA]).remaining == {7: 1}  # found where it is now
    erase(store, ANNA)
    assert store.verify([ANNA]).remaining == {}


def test_a_command_rotates(folder):
    path = write(folder / "app.jsonl", HERS)
    command = ["sh", "-c", f"mv {path} {folder}/app-1.jsonl && touch {path}"]
    (result,) = erase(log(folder, rotate=command, rotate_quiet_s=0), ANNA)
    assert (result.outcome, result.in_place, result.name) == (Outcome.CHANGED, False, "app-1.jsonl")
    # Nothing of hers in the new one: it is left alone, and not rotated for nothing.
    assert [result.outcome for result in erase(log(folder, rotate=command), ANNA)] == [Outcome.UNCHANGED] * 2
    assert names(folder) == ["app-1.jsonl", "app.jsonl"]


@pytest.mark.parametrize("tail", [HERS[:-1], HERS[:40], b'{"x":'])
def test_the_tail_belongs_to_the_writer(folder, tail):
    path = write(folder / "app.jsonl", HERS, tail)
    store = log(folder)
    erase(store, ANNA)
    assert path.read_bytes()[len(HERS) :] == tail
    totals = store.verify([ANNA])
    assert totals.unparsed == 0  # unfinished is not broken
    assert totals.remaining == ({7: 1} if tail == HERS[:-1] else {})  # but whole, it is told


# --- size


def test_memory_stays_bounded(folder, monkeypatch):
    monkeypatch.setattr(logfiles, "_CHUNK", 1 << 16)
    filler = b"x" * 20_000
    path = folder / "app-1.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        for number in range(400):  # 8 MB
            out.write(b'{"tenant":"t1","user_id":%d,"pad":"%s","ip":"1.1.1.1"}\n' % (number, filler))
        for _ in range(400):  # and one line of 8 MB
            out.write(filler)
    os.utime(path, (OLD, OLD))
    store = log(folder, max_line=1 << 18)
    tracemalloc.start()
    try:
        results = erase(store, ANNA)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert results[0].counts == {7: Count(matched=1, pending=1, values=1)}
    assert peak < 3 << 20


def test_cutoff_is_each_subject_s_own(folder):
    later = Subject(9, "t1", {"email": frozenset({"anna@example.org"})}, CUTOFF + timedelta(days=5))
    write(folder / "app-1.jsonl", line(email="anna@example.org", ts=LATER))
    totals = Totals.of(log(folder).plan([ANNA, later]))
    assert totals.remaining == {9: 1}
    assert totals.counts[7].after_cutoff == 1


def test_threads_may_share_a_store(folder):
    for n in range(8):
        write(folder / f"app-{n}.jsonl", *[HERS] * 50)
    store = log(folder)
    plans = store.plan([ANNA])
    threads = [threading.Thread(target=lambda: [store.rewrite(plan, [ANNA]) for plan in plans]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.verify([ANNA]).remaining == {}
