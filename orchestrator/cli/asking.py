"""Commands that ask for something: erase, cancel, restore, hold, release, replay, waive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.cli import previews
from orchestrator.cli.actors import acting
from orchestrator.cli.installation import Connected, Installation
from orchestrator.cli.output import Exit, err, fail, out, print_json, table, told
from orchestrator.cli.wishes import BadLine, Defaults, identifier, read_file, records
from orchestrator.client import Submitted, Wish, new_hold_id
from orchestrator.domain.commands import NotPossible, Operate
from orchestrator.domain.decide import decide
from orchestrator.domain.state import State
from orchestrator.engine import clock
from schemas import messages as m
from schemas.codes import Ground, HoldCode, Mode, ReasonCode, RejectionCode, Right, Role
from schemas.identifiers import IdentifierKind
from schemas.rejections import ADVICE

PATIENCE_S = 15.0
"""How long a command waits to hear what became of what it published, in seconds."""

CHUNK = 500
"""Requests per publication of a file."""

JSON = Annotated[bool, typer.Option("--json", help="Answer as one JSON document.")]
Reason = Annotated[ReasonCode, typer.Option(help="Why; stands in the history.")]
As = Annotated[Role, typer.Option("--as", help="Role in which you act.")]
RequestArgument = Annotated[str, typer.Argument(help="Id of the request.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (erase, cancel, restore, hold, release, replay, waive):
        app.command()(command)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one published request: an id, or a rejection."""

    request: str | None
    rejected: RejectionCode | None = None


# --- erase ---------------------------------------------------------------------------------------------------------


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
    event_id: Annotated[
        str | None, typer.Option(help="Makes a repeat harmless: same id, same content, same request.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be touched, and touch nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the requests have ended.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a file is sent.")] = False,
    json: JSON = False,
) -> None:
    """Ask for a subject, or for single records, to be erased.

    One subject by its identifiers, named records of one product, or a whole file of subjects. In a file, bad lines
    are reported by number and the good ones are sent.
    """
    installation: Installation = context.obj
    defaults = Defaults(tenant, mode, right, ground)
    with told():
        if file is not None:
            _erase_file(installation, file, defaults, dry_run=dry_run, wait=wait, yes=yes, json=json)
            return
        identifiers = _identifiers(email, phone, user_id, identify)
        wish = _wish(defaults, identifiers, record, case, event_id)
        with installation.connected() as system:
            if dry_run:
                previews.show(installation, [wish], json=json)
                return
            outcomes = _send(system, [wish])
            _report(system, [wish], outcomes, wait=wait, json=json)


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
    installation: Installation, file: Path, defaults: Defaults, *, dry_run: bool, wait: bool, yes: bool, json: bool
) -> None:
    items = [item for _, item in read_file(file, defaults)]
    wishes = [item for item in items if isinstance(item, Wish)]
    bad = [item for item in items if isinstance(item, BadLine)]
    for line in bad:
        err.print(f"line {line.number}: {line.reason}", highlight=False)
    with installation.connected() as system:
        if dry_run:
            previews.show(installation, wishes, json=json)
            raise typer.Exit(Exit.PARTIAL if bad else Exit.OK)
        if wishes and not yes and not typer.confirm(f"Erase {len(wishes)} subjects ({defaults.mode.value})?", err=True):
            fail("nothing was sent")
        outcomes = _send_all(system, wishes)
        _report(system, wishes, outcomes, wait=wait, json=json, bad=bad)
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
    """Publish, and wait until each was accepted or refused."""
    submitted = system.client.erase(wishes)
    found: dict[bytes, Outcome] = {}
    until = time.monotonic() + PATIENCE_S
    while True:
        open_ = [one for one in submitted if one.key not in found]
        for key, request in system.queries.requests_of([one.key for one in open_]).items():
            found[key] = Outcome(request)
        found |= _refused(system, [one for one in open_ if one.key not in found])
        if len(found) == len({one.key for one in submitted}) or time.monotonic() > until:
            return [found.get(one.key, Outcome(None)) for one in submitted]
        time.sleep(0.05)


def _refused(system: Connected, submitted: Iterable[Submitted]) -> dict[bytes, Outcome]:
    by_position = {one.position: one.key for one in submitted}
    if not by_position:
        return {}
    lines = system.queries.rejected_at(list(by_position))
    return {by_position[line.position]: Outcome(None, line.code) for line in lines}


def _report(
    system: Connected,
    wishes: Sequence[Wish],
    outcomes: Sequence[Outcome],
    *,
    wait: bool,
    json: bool,
    bad: Sequence[BadLine] = (),
) -> None:
    requests = [outcome.request for outcome in outcomes if outcome.request is not None]
    if wait:
        _wait_for_ends(system, requests)
    ends = {request: view.state for request in requests[:1000] if (view := system.queries.request(request))}
    if json:
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
        _tell(wishes, outcomes, ends)
    if len(wishes) == 1 and outcomes[0].request is None:
        raise typer.Exit(Exit.FAILED)


def _tell(wishes: Sequence[Wish], outcomes: Sequence[Outcome], ends: Mapping[str, State]) -> None:
    accepted = [outcome.request for outcome in outcomes if outcome.request is not None]
    if len(wishes) == 1 and accepted:
        out.print(f"accepted as [bold]{accepted[0]}[/bold]", highlight=False)
        state = ends.get(accepted[0])
        end = getattr(state, "end", None)
        out.print(f"ended: {end.value}" if end else f"follow it with: oblio watch {accepted[0]}", highlight=False)
        return
    if len(wishes) > 1:
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


# --- operations ----------------------------------------------------------------------------------------------------


def cancel(
    context: typer.Context,
    request: RequestArgument,
    reason: Reason = ReasonCode.OPERATOR_ERROR,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="The subject took the request back.")] = False,
    role: As = Role.PLATFORM,
    json: JSON = False,
) -> None:
    """Cancel a request before its first purge; what is in the trash comes back."""
    _operate(
        context,
        request,
        role,
        json,
        lambda who, tenant: m.CancelOperation(
            tenant=tenant, request=request, actor=who, role=role, reason=reason, withdrawn=withdrawn
        ),
    )


def restore(
    context: typer.Context,
    request: RequestArgument,
    reason: Reason = ReasonCode.SUBJECT_ASKED,
    role: As = Role.PLATFORM,
    json: JSON = False,
) -> None:
    """Bring back what a request has put into the trash."""
    _operate(
        context,
        request,
        role,
        json,
        lambda who, tenant: m.RestoreOperation(tenant=tenant, request=request, actor=who, role=role, reason=reason),
    )


def hold(
    context: typer.Context,
    request: RequestArgument,
    code: Annotated[HoldCode, typer.Option(help="Ground of the hold.")] = HoldCode.LEGAL_CLAIM,
    product: Annotated[str | None, typer.Option(help="Hold this product alone.")] = None,
    review_in: Annotated[int, typer.Option(help="Days until the hold is to be reviewed.", min=1, max=3650)] = 90,
    role: As = Role.COMPLIANCE,
    json: JSON = False,
) -> None:
    """Stop a request on legal ground until the hold is released."""
    review_on = (date.today() + timedelta(days=review_in)).isoformat()  # noqa: DTZ011  a date on the operator's calendar
    _operate(
        context,
        request,
        role,
        json,
        lambda who, tenant: m.HoldOperation(
            tenant=tenant,
            request=request,
            actor=who,
            role=role,
            hold=new_hold_id(),
            code=code,
            review_on=review_on,
            product=product,
        ),
    )


def release(
    context: typer.Context,
    request: RequestArgument,
    hold: Annotated[str | None, typer.Option(help="Which hold, if the request has several.")] = None,
    reason: Reason = ReasonCode.COUNSEL_ASKED,
    role: As = Role.COMPLIANCE,
    json: JSON = False,
) -> None:
    """Release a hold, so that the request goes on."""
    with told(), context.obj.connected() as system:
        view = system.queries.request(request)
        holds = [placed.hold for placed in view.state.holds] if view else []
    if hold is None and len(holds) != 1:
        fail(f"the request has {len(holds)} holds" + (f"; name one with --hold: {', '.join(holds)}" if holds else ""))
    chosen = hold or holds[0]
    _operate(
        context,
        request,
        role,
        json,
        lambda who, tenant: m.ReleaseOperation(
            tenant=tenant, request=request, actor=who, role=role, hold=chosen, reason=reason
        ),
    )


def replay(
    context: typer.Context,
    request: RequestArgument,
    product: Annotated[str, typer.Option(help="Whose step is to be tried again.")],
    reason: Reason = ReasonCode.CAUSE_MENDED,
    force: Annotated[bool, typer.Option("--force", help="Run it anew even where a receipt exists.")] = False,
    ceiling: Annotated[int | None, typer.Option(help="Allow this many rows, for this step alone.", min=1)] = None,
    role: As = Role.SRE,
    json: JSON = False,
) -> None:
    """Try a parked or failing step again; what has worked is not done twice."""
    _operate(
        context,
        request,
        role,
        json,
        lambda who, tenant: m.ReplayOperation(
            tenant=tenant,
            request=request,
            actor=who,
            role=role,
            product=product,
            reason=reason,
            force=force,
            ceiling=ceiling,
        ),
    )


def waive(
    context: typer.Context,
    request: RequestArgument,
    product: Annotated[str, typer.Option(help="Whose step is given up.")],
    reason: Reason,
    role: As = Role.COMPLIANCE,
    json: JSON = False,
) -> None:
    """Do without a product's step; the request will never be called complete without saying so."""
    _operate(
        context,
        request,
        role,
        json,
        lambda who, tenant: m.WaiveOperation(
            tenant=tenant, request=request, actor=who, role=role, product=product, reason=reason
        ),
    )


def _operate(
    context: typer.Context, request: str, role: Role, json: bool, make: Callable[[str, str], m.AnyOperation]
) -> None:
    """Check against the present state, publish, and wait until the history has moved on."""
    installation: Installation = context.obj
    with told(), installation.connected() as system:
        view = system.queries.request(request)
        if view is None:
            fail("no such request; `oblio status` lists them", Exit.NOT_FOUND)
        state = view.state
        operation: m.AnyOperation = make(acting(installation.keys, role).id, state.tenant)
        try:
            events = decide(state, Operate(operation), clock(), system.policy)
        except NotPossible as error:
            fail(error.advice)
        if not events:
            fail("that is so already; nothing was sent", Exit.OK)
        system.client.operate([operation])
        until = time.monotonic() + PATIENCE_S
        while not (history := system.queries.history(request, after=state.n)) and time.monotonic() < until:
            time.sleep(0.05)
        if not history:
            fail("it is on the log, but was not taken up in time; see whether `oblio dev` still runs")
        after = system.queries.request(request)
    if json:
        print_json(
            {
                "request": request,
                "stage": after.state.stage if after else None,
                "events": [type(recorded.event).__struct_config__.tag for recorded in history],
            }
        )
    else:
        previews.story(history)


__all__ = ["add_to", "table"]
