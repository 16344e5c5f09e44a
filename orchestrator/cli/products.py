"""`oblio products …` and `oblio probe`: what is registered, whether maps fit their stores, and what is still there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.installation import Installation, map_file
from orchestrator.cli.options import JSON
from orchestrator.cli.output import Exit, fail, out, print_json, table, told
from orchestrator.cli.wishes import identifier
from schemas.identifiers import IdentifierKind

app = typer.Typer(help="The registered products and their data maps.", no_args_is_help=True)


def add_to(main: typer.Typer) -> None:
    """Add `probe` to the main commands."""
    main.command()(probe)


@app.command("list")
def list_(context: typer.Context, json: JSON = False) -> None:
    """List the products with their waves, identifiers and trash."""
    with told():
        installation: Installation = context.obj
        entries = list(installation.products.values())
    if json:
        print_json(entries)
        return
    rows = [
        (entry.wave, entry.name, ", ".join(entry.kinds), entry.trash, entry.backup_days, entry.map[:12] + "…")
        for entry in sorted(entries, key=lambda entry: (entry.wave, entry.name))
    ]
    names = ("wave#", "product", "found by", "trash", "backups (days)#", "map digest")
    out.print(table("Registered products", names, rows))


@app.command("check")
def check_(
    context: typer.Context,
    product: Annotated[
        list[str] | None, typer.Argument(help="Which products; without any, all.", show_default=False)
    ] = None,
    map_: Annotated[
        Path | None, typer.Option("--map", help="Another map file, for the one product named.", exists=True)
    ] = None,
    json: JSON = False,
) -> None:
    """Hold data maps against the live stores: what is missing, what looks personal, what would be slow."""
    from orchestrator.cli.inspection import ERROR, findings_of  # noqa: PLC0415  the products' code is needed here only

    with told():
        installation: Installation = context.obj
        names = product or list(installation.products)
        unknown = set(names) - set(installation.products)
        if unknown:
            fail("no such product; `oblio products list` names them", Exit.NOT_FOUND)
        if map_ is not None and len(names) != 1:
            fail("--map goes with the one product it is for", Exit.USAGE)
        findings = {name: findings_of(installation, name, map_ or map_file(name)) for name in names}
    wrong = any(finding.level is ERROR for found in findings.values() for finding in found)
    if json:
        print_json(findings)
    else:
        for name, found in findings.items():
            if not found:
                out.print(f"[green]{name}[/green]: the map fits its stores")
            for finding in found:
                colour = "red" if finding.level is ERROR else "yellow"
                out.print(f"[{colour}]{finding.level.value}[/{colour}] {finding}", highlight=False, soft_wrap=True)
    raise typer.Exit(Exit.FAILED if wrong else Exit.OK)


def probe(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="Tenant whose data it would be.")],
    email: Annotated[list[str] | None, typer.Option(help="E-mail address; may be repeated.")] = None,
    phone: Annotated[list[str] | None, typer.Option(help="Phone number with country code; may be repeated.")] = None,
    user_id: Annotated[list[str] | None, typer.Option(help="User id; may be repeated.")] = None,
    json: JSON = False,
) -> None:
    """Look now, in every product, for what is still there under these identifiers. Changes nothing.

    Exit code 1 if anything is there that a data map would erase.
    """
    from orchestrator.cli.inspection import look  # noqa: PLC0415

    with told():
        identifiers = [
            *(identifier(IdentifierKind.EMAIL, text) for text in email or ()),
            *(identifier(IdentifierKind.PHONE, text) for text in phone or ()),
            *(identifier(IdentifierKind.USER_ID, text) for text in user_id or ()),
        ]
        if not identifiers:
            fail("name the person: --email, --phone or --user-id", Exit.USAGE)
        found = look(context.obj, tenant, identifiers)
    left = sum(counts.skipped for datasets in found.values() for counts in datasets.values())
    if json:
        print_json({"left": left, "products": found})
    else:
        rows = [
            (product, dataset, counts.skipped or "", counts.retained or "")
            for product, datasets in found.items()
            for dataset, counts in datasets.items()
            if counts.found
        ]
        out.print(table("Found now", ("product", "dataset", "would be erased#", "retained by law#"), rows))
        out.print("Nothing is left." if not left else f"{left} records are there that an erasure would reach.")
    raise typer.Exit(Exit.FAILED if left else Exit.OK)
