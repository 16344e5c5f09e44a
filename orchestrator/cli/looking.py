"""Commands that look: status, watch, history."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.cli.installation import Connected
from orchestrator.cli.options import JSON, RequestArgument
from orchestrator.cli.output import Exit, ago, day, fail, out, print_json, print_json_line, table, told, when
from orchestrator.cli.telling import story
from orchestrator.domain.state import Stage, State
from orchestrator.domain.story import story as told_of
from orchestrator.domain.view import summary
from orchestrator.engine import clock
from orchestrator.store.queries import Filters, RequestPage

REFRESH_S = 0.25

BEFORE_WORK = frozenset({Stage.BEHIND, Stage.RESOLVING, Stage.GRACE})
"""Nothing is being erased yet, so there is no share of it to show."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (status, watch, history):
        app.command()(command)


def status(
    context: typer.Context,
    request: Annotated[str | None, typer.Argument(help="One request; without it, all.", show_default=False)] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    stage: Annotated[Stage | None, typer.Option(help="Only requests in this stage.")] = None,
    product: Annotated[str | None, typer.Option(help="Only requests with an unfinished step of this product.")] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Only those that wait for a person.")] = False,
    held: Annotated[bool, typer.Option("--held", help="Only those on hold.")] = False,
    late: Annotated[bool, typer.Option("--late", help="Only those past their due date.")] = False,
    limit: Annotated[int, typer.Option(help="How many to list.", min=1, max=1000)] = 20,
    after: Annotated[str | None, typer.Option(help="Go on after this cursor, which the page before gave.")] = None,
    json: JSON = False,
) -> None:
    """Say how things stand: of one request, or of all; what fails is grouped by cause."""
    filters = Filters(tenant=tenant, stage=stage, product=product, parked=parked, held=held, late=late)
    with told(), context.obj.connected() as system:
        if request is not None:
            _one(system, request, json=json)
        else:
            _all(system, filters, limit, after, json=json)


def _one(system: Connected, request: str, *, json: bool) -> None:
    view = system.queries.request(request)
    if view is None:
        fail("no such request; `oblio status` lists them", Exit.NOT_FOUND)
    if json:
        now = clock()
        print_json({"summary": summary(view.state, now), "state": view.state, "identifiers_kept": view.vault})
    else:
        out.print(render(view.state))


def render(state: State) -> RenderableType:
    """One request, for people."""
    now = clock()
    short = summary(state, now)
    head = Text.assemble(
        ("request ", "dim"), state.id, ("  tenant ", "dim"), state.tenant, ("  mode ", "dim"), state.mode.value, "\n",
        ("status ", "dim"), (short.text, "bold"), ("  waits for ", "dim"), short.waits_for.value,
    )  # fmt: skip
    if short.until is not None and not state.ended:
        head.append(f" until {when(short.until)} UTC")
    head.append(f"\nreceived {when(state.received_at)}, accepted {when(state.accepted_at)}", "dim")
    head.append(f", due {day(state.due_at)}" if state.due_at else ", no legal due date", "dim")
    for hold in state.holds:
        head.append(f"\nheld: {hold.code.value} {hold.product or 'everything'} ({hold.hold})")
    rows = []
    for name, step in sorted(state.steps.items(), key=lambda item: (item[1].wave, item[0])):
        failure = step.failure
        detail = (
            "" if failure is None else " ".join(filter(None, (failure.code.value, failure.dataset, failure.column)))
        )
        if step.total:
            detail = f"{step.done} of {step.total} {detail}"
        if step.retained:
            detail = f"some retained by law {detail}"
        rows.append((step.wave, name, step.phase, step.status, step.attempt or "", detail))
    steps = table("", ("wave#", "product", "phase", "status", "attempt#", "detail"), rows)
    if not state.parked or state.ended:
        return Group(head, steps)
    advice = (
        "A step waits for a person: docs/runbook.md says what each cause wants.\n"
        f"Mended? oblio replay {state.id} --product NAME   To do without: oblio waive {state.id} --product NAME --reason …"
    )
    return Group(head, steps, Text(advice, "yellow"))


def _all(system: Connected, filters: Filters, limit: int, after: str | None, *, json: bool) -> None:
    now = clock()
    page = system.queries.requests(filters, now=now, limit=limit, after=after)
    failing = system.queries.failing(tenant=filters.tenant, product=filters.product)
    brakes = system.queries.brakes()
    stages = system.queries.stages()
    if json:
        print_json({"requests": page.lines, "next": page.next, "failing": failing, "brakes": brakes, "open": stages})
        return
    for brake in brakes:
        scope = " ".join(
            filter(None, (brake.tenant and f"tenant {brake.tenant}", brake.product and f"product {brake.product}"))
        )
        out.print(
            f"[bold red]stopped[/bold red] {scope or 'everything'}, {ago(brake.since)} ago; `oblio resume` lets it go on"
        )
    if stages:
        rows = [(line.tenant, line.stage, line.count, line.parked or "", line.held or "") for line in stages]
        out.print(table("Open requests", ("tenant", "stage", "requests#", "for a person#", "held#"), rows))
    if failing:
        causes = [
            (
                g.product,
                g.failure,
                g.dataset,
                g.phase,
                g.status,
                g.count,
                ago(g.last),
                g.samples[0] if g.samples else "",
            )
            for g in failing
        ]
        names = ("product", "cause", "dataset", "phase", "status", "steps#", "last", "for example")
        out.print(table("What fails, by cause", names, causes))
    out.print(_listed(page, now))


def _listed(page: RequestPage, now: int) -> RenderableType:
    rows = []
    for line in page.lines:
        done = sum(1 for step in line.steps.values() if step in ("succeeded", "waived"))
        standing = (
            line.end.value if line.end else "parked" if line.parked else "held" if line.held else line.stage.value
        )
        late = " (late)" if line.due_at and not line.end and line.due_at < now else ""
        rows.append(
            (
                line.id,
                line.tenant,
                line.mode,
                standing + late,
                f"{done}/{len(line.steps)}" if line.stage not in BEFORE_WORK else "",
                when(line.accepted_at),
                day(line.due_at),
            )
        )
    names = ("request", "tenant", "mode", "status", "steps#", "accepted (UTC)", "due")
    made = table("Requests, newest first", names, rows)
    if page.next:
        return Group(made, Text(f"more: --after {page.next}", "dim"))
    return made if rows else Text("No requests. Ask for one with: oblio erase --tenant NAME --email ADDRESS")


def watch(
    context: typer.Context,
    request: Annotated[
        str | None, typer.Argument(help="One request; without it, all open ones.", show_default=False)
    ] = None,
    json: JSON = False,
) -> None:
    """Look on live until the request has ended or waits for a person (Ctrl-C to leave earlier)."""
    with told(), context.obj.connected() as system:
        if request is not None and system.queries.request(request) is None:
            fail("no such request; `oblio status` lists them", Exit.NOT_FOUND)
        try:
            if json:
                _watch_lines(system, request)
            else:
                _watch_live(system, request)
        except KeyboardInterrupt:
            raise typer.Exit(Exit.OK) from None


def _watch_live(system: Connected, request: str | None) -> None:
    with Live(console=out, auto_refresh=False) as live:
        while True:
            if request is None:
                live.update(_listed(system.queries.requests(Filters(open=True), limit=30), clock()), refresh=True)
            else:
                view = system.queries.request(request)
                assert view is not None
                last = [
                    Text(told_of(recorded), "dim")
                    for recorded in system.queries.history(request, after=max(0, view.state.n - 5))
                ]
                live.update(Group(render(view.state), *last), refresh=True)
                if _rests(view.state):
                    return
            time.sleep(REFRESH_S)


def _watch_lines(system: Connected, request: str | None) -> None:
    """One JSON line per event of a request, or per change of the list."""
    seen = 0
    last: object = None
    while True:
        if request is None:
            page = system.queries.requests(Filters(open=True), limit=100)
            if page.lines != last:
                print_json_line({"requests": page.lines})
            last = page.lines
        else:
            for recorded in system.queries.history(request, after=seen):
                print_json_line(recorded)
                seen = recorded.n
            view = system.queries.request(request)
            if view is not None and _rests(view.state) and view.state.n == seen:
                return
        time.sleep(REFRESH_S)


def _rests(state: State) -> bool:
    return state.ended or (
        state.parked and not any(step.status in ("ready", "dispatched", "waiting") for step in state.steps.values())
    )


def history(context: typer.Context, request: RequestArgument, json: JSON = False) -> None:
    """Tell what happened in one request, event by event, in plain words."""
    with told(), context.obj.connected() as system:
        events = system.queries.history(request, limit=100_000)
        if not events:
            fail("no such request; `oblio status` lists them", Exit.NOT_FOUND)
        if json:
            print_json(events)
        else:
            story(events)
