"""`oblio demo`: real subjects erased from five real stores, with a failure on the way, and proof at the end.

Nothing here is staged: what is printed is read back from the history and from the stores.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from consumers.samples import fingerprint as prints
from consumers.samples.logwriter import LogWriter
from consumers.samples.people import Subject
from consumers.samples.seed import seed
from orchestrator.cli.actors import acting
from orchestrator.cli.installation import PRODUCTS, Installation
from orchestrator.cli.output import err, out, print_json
from orchestrator.client import Client, Wish
from orchestrator.domain.state import Stage, State, StepStatus
from orchestrator.embedded import System
from orchestrator.store.queries import Queries
from schemas import events as e
from schemas import messages as m
from schemas.codes import End, Ground, Mode, Phase, ReasonCode, Role
from schemas.identifiers import IdentifierKind
from schemas.messages import Counts

PATIENCE_S = 90.0
ERASED = 6
"""Subjects to be purged; one more goes into the trash and comes back."""

SETTINGS = """\
# Made by `oblio demo`: no grace, and the settle probe after one second.
shards = 4

[policy]
grace = "0"
settle = "1s"

[tenants.acme]
zone = "Europe/Rome"

[tenants.globex]
zone = "America/New_York"
""" + "".join(f'\n[products.{name}]\nfirst_retry = "1s"\nlongest_retry = "5s"\n' for name in PRODUCTS)


class DemoFailed(Exception):
    """Something is not as it should be; the text says what."""


@dataclass
class Report:
    """What the demo found, for people and for machines."""

    people: int = 0
    erased: int = 0
    seconds: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)
    products: dict[str, Counter[str]] = field(default_factory=dict)
    remaining: int = 0
    retained_places: int = 0
    bystanders_unchanged: bool = False
    bystander_items: int = 0
    twins_intact: bool = False
    restored_unchanged: bool = False
    parked_and_replayed: int = 0
    log_lines_written_meanwhile: int = 0
    log_lines_lost: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything that was promised is so."""
        promised = (self.bystanders_unchanged, self.twins_intact, self.restored_unchanged)
        return all(promised) and not self.remaining and not self.log_lines_lost


def run(*, subjects: int, seed: int, keep: Path | None, json: bool) -> int:
    """Run the demo; returns the exit code."""
    with _home(keep) as home:
        installation = Installation(home)
        installation.prepare(SETTINGS)
        console = err if json else out
        with System(installation, durable=keep is not None) as system:
            try:
                report = Demo(system, console).run(subjects, seed)
            except DemoFailed as failure:
                err.print(f"[red]the demo failed:[/red] {failure}")
                return 1
    if json:
        print_json(_plain(report))
    else:
        _show(report, keep)
    return 0 if report.good else 1


@contextmanager
def _home(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise ValueError(f"{keep} is not empty; --keep wants a new folder")
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="oblio-demo-") as folder:
        yield Path(folder)


class Demo:
    """The acts, in order."""

    def __init__(self, system: System, console: Console) -> None:
        self._system = system
        self._say = console
        self._queries = Queries(system.database)
        self._client = Client(system.bus, system.installation.keys)
        self._report = Report()

    def run(self, subjects: int, seed_number: int) -> Report:
        """Fill, erase, fail, mend, restore, and look."""
        report = self._report
        with self._act(f"filling five stores with {subjects:,} people of two tenants"):
            world = seed(self._system.stores, subjects=subjects, seed=seed_number)
        *doomed, lucky = world.choose(ERASED + 1)
        report.people, report.erased = len(world.subjects), len(doomed)
        with self._act("fingerprinting everything that is not theirs, byte for byte"):
            before = prints.fingerprint(self._system.stores, doomed)
            twins = prints.counterparts(self._system.stores, doomed)
        began = time.monotonic()
        self._system.work()
        with LogWriter(self._system.installation.logs_folder) as writer:
            restored = self._trash(lucky)
            with self._broken_voice():
                requests = self._purge(doomed)
                parked = self._wait("voice to fail", requests, lambda state: _parked(state) == ["voice"])
                self._say.print(
                    f"  voice lost a table: {len(parked)} of its steps failed and wait for a person", highlight=False
                )
            self._replay(parked)
            self._wait("the requests to end", requests, lambda state: state.ended)
            report.seconds = round(time.monotonic() - began, 1)
            self._restore(restored)
        report.log_lines_written_meanwhile, report.log_lines_lost = writer.written, len(writer.missing())
        self._count(requests)
        with self._act("looking for anything that is left, without the data maps"):
            self._look(doomed, before, twins)
        return report

    @contextmanager
    def _act(self, text: str) -> Iterator[None]:
        began = time.monotonic()
        with self._say.status(text):
            yield
        self._say.print(f"[green]✓[/green] {text} [dim]({time.monotonic() - began:.1f} s)[/dim]", highlight=False)

    # --- acts ------------------------------------------------------------------------------------------------------

    def _trash(self, subject: Subject) -> str:
        (request,) = self._ask([subject], Mode.TRASH)
        self._wait("the trash", [request], lambda state: state.stage is Stage.TRASHED)
        self._say.print(
            "[green]✓[/green] one person put into the trash: hidden, restorable for 30 days", highlight=False
        )
        return request

    def _purge(self, subjects: Sequence[Subject]) -> list[str]:
        requests = self._ask(subjects, Mode.PURGE)
        self._say.print(
            f"[green]✓[/green] {len(requests)} deletion events published, each naming no more than an e-mail address",
            highlight=False,
        )
        return requests

    def _ask(self, subjects: Sequence[Subject], mode: Mode) -> list[str]:
        wishes = [
            Wish(
                tenant=subject.tenant,
                identifiers=(m.PlainIdentifier(kind=IdentifierKind.EMAIL, value=subject.email),),
                mode=mode,
                ground=Ground.CONSENT_WITHDRAWN,
            )
            for subject in subjects
        ]
        keys = [submitted.key for submitted in self._client.erase(wishes)]
        until = time.monotonic() + PATIENCE_S
        while len(found := self._queries.requests_of(keys)) < len(keys):
            if time.monotonic() > until:
                raise DemoFailed("the requests were not accepted in time; `oblio rejected list` would say why")
            time.sleep(0.02)
        return [found[key] for key in keys]

    @contextmanager
    def _broken_voice(self) -> Iterator[None]:
        """A deployment gone wrong: for a while the voice product has lost a table."""
        with self._system.stores.engine("voice").begin() as connection:
            connection.execute(sa.text("ALTER TABLE calls RENAME TO calls_of_tomorrow"))
        try:
            yield
        finally:
            with self._system.stores.engine("voice").begin() as connection:
                connection.execute(sa.text("ALTER TABLE calls_of_tomorrow RENAME TO calls"))

    def _replay(self, states: Sequence[State]) -> None:
        """The cause is mended: replay just what failed."""
        actor = acting(self._system.installation.keys, Role.SRE)
        operations = [
            m.ReplayOperation(
                tenant=state.tenant,
                request=state.id,
                actor=actor.id,
                role=actor.role,
                product=name,
                reason=ReasonCode.CAUSE_MENDED,
            )
            for state in states
            for name in _parked(state)
        ]
        self._client.operate(operations)
        self._report.parked_and_replayed = len(operations)
        self._say.print(
            f"[green]✓[/green] mended, and {len(operations)} steps replayed: only those that had failed",
            highlight=False,
        )

    def _restore(self, request: str) -> None:
        actor = acting(self._system.installation.keys, Role.PLATFORM)
        state = self._state(request)
        restore = m.RestoreOperation(
            tenant=state.tenant, request=request, actor=actor.id, role=actor.role, reason=ReasonCode.SUBJECT_ASKED
        )
        self._client.operate([restore])
        (after,) = self._wait("the restore", [request], lambda state: state.ended)
        if after.end is not End.CANCELLED:
            raise DemoFailed("the restored request did not end as cancelled")
        self._say.print("[green]✓[/green] the person in the trash changed their mind: restored", highlight=False)

    def _state(self, request: str) -> State:
        view = self._queries.request(request)
        if view is None:
            raise DemoFailed("a request vanished")
        return view.state

    def _wait(self, what: str, requests: Sequence[str], done: Callable[[State], bool]) -> list[State]:
        until = time.monotonic() + PATIENCE_S
        with self._say.status(f"waiting for {what}"):
            while True:
                states = [self._state(request) for request in requests]
                if all(done(state) for state in states):
                    return states
                if time.monotonic() > until:
                    raise DemoFailed(f"{what}: not within {PATIENCE_S:.0f} s; stages: {_stages(states)}")
                time.sleep(0.05)

    # --- what came of it -------------------------------------------------------------------------------------------

    def _count(self, requests: Sequence[str]) -> None:
        report = self._report
        report.requests = dict(Counter(self._state(request).end or "open" for request in requests))
        report.products = {name: Counter() for name in PRODUCTS}
        for request in requests:
            for recorded in self._queries.history(request):
                event = recorded.event
                if isinstance(event, e.Succeeded) and event.phase is Phase.PURGE:
                    for counts in event.counts.values():
                        report.products[event.step].update(_by_action(counts))

    def _look(self, doomed: Sequence[Subject], before: prints.Fingerprint, twins: Sequence[prints.Finding]) -> None:
        report, stores = self._report, self._system.stores
        found = prints.remains(stores, doomed)
        report.remaining = sum(finding.count for finding in found if not finding.retained)
        report.retained_places = sum(finding.count for finding in found if finding.retained)
        after = prints.fingerprint(stores, doomed, like=before)
        differences = prints.differences(before, after)
        report.differences = [f"{one.product} {one.place}: {one.what}" for one in differences]
        report.differences += [f"left: {one.product} {one.place} ({one.kind})" for one in found if not one.retained]
        report.bystanders_unchanged = not differences
        report.restored_unchanged = not differences  # the restored person is one of the bystanders
        report.bystander_items = sum(after.size().values())
        report.twins_intact = prints.counterparts(stores, doomed) == tuple(twins)


def _parked(state: State) -> list[str]:
    return sorted(name for name, step in state.steps.items() if step.status is StepStatus.PARKED)


def _stages(states: Sequence[State]) -> str:
    return ", ".join(
        f"{stage} {count}" for stage, count in sorted(Counter(state.stage.value for state in states).items())
    )


def _by_action(counts: Counts) -> dict[str, int]:
    return {
        "deleted": counts.erased,
        "redacted": counts.redacted,
        "anonymised": counts.anonymised,
        "retained": counts.retained,
    }


def _plain(report: Report) -> dict[str, object]:
    return {name: getattr(report, name) for name in report.__dataclass_fields__} | {"good": report.good}


def _show(report: Report, keep: Path | None) -> None:
    table = Table(
        title=f"\n{report.erased} people erased, of {report.people:,}", title_justify="left", header_style="bold"
    )
    table.add_column("product")
    for name in ("deleted", "redacted", "anonymised", "retained by law"):
        table.add_column(name, justify="right")
    for product, counts in sorted(report.products.items()):
        numbers = (counts["deleted"], counts["redacted"], counts["anonymised"], counts["retained"])
        table.add_row(product, *(str(number) if number else "·" for number in numbers))
    out.print(table)
    ends = ", ".join(f"{count} {end.replace('_', ' ')}" for end, count in sorted(report.requests.items()))
    _verdict(
        not report.remaining,
        f"nothing of the erased remains ({report.retained_places} mentions in invoices, kept by law)",
    )
    _verdict(
        report.bystanders_unchanged,
        f"the others' {report.bystander_items:,} rows, files and log lines are byte for byte what they were",
    )
    _verdict(report.twins_intact, "people of the other tenant with the same e-mail, phone or id were not touched")
    _verdict(report.restored_unchanged, "the restored person has everything back")
    _verdict(
        not report.log_lines_lost,
        f"the log writer lost none of {report.log_lines_written_meanwhile:,} lines it wrote meanwhile",
    )
    for difference in report.differences[:20]:
        out.print(f"    [red]{difference}[/red]", highlight=False)
    out.print(f"requests: {ends}; from the first event to the last end {report.seconds} s\n", highlight=False)
    home = f"--home {keep} " if keep else ""
    out.print("Where to look next", style="bold")
    out.print(f"  oblio {home}dev          a system to play with, kept running", highlight=False)
    out.print("  oblio erase --help  ask for an erasure; --dry-run says what it would touch", highlight=False)
    out.print("  oblio status        what is open, what fails and why", highlight=False)
    out.print(
        "  README.md           first five minutes of a platform team, a compliance officer, an SRE", highlight=False
    )


def _verdict(good: bool, text: str) -> None:
    out.print(f"[green]✓[/green] {text}" if good else f"[red]✗ not so: {text}[/red]", highlight=False, soft_wrap=True)
