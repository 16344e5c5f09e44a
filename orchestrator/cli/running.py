"""Commands that run things, stop them, and mend them: demo, dev, stop, resume, rebuild."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from orchestrator.cli.actors import acting
from orchestrator.cli.installation import Connected, Installation
from orchestrator.cli.options import JSON, PATIENCE_S, As, Reason
from orchestrator.cli.output import err, fail, out, print_json, table, told
from schemas.codes import ReasonCode, Role
from schemas.events import INSTALLATION
from schemas.garbage import collect_less


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (demo, dev, stop, resume, rebuild):
        app.command()(command)


def demo(
    subjects: Annotated[int, typer.Option(help="How many people to fill the stores with.", min=50, max=20_000)] = 2_000,
    keep: Annotated[Path | None, typer.Option(help="Keep the demo's installation in this new folder.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 1,
    json: JSON = False,
) -> None:
    """Erase real subjects from five real stores, and show it: the quickest way to see what this is."""
    from orchestrator.cli.demo import run  # noqa: PLC0415  samples are needed here only

    with told():
        raise typer.Exit(run(subjects=subjects, seed=seed, keep=keep, json=json))


def dev(
    context: typer.Context,
    subjects: Annotated[int, typer.Option(help="Sample people put into new stores.", min=0, max=20_000)] = 200,
) -> None:
    """Run the embedded system in this folder and keep it running (Ctrl-C stops it)."""
    from consumers.samples.seed import seed  # noqa: PLC0415
    from orchestrator.embedded import System  # noqa: PLC0415

    installation: Installation = context.obj
    fresh = not installation.postgres_folder.exists()
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with told(), System(installation) as system:
        if fresh and subjects:
            world = seed(system.stores, subjects=subjects)
            someone = world.subjects[0]
            hint = f"oblio erase --tenant {someone.tenant} --email {someone.email} --dry-run"
        else:
            hint = "oblio status"
        system.work()
        collect_less()
        err.print(
            f"[green]running[/green] in {installation.home} (Ctrl-C stops it). In another terminal:", highlight=False
        )
        err.print(f"  {hint}", highlight=False)
        done.wait()
        err.print("stopping…")


def stop(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's work.")] = None,
    product: Annotated[str | None, typer.Option(help="Only this product's work.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All work of all tenants and products.")] = False,
    reason: Reason = ReasonCode.INCIDENT,
    role: As = Role.SRE,
    json: JSON = False,
) -> None:
    """Stop everything destructive at once, until `oblio resume`. Survives restarts."""
    if (tenant is not None or product is not None) == everything:
        fail("say what to stop: --all, or --tenant and/or --product")
    _brake(context.obj, tenant, product, reason, role, stopped=True, json=json)


def resume(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="The tenant that was stopped.")] = None,
    product: Annotated[str | None, typer.Option(help="The product that was stopped.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="What was stopped with --all.")] = False,
    reason: Reason = ReasonCode.INCIDENT_OVER,
    role: As = Role.SRE,
    json: JSON = False,
) -> None:
    """Let what was stopped go on. Each stop is lifted by a resume of the same scope."""
    if (tenant is not None or product is not None) == everything:
        fail("say what to resume: --all, or --tenant and/or --product, as it was stopped")
    _brake(context.obj, tenant, product, reason, role, stopped=False, json=json)


def _brake(
    installation: Installation,
    tenant: str | None,
    product: str | None,
    reason: ReasonCode,
    role: Role,
    *,
    stopped: bool,
    json: bool,
) -> None:
    with told(), installation.connected() as system:
        if tenant is not None and tenant not in installation.settings.tenants:
            fail("no such tenant; oblio.toml names them")
        if product is not None and product not in installation.products:
            fail("no such product; `oblio products list` names them")
        is_set = any((b.tenant, b.product) == (tenant, product) for b in system.queries.brakes())
        if is_set is stopped:
            fail("that is so already; `oblio status` shows what is stopped")
        before = _last(system)
        actor = acting(installation.keys, role)
        system.client.brake(stopped=stopped, actor=actor, reason=reason, tenant=tenant, product=product)
        until = time.monotonic() + PATIENCE_S
        while _last(system) == before and time.monotonic() < until:
            time.sleep(0.02)
        taken = _last(system) != before
        brakes = system.queries.brakes()
    if json:
        print_json({"taken": taken, "brakes": brakes})
    elif taken:
        out.print("stopped" if stopped else "resumed")
    if not taken:
        fail("it is on the log, but was not taken up in time; see whether `oblio dev` still runs")


def _last(system: Connected) -> int:
    found = system.queries.history(INSTALLATION, limit=100_000)
    return found[-1].n if found else 0


def rebuild(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Only say what differs.")] = False,
    json: JSON = False,
) -> None:
    """Fold the derived tables anew from the events, beside the running system, and swap them in."""
    from orchestrator.store.comparison import compare  # noqa: PLC0415
    from orchestrator.store.rebuild import rebuild as fold_anew  # noqa: PLC0415

    with told(), context.obj.connected() as system:
        if check:
            differences = list(compare(system.store))
            if json:
                print_json(differences)
            else:
                rows = [(difference.table, difference.key, difference.kind) for difference in differences]
                out.print(table("Differences", ("table", "key", "kind"), rows) if rows else "no difference")
            raise typer.Exit(1 if differences else 0)
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task("streams folded", total=None)
            report = fold_anew(system.store, lambda done: progress.update(task, completed=done))
    if json:
        print_json(report)
    else:
        out.print(
            f"{report.events} events of {report.streams} streams folded; the tables are swapped in", highlight=False
        )
