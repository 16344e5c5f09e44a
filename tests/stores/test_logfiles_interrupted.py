"""Log files that are busy, rewrites that are stopped, and workers that die in the midst of one."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from consumers.stores import logfiles_active, logfiles_copy, logfiles_folder, logfiles_gzip, objects_folder
from consumers.stores.logfiles import LogFiles, Outcome
from consumers.stores.sql_errors import StoreError
from schemas.codes import FailureCode
from tests.stores.loglines import (
    ANNA,
    BYSTANDERS,
    HERS,
    OLD,
    always,
    erase,
    line,
    log,
    names,
    pending,
    read,
    remaining,
    rewrite,
    write,
)

# A child that only writes a file, or dies in the midst of a rewrite, takes no lock that another thread may hold.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def busy(store: LogFiles, may_continue: Callable[[], bool] = always) -> str:
    result = rewrite(store, pending(store), may_continue=may_continue)
    assert result.outcome is Outcome.BUSY
    return result.reason


def late(work: Callable[[], object]) -> Callable[[], bool]:
    """Goes on, and does something at the last moment: the question before that is the one before the file."""
    asked: list[bool] = []

    def ask() -> bool:
        if asked:
            work()
        asked.append(True)
        return True

    return ask


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
    lock = logfiles_folder.locked

    def slowly(descriptor: int) -> None:
        write(folder / "new", HERS).replace(path)
        lock(descriptor)

    monkeypatch.setattr(logfiles_folder, "locked", slowly)
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

    assert busy(log(folder), late(meddle)) == "changed"
    assert not list(folder.glob(".oblio-*"))
    left = {"append": HERS + BYSTANDERS[0], "truncate": b""}.get(change, HERS)
    assert (folder / "gone" if change == "rename" else path).read_bytes() == left


def rewritten(path: Path, text: bytes) -> None:
    path.write_bytes(text)


@pytest.mark.parametrize("change", [b"", BYSTANDERS[1] * 20])
def test_truncated_under_an_overwrite_is_busy(folder, change):
    path = write(folder / "app.jsonl", BYSTANDERS[0], HERS)
    assert busy(log(folder), late(partial(rewritten, path, change))) == "changed"
    assert path.read_bytes() == change  # no hole, nothing written into other people's lines


# --- leave to go on


@pytest.mark.parametrize("name", ["app-1.jsonl", "app.jsonl"])
def test_what_the_question_raises_is_raised_as_it_is(folder, name):
    path = write(folder / name, HERS)

    def lost() -> None:
        raise StoreError(FailureCode.STORE_UNAVAILABLE)

    store = log(folder)
    with pytest.raises(StoreError):
        rewrite(store, pending(store), may_continue=late(lost))
    assert read(path) == HERS
    assert not list(folder.glob(".oblio-*"))


@pytest.mark.parametrize("name", ["app-1.jsonl", "app.jsonl"])
@pytest.mark.parametrize("asked", [0, 1])
def test_stop_before_the_file_and_before_the_write(folder, name, asked):
    path = write(folder / name, HERS)
    store = log(folder)
    answers = [True] * asked + [False]
    result = rewrite(store, pending(store), may_continue=lambda: answers.pop(0))
    assert result.outcome is Outcome.STOPPED
    assert read(path) == HERS
    assert not list(folder.glob(".oblio-*"))


def test_in_place_asks_again_and_again(folder):
    write(folder / "app.jsonl", *[HERS] * 200)
    asked: list[bool] = []
    erase(log(folder), ANNA, may_continue=late(partial(asked.append, True)))
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
    dying = Dying(at)
    for module in (logfiles_active, logfiles_copy, logfiles_folder, logfiles_gzip, objects_folder):
        vars(module)["os"] = dying
    rewrite(store, plan)


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
    erase(log(undisturbed.parent), ANNA)
    deaths = leftovers = 0
    while True:
        path = fresh(tmp_path / str(deaths))
        store = log(path.parent)
        plan = pending(store)
        status = in_child(partial(rewrite_and_die, store, plan, deaths))
        if name != "app.jsonl":
            assert read(path) in (b"".join(text), read(undisturbed))
        else:  # value by value: each line is JSON at every moment, and no length moved
            assert len([json.loads(row) for row in path.read_bytes().splitlines()]) == len(text)
            assert path.stat().st_size == undisturbed.stat().st_size
        leftovers += len(list(path.parent.glob(".oblio-*")))
        rewrite(store, plan)
        assert read(path) == read(undisturbed)
        assert names(path.parent) == sorted({name, "app.jsonl"})
        assert remaining(store) == {}
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
        log(folder).plan([ANNA])
    assert names(folder) == [alive.name, ours_not.name, "app.jsonl"]
