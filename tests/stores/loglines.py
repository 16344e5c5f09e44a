"""What the tests of log files share: a rule, a subject, lines, and short ways to write, erase and look."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consumers.stores.logfiles import (
    Count,
    FilePlan,
    FileResult,
    LineRule,
    LogFiles,
    LogSource,
    Scrub,
    Subject,
)
from schemas.identifiers import normalise

CUTOFF = datetime(2026, 3, 1, tzinfo=UTC)
EARLIER, LATER = "2026-02-01T10:00:00Z", "2026-03-02T10:00:00Z"
OLD, YOUNG = CUTOFF.timestamp() - 60, CUTOFF.timestamp() + 86_400

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


def rule(**values: Any) -> LineRule:
    """A rule that knows the tenant and the time of a line."""
    return LineRule(**{"identifies": {"user_id": ("user_id",)}, "tenant": "tenant", "created": "ts", **values})


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
    path.write_bytes(gzip.compress(data, mtime=5) if path.suffix == ".gz" else data)
    os.utime(path, (mtime, mtime))
    return path


def read(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def log(folder: Path, how: LineRule = RULE, **options: Any) -> LogFiles:
    options = {"patterns": ("app-*.jsonl", "app-*.jsonl.gz"), "active": ("app.jsonl",), "settle_s": 0, **options}
    return LogFiles(LogSource(folder, **options), how, normalise)


def always() -> bool:
    return True


def rewrite(
    store: LogFiles, plan: FilePlan, *subjects: Subject, may_continue: Callable[[], bool] = always
) -> FileResult:
    return store.rewrite(plan.name, plan.version, subjects or (ANNA,), may_continue)


def erase(store: LogFiles, *subjects: Subject, may_continue: Callable[[], bool] = always) -> list[FileResult]:
    return [rewrite(store, plan, *subjects, may_continue=may_continue) for plan in store.plan(subjects)]


def pending(store: LogFiles, subject: Subject = ANNA) -> FilePlan:
    """The plan of the one file in which there is something of theirs."""
    (plan,) = [plan for plan in store.plan([subject]) if subject.ordinal in plan.counts]
    return plan


def seen(store: LogFiles, subject: Subject = ANNA) -> Count:
    """What all files together have of a subject."""
    return sum((plan.counts.get(subject.ordinal, Count()) for plan in store.plan([subject])), Count())


def remaining(store: LogFiles, *subjects: Subject) -> dict[int, int]:
    """Lines with something still to erase, by ordinal."""
    found: dict[int, int] = {}
    for plan in store.plan(subjects or (ANNA,)):
        assert plan.readable
        for ordinal, count in plan.counts.items():
            if count.pending:
                found[ordinal] = found.get(ordinal, 0) + count.pending
    return found


def once(folder: Path, text: bytes, how: LineRule = RULE, subject: Subject = ANNA) -> bytes:
    """What becomes of one file's text."""
    path = write(folder / "app-1.jsonl", text)
    store = log(folder, how)
    erase(store, subject)
    assert remaining(store, subject) == {}
    return read(path)
