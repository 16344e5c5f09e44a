"""Log files whose writers, rotations and other workers go on meanwhile; and their size."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from consumers.stores import logfiles_active, logfiles_gzip, logfiles_reading
from consumers.stores.logfiles import Count, Outcome, Subject
from tests.stores.loglines import (
    ANNA,
    CUTOFF,
    HERS,
    OLD,
    erase,
    line,
    log,
    names,
    pending,
    read,
    remaining,
    rewrite,
    seen,
    write,
)

# A child that only writes a file, or dies in the midst of a rewrite, takes no lock that another thread may hold.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

FORK = multiprocessing.get_context("fork")


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
            if rewrite(store, plan, *mine).outcome is Outcome.BUSY:
                todo.append(plan)

    workers = [FORK.Process(target=work, args=(people[n::2],)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert remaining(log(folder), *people) == {}
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
    assert remaining(store) == {}
    assert b"anna@" not in path.read_bytes()


def shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def test_rotation_by_the_command_loses_no_line(folder, monkeypatch):
    monkeypatch.setattr(logfiles_active, "QUIET_S", 0.02)
    path = folder / "app.jsonl"
    # As a product whose command answers when it has reopened.
    rotate = f"mv {path} {folder}/app-$(date +%s%N).jsonl; n=0; while [ ! -e {path} ] && [ $((n += 1)) -lt 200 ]; do sleep 0.001; done"
    store = log(folder, rotate=shell(rotate))
    results: list[Any] = []

    def work(counter: Any) -> None:
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            results.extend(erase(store, ANNA))

    written = with_writer(path, True, work)
    assert any(result.outcome is Outcome.CHANGED and not result.in_place for result in results)
    rows = [json.loads(row)["n"] for file in folder.glob("app*.jsonl") for row in file.read_bytes().splitlines()]
    assert sorted(rows) == list(range(written))
    erase(store, ANNA)
    assert remaining(store) == {}


@pytest.mark.parametrize("command", [("false",), ("/nowhere/rotate",), ("sleep", "5"), ("true",)])
def test_a_command_that_fails_leaves_in_place(folder, monkeypatch, command):
    monkeypatch.setattr(logfiles_active, "PATIENCE_S", 0.1)
    path = write(folder / "app.jsonl", HERS)
    (result,) = erase(log(folder, rotate=command), ANNA)
    assert (result.outcome, result.in_place, result.rotate_failed) == (Outcome.CHANGED, True, True)
    assert path.stat().st_size == len(HERS)


def test_a_command_that_copies_and_truncates(folder):
    path = write(folder / "app.jsonl", HERS)
    store = log(folder, rotate=shell(f"cp {path} {folder}/app-1.jsonl && : > {path}"))
    result = rewrite(store, pending(store))
    assert (result.outcome, result.reason) == (Outcome.BUSY, "changed")
    assert remaining(store) == {7: 1}  # found where it is now
    erase(store, ANNA)
    assert remaining(store) == {}


def test_a_command_rotates(folder):
    path = write(folder / "app.jsonl", HERS)
    command = shell(f"mv {path} {folder}/app-1.jsonl && touch {path}")
    (result,) = erase(
        log(
            folder,
            rotate=command,
        ),
        ANNA,
    )
    assert (result.outcome, result.in_place, result.name) == (Outcome.CHANGED, False, "app-1.jsonl")
    # Nothing of hers in the new one: it is left alone, and not rotated for nothing.
    assert [result.outcome for result in erase(log(folder, rotate=command), ANNA)] == [Outcome.UNCHANGED] * 2
    assert names(folder) == ["app-1.jsonl", "app.jsonl"]


@pytest.mark.parametrize("tail", [HERS[:-1], HERS[:90], b'{"x":'])
def test_the_tail_belongs_to_the_writer(folder, tail):
    path = write(folder / "app.jsonl", HERS, tail)
    store = log(folder)
    erase(store, ANNA)
    assert path.read_bytes()[len(HERS) :] == tail
    # Unfinished is not broken; but whole, it is told.
    assert seen(store) == (Count(pending=1) if tail == HERS[:-1] else Count())


# --- size


def test_memory_stays_bounded(folder, monkeypatch):
    monkeypatch.setattr(logfiles_gzip, "CHUNK", 1 << 16)
    monkeypatch.setattr(logfiles_reading, "MAX_LINE", 1 << 18)
    filler = b"x" * 20_000
    path = folder / "app-1.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        for number in range(400):  # 8 MB
            out.write(b'{"tenant":"t1","user_id":%d,"pad":"%s","ip":"1.1.1.1"}\n' % (number, filler))
        for _ in range(400):  # and one line of 8 MB
            out.write(filler)
    os.utime(path, (OLD, OLD))
    store = log(folder)
    tracemalloc.start()
    try:
        erase(store, ANNA)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert b'"user_id":42,' in read(path)
    assert seen(store) == Count()
    assert peak < 3 << 20


def test_threads_may_share_a_store(folder):
    for n in range(8):
        write(folder / f"app-{n}.jsonl", *[HERS] * 50)
    store = log(folder)
    plans = store.plan([ANNA])
    threads = [threading.Thread(target=lambda: [rewrite(store, plan) for plan in plans]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert remaining(store) == {}
