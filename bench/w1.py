"""W1: the whole path, request to end, against the same statements run bare by a script; both in one run.

    python -m bench.w1 [--subjects 2000] [--batch 200] [--json]

The stores hold six people for each subject erased (five bystanders). Half of the subjects go to the script, half to
the system; the halves alternate in rounds, because machines are noisy. The figure that counts is the ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from bench import script
from consumers.samples.people import Subject
from consumers.samples.w1 import seed_w1
from orchestrator.cli.installation import DEFAULT_SETTINGS, PRODUCTS, Installation
from orchestrator.client import Client, Wish
from orchestrator.embedded import System, serve_products
from schemas import logs
from schemas.codes import Ground
from schemas.identifiers import IdentifierKind
from schemas.messages import PlainIdentifier

SETTINGS = DEFAULT_SETTINGS.replace('grace = "24h"', 'grace = "0"').replace('settle = "24h"', 'settle = "0"') + "".join(
    f"\n[products.{name}]\nwindow = 5000\n" for name in PRODUCTS
)


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=2000, help="subjects per side and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=200, help="subjects per transaction of the script")
    parser.add_argument("--durable", action="store_true", help="wait for the disk at every commit, on both sides")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logs.configure(level="warning")
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder))
        installation.prepare(SETTINGS)
        report = _run(installation, options)
    print(json.dumps(report, indent=2) if options.json else _text(report))


def _run(installation: Installation, options: argparse.Namespace) -> dict[str, object]:
    total = options.subjects * options.rounds * 2
    with System(installation, durable=options.durable) as system:
        world = seed_w1(system.stores, total)
        system.work_orchestrator()
        stop = multiprocessing.get_context("spawn").Event()
        other = multiprocessing.get_context("spawn").Process(
            target=serve_products, args=(installation.home, stop), daemon=True
        )
        other.start()
        rounds = []
        for number in range(options.rounds):
            at = number * options.subjects * 2
            mine, theirs = (world.subjects[at + i : at + 2 * options.subjects : 2] for i in (0, 1))
            bare = _timed(lambda part=theirs: script.erase(system.stores, part, options.batch))
            whole = _timed(lambda part=mine, n=number: _whole_path(system, part, n))
            rounds.append((len(theirs) / bare, len(mine) / whole))
        stop.set()
        other.join(20)
        figures = _per_request(system.database)
    return {
        "subjects_per_round": options.subjects,
        "people_in_the_stores": world.people,
        "script_per_second": [round(bare, 1) for bare, _ in rounds],
        "system_per_second": [round(whole, 1) for _, whole in rounds],
        "ratio": round(statistics.median(whole / bare for bare, whole in rounds), 3),
        **figures,
    }


def _timed(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


def _whole_path(system: System, subjects: Sequence[Subject], number: int) -> None:
    """Publish the requests and wait until each has ended."""
    client = Client(system.bus, system.installation.keys)
    wishes = [_wish(subject, f"w1/{number}/{position}") for position, subject in enumerate(subjects)]
    for start in range(0, len(wishes), 500):
        client.erase(wishes[start : start + 500])
    with system.database.connect() as connection:
        while True:
            left = connection.execute(sa.text("SELECT count(*) FROM oblio.requests WHERE ended_at IS NULL")).scalar_one()
            taken = connection.execute(sa.text("SELECT count(*) FROM oblio.submissions")).scalar_one()
            connection.rollback()
            if left == 0 and taken == len(subjects) * (number + 1):
                return
            time.sleep(0.02)


def _wish(subject: Subject, event_id: str) -> Wish:
    return Wish(
        tenant=subject.tenant,
        identifiers=(
            PlainIdentifier(kind=IdentifierKind.USER_ID, value=str(subject.user_id)),
            PlainIdentifier(kind=IdentifierKind.EMAIL, value=subject.email),
            PlainIdentifier(kind=IdentifierKind.PHONE, value=subject.phone),
        ),
        ground=Ground.CONSENT_WITHDRAWN,
        event_id=event_id,
    )


def _per_request(database: sa.Engine) -> dict[str, object]:
    """Events and bytes per request, and how the requests ended."""
    with database.connect() as connection:
        events, size = connection.execute(sa.text("SELECT count(*), sum(length(body)) FROM oblio.events")).one()
        ends = connection.execute(sa.text('SELECT "end", count(*) FROM oblio.requests GROUP BY 1')).tuples().all()
    requests = sum(count for _, count in ends)
    return {
        "ends": dict(ends),
        "events_per_request": round(events / requests, 2),
        "event_bytes_per_request": round(float(size) / requests),
    }


def _text(report: dict[str, object]) -> str:
    lines = [f"{name.replace('_', ' '):>26}: {value}" for name, value in report.items()]
    return "\n".join(["W1, whole path against bare script", *lines])


if __name__ == "__main__":
    main()
