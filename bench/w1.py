"""W1: the whole path, request to end, against the same statements run bare by a script; both in one run.

    python -m bench.w1 [--subjects 2000] [--rounds 3] [--batch 200] [--durable] [--json]

The stores hold six people for each subject erased (five bystanders). Half of the subjects go to the script, half to
the system; the halves alternate in rounds, because machines are noisy. The figure that counts is the ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench import script
from bench.meter import Meter, Statements, postmaster, transactions
from consumers.samples.people import Subject
from consumers.samples.w1 import seed_w1
from orchestrator.cli.installation import DEFAULT_SETTINGS, PRODUCTS, Installation
from orchestrator.client import Client, Wish
from orchestrator.embedded import System, serve_products
from schemas import logs
from schemas.codes import Ground
from schemas.garbage import collect_less
from schemas.identifiers import IdentifierKind
from schemas.messages import PlainIdentifier
from schemas.transport import Message

SETTINGS = DEFAULT_SETTINGS.replace('grace = "24h"', 'grace = "0"').replace('settle = "24h"', 'settle = "0"') + "".join(
    f"\n[products.{name}]\nwindow = 5000\n" for name in PRODUCTS
)
WARM_UP = 200
"""Subjects per side before the first round that counts."""


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
    with System(installation, durable=options.durable) as system, script.connected(system.stores) as bare:
        world = seed_w1(system.stores, (options.subjects * options.rounds + WARM_UP) * 2)
        here = Statements()
        system.work_orchestrator()
        collect_less()  # as a service of its own does
        with _products(installation) as (other, there):
            race = Race(system, bare, Meter(postmaster(system.database), other), options.batch)
            race.round(world.subjects[: WARM_UP * 2])
            race.forget()
            before = here.count + there.value, transactions(system.database)
            for number in range(options.rounds):
                at = (WARM_UP + number * options.subjects) * 2
                race.round(world.subjects[at : at + options.subjects * 2])
            time.sleep(1.5)  # sessions tell of their transactions when they have been idle for a second
            after = here.count + there.value, transactions(system.database)
        done = options.subjects * options.rounds
        own = options.rounds * -(-options.subjects // options.batch) * len(script.STATEMENTS)
        return {
            "subjects_per_round": options.subjects,
            "people_in_the_stores": world.people,
            **race.report(),
            **_per_request(system.database),
            "statements_per_request": round((after[0] - before[0]) / done, 2),
            "transactions_per_request": round((after[1] - before[1] - own) / done, 2),
            "requests_per_batch": _batches(system),
        }


# --- the products' process ----------------------------------------------------------------------------------------


@contextmanager
def _products(installation: Installation) -> Iterator[tuple[int, Any]]:
    """The five products in a process of their own: its id, and the number of statements it has run."""
    context = multiprocessing.get_context("spawn")
    stop, count = context.Event(), context.Value("q", 0)
    process = context.Process(target=_serve, args=(installation.home, stop, count), daemon=True)
    process.start()
    try:
        yield process.pid or 0, count
    finally:
        stop.set()
        process.join(20)


def _serve(home: Path, stop: Any, count: Any) -> None:
    logs.configure(level="warning")
    statements = Statements()

    def tell() -> None:
        while not stop.wait(0.2):
            count.value = statements.count

    threading.Thread(target=tell, daemon=True).start()
    serve_products(home, stop)


# --- the race -----------------------------------------------------------------------------------------------------


class Race:
    """Rounds of both sides over the same stores, one after the other, with what each took."""

    def __init__(self, system: System, bare: script.Connections, meter: Meter, batch: int) -> None:
        self._system = system
        self._bare = bare
        self._meter = meter
        self._batch = batch
        self._asked = 0
        self.forget()

    def forget(self) -> None:
        """What was so far was to warm up."""
        self._rates: list[tuple[float, float]] = []
        self._cpu: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._subjects = 0

    def round(self, subjects: Sequence[Subject]) -> None:
        """Every other subject for the script, the rest for the system.

        Requests are sealed and signed before: their senders do that, on machines of their own.
        """
        theirs, mine = subjects[1::2], subjects[::2]
        messages = self._packed(mine)
        sides = (lambda: script.erase(self._bare, theirs, self._batch), lambda: self._whole_path(messages))
        took = []
        for work, used in zip(sides, self._cpu, strict=True):
            before, start = self._meter.read(), time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
            used.update(self._meter.read() - before)
        self._rates.append((len(theirs) / took[0], len(mine) / took[1]))
        self._subjects += len(mine)

    def _packed(self, subjects: Sequence[Subject]) -> list[Message]:
        client = Client(self._system.bus, self._system.installation.keys)
        wishes = [_wish(subject, f"w1/{number}") for number, subject in enumerate(subjects, self._asked)]
        return [message for message, _ in client.pack(wishes)]

    def _whole_path(self, messages: Sequence[Message]) -> None:
        """Publish the requests and wait until each has ended."""
        self._asked += len(messages)
        for start in range(0, len(messages), 500):
            self._system.bus.publish(messages[start : start + 500])
        while not self._all_ended():
            time.sleep(0.05)

    def _all_ended(self) -> bool:
        with self._system.database.connect() as connection:
            left = connection.exec_driver_sql("SELECT count(*) FROM oblio.requests WHERE ended_at IS NULL").scalar_one()
            if left:
                return False
            taken = connection.exec_driver_sql("SELECT count(*) FROM oblio.submissions").scalar_one()
            return bool(taken == self._asked)

    def report(self) -> dict[str, object]:
        """Rates of both sides, their ratio (the median of all rounds), and CPU time per subject."""
        report: dict[str, object] = {}
        for side, name in enumerate(("script", "system")):
            report[f"{name}_per_second"] = [round(rates[side]) for rates in self._rates]
            report[f"{name}_cpu_ms"] = {what: round(used / self._subjects, 2) for what, used in self._cpu[side].items()}
        report["ratio"] = round(statistics.median(whole / bare for bare, whole in self._rates), 3)
        return report


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


# --- what the databases tell --------------------------------------------------------------------------------------


def _per_request(database: sa.Engine) -> dict[str, object]:
    """Events and bytes per request, and how the requests ended."""
    with database.connect() as connection:
        events, size = connection.execute(sa.text("SELECT count(*), sum(length(body)) FROM oblio.events")).one()
        rows = connection.execute(sa.text('SELECT "end", count(*) FROM oblio.requests GROUP BY 1')).all()
    ends: dict[str, int] = {row[0]: row[1] for row in rows}
    requests = sum(ends.values())
    return {
        "ends": ends,
        "events_per_request": round(events / requests, 2),
        "event_bytes_per_request": round(float(size) / requests),
    }


def _batches(system: System) -> dict[str, float]:
    """Events per transaction of the engine, and requests per transaction of each product's receipts."""
    tables = {"engine": (system.database, "oblio.events")}
    tables |= {name: (system.stores.engine(name), "oblio.receipts") for name in PRODUCTS}
    found = {}
    for name, (database, table) in tables.items():
        with database.connect() as connection:
            rate = f"SELECT count(*)::float / count(DISTINCT xmin::text) FROM {table}"
            found[name] = round(connection.exec_driver_sql(rate).scalar_one())
    return found


def _text(report: dict[str, object]) -> str:
    lines = [f"{name.replace('_', ' '):>26}: {value}" for name, value in report.items()]
    return "\n".join(["W1, whole path against bare script", *lines])


if __name__ == "__main__":
    main()
