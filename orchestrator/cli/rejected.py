"""`oblio rejected …`: messages that could not be taken. Rejected is not forgotten: a person's month may be running."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import JSON
from orchestrator.cli.output import Exit, fail, out, print_json, table, told, when
from orchestrator.engine import clock
from orchestrator.quarantine import open_record
from schemas.codes import RejectionCode
from schemas.rejections import ADVICE
from schemas.sealing import Undecryptable
from schemas.transport import Message

app = typer.Typer(help="Messages that were refused, and what to do about them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Id of the rejection.", show_default=False)]


@app.command("list")
def list_(
    context: typer.Context,
    code: Annotated[RejectionCode | None, typer.Option(help="Only of this code.")] = None,
    limit: Annotated[int, typer.Option(help="How many to list.", min=1, max=1000)] = 50,
    after: Annotated[str | None, typer.Option(help="Go on after this cursor, which the page before gave.")] = None,
    json: JSON = False,
) -> None:
    """List refused messages, newest first. Their content stays sealed."""
    with told(), context.obj.connected() as system:
        lines = system.queries.rejected(code=code, limit=limit, after=after)
    following = lines[-1].id if len(lines) == limit else None
    if json:
        print_json({"rejected": lines, "next": following})
        return
    rows = [
        (
            line.id,
            when(line.at),
            line.code,
            line.field,
            line.producer,
            f"{line.position.topic}/{line.position.partition}/{line.position.offset}",
            "resubmitted" if line.resubmitted_at else "",
        )
        for line in lines
    ]
    out.print(table("Rejected", ("id", "at (UTC)", "code", "field", "producer", "position", ""), rows))
    if following:
        out.print(f"more: --after {following}", style="dim")
    if rows:
        out.print("what to do about one: oblio rejected show ID", style="dim")


@app.command()
def show(
    context: typer.Context,
    rejection: Id,
    payload: Annotated[
        bool, typer.Option("--payload", help="Unseal the message itself: it may hold personal data.")
    ] = False,
    json: JSON = False,
) -> None:
    """Say why a message was refused and what to do about it."""
    with told(), context.obj.connected() as system:
        found = system.queries.rejected_record(rejection)
        if found is None:
            fail(
                "no such rejection, or its thirty days are over; `oblio rejected list` shows what is there",
                Exit.NOT_FOUND,
            )
        line = found.line
        shown = {"rejection": line, "advice": ADVICE[line.code]}
        if payload:
            try:
                kept = open_record(context.obj.keys, found)
            except (KeyError, Undecryptable):
                fail("the key of that time is destroyed: nobody can read the message any more")
            shown |= {"key": kept.key.decode(errors="replace"), "value": kept.value.decode(errors="replace")}
            shown |= {"headers": {name: raw.decode(errors="replace") for name, raw in kept.headers}}
    if json:
        print_json(shown)
        return
    out.print(
        f"[bold]{line.code.value}[/bold] ({line.rejection_class.value})" + (f" at {line.field}" if line.field else "")
    )
    out.print(
        f"read {when(line.at)} UTC from {line.position.topic}, partition {line.position.partition}, offset {line.position.offset}"
    )
    out.print(ADVICE[line.code])
    if payload:
        out.print(shown["value"], markup=False, highlight=False)


@app.command()
def resubmit(context: typer.Context, rejection: Id, json: JSON = False) -> None:
    """Put a refused message on its topic again, byte for byte, once its cause is mended."""
    with told(), context.obj.connected() as system:
        found = system.queries.rejected_record(rejection)
        if found is None:
            fail("no such rejection; `oblio rejected list` shows what is there", Exit.NOT_FOUND)
        try:
            kept = open_record(context.obj.keys, found)
        except (KeyError, Undecryptable):
            fail("the key of that time is destroyed: nobody can read the message any more")
        message = Message(found.line.position.topic, kept.key, kept.value, kept.headers)
        (position,) = system.bus.publish([message])
        system.queries.resubmitted(rejection, clock())
    if json:
        print_json({"rejection": rejection, "position": position})
    else:
        out.print(f"published again as {position.topic}/{position.partition}/{position.offset}", highlight=False)
