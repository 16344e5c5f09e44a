"""Logs: one form for our own lines and for those of the libraries, and no identifier in any of them.

Lines go to stderr, as JSON in services and as readable text at a terminal. Whatever is logged, through structlog or the
standard library, passes `refuse_identifiers` last: values that look like an e-mail address, a telephone number, a
database driver's text or a person's prose are withheld. That is a net under the rule, not the rule, which is: log ids,
codes, counts and times.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, TextIO
from uuid import UUID

import structlog
from structlog.stdlib import ProcessorFormatter

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

WITHHELD: Final = "[withheld]"

LONGEST_VALUE: Final = (200, 16)
"""Characters and words of a value; more is prose."""
LONGEST_EVENT: Final = (500, 60)
"""The same for the line itself, which libraries fill with their own sentences."""
DEEPEST: Final = 6
MOST_FRAMES: Final = 20
MOST_CAUSES: Final = 5

_LOOKS: Final = {
    # Percent-encoded, too: addresses travel in URLs.
    "an e-mail address": re.compile(r"[^\s@<>()\"',;:=/]+(?:@|%40)[\w-]+(?:\.[\w-]+)+", re.IGNORECASE),
    "a telephone number": re.compile(r"(?<![\w+])\+[1-9](?:[ ().\-]{0,2}\d){6,14}(?!\d)"),
    # PostgreSQL quotes the row in an error's DETAIL, SQLAlchemy the statement and its parameters.
    "a database driver's text": re.compile(r"DETAIL:|\[SQL:|\[parameters:"),
}

QUIET: Final = {
    "sqlalchemy.engine": logging.WARNING,  # below, it logs every parameter of every statement
    "sqlalchemy.pool": logging.WARNING,
    "aiokafka": logging.INFO,  # below, these three log the records themselves
    "faust": logging.INFO,
    "kafka": logging.INFO,
}


class IdentifierLoggedError(ValueError):
    """A log line holds what may be personal data; raised in tests, where it is a bug to mend."""


def configure(
    json: bool | None = None,
    level: str = "info",
    *,
    strict: bool = False,
    stream: TextIO | None = None,
) -> None:
    """Set up logging for this process; a second call replaces the first.

    Args:
        json: one JSON object a line; by default wherever stderr is not a terminal.
        level: the least level that is written: debug, info, warning, error or critical.
        strict: raise `IdentifierLoggedError` instead of withholding (tests).
        stream: where to write; stderr by default.

    Raises:
        ValueError: there is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"no log level {level!r}: choose debug, info, warning, error or critical")
    target = stream or sys.stderr
    as_json = not target.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = _Handler(stream, strict=strict)
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=shared, processors=_ending(as_json, strict, target)))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(number, least))
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=not strict,  # tests configure more than once
    )


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Turn `exc_info` into data: types, SQLSTATE and places, without local variables and without foreign texts.

    An exception's text is kept only for our own exceptions, which never quote data. That of a driver quotes rows.
    """
    event.pop("stack_info", None)
    error = _exception_of(event.pop("exc_info", None))
    if error is not None:
        event["exception"] = [_describe(each) for each in _chain(error)]
    return event


class Refusal:
    """The processor `refuse_identifiers`: withholds, or raises when strict."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Give the event with everything suspect replaced, and `withheld: true` when anything was."""
        found: list[str] = []
        clean = {self._key(key, found): self._value(key, value, found, 0) for key, value in event.items()}
        if found and self.strict:
            raise IdentifierLoggedError(f"a log line must not hold {found[0]}: log ids, codes, counts and times")
        if found:
            clean["withheld"] = True
        return clean

    def _key(self, key: object, found: list[str]) -> str:
        return str(self._text(str(key), LONGEST_VALUE, "a key", found))

    def _value(self, key: object, value: object, found: list[str], depth: int) -> object:
        if value is None or (isinstance(value, bool | int | float) and not isinstance(value, Enum)):
            return value
        if isinstance(value, Enum):
            return self._value(key, value.value, found, depth)
        if isinstance(value, str):
            return self._text(value, LONGEST_EVENT if key == "event" and depth == 0 else LONGEST_VALUE, key, found)
        if isinstance(value, datetime | date | time | timedelta | UUID | Decimal | PurePath):
            return self._text(str(value), LONGEST_VALUE, key, found)
        if depth < DEEPEST and isinstance(value, Mapping):
            return {self._key(k, found): self._value(k, v, found, depth + 1) for k, v in value.items()}
        if depth < DEEPEST and isinstance(value, list | tuple | set | frozenset):
            return [self._value(key, each, found, depth + 1) for each in value]
        return f"<{type(value).__name__}>"  # its repr may say anything

    def _text(self, text: str, longest: tuple[int, int], key: object, found: list[str]) -> str:
        characters, words = longest
        kind = next((kind for kind, look in _LOOKS.items() if look.search(text)), None)
        if kind is None and (len(text) > characters or len(text.split()) > words):
            kind = "long free text"
        if kind is None:
            return text
        # The key is quoted only when it is a name that a programmer wrote.
        found.append(f"{kind} (in `{key}`)" if isinstance(key, str) and key.isidentifier() else kind)
        return WITHHELD


refuse_identifiers: Final = Refusal()
"""The processor as services use it."""


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second `configure` finds it; in tests an error in a line is an error of the caller."""

    def __init__(self, stream: TextIO | None, *, strict: bool) -> None:
        super().__init__(stream)
        self.follows_stderr = stream is None
        self.strict = strict

    def emit(self, record: logging.LogRecord) -> None:
        """Write to stderr as it is now: tests and progress displays put another in its place."""
        if self.follows_stderr:
            self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Raise in tests; else say that a line was lost, not what it said, as the standard library would."""
        if self.strict:
            raise  # noqa: PLE0704 - called while the error is being handled
        with suppress(OSError, ValueError):  # the stream itself may be what failed
            self.stream.write(f"log line of {record.name} lost: {type(sys.exc_info()[1]).__name__}\n")


def _ending(as_json: bool, strict: bool, target: TextIO) -> list[Processor]:
    last: list[Processor] = [
        ProcessorFormatter.remove_processors_meta,
        describe_exception,
        Refusal(strict=True) if strict else refuse_identifiers,
    ]
    if as_json:
        return [*last, structlog.processors.JSONRenderer()]
    return [*last, _exception_as_text, structlog.dev.ConsoleRenderer(colors=target.isatty())]


def _exception_as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    described = event.pop("exception", None)
    if isinstance(described, list):
        lines = []
        for each in described:
            lines += [f"  {frame['file']}:{frame['line']} in {frame['function']}" for frame in each["frames"]]
            lines.append(": ".join(str(each[part]) for part in ("type", "sqlstate", "text") if part in each))
        event["exception"] = "\n".join(lines)
    return event


def _exception_of(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) == 3 and isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _chain(error: BaseException) -> list[BaseException]:
    """Give the exception and what it came from, the first cause first."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain and len(chain) < MOST_CAUSES:
        chain.append(step)
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return chain[::-1]


def _describe(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    described: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
    driver_error = getattr(error, "orig", error)  # SQLAlchemy wraps the driver's
    if sqlstate := getattr(driver_error, "pgcode", None):
        described["sqlstate"] = sqlstate
    if kind.__module__.split(".")[0] in {"orchestrator", "consumers", "schemas"}:
        described["text"] = str(error)
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    described["frames"] = [{"file": f.filename, "line": f.lineno, "function": f.name} for f in frames]
    return described
