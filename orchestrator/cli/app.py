"""The commands, put together."""

from __future__ import annotations

from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import erasing, looking, operating, products, rejected, running
from orchestrator.cli.installation import HOME_VARIABLE, Installation, default_home
from schemas import logs

app = typer.Typer(
    name="oblio",
    help="Erase a person's data from every product, and know that it was done.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"oblio {version_of('oblio')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(help="Folder of the installation.", envvar=HOME_VARIABLE, show_default=".oblio"),
    ] = None,
    log_level: Annotated[
        str, typer.Option(help="Least severe log line shown: debug, info, warning, error, critical.")
    ] = "error",
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and leave.")
    ] = False,
) -> None:
    """Erase a person's data from every product, and know that it was done."""
    logs.configure(level=log_level)
    context.obj = Installation(home or default_home())


for module in (running, erasing, looking, operating):
    module.add_to(app)
app.add_typer(products.app, name="products")
app.add_typer(rejected.app, name="rejected")
products.add_to(app)
