"""Log lines as a product answers for them: what no rule reaches, what nobody can date, what is stopped or busy."""

from __future__ import annotations

import fcntl
import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import structlog

from consumers.lines import Lines
from consumers.maps import DataMap
from consumers.stores import logfiles, logfiles_copy
from consumers.stores.sql_rows import Target
from schemas.codes import FailureCode, Outcome, Phase
from schemas.messages import Counts
from schemas.topics import Topic
from tests.product.support import acks, brake, command, data_map, left_over, obey, of, one, records, request_id, stop_of


def logs_map(**changes: object) -> DataMap:
    """The shipped map, with other words for its log files."""
    shipped = data_map("logs")
    lines = msgspec.structs.replace(shipped.datasets["lines"], **changes)
    return msgspec.structs.replace(shipped, datasets=shipped.datasets | {"lines": lines})


@pytest.fixture
def subject(people):
    return people.choose(1)[0]


def purge(subject, request=None, seq=1, cutoff_at=None):
    return command(
        "logs",
        Phase.PURGE,
        subject.tenant,
        of(subject),
        request=request or request_id(),
        seq=seq,
        cutoff_at=cutoff_at,
    )


def closed_file(world, subject):
    """A closed file with lines of the subject."""
    paths = sorted(world.stores.log_folder.glob("app-*.jsonl"))
    return next(path for path in paths if f'"user_id":{subject.user_id},' in path.read_text())


def append(path: Path, line: str) -> None:
    with path.open("a") as out:
        out.write(line + "\n")


# --- what no rule reaches ------------------------------------------------------------------------------------------


def test_a_line_that_is_no_json_and_names_the_subject_waits_for_a_person(fresh, subject):
    world = fresh("logs")
    path = closed_file(world, subject)
    panic = f"Traceback: no such user <{subject.email}>"
    append(path, panic)
    request = request_id()
    failed = one(world.product("logs"), purge(subject, request))
    assert (failed.outcome, failed.failure.code, failed.failure.dataset) == (
        Outcome.FAILED,
        FailureCode.REMAINS,
        "lines",
    )
    assert failed.receipt is None
    others = (
        f'"tenant":"{"globex" if subject.tenant == "acme" else "acme"}"'  # where somebody may have the same address
    )
    left = [line for line in path.read_text().splitlines() if subject.email in line and others not in line]
    assert left == [panic]  # all that a rule reaches is gone
    probe = command("logs", Phase.PROBE, subject.tenant, of(subject))
    found = one(world.product("logs"), probe)
    assert (found.failure.code, found.counts["lines"]) == (FailureCode.REMAINS, Counts(found=1, skipped=1))
    path.write_text(path.read_text().replace(panic + "\n", ""))  # a person looked
    ack = one(world.product("logs"), purge(subject, request, seq=2))
    assert (ack.outcome, ack.failure) == (Outcome.DONE, None)
    assert ack.counts["lines"].redacted == ack.counts["lines"].found > 0


@pytest.mark.parametrize("name", ["app.jsonl", "app-*.jsonl"])
def test_the_map_may_have_such_lines_scrubbed(fresh, subject, name):
    world = fresh("logs")
    path = next(world.stores.log_folder.glob(name))
    append(path, f"Traceback: no such user <{subject.email}>")
    ack = one(world.product("logs", map_=logs_map(scrub_unparsed=True)), purge(subject))
    assert (ack.outcome, ack.failure) == (Outcome.DONE, None)
    assert path.read_text().splitlines()[-1].startswith("Traceback: no such user <[erased]")


def test_a_line_without_a_tenant_waits_for_a_person(fresh, subject):
    world = fresh("logs")
    append(closed_file(world, subject), json.dumps({"ts": "2026-06-01T00:00:00Z", "email": subject.email}))
    failed = one(world.product("logs"), purge(subject))
    assert (failed.outcome, failed.failure.code) == (Outcome.FAILED, FailureCode.REMAINS)


# --- what nobody can date ------------------------------------------------------------------------------------------


def test_an_undated_line_with_an_address_is_counted_and_left(fresh, subject):
    calm, world = fresh("logs"), fresh("logs")
    expected = one(calm.product("logs"), purge(subject)).counts["lines"]
    path = world.stores.log_folder / "app.jsonl"
    undated = json.dumps({"ts": "yesterday", "tenant": subject.tenant, "email": subject.email})
    append(path, undated)
    cutoff_at = int(path.stat().st_mtime * 1000) - 60_000
    wanted = purge(subject, cutoff_at=cutoff_at)
    product = world.product("logs")
    ack = one(product, wanted)
    assert (ack.outcome, ack.failure) == (Outcome.DONE, None)
    assert ack.counts["lines"] == expected.plus(Counts(found=1, skipped=1))
    assert undated in path.read_text()
    assert one(product, wanted) == ack
    probe = command("logs", Phase.PROBE, subject.tenant, of(subject), cutoff_at=cutoff_at)
    assert one(product, probe).failure is None
    # Nothing in a file that was last written before the cut-off can be a later owner's.
    again = one(product, purge(subject, cutoff_at=cutoff_at + 120_000))
    assert again.counts["lines"] == Counts(found=1, redacted=1)


# --- stopped and busy ----------------------------------------------------------------------------------------------


def stopping(monkeypatch, product, message) -> list:
    """While the first copy of a file is made, ``message`` is obeyed; the acks of that."""
    answers: list = []
    take_over = logfiles_copy._take_over

    def stopped(source: int, target: int) -> None:
        if not answers:
            answers.append(acks(product.stop(records(message, topic=Topic.STOPS))))
        take_over(source, target)

    monkeypatch.setattr(logfiles_copy, "_take_over", stopped)
    return answers


def test_a_brake_within_a_file_is_no_success(fresh, subject, monkeypatch):
    calm, world = fresh("logs"), fresh("logs")
    expected = one(calm.product("logs"), purge(subject))
    product = world.product("logs")
    before = {path: path.read_bytes() for path in world.stores.log_folder.iterdir()}
    answers = stopping(monkeypatch, product, brake("logs", 1, stopped=True))
    request = request_id()
    stopped = one(product, purge(subject, request))
    assert answers
    assert (stopped.outcome, stopped.failure.code, stopped.receipt) == (Outcome.FAILED, FailureCode.STOPPED, None)
    assert stopped.counts.get("lines", Counts()) == Counts()
    assert {path: path.read_bytes() for path in world.stores.log_folder.iterdir()} == before
    product.stop(records(brake("logs", 2, stopped=False), topic=Topic.STOPS))
    ack = one(product, purge(subject, request, seq=2))
    assert (ack.outcome, ack.counts) == (Outcome.DONE, expected.counts)


def test_a_stop_within_a_file_is_answered_as_stopped(fresh, subject, monkeypatch):
    world = fresh("logs")
    product = world.product("logs")
    wanted = purge(subject)
    answers = stopping(monkeypatch, product, stop_of(wanted, seq=2))
    assert obey(product, wanted) == []  # the stop is the answer
    ((stopped,),) = answers
    assert (stopped.outcome, stopped.seq) == (Outcome.STOPPED, 2)
    assert left_over(product)["plans"] == 1


def test_a_busy_file_is_met_once_for_all_its_steps(fresh, people, monkeypatch):
    world = fresh("logs")
    chosen = people.choose(4)
    tries: list[str] = []
    rewrite = logfiles.LogFiles.rewrite

    def counted(self, name, *args):
        tries.append(name)
        return rewrite(self, name, *args)

    monkeypatch.setattr(logfiles.LogFiles, "rewrite", counted)
    paths = sorted(world.stores.log_folder.iterdir())
    held = [path.open() for path in paths]
    for file in held:
        fcntl.flock(file, fcntl.LOCK_EX)
    product = world.product("logs")
    commands = [purge(subject) for subject in chosen]
    failed = obey(product, *commands)
    assert {(ack.failure.code, ack.failure.dataset) for ack in failed} == {(FailureCode.FILE_BUSY, "lines")}
    assert len(tries) == len(set(tries))  # several where the steps begin with different files
    for file in held:
        file.close()
    done = obey(product, *[purge(s, c.request, seq=2) for c, s in zip(commands, chosen, strict=True)])
    assert {ack.outcome for ack in done} == {Outcome.DONE}


# --- one dataset by itself -----------------------------------------------------------------------------------------

ANNA = Target(1, "acme", {"email": frozenset({"anna@example.org"})}, None, datetime(2026, 3, 1, tzinfo=UTC))


def written(folder: Path) -> Path:
    path = folder / "app.jsonl"
    path.write_text('{"ts":"2026-02-01T00:00:00Z","tenant":"acme","email":"anna@example.org"}\n')
    return path


def test_a_failed_rotation_is_told_and_the_file_overwritten_in_place(tmp_path):
    path = written(tmp_path)
    lines = Lines(logs_map(rotate=("false",)), "lines", str(tmp_path))
    part = lines.look([ANNA]).parts[1]
    with structlog.testing.capture_logs() as told:
        assert lines.rewrite(part.columns[0][0], part.columns[1][0], [ANNA], lambda: True)
    assert [(entry["log_level"], entry["dataset"]) for entry in told] == [("warning", "lines")]
    assert "anna" not in path.read_text()


def test_a_stop_leaves_the_file_to_be_done(tmp_path):
    path = written(tmp_path)
    lines = Lines(logs_map(), "lines", tmp_path.as_uri())
    part = lines.look([ANNA]).parts[1]
    assert not lines.rewrite(part.columns[0][0], part.columns[1][0], [ANNA], lambda: False)
    assert "anna" in path.read_text()
    assert lines.look([ANNA]).remaining() == {1: 1}
