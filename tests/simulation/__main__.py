"""``python -m tests.simulation``: one seed with its story, or many."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.rowchecks import Broken
from tests.simulation.world import World

CHUNK = 50
MOST_SHOWN = 20


def failure_of(seed: int) -> str | None:
    """Run a seed; what it broke, if anything."""
    try:
        World(seed).run()
    except Broken as broken:
        return str(broken)
    except Exception as error:  # noqa: BLE001 - whatever the code raises is a finding as well
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {last.name}, line {last.lineno}: {error}"
    return None


def failures_in(seeds: range) -> list[tuple[int, str]]:
    """What broke, by seed."""
    return [(seed, failure) for seed in seeds if (failure := failure_of(seed)) is not None]


def _chunks(seeds: range) -> Iterator[range]:
    for start in range(seeds.start, seeds.stop, CHUNK):
        yield range(start, min(start + CHUNK, seeds.stop))


def many(seeds: range, jobs: int) -> int:
    """Run them all; failing seeds are printed as they are found."""
    began, failed, done = time.monotonic(), 0, 0
    with ProcessPoolExecutor(jobs) as pool:
        for chunk, failures in zip(_chunks(seeds), pool.map(failures_in, _chunks(seeds)), strict=True):
            done += len(chunk)
            for seed, failure in failures:
                failed += 1
                if failed <= MOST_SHOWN:
                    print(f"seed {seed}: {failure}", flush=True)
    took = time.monotonic() - began
    print(f"{done} seeds, {failed} failed, {took:.1f} s, {done / took:.0f} a second")
    if failed:
        print("Replay one: python -m tests.simulation --seed N")
    return 1 if failed else 0


def one(seed: int) -> int:
    """Run one seed and tell its story."""
    world = World(seed, print)
    try:
        world.run()
    except Broken as broken:
        print(f"seed {seed}: {broken}")
        return 1
    print(f"seed {seed}: all promises kept in {world.rounds} rounds")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one and tell what happens")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes to share them")
    given = parser.parse_args()
    if given.seed is not None:
        return one(given.seed)
    return many(range(given.first, given.first + given.seeds), given.jobs)


if __name__ == "__main__":
    sys.exit(main())
