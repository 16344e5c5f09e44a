"""`oblio erase`: one subject, named records, or a whole file."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.cli.installation import Connected, Installation
from orchestrator.cli.options import JSON, PATIENCE_S
from orchestrator.cli.output import Exit, err, fail, out, print_json, told
from orchestrator.cli.waiting import wait_until_read
from orchestrator.cli.wishes import BadLine, Defaults, identifier, read_file, records
from orchestrator.client import Wish
from orchestrator.domain.state import State
from schemas import messages as m
from schemas.codes import Ground, Mode, RejectionCode, Right
from schemas.identifiers import IdentifierKind
from schemas.rejections import ADVICE

CHUNK = 500
"""Requests per publication of a file."""


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(erase)


@dataclass(frozen=True, slots=True)
class How:
    """In what manner a command answers."""

    wait: bool
    json: bool
    quiet: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one published request: an id, or a rejection."""

    request: str | None
    rejected: RejectionCode | None = None


def erase(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Tenant whose data it is.")] = None,
    email: Annotated[list[str] | None, typer.Option(help="E-mail address of the subject; may be repeated.")] = None,
    phone: Annotated[list[str] | None, typer.Option(help="Phone number with country code; may be repeated.")] = None,
    user_id: Annotated[list[str] | None, typer.Option(help="User id; may be repeated.")] = None,
    identify: Annotated[
        list[str] | None, typer.Option("--id", help="Any other identifier, as kind=value (external_id=AC-17).")
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(help="Erase named records only, not the subject: product.dataset=id,id (tickets.tickets=17,18)."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Many requests: .csv with a header, .ndjson or .jsonl.", exists=True)
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="trash: restorable for 30 days; purge: for good, after the grace time.")
    ] = Mode.PURGE,
    right: Annotated[Right, typer.Option(help="erasure (with the legal clock), or housekeeping.")] = Right.ERASURE,
    ground: Annotated[Ground | None, typer.Option(help="Letter of Article 17(1) GDPR.")] = None,
    case: Annotated[str | None, typer.Option(help="Your own opaque case reference.")] = None,
    received: Annotated[
        datetime | None,
        typer.Option(help="When the subject asked, in UTC; the legal clock starts there.", show_default="now"),
    ] = None,
    event_id: Annotated[
        str | None, typer.Option(help="Makes a repeat harmless: same id, same content, same request.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be touched, and touch nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the requests have ended.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the ids of the requests and nothing else.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a file is sent.")] = False,
    json: JSON = False,
) -> None:
    """Ask for a subject, or for single records, to be erased.

    One subject by its identifiers, named records of one product, or a whole file of subjects. In a file, bad lines
    are reported by number and the good ones are sent.
    """
    installation: Installation = context.obj
    defaults = Defaults(tenant, mode, right, ground)
    how = How(wait=wait, json=json, quiet=quiet)
    with told():
        if file is not None:
            _erase_file(installation, file, defaults, how, dry_run=dry_run, yes=yes)
            return
        identifiers = _identifiers(email, phone, user_id, identify)
        wish = replace(_wish(defaults, identifiers, record, case, event_id), received_at=_utc(received))
        with installation.connected() as system:
            if dry_run:
                _preview(installation, [wish], json=json)
                return
            outcomes = _send(system, [wish])
            _report(system, [wish], outcomes, how)


def _preview(installation: Installation, wishes: Sequence[Wish], *, json: bool) -> None:
    from orchestrator.cli.previews import show  # noqa: PLC0415  the products' code is needed here only

    show(installation, wishes, json=json)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _identifiers(
    email: Sequence[str] | None,
    phone: Sequence[str] | None,
    user_id: Sequence[str] | None,
    others: Sequence[str] | None,
) -> tuple[m.PlainIdentifier, ...]:
    found = [identifier(IdentifierKind.EMAIL, text) for text in email or ()]
    found += [identifier(IdentifierKind.PHONE, text) for text in phone or ()]
    found += [identifier(IdentifierKind.USER_ID, text) for text in user_id or ()]
    for text in others or ():
        kind, equals, value = text.partition("=")
        if not equals or kind not in list(IdentifierKind):
            fail(f"--id is written kind=value, kind being one of {', '.join(IdentifierKind)}", Exit.USAGE)
        found.append(identifier(IdentifierKind(kind), value))
    return tuple(found)


def _wish(
    defaults: Defaults,
    identifiers: tuple[m.PlainIdentifier, ...],
    record: str | None,
    case: str | None,
    event_id: str | None,
) -> Wish:
    if defaults.tenant is None:
        fail("say whose data it is: --tenant NAME", Exit.USAGE)
    if bool(identifiers) == (record is not None):
        fail("name a subject (--email, --phone, --user-id, --id) or records (--record), one of the two", Exit.USAGE)
    return Wish(
        tenant=defaults.tenant,
        identifiers=identifiers,
        records=records(record) if record is not None else None,
        mode=defaults.mode,
        right=defaults.right,
        ground=defaults.ground,
        case=case,
        event_id=event_id,
    )


def _erase_file(
    installation: Installation, file: Path, defaults: Defaults, how: How, *, dry_run: bool, yes: bool
) -> None:
    items = [item for _, item in read_file(file, defaults)]
    wishes = [item for item in items if isinstance(item, Wish)]
    bad = [item for item in items if isinstance(item, BadLine)]
    for line in bad:
        err.print(f"line {line.number}: {line.reason}", highlight=False)
    with installation.connected() as system:
        if dry_run:
            _preview(installation, wishes, json=how.json)
            raise typer.Exit(Exit.PARTIAL if bad else Exit.OK)
        if wishes and not yes and not typer.confirm(f"Erase {len(wishes)} subjects ({defaults.mode.value})?", err=True):
            fail("nothing was sent")
        outcomes = _send_all(system, wishes)
        _report(system, wishes, outcomes, how, bad)
    refused = any(outcome.rejected or outcome.request is None for outcome in outcomes)
    raise typer.Exit(Exit.PARTIAL if bad or refused else Exit.OK)


def _send_all(system: Connected, wishes: Sequence[Wish]) -> list[Outcome]:
    """Send many, a bounded number at a time, with a bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: list[Outcome] = []
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("accepted", total=len(wishes))
        pending = iter(wishes)
        while chunk := list(islice(pending, CHUNK)):
            outcomes += _send(system, chunk)
            progress.update(task, completed=len(outcomes))
    return outcomes


def _send(system: Connected, wishes: Sequence[Wish]) -> list[Outcome]:
    """Publish, wait until the orchestrator has read what was published, and see what became of it."""
    submitted = system.client.erase(wishes)
    read = wait_until_read(system, [one.position for one in submitted])
    refused = {line.position: line.code for line in system.queries.rejected_at([one.position for one in submitted])}
    requests = system.queries.requests_of([one.key for one in submitted]) if read else {}
    return [
        Outcome(None, refused[one.position]) if one.position in refused else Outcome(requests.get(one.key))
        for one in submitted
    ]


def _report(
    system: Connected,
    wishes: Sequence[Wish],
    outcomes: Sequence[Outcome],
    how: How,
    bad: Sequence[BadLine] = (),
) -> None:
    requests = [outcome.request for outcome in outcomes if outcome.request is not None]
    if how.wait:
        _wait_for_ends(system, requests)
    ends = {request: view.state for request in requests[:1000] if (view := system.queries.request(request))}
    if how.json:
        print_json(
            {
                "requests": [
                    {
                        "request": outcome.request,
                        "rejected": outcome.rejected,
                        "advice": ADVICE[outcome.rejected] if outcome.rejected else None,
                        "stage": ends[outcome.request].stage if outcome.request in ends else None,
                        "end": ends[outcome.request].end if outcome.request in ends else None,
                    }
                    for outcome in outcomes
                ],
                "bad_lines": [{"line": line.number, "reason": line.reason} for line in bad],
            }
        )
    else:
        _tell(wishes, outcomes, ends, quiet=how.quiet)
    if len(wishes) == 1 and outcomes[0].request is None:
        raise typer.Exit(Exit.FAILED)


def _tell(wishes: Sequence[Wish], outcomes: Sequence[Outcome], ends: Mapping[str, State], *, quiet: bool) -> None:
    accepted = [outcome.request for outcome in outcomes if outcome.request is not None]
    if quiet:
        for request in accepted:
            sys.stdout.write(request + "\n")
    elif len(wishes) == 1 and accepted:
        out.print(f"accepted as [bold]{accepted[0]}[/bold]", highlight=False)
        state = ends.get(accepted[0])
        end = getattr(state, "end", None)
        out.print(f"ended: {end.value}" if end else f"follow it with: oblio watch {accepted[0]}", highlight=False)
    else:
        out.print(f"{len(accepted)} of {len(wishes)} accepted; see them with: oblio status", highlight=False)
    for number, outcome in enumerate(outcomes, 1):
        which = f"request {number}: " if len(wishes) > 1 else ""
        if outcome.rejected is not None:
            err.print(
                f"[red]{which}refused ({outcome.rejected.value})[/red]: {ADVICE[outcome.rejected]}", highlight=False
            )
        elif outcome.request is None:
            err.print(
                f"{which}on the log, but not taken up within {PATIENCE_S:.0f} s; nothing is lost, see oblio status"
            )


def _wait_for_ends(system: Connected, requests: Sequence[str]) -> None:
    """Until every request has ended, or waits for a person."""
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("ended", total=len(requests))
        left = list(requests)
        while left:
            views = {request: system.queries.request(request) for request in left}
            left = [r for r, view in views.items() if view is None or not (view.state.ended or view.state.parked)]
            progress.update(task, completed=len(requests) - len(left))
            time.sleep(0.1)
