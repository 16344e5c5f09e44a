"""How the command line speaks: data on standard output, words on standard error, one exit code per kind of ending."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from consumers.maps import MapError
from orchestrator.cli.installation import NotRunning
from orchestrator.domain.calendar import moment
from orchestrator.settings import SettingsError
from schemas.identifiers import BadIdentifier
from schemas.transport import BusError

WIDE = 160
"""Columns where the output is no terminal: a pipe folds nothing."""

out = Console(width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, width=None if sys.stderr.isatty() else WIDE)


IDS = frozenset({"request", "id", "for example"})
"""Columns that are copied and pasted, and so never folded."""


class Exit(IntEnum):
    """Exit codes; documented in ``docs/cli.md``."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    NOT_FOUND = 4


def fail(text: str, code: Exit = Exit.FAILED) -> NoReturn:
    """Say what is wrong and what to do, and leave."""
    err.print(f"[red]oblio:[/red] {text}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def told() -> Iterator[None]:
    """Turn the errors that a person can do something about into a sentence and an exit code."""
    try:
        yield
    except NotRunning as error:
        fail(str(error))
    except (SettingsError, MapError, BadIdentifier) as error:
        fail(str(error), Exit.USAGE)
    except ValueError as error:
        fail(str(error))
    except BusError:
        fail("the log does not answer; see whether `oblio dev` still runs")
    except SQLAlchemyError as error:
        code = getattr(getattr(error, "orig", None), "pgcode", None)
        fail(f"the database does not answer as it should (SQLSTATE {code or 'none'}); see the log of `oblio dev`")


def print_json(value: Any) -> None:
    """One JSON document, indented, for machines and for eyes."""
    raw = msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2)
    sys.stdout.write(raw.decode() + "\n")


def print_json_line(value: Any) -> None:
    """One JSON document on one line, at once: for streams of them."""
    sys.stdout.write(msgspec.json.encode(value, enc_hook=_plain).decode() + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    raise NotImplementedError(type(value).__name__)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table; a column whose name ends in ``#`` holds numbers and is set to the right."""
    made = Table(title=title, title_justify="left", header_style="bold", show_lines=False)
    for column in columns:
        made.add_column(
            column.rstrip("#"),
            justify="right" if column.endswith("#") else "left",
            overflow="fold",
            no_wrap=column in IDS,
        )
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def when(millis: int | None) -> str:
    """A time for people, in UTC to the second."""
    return "" if millis is None else moment(millis).strftime("%Y-%m-%d %H:%M:%S")


def day(millis: int | None) -> str:
    """A date for people, in UTC."""
    return "" if millis is None else moment(millis).strftime("%Y-%m-%d")


def ago(millis: int) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0, int(datetime.now(UTC).timestamp() - millis / 1000))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
