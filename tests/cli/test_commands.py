"""The commands as people use them, against a running system."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Shell

Ended = Callable[[str], str]


def ask(shell: Shell, *words: str) -> str:
    done = shell.run("erase", "--tenant", "acme", *words, "--quiet")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_dry_run_touches_nothing(shell: Shell) -> None:
    before = shell.json("erase", "--tenant", "acme", "--user-id", "1010", "--dry-run")
    again = shell.json("erase", "--tenant", "acme", "--user-id", "1010", "--dry-run")
    assert before == again
    assert before["dry_run"]
    assert before["requests"][0]["tickets"]["users"] == 1


def test_a_purge_leaves_nothing_to_be_found(shell: Shell, ended: Ended) -> None:
    assert shell.run("probe", "--tenant", "acme", "--user-id", "1011").returncode == 1
    request = ask(shell, "--user-id", "1011")
    assert ended(request).startswith("completed")
    assert shell.json("probe", "--tenant", "acme", "--user-id", "1011")["left"] == 0
    assert shell.run("probe", "--tenant", "globex", "--user-id", "1011").returncode == 1, "the other tenant's 1011"
    told = shell.run("history", request).stdout
    assert "Accepted by the command line" in told
    assert "1011" not in told


def test_named_records_only(shell: Shell, ended: Ended) -> None:
    subject = shell.json("erase", "--tenant", "acme", "--user-id", "1012", "--dry-run")["requests"][0]
    assert subject["tickets"]["tickets"] >= 0
    request = ask(shell, "--record", "tickets.tickets=1,2")
    assert ended(request) in ("completed", "completed_retained", "no_data_found")
    assert set(shell.json("status", request)["state"]["steps"]) == {"tickets"}


def test_the_same_event_twice_is_one_request(shell: Shell) -> None:
    once = ("--event-id", "once", "--received", "2026-03-02T10:00:00")
    first = ask(shell, "--user-id", "1013", *once)
    assert ask(shell, "--user-id", "1013", *once) == first
    other = shell.run("erase", "--tenant", "acme", "--user-id", "1014", *once)
    assert other.returncode == 1
    assert "idempotency_conflict" in other.stderr


def test_hold_release_and_what_is_not_possible(shell: Shell, ended: Ended) -> None:
    request = ask(shell, "--user-id", "1015", "--mode", "trash")
    held = shell.json("hold", request, "--code", "litigation")
    assert "hold_placed" in held["events"]
    assert shell.json("status", request)["summary"]["status"] == "held"
    assert shell.run("release", request).returncode == 0
    assert shell.run("cancel", request, "--withdrawn").returncode == 0
    assert ended(request) == "withdrawn"
    refused = shell.run("hold", request)
    assert refused.returncode == 1
    assert "has ended" in refused.stderr


def test_stop_and_resume(shell: Shell, ended: Ended) -> None:
    assert shell.run("stop", "--product", "chat").returncode == 0
    assert shell.run("stop", "--product", "chat").returncode == 1, "that is so already"
    request = ask(shell, "--user-id", "1016")
    listed = shell.json("status")
    assert [(brake["tenant"], brake["product"]) for brake in listed["brakes"]] == [(None, "chat")]
    assert shell.json("status", request)["state"]["steps"]["chat"]["status"] == "ready"
    assert shell.run("resume", "--product", "chat").returncode == 0
    assert ended(request).startswith("completed")


def test_a_file_with_bad_lines(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("tenant,email,user_id\nacme,not-an-address,\nacme,,1017\n,,1018\nacme,,1019\nnobody,,1\n")
    done = shell.run("erase", "--file", str(file), "--yes", "--json")
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    assert [line["line"] for line in answer["bad_lines"]] == [2, 4]
    assert "not-an-address" not in done.stdout + done.stderr
    assert [request["rejected"] for request in answer["requests"]] == [None, None, "unknown_tenant"]


def test_json_lines(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.write_text('{"tenant": "acme", "user_id": ["1020"]}\nnonsense\n[]\n{"tenant": "acme"}\n')
    done = shell.run("erase", "--file", str(file), "--yes")
    assert done.returncode == 3
    assert [line.partition(":")[0] for line in done.stderr.splitlines() if line.startswith("line ")] == [
        "line 2",
        "line 3",
        "line 4",
    ]


def test_a_rejection_is_shown_with_advice_and_can_be_sent_again(shell: Shell) -> None:
    assert shell.run("erase", "--tenant", "unheard", "--user-id", "1").returncode == 1
    line = shell.json("rejected", "list")["rejected"][0]
    assert line["code"] == "unknown_tenant"
    shown = shell.json("rejected", "show", line["id"])
    assert "tenant" in shown["advice"]
    again = shell.json("rejected", "resubmit", line["id"])
    assert again["position"]["topic"] == "erasure.requests.v1"


def test_bad_input_is_told_plainly(shell: Shell) -> None:
    for words, code, text in (
        (("erase", "--tenant", "acme"), 2, "name a subject"),
        (("erase", "--user-id", "1"), 2, "--tenant"),
        (("erase", "--tenant", "acme", "--phone", "0171 555"), 2, "country code"),
        (("erase", "--tenant", "acme", "--id", "shoe=42"), 2, "kind=value"),
        (("status", "nothing-of-the-kind"), 4, "no such request"),
        (("history", "01a20d0c-79a2-7102-b299-7891eee8336c"), 4, "no such request"),
        (("stop",), 1, "say what to stop"),
        (("stop", "--product", "billing"), 1, "no such product"),
        (("replay", "x", "--product", "chat"), 4, "no such request"),
    ):
        done = shell.run(*words)
        assert done.returncode == code, (words, done.stderr)
        assert text in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_nothing_runs_there(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("status")
    assert done.returncode == 1
    assert "oblio dev" in done.stderr


def test_rebuild_finds_nothing_to_mend(shell: Shell) -> None:
    assert shell.json("rebuild", "--check") == []
    assert shell.json("rebuild")["streams"] > 0
    assert shell.json("rebuild", "--check") == []


def test_maps_fit_their_stores(shell: Shell) -> None:
    findings = shell.json("products", "check")
    assert [f for found in findings.values() for f in found if f["level"] == "error"] == []
