"""What is asked of log files: whose lines, which fields, where."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

ERASED = "[erased]"
Normalise = Callable[[str, str], str]
"""``(kind, text) -> normal form``; raises ValueError where the text cannot be an identifier of that kind."""
Treatment = str | int | float | bool | None | Callable[[Any], Any]
"""What a value becomes: a fixed scalar, or a function of the value. That must be idempotent and return no list, since
paths pass through lists; where it raises ValueError or TypeError the value becomes null."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One person of the batch. ``ordinal`` is the caller's own number for them, unique in the batch."""

    ordinal: int
    tenant: str
    identifiers: Mapping[str, frozenset[str]] = field(repr=False)
    """Kind -> values."""
    cutoff_at: datetime
    """Reusable identifiers reach only lines created before this (aware)."""


@dataclass(frozen=True, slots=True)
class Scrub:
    """Free text out of which identifiers of ``kinds`` are taken, in anybody's lines of the tenant."""

    kinds: frozenset[str]
    replacement: str = ERASED


class LineAction(enum.Enum):
    """What becomes of a line that a field says is the subject's."""

    REDACT = "redact"
    DELETE = "delete"  # the line goes; in the active file, where no length may change, it becomes an empty object


@dataclass(frozen=True, slots=True)
class LineRule:
    """How to read the lines.

    Paths are keys joined by dots and pass through arrays (``participants.email`` is the field of every element).
    ``user.email`` is both the nested field and a flat key with a dot in it.
    """

    identifies: Mapping[str, tuple[str, ...]]
    """Kind -> paths that hold it. A line with an identifier of the subject there is the subject's."""
    tenant: str | None
    """Path of the tenant; ``None`` only where the store has a single tenant."""
    created: str
    """Path of the line's time: ISO 8601 (UTC, if it names no offset), or seconds to nanoseconds of the epoch."""
    reusable: frozenset[str] = frozenset()
    redacts: Mapping[str, Treatment] = field(default_factory=dict)
    """Path -> what its value becomes in the subject's lines. An object is replaced as a whole, an array by element."""
    scrubs: Mapping[str, Scrub] = field(default_factory=dict)
    action: LineAction = LineAction.REDACT
    scrub_unparsed: bool = False
    """Take identifiers out of lines that are no JSON, too. Neither their tenant nor their time is known: whoever else
    has had the same identifier loses the mention with the subject."""

    def paths(self) -> Iterator[str]:
        """All paths that the rule looks at."""
        for paths in self.identifies.values():
            yield from paths
        yield self.created
        if self.tenant is not None:
            yield self.tenant
        yield from self.redacts
        yield from self.scrubs


@dataclass(frozen=True, slots=True)
class LogSource:
    """Where one product's log files are. Patterns are relative to ``folder``, with ``*``, ``?`` and ``[…]``, no ``**``."""

    folder: Path
    patterns: tuple[str, ...]
    active: tuple[str, ...] = ()
    """Patterns of the files being written. Where no file fits any of them, the newest plain file of each pattern (in
    each folder) counts as active."""
    settle_s: float = 60.0
    """A file is closed when it was not written for so long, in seconds."""
    rotate: tuple[str, ...] = ()
    """The command that makes the writer let go of the active file (renamed within the patterns) and returns when it has."""
