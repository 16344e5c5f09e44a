"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from schemas.codes import ReasonCode, Role

PATIENCE_S = 15.0
"""How long a command waits to hear what became of what it published, in seconds."""

JSON = Annotated[bool, typer.Option("--json", help="Answer as one JSON document.")]
Reason = Annotated[ReasonCode, typer.Option(help="Why; stands in the history.")]
As = Annotated[Role, typer.Option("--as", help="Role in which you act.")]
RequestArgument = Annotated[str, typer.Argument(help="Id of the request.", show_default=False)]
