"""The demo does what it says, and what it says is read from the stores."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Shell


@pytest.mark.timeout(180)
def test_the_demo_erases_and_proves_it(tmp_path: object) -> None:
    done = Shell(tmp_path).process("demo", "--subjects", "300", "--json")  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["good"]
    assert report["remaining"] == 0
    assert report["bystanders_unchanged"]
    assert report["bystander_items"] > 5_000
    assert report["parked_and_replayed"] == report["erased"] == 6
    assert report["log_lines_lost"] == 0
    assert set(report["products"]) == {"chat", "guide", "logs", "tickets", "voice"}
    assert all(sum(counts.values()) > 0 for counts in report["products"].values())
    assert sum(report["requests"].values()) == 6
