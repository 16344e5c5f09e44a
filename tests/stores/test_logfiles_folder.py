"""Which log files may be changed, where they are found again, and what of them stays."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import Any

import pytest

from consumers.stores import logfiles, logfiles_reading
from consumers.stores.logfiles import Count, FileState, LogFiles, Outcome, Subject
from consumers.stores.objects import Denied, Failed, Unavailable
from tests.stores.loglines import (
    ANNA,
    BYSTANDERS,
    CUTOFF,
    HERS,
    OLD,
    erase,
    log,
    names,
    pending,
    read,
    remaining,
    rewrite,
    write,
)


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
    plan = pending(store)
    with pytest.raises(Denied) as caught:
        rewrite(store, plan)
    assert str(caught.value) == "denied (EPERM)"
    assert read(path) == HERS
    assert names(folder) == ["app-1.jsonl", "app.jsonl"]


def test_full_disk(folder, monkeypatch):
    path = write(folder / "app-1.jsonl", HERS)

    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "no")

    store = log(folder)
    plan = pending(store)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Failed, match="ENOSPC"):
        rewrite(store, plan)
    assert read(path) == HERS
    assert names(folder) == ["app-1.jsonl", "app.jsonl"]


def test_copy_that_reads_differently_is_not_used(folder, monkeypatch):
    path = write(folder / "app-1.jsonl", HERS)
    store = log(folder)
    plan = pending(store)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data).replace(b"hello", b"jello")))
    with pytest.raises(Failed, match="differently"):
        rewrite(store, plan)
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
    return {file.name: file.state for file in store._folder.files()}


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
    store._folder.now = lambda: time.time() + 3
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


def test_the_newest_of_each_pattern_and_folder_counts_as_active(tmp_path):
    for name in ("web/a-1.log", "web/a-2.log", "web/b-1.log", "api/a-1.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, HERS, mtime=OLD + int(name[-5]))
    found = states(log(tmp_path, patterns=("*/a-*.log", "*/b-*.log"), active=()))
    assert [name for name, state in found.items() if state is FileState.CLOSED] == ["web/a-1.log"]


def test_files_in_folders_below(tmp_path):
    for where in ("eu/web", "us/web", ".trash/web"):
        (tmp_path / where).mkdir(parents=True)
        write(tmp_path / where / "app-1.log", HERS)
        write(tmp_path / where / "app.log", HERS)
    store = log(tmp_path, patterns=("*/web/app-*.log",), active=("*/web/app.log",))
    assert list(states(store)) == [f"{zone}/web/app{n}.log" for zone in ("eu", "us") for n in ("-1", "")]
    assert {result.outcome for result in erase(store, ANNA)} == {Outcome.CHANGED}
    assert remaining(store) == {}


def test_missing_folder_is_no_clean_folder(tmp_path):
    store = log(tmp_path / "anna@example.org")
    with pytest.raises(Unavailable) as caught:
        store.plan([ANNA])
    assert "anna" not in str(caught.value)


def no_sleep(seconds: float) -> None:
    raise AssertionError


def test_own_rename_needs_no_settling(folder, monkeypatch):
    write(folder / "app-1.jsonl", HERS, BYSTANDERS[0])
    store = log(folder, settle_s=60)
    store._folder.now = lambda: time.time() + 3
    assert erase(store, ANNA)[0].outcome is Outcome.CHANGED
    store._folder.now = time.time
    assert states(store)["app-1.jsonl"] is FileState.CLOSED
    assert states(log(folder, settle_s=60))["app-1.jsonl"] is FileState.UNSETTLED
    # The next batch, a moment later, need not wait for it.
    monkeypatch.setattr(time, "sleep", no_sleep)
    bob = Subject(8, "t1", {"user_id": frozenset({"43"})}, CUTOFF)
    assert rewrite(store, pending(store, bob), bob).outcome is Outcome.CHANGED


def test_what_settles_in_a_moment_is_waited_for(folder, monkeypatch):
    path = write(folder / "app-1.jsonl", HERS)
    store = log(folder, settle_s=60)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        store._folder.now = lambda: time.time() + seconds

    monkeypatch.setattr(time, "sleep", sleep)
    assert rewrite(store, pending(store)).outcome is Outcome.CHANGED
    assert 0 < slept[0] <= 2
    assert b"anna" not in read(path)


def test_found_again_after_rotation(folder):
    path = write(folder / "app.jsonl", HERS)
    store = log(folder)
    (plan,) = store.plan([ANNA])
    path.rename(folder / "app-5.jsonl")
    path.touch()
    result = rewrite(store, plan)
    assert (result.name, result.outcome, result.in_place) == ("app-5.jsonl", Outcome.CHANGED, False)


def test_found_again_after_all_names_moved(folder):
    write(folder / "app-2.jsonl", BYSTANDERS[0], mtime=OLD - 20)
    write(folder / "app-1.jsonl", HERS, mtime=OLD - 10)
    write(folder / "app.jsonl", HERS, HERS)
    store = log(folder)
    plans = [plan for plan in store.plan([ANNA]) if plan.counts]
    with (folder / "app.jsonl").open("ab") as out:  # and one more before it is rotated
        out.write(HERS)
    for old, new in (("-2", "-3"), ("-1", "-2"), ("", "-1")):
        (folder / f"app{old}.jsonl").rename(folder / f"app{new}.jsonl")
    write(folder / "app.jsonl", BYSTANDERS[0], mtime=time.time())
    results = {plan.name: rewrite(store, plan) for plan in plans}
    assert {name: result.name for name, result in results.items()} == {
        "app-1.jsonl": "app-2.jsonl",
        "app.jsonl": "app-1.jsonl",
    }
    assert remaining(store) == {}


def test_an_inode_number_given_anew_misleads_nobody(folder):
    path = write(folder / "app-1.jsonl", HERS, mtime=OLD - 10)
    store = log(folder)
    plan = pending(store)
    path.rename(folder / "app-2.jsonl")  # what has its inode now is something else, larger and newer
    write(folder / "app-2.jsonl", BYSTANDERS[0] * 9, mtime=OLD)
    write(path, HERS, mtime=OLD - 10)  # and the name leads to another worker's copy
    assert rewrite(store, plan).name == "app-1.jsonl"


def test_gone_is_done(folder):
    path = write(folder / "app-1.jsonl", HERS)
    store = log(folder)
    plan = store.plan([ANNA])[0]
    path.unlink()
    assert rewrite(store, plan).outcome is Outcome.ABSENT


def test_a_look_sees_what_is_renamed_while_it_reads(folder, monkeypatch):
    write(folder / "app-1.jsonl", BYSTANDERS[0])
    path = write(folder / "app.jsonl", HERS)
    counted = logfiles_reading.counted

    def rotating(*args: Any) -> dict[int, Count]:
        if not (folder / "app-0.jsonl").exists():
            path.rename(folder / "app-0.jsonl")
            path.touch()
        return counted(*args)

    monkeypatch.setattr(logfiles, "counted", rotating)
    assert remaining(log(folder)) == {7: 1}
