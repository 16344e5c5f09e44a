"""Commands on one request: cancel, restore, hold, release, replay, waive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Annotated

import typer

from orchestrator.cli.actors import acting
from orchestrator.cli.installation import Installation
from orchestrator.cli.options import JSON, As, Reason, RequestArgument
from orchestrator.cli.output import Exit, fail, print_json, told
from orchestrator.cli.telling import story
from orchestrator.cli.waiting import wait_until_read
from orchestrator.client import new_hold_id
from orchestrator.domain.commands import NotPossible, Operate
from orchestrator.domain.decide import decide
from orchestrator.engine import clock
from schemas import messages as m
from schemas.codes import HoldCode, ReasonCode, Role


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (cancel, restore, hold, release, replay, waive):
        app.command()(command)


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
        positions = system.client.operate([operation])
        if not wait_until_read(system, positions):
            fail("it is on the log, but was not taken up in time; see whether `oblio dev` still runs")
        if system.queries.rejected_at(positions):
            fail("the request had moved on meanwhile, so it was not possible any more; see `oblio status`")
        history = system.queries.history(request, after=state.n)
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
        story(history)
