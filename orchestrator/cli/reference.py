"""Writes ``docs/cli.md`` from the commands themselves: `python -m orchestrator.cli.reference [--check]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli.app import app

TARGET = Path(__file__).resolve().parents[2] / "docs" / "cli.md"

HEAD = """\
# The command line

Written by `python -m orchestrator.cli.reference` from the commands themselves.

Data goes to standard output, words to standard error. What lists or shows takes `--json`. `NO_COLOR` is obeyed.
The installation is the folder `.oblio`, or `--home`, or `OBLIO_HOME`; `OBLIO_ACTOR` names who acts, where a service does.

| exit code | means |
|---|---|
| 0 | done |
| 1 | refused, failed, or something was found that should not be there; the text says what to do |
| 2 | the command was not understood |
| 3 | some of many were refused or could not be read; the others were taken |
| 4 | there is nothing of that id |
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, in the order of the help."""
    group: Any = typer.main.get_command(app)  # Typer brings its own copy of click: there is no public type to name
    for name, command in sorted(group.commands.items()):
        if inner := getattr(command, "commands", None):
            yield from ((f"{name} {sub}", found) for sub, found in sorted(inner.items()))
        else:
            yield name, command


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(_section(name, command) for name, command in commands())


def _section(name: str, command: Any) -> str:
    parts = [f"\n## oblio {name}\n\n{(command.help or '').strip()}\n"]
    rows = [row for parameter in command.params if (row := _row(parameter)) is not None]
    if rows:
        parts.append("\n| parameter | what it is |\n|---|---|\n" + "".join(rows))
    return "".join(parts)


def _row(parameter: Any) -> str | None:
    if "--help" in parameter.opts:
        return None
    text = (getattr(parameter, "help", None) or "").replace("|", "\\|")
    if parameter.param_type_name == "argument":
        name = parameter.name or ""
        shown = name.upper() if parameter.required else f"[{name.upper()}]"
    else:
        shown = ", ".join(parameter.opts)
    kind = getattr(parameter, "bare_type", None)
    if isinstance(kind, type) and issubclass(kind, Enum):
        choices = [str(member.value) for member in kind]
        if not all(choice in text for choice in choices):
            text += f" One of: {', '.join(choices)}."
    default = parameter.default
    if default not in (None, False, ()) and not callable(default) and parameter.name != "show_default":
        text += f" Default: {getattr(default, 'value', default)}."
    return f"| `{shown}` | {text.strip()} |\n"


def main() -> int:
    """Write the page, or with ``--check`` say whether it is in step."""
    wanted = reference()
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.exists() and TARGET.read_text() == wanted else 1
    TARGET.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
