"""Seeds, each of which must keep every promise. ``OBLIO_SEEDS`` says how many; the first ones are always the same."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from tests.simulation.__main__ import failures_in

SEEDS = int(os.environ.get("OBLIO_SEEDS", "1000"))
CHUNK = 100

STORY = """
import hashlib
from tests.simulation.world import World
told = hashlib.sha256()
for seed in range({first}, {first} + 20):
    World(seed, lambda line: told.update(line.encode())).run()
print(told.hexdigest())
"""

pytestmark = [pytest.mark.simulation, pytest.mark.slow]


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK), ids=lambda first: f"from_{first}")
def test_every_promise_is_kept(first: int):
    failures = failures_in(range(first, min(first + CHUNK, SEEDS)))
    told = "".join(f"\nseed {seed}: {failure}" for seed, failure in failures)
    assert not failures, f"{told}\nReplay one with its story: python -m tests.simulation --seed N"


def test_a_seed_is_the_same_story_wherever_it_is_told():
    stories = {
        subprocess.run(
            [sys.executable, "-c", STORY.format(first=100)],
            env=os.environ | {"PYTHONHASHSEED": hashing},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashing in ("1", "2", "3")
    }
    assert len(stories) == 1
    assert stories != {sha256().hexdigest() + "\n"}


def test_a_failing_seed_is_named_and_replayed_by_one_command():
    replay = [sys.executable, "-m", "tests.simulation", "--seed", "11"]
    done = subprocess.run(replay, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Accepted" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("seed 11: all promises kept")
