"""Structured log files (JSON lines, plain or gzip) of a product: found, redacted and looked through again.

One pass per file serves all subjects of a batch. Three steps, each idempotent::

    plans = log.plan(subjects)                       # dry run: counts per file and subject
    for plan in plans:                               # one item of work each
        result = log.rewrite(plan, subjects, guards)
    totals = log.verify(subjects)                    # a fresh read; nothing may be pending

**Whose line.** A rule says which fields identify. Surrogate identifiers reach every line; reusable ones reach lines
created before the subject's ``cutoff_at`` and lines owned by one of its surrogates. A line of another tenant is never
touched. In arrays only the element that names the subject is redacted, not its neighbours.

**What is changed.** Only the bytes of the values themselves: every other byte of the line, and every other line, stays as it was.
Text that is no JSON is kept, counted as ``unparsed``, and reported as ``suspicious`` where it names a subject.

**Which files.** What is closed (not active, untouched for ``settle_s`` seconds) is copied to a temporary file beside
it, synced and renamed over it; mode, owner, extended attributes, modification time and gzip framing
(members, their headers, their order) are kept. Between opening and rename the file must not have changed, else the outcome is ``busy``.
The active file is rotated by the hook, if there is one, and else overwritten in place, value by value and
without changing any length, in complete lines only: a writer that appends loses nothing. A writer that
*truncates* the file instead (copytruncate) could meet such a write in the microseconds after our last look at the size:
such a product needs a hook.

**Locks.** ``flock`` on the log file itself, without waiting: it leaves nothing behind in the product's folder. Since a rename
replaces the inode, whoever got the lock looks whether the name still leads to what it locked. Temporary files
(``.oblio-*.tmp``) are locked by their maker as well, so an unlocked one is a dead worker's and is removed by the next run.

Errors are those of :mod:`consumers.stores.objects`; what guards raise passes unchanged.
"""

from __future__ import annotations

import bisect
import contextlib
import enum
import errno
import fcntl
import fnmatch
import json
import os
import re
import secrets
import stat
import subprocess
import sys
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import msgspec

from consumers.stores.objects_answers import Failed, Unavailable, told_plainly
from consumers.stores.objects_folder import fsync_folder

__all__ = [
    "Count",
    "FilePlan",
    "FileResult",
    "FileState",
    "FileVersion",
    "Guards",
    "LineAction",
    "LineRule",
    "LogFile",
    "LogFiles",
    "LogSource",
    "Outcome",
    "Scrub",
    "Stopped",
    "Subject",
    "Totals",
]

# --- What is asked ------------------------------------------------------------------------------------------------

ERASED = "[erased]"
Normalise = Callable[[str, str], str]
"""``(kind, text) -> normal form``; raises ValueError where the text cannot be an identifier of that kind."""
Treatment = str | int | float | bool | None | Callable[[Any], Any]
"""What a value becomes: a fixed scalar, or a function of the value. That must be idempotent and return no list, since
paths pass through lists; where it raises ValueError or TypeError the value becomes null."""


@dataclass(frozen=True, slots=True)
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
    """How to read one shape of line.

    Paths are keys joined by dots and pass through arrays (``participants.email`` is the field of every element). ``user.email``
    is both the nested field and a flat key with a dot in it. Several rules may serve one file: actor and
    target of a line are two rules, so that erasing one leaves the other.
    """

    identifies: Mapping[str, tuple[str, ...]]
    """Kind -> paths that hold it. A line with an identifier of the subject there is the subject's."""
    tenant: str | None
    """Path of the tenant; ``None`` only where the store has a single tenant."""
    created: str | None = None
    """Path of the line's time: ISO 8601, or seconds to nanoseconds of the epoch. Needed for reusable kinds."""
    reusable: frozenset[str] = frozenset()
    redacts: Mapping[str, Treatment] = field(default_factory=dict)
    """Path -> what its value becomes in the subject's lines. An object is replaced as a whole, an array by element."""
    scrubs: Mapping[str, Scrub] = field(default_factory=dict)
    action: LineAction = LineAction.REDACT
    zone: tzinfo = UTC
    """Of times without an offset."""

    def __post_init__(self) -> None:
        kinds = set(self.identifies).union(*(scrub.kinds for scrub in self.scrubs.values()))
        if kinds & self.reusable and self.created is None:
            raise ValueError("a rule with reusable identifiers needs the path of the line's time")

    def paths(self) -> Iterator[str]:
        """All paths that the rule looks at."""
        for paths in self.identifies.values():
            yield from paths
        yield from (path for path in (self.tenant, self.created) if path)
        yield from self.redacts
        yield from self.scrubs


@dataclass(frozen=True, slots=True)
class LogSource:
    """Where one product's log files are. Patterns are relative to ``folder``, with ``*``, ``?`` and ``[…]``, no ``**``."""

    folder: Path
    patterns: tuple[str, ...]
    active: tuple[str, ...] = ()
    """Patterns of the files being written. Where none of them exists, the newest plain file counts as active."""
    settle_s: float = 60.0
    rotate: Callable[[], object] | Sequence[str] | None = None
    """Makes the writer let go of the active file (renamed within the patterns) and returns when it has; a command or a function."""
    rotate_quiet_s: float = 1.0
    """The rotated file must have been quiet for so long…"""
    rotate_wait_s: float = 10.0
    """…and is waited for at most so long (also the command's time-out); then it is overwritten in place."""
    scrub_unparsed: bool = False
    """Take identifiers out of lines that are no JSON, too. Their tenant is unknown: other tenants' mentions go with them."""
    max_line: int = 4 << 20
    """Bytes; longer lines are not parsed, but counted and searched like those that are no JSON."""

    def __post_init__(self) -> None:
        for pattern in self.patterns + self.active:
            parts = pattern.split("/")
            if any(part in ("", ".", "..") or "**" in part for part in parts):
                raise ValueError("a pattern is relative, and has no '..' and no '**'")
        if any(pattern.endswith(".gz") for pattern in self.active):
            raise ValueError("an active file cannot be compressed")


def _nothing() -> None:
    return None


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Guards:
    """What the caller wants to be asked.

    ``may_continue`` is asked before each file and again before each rename and each batch of in-place writes;
    ``still_mine`` (raises when the lease is lost) right before each rename and each batch of some 64 values in place.
    """

    may_continue: Callable[[], bool] = _always
    still_mine: Callable[[], None] = _nothing


class Stopped(Exception):
    """``may_continue`` said no while planning or verifying; half an answer would be none."""


# --- What is told -------------------------------------------------------------------------------------------------


class FileState(enum.Enum):
    """How a file may be changed."""

    CLOSED = "closed"  # by copy and rename
    ACTIVE = "active"  # by rotation, or in place
    UNSETTLED = "unsettled"  # not now: written, renamed or compressed too recently


class Outcome(enum.Enum):
    """What became of one file."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"  # nothing was left to do
    ABSENT = "absent"  # gone, or rotated away under another name outside the patterns: counts as done
    BUSY = "busy"  # locked, unsettled, or changed under our hands: try again later
    STOPPED = "stopped"  # ``may_continue`` said no; what was written in place before stays
    UNREADABLE = "unreadable"  # broken gzip, or bytes that cannot be read: a person must look


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Which bytes a name led to. Rotation keeps device and inode; a rewrite changes the inode."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode

    @classmethod
    def of(cls, seen: os.stat_result) -> FileVersion:
        """The version in a ``stat`` result."""
        return cls(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file as listed; ``name`` is relative to the folder."""

    name: str
    state: FileState
    version: FileVersion


@dataclass(frozen=True, slots=True)
class Count:
    """One subject in one file (or in all). All but ``values`` count lines."""

    matched: int = 0
    """A field says they are the subject's."""
    mentioned: int = 0
    """Other lines with the subject in their text."""
    pending: int = 0
    """Of these two: had something to erase (plan, verify: still have; rewrite: have no longer)."""
    values: int = 0
    """Values and mentions behind ``pending``."""
    after_cutoff: int = 0
    """Found by a reusable identifier alone, but created after the cut-off: somebody else's, not touched."""
    undated: int = 0
    """Found by a reusable identifier alone, with no readable time, in a file written after the cut-off: not touched."""
    suspicious: int = 0
    """Name the subject where no rule reaches: not JSON, too long, or without a tenant."""

    def __add__(self, other: Count) -> Count:
        return Count(*(getattr(self, name) + getattr(other, name) for name in Count.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What a dry run saw in one file. ``counts`` holds the ordinals that were seen at all."""

    name: str
    state: FileState
    version: FileVersion
    counts: Mapping[int, Count]
    lines: int = 0
    unparsed: int = 0
    readable: bool = True

    @property
    def pending(self) -> bool:
        """Whether a rewrite would change the file."""
        return any(count.pending for count in self.counts.values())


@dataclass(frozen=True, slots=True)
class FileResult:
    """What a rewrite did. After a crash the counts of a second try are lower: a receipt takes the plan's."""

    name: str
    outcome: Outcome
    counts: Mapping[int, Count] = field(default_factory=dict)
    lines: int = 0
    unparsed: int = 0
    in_place: bool = False
    rotate_failed: bool = False
    """The hook failed, or its file did not fall quiet; the file was overwritten in place instead."""
    reason: str = ""
    """Of ``busy``: ``locked``, ``unsettled``, ``changed``, ``compressed``."""


@dataclass(frozen=True, slots=True)
class Totals:
    """All files together."""

    counts: Mapping[int, Count]
    files: int
    lines: int
    unparsed: int
    unreadable: tuple[str, ...]
    """Names of files that could not be read: nothing may be certified while there are any."""

    @property
    def remaining(self) -> dict[int, int]:
        """Ordinal -> lines with something still to erase; empty when all is done."""
        return {ordinal: count.pending for ordinal, count in self.counts.items() if count.pending}

    @classmethod
    def of(cls, plans: Iterable[FilePlan]) -> Totals:
        """The sum of what was seen."""
        plans = tuple(plans)
        return cls(
            counts=_summed(plan.counts for plan in plans),
            files=len(plans),
            lines=sum(plan.lines for plan in plans),
            unparsed=sum(plan.unparsed for plan in plans),
            unreadable=tuple(plan.name for plan in plans if not plan.readable),
        )


def _summed(many: Iterable[Mapping[int, Count]]) -> dict[int, Count]:
    total: dict[int, Count] = {}
    for counts in many:
        for ordinal, count in counts.items():
            total[ordinal] = total.get(ordinal, Count()) + count
    return total


# --- JSON as bytes: where the values of a line stand --------------------------------------------------------------

Steps = tuple[str | int, ...]
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]|[^\s{}\[\],:"]++', re.DOTALL)
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Span:
    """One value: ``line[start:end]``; ``steps`` are the keys and array indices that lead to it."""

    steps: Steps
    start: int
    end: int
    raw: bytes

    def text(self) -> str | None:
        """The value as an identifier would be written; ``None`` if it cannot be one."""
        if self.raw[:1] == b'"':
            return str(json.loads(self.raw))
        if self.raw[:1] in b"{[tfn":
            return None
        return self.raw.decode("ascii", "replace")


@dataclass(slots=True)
class _Frame:
    is_object: bool
    path: str
    steps: Steps
    start: int
    key: str = ""
    index: int = 0
    expects_key: bool = False

    def child(self) -> tuple[str, Steps]:
        if self.is_object:
            return (f"{self.path}.{self.key}" if self.path else self.key), (*self.steps, self.key)
        return self.path, (*self.steps, self.index)


def _scan(line: bytes, wanted: frozenset[str]) -> dict[str, list[_Span]]:
    """Where the values of these paths stand, duplicates of a key included. The line is known to be JSON."""
    found: dict[str, list[_Span]] = {}
    stack: list[_Frame] = []

    def note(path: str, steps: Steps, start: int, end: int) -> None:
        if path in wanted:
            found.setdefault(path, []).append(_Span(steps, start, end, line[start:end]))

    for token in _TOKEN.finditer(line, len(_BOM) if line.startswith(_BOM) else 0):
        raw = token.group()
        top = stack[-1] if stack else None
        if raw in (b"{", b"["):
            path, steps = top.child() if top else ("", ())
            stack.append(_Frame(raw == b"{", path, steps, token.start(), expects_key=raw == b"{"))
        elif raw in (b"}", b"]"):
            frame = stack.pop()
            if frame.is_object:  # paths pass through arrays: their elements are noted
                note(frame.path, frame.steps, frame.start, token.end())
        elif top is None or raw == b":":
            continue
        elif raw == b",":
            top.index += 1
            top.expects_key = top.is_object
        elif top.expects_key:
            top.key = str(json.loads(raw)) if b"\\" in raw else raw[1:-1].decode("utf-8", "surrogateescape")
            top.expects_key = False
        else:
            path, steps = top.child()
            note(path, steps, token.start(), token.end())
    return found


def _in_scope(one: Steps, other: Steps) -> bool:
    """Whether two values belong together: not where their ways part at two elements of one array."""
    for left, right in zip(one, other, strict=False):
        if left != right:
            return not (isinstance(left, int) and isinstance(right, int))
    return True


_ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[\"\\/bfnrt]")


class _Text:
    """The text of raw JSON string content that knows where each of its characters stands in the bytes."""

    def __init__(self, raw: bytes, base: int) -> None:
        self._starts: list[int] = []
        self._runs: list[tuple[int, str]] = []
        length = at = 0
        for escape in _ESCAPE.finditer(raw):
            length = self._run(raw[at : escape.start()].decode("utf-8", "surrogateescape"), base + at, length)
            # One character, also of a surrogate pair: a mention never begins inside one.
            length = self._run(json.loads(b'"' + escape.group() + b'"'), base + escape.start(), length)
            at = escape.end()
        length = self._run(raw[at:].decode("utf-8", "surrogateescape"), base + at, length)
        self._run("\0", base + len(raw), length)
        self.text = "".join(text for _, text in self._runs[:-1])

    def _run(self, text: str, raw_start: int, length: int) -> int:
        if text:
            self._starts.append(length)
            self._runs.append((raw_start, text))
        return length + len(text)

    def place(self, index: int) -> int:
        """Where the character at ``index`` (or the end) begins in the bytes."""
        run = bisect.bisect_right(self._starts, index) - 1
        raw_start, text = self._runs[run]
        return raw_start + len(text[: index - self._starts[run]].encode("utf-8", "surrogateescape"))


def _dumped(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


_BLANK = re.compile(rb'null|0|"\**"|\{\}')
"""Values that tell nothing about anyone, ours or not: they need no erasing."""


def _same_length(token: bytes, raw: bytes) -> bytes:
    """A value for the place of ``raw``, of exactly its length: the wanted one if it fits, else an empty one of its kind."""
    if len(token) > len(raw):
        match raw[:1]:
            case b'"':
                token = b'"' + b"*" * (len(raw) - 2) + b'"'
            case b"{":
                token = b"{}"
            case b"t" | b"f":
                token = b"null"
            case _:
                token = b"0"
    return token.ljust(len(raw))  # white space after a value is JSON


# --- Finding subjects ---------------------------------------------------------------------------------------------

Positions = tuple[int, ...]
_NOBODY: Positions = ()
_CACHE = 200_000
_MAX_IDENTIFIER = 1_000  # characters; what is longer names nobody, and would only fill the cache


class _Index:
    """Identifiers of the batch -> positions of their subjects. One look-up costs the same for one subject or thousands."""

    def __init__(self, subjects: Sequence[Subject], normalise: Normalise) -> None:
        self._normalise = normalise
        self._seen: dict[str, dict[str, Positions]] = {}
        self.by_kind: dict[str, dict[str, Positions]] = {}
        for position, subject in enumerate(subjects):
            for kind, values in subject.identifiers.items():
                table = self.by_kind.setdefault(kind, {})
                self._seen[kind] = {}
                for normal in {self._normal(kind, value) for value in values}:
                    table[normal] = (*table.get(normal, ()), position)

    def holders(self, kind: str, text: str) -> Positions:
        """The subjects whom ``text`` names as an identifier of ``kind``."""
        seen = self._seen.get(kind)
        if seen is None or len(text) > _MAX_IDENTIFIER:
            return _NOBODY
        known = seen.get(text)
        if known is None:
            if len(seen) >= _CACHE:
                seen.clear()
            known = seen[text] = self.by_kind[kind].get(self._normal(kind, text), _NOBODY)
        return known

    def _normal(self, kind: str, text: str) -> str:
        try:
            return self._normalise(kind, text)
        except ValueError:
            return text


_AT = re.compile(r"@|%40|\\u0040")
_BREAK = re.compile(r"[\s@<>\",;()\[\]{}|\\“”„«»‹›]")
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u9fff\uac00-\ud7af\uff00-\uffef"  # Thai to Hangul
_SOFT = re.compile(rf"%[0-9A-Fa-f]{{2}}|[^\w.+\-%]|[{_UNSPACED}]")  # may end what stands before, or be part of it
_DOMAIN = re.compile(r"(?:[^\W_]|[.\-])+")
_SPACED_DOMAIN = re.compile(rf"(?:[^\W_{_UNSPACED}]|[.\-])+")
_PHONE_RUN = re.compile(r"\+?\(?[0-9](?:[0-9\s().\-/\u2010-\u2015\u2212]|%20){5,}+")
_NARROW = str.maketrans("０１２３４５６７８９＋（）－", "0123456789+()-")  # as Asian keyboards write them
_WITHIN = re.compile(r"[0-9A-Za-z]")  # next to digits: a longer number or a code, not a phone number
_DIGITS = re.compile(r"\+?[0-9]+")
_WORD = re.compile(r"\w+(?:-\w+)*+")
_PART = re.compile(rf"[^\W{_UNSPACED}]+")
_STOP = re.compile(r"[:/]")
_LONG = re.compile(r"[^\s\"'<>,;()\[\]{}=&]+")
_MAX_LOCAL = 192
_TAIL = 7
_MIN_WORD = 6  # shorter ids are not looked for in text that is no JSON: "42" stands in every second line

Mention = tuple[int, int, str, Positions]


class _Mentions:
    """Finds identifiers in free text: it looks for what is shaped like one and looks that up."""

    def __init__(self, index: _Index) -> None:
        self._index = index
        self._tails = {normal[-_TAIL:] for normal in index.by_kind.get("phone", ())}
        self._odd = frozenset(
            kind
            for kind, table in index.by_kind.items()
            if kind not in ("email", "phone") and any(not _WORD.fullmatch(normal) for normal in table)
        )

    def find(self, text: str, kinds: Iterable[str], min_word: int = 1) -> Iterator[Mention]:
        """``(start, end, kind, positions)`` of each mention of an identifier of these kinds; they may overlap."""
        for kind in kinds:
            if kind not in self._index.by_kind:
                continue
            if kind == "email":
                yield from self._emails(text, kind)
            elif kind == "phone":
                yield from self._phones(text, kind)
            else:
                yield from self._words(text, kind, min_word)

    def _emails(self, text: str, kind: str) -> Iterator[Mention]:
        for at in _AT.finditer(text):
            domain = _DOMAIN.match(text, at.end())
            if domain is None:
                continue
            begin = max(0, at.start() - _MAX_LOCAL)
            for stop in _BREAK.finditer(text, begin, at.start()):
                begin = stop.end()
            starts = [begin, *(soft.end() for soft in _SOFT.finditer(text, begin, at.start()))]
            ends = [at.end() + len(domain.group().rstrip(".-"))]
            if spaced := _SPACED_DOMAIN.match(text, at.end(), ends[0]):
                ends.append(spaced.end())
            for start, end in ((start, end) for end in ends for start in starts if start < at.start()):
                if positions := self._address(kind, text[start:end]):
                    yield start, end, kind, positions
                    break

    def _address(self, kind: str, candidate: str) -> Positions:
        plain = candidate.replace("\\u0040", "@")
        found = self._index.holders(kind, plain)
        if not found and "%" in plain:  # from a URL
            found = self._index.holders(kind, urllib.parse.unquote(plain))
        return found

    def _phones(self, text: str, kind: str) -> Iterator[Mention]:
        text = text if text.isascii() else text.translate(_NARROW)
        for run in _PHONE_RUN.finditer(text):
            groups = [group.span() for group in _DIGITS.finditer(text, run.start(), run.end())]
            first = 0
            while first < len(groups):
                last, positions = self._phone_from(text, kind, groups, first)
                if positions:
                    yield groups[first][0], groups[last][1], kind, positions
                    first = last
                first += 1

    def _phone_from(self, text: str, kind: str, groups: Sequence[tuple[int, int]], first: int) -> tuple[int, Positions]:
        """The subjects whose number is the groups of digits from ``first`` on, and the last group of it."""
        start = groups[first][0]
        if _WITHIN.match(text[start - 1 : start]) and text[start] != "+" and text[start - 3 : start].upper() != "%2B":
            return first, _NOBODY
        digits = ""
        for last in range(first, len(groups)):
            end = groups[last][1]
            digits += text[groups[last][0] : end].lstrip("+")
            if len(digits) > 18:  # 15, and 00 or a trunk (0) before or among them
                break
            if digits[-_TAIL:] in self._tails and not _WITHIN.match(text[end : end + 1]):
                for form in (text[start:end].replace("%20", " "), "+" + digits):
                    if positions := self._index.holders(kind, form):
                        return last, positions
        return first, _NOBODY

    def _words(self, text: str, kind: str, min_word: int) -> Iterator[Mention]:
        for word in _WORD.finditer(text):
            yield from self._word(text, kind, word.start(), word.end(), min_word)
            if "-" in word.group() or not word.group().isascii():
                for part in _PART.finditer(text, word.start(), word.end()):
                    yield from self._word(text, kind, *part.span(), min_word)
        if kind in self._odd:
            for word in _LONG.finditer(text):
                end = word.start() + len(word.group().rstrip(".:!?"))
                for start in (word.start(), *(stop.end() for stop in _STOP.finditer(text, word.start(), end))):
                    yield from self._word(text, kind, start, end, min_word)

    def _word(self, text: str, kind: str, start: int, end: int, min_word: int) -> Iterator[Mention]:
        if end - start >= min_word and (positions := self._index.holders(kind, text[start:end])):
            yield start, end, kind, positions


# --- Judging one line ---------------------------------------------------------------------------------------------


class _Age(enum.Enum):
    BEFORE = enum.auto()
    AFTER = enum.auto()
    UNKNOWN = enum.auto()


@dataclass(slots=True)
class _Tally:
    """What one line is to one subject."""

    matched: bool = False
    mentioned: bool = False
    values: int = 0
    after_cutoff: bool = False
    undated: bool = False
    suspicious: bool = False

    def count(self) -> Count:
        reached = self.matched or self.mentioned
        return Count(
            matched=int(self.matched),
            mentioned=int(self.mentioned and not self.matched),
            pending=int(self.values > 0),
            values=self.values,
            after_cutoff=int(self.after_cutoff and not reached),
            undated=int(self.undated and not reached),
            suspicious=int(self.suspicious and not reached),
        )


@dataclass(slots=True)
class _Verdict:
    """What is to happen to one line: ``edits`` maps ``(start, end)`` to new bytes."""

    tallies: dict[int, _Tally] = field(default_factory=dict)
    edits: dict[tuple[int, int], bytes] = field(default_factory=dict)
    places: dict[tuple[str, Steps], Treatment] = field(default_factory=dict)
    """What was redacted, to be looked at again afterwards."""
    drop: bool = False

    def of(self, position: int) -> _Tally:
        return self.tallies.setdefault(position, _Tally())

    @property
    def changes(self) -> bool:
        return self.drop or bool(self.edits)

    def disjoint(self) -> list[tuple[int, int, bytes]]:
        """The edits in order, those inside a wider one left out."""
        kept: list[tuple[int, int, bytes]] = []
        end = 0
        for (start, stop), new in sorted(self.edits.items(), key=lambda edit: (edit[0][0], -edit[0][1])):
            if start >= end:
                kept.append((start, stop, new))
                end = stop
        return kept

    def applied(self, line: bytes) -> bytes:
        parts: list[bytes] = []
        at = 0
        for start, stop, new in self.disjoint():
            parts += [line[at:start], new]
            at = stop
        return b"".join([*parts, line[at:]])


@dataclass(slots=True)
class _Context:
    """What is known of the file a line stands in. ``written_by``: nothing in it is younger than this."""

    written_by: datetime
    active: bool = False
    in_place: bool = False


class _Judge:
    """The rules and the subjects of one batch, ready to be held against lines."""

    def __init__(
        self, rules: Sequence[LineRule], subjects: Sequence[Subject], normalise: Normalise, scrub_unparsed: bool
    ) -> None:
        self.subjects = subjects
        self.index = _Index(subjects, normalise)
        self.mentions = _Mentions(self.index)
        self._rules = rules
        self._scrub_unparsed = scrub_unparsed
        self._reusable = frozenset[str]().union(*(rule.reusable for rule in rules))
        fields = {(kind, path) for rule in rules for kind, paths in rule.identifies.items() for path in paths}
        self._fields = [(kind, _chains(path)) for kind, path in sorted(fields)]
        self._texts = [(scrub.kinds, _chains(path)) for rule in rules for path, scrub in rule.scrubs.items()]
        self._wanted = frozenset(path for rule in rules for path in rule.paths())
        names = [path.rpartition(".")[2] for path in self._wanted]
        self._leaves = [(f'"{name}"'.encode(), names.count(name)) for name in sorted(set(names))]
        self._decode = msgspec.json.Decoder().decode

    def line(self, line: bytes, context: _Context) -> tuple[bool, _Verdict | None]:
        """Whether the line is JSON (or blank), and what is to happen to it (``None``: it is nobody's)."""
        if not line or line.isspace():
            return True, None
        document = self._parsed(line)
        if document is None:
            return False, self.unparsed(line, context)
        return True, self._judged(line, context) if self._concerns(document) else None

    def is_json(self, line: bytes) -> bool:
        """Whether the line is a JSON object or array."""
        return self._parsed(line) is not None

    def unparsed(self, line: bytes, context: _Context) -> _Verdict | None:
        """The verdict on bytes that are no JSON: they are searched as text, with JSON's escapes understood."""
        text = _Text(line, 0)
        verdict = _Verdict()
        for start, end, kind, positions in self.mentions.find(text.text, self.index.by_kind, _MIN_WORD):
            for position in positions:
                tally = verdict.of(position)
                reached = kind not in self._reusable or context.written_by < self.subjects[position].cutoff_at
                if self._scrub_unparsed and reached:
                    place = text.place(start), text.place(end)
                    verdict.edits[place] = _scrubbed(ERASED.encode(), place, context.in_place)
                    tally.mentioned = True
                    tally.values += 1
                else:
                    tally.suspicious = True
        return verdict if verdict.tallies else None

    def confirm(self, new: bytes, verdict: _Verdict, context: _Context) -> None:
        """Read the new line again: each place emptied, nobody of the batch left in it. Raises Failed."""
        is_json, again = self.line(new, context)
        if again is not None and again.changes:
            raise Failed("a redaction left something")
        spans = _scan(new, self._wanted) if is_json and verdict.places else {}
        for (path, steps), treatment in verdict.places.items():
            for span in spans.get(path, ()):
                if span.steps == steps and not _is_done(span.raw, _token(treatment, span.raw)):
                    raise Failed("a redaction left something")

    def _parsed(self, line: bytes) -> Any:
        """The document, or ``None`` if the line is no JSON object or array."""
        # A key that stands twice hides its first value from a decoder: then all its values are taken.
        for leaf, often in self._leaves:
            if line.count(leaf) > often:
                return _thoroughly(line)
        try:
            document = self._decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _thoroughly(line)
        return document if isinstance(document, (dict, list)) else None

    def _concerns(self, document: Any) -> bool:
        """Whether any subject is named anywhere a rule looks; tenant and time are looked at later."""
        holders = self.index.holders
        for kind, chains in self._fields:
            for text in _leaves(document, chains):
                if holders(kind, text):
                    return True
        for kinds, chains in self._texts:
            for text in _leaves(document, chains):
                if next(self.mentions.find(text, kinds), None):
                    return True
        return False

    def _judged(self, line: bytes, context: _Context) -> _Verdict | None:
        spans = _scan(line, self._wanted)
        verdict = _Verdict()
        for rule in self._rules:
            _Reading(self, rule, spans, context, verdict).judge()
        return verdict if verdict.tallies else None


@dataclass(slots=True)
class _Reading:
    """One line read by one rule; what it finds goes into the verdict."""

    batch: _Judge
    rule: LineRule
    spans: Mapping[str, list[_Span]]
    context: _Context
    verdict: _Verdict
    owned: dict[int, list[Steps]] = field(default_factory=dict)
    """Position -> where a surrogate says that the line is theirs."""

    def judge(self) -> None:
        for position, scopes in self._claims().items():
            tally = self.verdict.of(position)
            tally.matched = True
            if self.rule.action is LineAction.DELETE:
                self.verdict.drop = True
                tally.values += 1
            else:
                self._redact(scopes, tally)
        if not self.verdict.drop:
            self._scrub()

    def _claims(self) -> dict[int, list[Steps]]:
        """Position -> where the line says that it is theirs."""
        found = [
            (kind, span, position)
            for kind, paths in self.rule.identifies.items()
            for path in paths
            for span in self.spans.get(path, ())
            for position in self.batch.index.holders(kind, span.text() or "")
            if self._is_tenants(span, position)
        ]
        for kind, span, position in found:
            if kind not in self.rule.reusable:
                self.owned.setdefault(position, []).append(span.steps)
        claims = {position: list(scopes) for position, scopes in self.owned.items()}
        for kind, span, position in found:
            if kind in self.rule.reusable and self._reaches(span, position):
                claims.setdefault(position, []).append(span.steps)
        return claims

    def _redact(self, scopes: Sequence[Steps], tally: _Tally) -> None:
        for path, treatment in self.rule.redacts.items():
            for span in self.spans.get(path, ()):
                token = _token(treatment, span.raw)
                if _is_done(span.raw, token) or not any(_in_scope(steps, span.steps) for steps in scopes):
                    continue
                new = _same_length(token, span.raw) if self.context.in_place else token
                self.verdict.edits[span.start, span.end] = new
                self.verdict.places[path, span.steps] = treatment
                tally.values += 1

    def _scrub(self) -> None:
        for path, scrub in self.rule.scrubs.items():
            for span in self.spans.get(path, ()):
                if span.text() is None:
                    continue
                quoted = span.raw[:1] == b'"'
                text = _Text(span.raw[1:-1], span.start + 1) if quoted else _Text(span.raw, span.start)
                for start, end, kind, positions in self.batch.mentions.find(text.text, scrub.kinds):
                    place = (text.place(start), text.place(end)) if quoted else (span.start, span.end)
                    if reached := [p for p in positions if self._is_mentioned(kind, span, p)]:
                        new = _scrubbed(_dumped(scrub.replacement)[1:-1], place, self.context.in_place)
                        self.verdict.edits.setdefault(place, new if quoted else b"0".ljust(len(span.raw)))
                    for position in reached:
                        tally = self.verdict.of(position)
                        tally.mentioned = True
                        tally.values += 1

    def _is_mentioned(self, kind: str, span: _Span, position: int) -> bool:
        if not self._is_tenants(span, position):
            return False
        return kind not in self.rule.reusable or self._reaches(span, position)

    def _is_tenants(self, span: _Span, position: int) -> bool:
        if self.rule.tenant is None:
            return True
        near = [other.text() for other in self.spans.get(self.rule.tenant, ()) if _in_scope(other.steps, span.steps)]
        if not near or None in near:
            self.verdict.of(position).suspicious = True
            return False
        return all(text == self.batch.subjects[position].tenant for text in near)

    def _reaches(self, span: _Span, position: int) -> bool:
        """Whether a reusable identifier at ``span`` is the subject's: owned by a surrogate, or old enough."""
        if any(_in_scope(steps, span.steps) for steps in self.owned.get(position, ())):
            return True
        age = self._age(span, self.batch.subjects[position].cutoff_at)
        if age is not _Age.BEFORE:
            tally = self.verdict.of(position)
            tally.after_cutoff = tally.after_cutoff or age is _Age.AFTER
            tally.undated = tally.undated or age is _Age.UNKNOWN
        return age is _Age.BEFORE

    def _age(self, span: _Span, cutoff: datetime) -> _Age:
        near = [other for other in self.spans.get(self.rule.created or "", ()) if _in_scope(other.steps, span.steps)]
        moments = [_moment(other, self.rule.zone) for other in near]
        if not moments or None in moments:
            return _Age.BEFORE if self.context.written_by < cutoff else _Age.UNKNOWN
        return _Age.BEFORE if all(moment < cutoff for moment in moments if moment) else _Age.AFTER


def _thoroughly(line: bytes) -> Any:
    """Parse what the fast decoder refuses (NaN, lone surrogates, a byte order mark), keeping all values of a key."""
    try:
        document = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_all_values)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, (dict, list)) else None


def _all_values(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key that stands more than once gets the list of its values (paths pass through lists)."""
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    many: dict[str, Any] = {}
    for key, value in pairs:
        many.setdefault(key, []).append(value)
    return many


def _chains(path: str) -> tuple[tuple[str, ...], ...]:
    """The ways a dotted path may be cut into keys: all nested first, one flat key last."""
    head, dot, rest = path.partition(".")
    if not dot:
        return ((path,),)
    chains = [(head, *chain) for chain in _chains(rest)]
    chains += [(f"{head}.{chain[0]}", *chain[1:]) for chain in _chains(rest)]
    return tuple(chains)


def _leaves(document: Any, chains: tuple[tuple[str, ...], ...]) -> list[str]:
    """The scalars at a path as text, arrays passed through."""
    found: list[str] = []
    for chain in chains:
        _follow(document, chain, 0, found)
    return found


def _follow(node: Any, chain: tuple[str, ...], at: int, found: list[str]) -> None:
    while type(node) is dict and at < len(chain):
        node = node.get(chain[at])
        at += 1
    if type(node) is list:
        for item in node:
            _follow(item, chain, at, found)
    elif at == len(chain):
        if type(node) is str:
            found.append(node)
        elif type(node) in (int, float):
            found.append(str(node))


def _is_done(raw: bytes, token: bytes) -> bool:
    return raw == token or _BLANK.fullmatch(raw) is not None


def _token(treatment: Treatment, raw: bytes) -> bytes:
    if not callable(treatment):
        return _dumped(treatment)
    value = json.loads(raw)
    try:
        new = treatment(value)
    except (ValueError, TypeError):
        return b"null"
    return raw if type(new) is type(value) and new == value else _dumped(new)


def _scrubbed(replacement: bytes, place: tuple[int, int], in_place: bool) -> bytes:
    length = place[1] - place[0]
    if not in_place:
        return replacement
    return replacement.ljust(length, b"*") if len(replacement) <= length else b"*" * length


def _moment(span: _Span, zone: tzinfo) -> datetime | None:
    """The time a value tells, aware, or ``None``."""
    text = span.text()
    if text is None:
        return None
    try:
        if re.fullmatch(r"\d{9,20}(\.\d+)?", text):
            number = float(text)
            scale = 1e9 if number > 1e17 else 1e6 if number > 1e14 else 1e3 if number > 1e11 else 1
            return datetime.fromtimestamp(number / scale, UTC)
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


# --- Bytes of files: lines, gzip members ---------------------------------------------------------------------------

_CHUNK = 1 << 20
_MAGIC = b"\x1f\x8b"


class _Busy(Exception):
    """Not now. ``args[0]`` is the reason code."""


class _Unreadable(Exception):
    """The bytes are not what they claim to be."""


class _Halt(Exception):
    """``may_continue`` said no."""


class _Refused(BaseException):
    """Carries what a guard raised past our own handlers, which would tell it as a store's error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a gzip member begins: its header as it stands, or the padding after the last one."""

    header: bytes
    is_padding: bool = False


Piece = tuple[bytes, _Member | None]
"""Bytes of text, or (with no bytes) the beginning of a member."""
Line = tuple[bytes, tuple[tuple[int, _Member], ...], bool]
"""A line with its end, the members that begin inside it (offset first), and whether it is part of an overlong one."""


def _pieces(descriptor: int, size: int) -> Iterator[Piece]:
    """The text of the first ``size`` bytes of a file, decompressed if it is gzip by its first bytes."""
    raw = _raw(descriptor, size)
    first = next(raw, b"")
    if len(first) == 1:
        first += next(raw, b"")
    if first[:2] == _MAGIC:
        yield from _gunzipped(first, raw)
        return
    if first:
        yield first, None
    for chunk in raw:
        yield chunk, None


def _raw(descriptor: int, size: int) -> Iterator[bytes]:
    at = 0
    while at < size:
        chunk = os.pread(descriptor, min(_CHUNK, size - at), at)
        if not chunk:
            raise _Busy("changed")  # truncated under our hands
        at += len(chunk)
        yield chunk


def _gunzipped(buffer: bytes, more: Iterator[bytes]) -> Iterator[Piece]:
    while buffer:
        if buffer.strip(b"\0") == b"":
            yield b"", _Member(buffer, is_padding=True)
            buffer = next(more, b"")
            continue
        while (length := _header_length(buffer)) is None:
            buffer += _next(more)
        yield b"", _Member(buffer[:length])
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        buffer = buffer[length:]
        checksum = total = 0
        while not inflater.eof:
            try:
                text = inflater.decompress(buffer, _CHUNK)
            except zlib.error:
                raise _Unreadable from None
            buffer = inflater.unconsumed_tail
            if text:
                checksum = zlib.crc32(text, checksum)
                total += len(text)
                yield text, None
            elif not inflater.eof:
                buffer = buffer or _next(more)
        buffer = inflater.unused_data
        while len(buffer) < 8:
            buffer += _next(more)
        if buffer[:8] != _trailer(checksum, total):
            raise _Unreadable
        buffer = buffer[8:] or next(more, b"")


def _next(more: Iterator[bytes]) -> bytes:
    chunk = next(more, b"")
    if not chunk:
        raise _Unreadable  # the file ends inside a member
    return chunk


def _trailer(checksum: int, total: int) -> bytes:
    return checksum.to_bytes(4, "little") + (total & 0xFFFFFFFF).to_bytes(4, "little")


def _header_length(data: bytes) -> int | None:
    """How long the gzip header at the beginning of ``data`` is (RFC 1952); ``None`` if it goes on after it."""
    if len(data) < 10:
        return None
    if data[:2] != _MAGIC or data[2] != 8:
        raise _Unreadable
    flags, at = data[3], 10
    if flags & 4:  # extra field
        if len(data) < at + 2:
            return None
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (8, 16):  # name, comment: each ends with a zero
        if flags & flag:
            at = data.find(b"\0", at) + 1
            if at == 0:
                return None
    at += 2 if flags & 2 else 0  # checksum of the header
    return at if len(data) >= at else None


def _lines(pieces: Iterable[Piece], max_line: int) -> Iterator[Line]:
    """The lines of the text; one longer than ``max_line`` comes in parts, so that memory stays bounded."""
    carry = b""
    breaks: list[tuple[int, _Member]] = []
    overlong = False
    for text, member in pieces:
        if member is not None:
            breaks.append((len(carry), member))
            continue
        parts = (carry + text).split(b"\n")
        carry = parts.pop()
        for part in parts:
            yield part + b"\n", tuple(breaks), overlong
            overlong = False
            breaks.clear()
        if len(carry) > max_line:
            overlong = True
            yield carry, tuple(breaks), True
            carry = b""
            breaks.clear()
    if carry or breaks:
        yield carry, tuple(breaks), overlong


class _Copy:
    """Writes lines to a descriptor, in the gzip members in which they stood."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()
        self._deflater: Any = None
        self._member = (0, 0)
        self.total = self.checksum = 0

    def line(self, line: bytes, breaks: Sequence[tuple[int, _Member]], new: bytes | None) -> None:
        """Write a line, or what it becomes: that stands whole in the member in which the old one began."""
        at = 0
        for offset, member in breaks:
            if new is None:
                self._text(line[at:offset])
            elif offset > 0 and at == 0:
                self._text(new)
            at = offset
            self._begin(member)
        if new is None:
            self._text(line[at:])
        elif at == 0:
            self._text(new)

    def finish(self) -> None:
        """Write what is still buffered."""
        self._end()
        self._flush()

    def _text(self, text: bytes) -> None:
        self.total += len(text)
        self.checksum = zlib.crc32(text, self.checksum)
        if self._deflater is not None:
            checksum, total = self._member
            self._member = zlib.crc32(text, checksum), total + len(text)
            text = self._deflater.compress(text)
        self._put(text)

    def _begin(self, member: _Member) -> None:
        self._end()
        self._put(member.header)
        if not member.is_padding:
            # The header's eighth byte tells how hard its maker tried.
            level = {2: 9, 4: 1}.get(member.header[8], 6)
            self._deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
            self._member = (0, 0)

    def _end(self) -> None:
        if self._deflater is not None:
            self._put(self._deflater.flush() + _trailer(*self._member))
            self._deflater = None

    def _put(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        _write(self._descriptor, bytes(self._buffer))
        self._buffer.clear()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


# --- Files of a folder --------------------------------------------------------------------------------------------

_RENAME_SETTLE_S = 2.0  # a rotation renames first and makes the writer reopen a moment later
_ROUNDS = 50
_BATCH = 64  # values overwritten in place per question to the guards
_OVERLAP = 512  # bytes of an overlong line's part that are searched again with the next


@dataclass(slots=True)
class _Opened:
    """One file held open, and the folder it stands in."""

    name: str
    folder: int
    descriptor: int
    writable: bool

    @property
    def base(self) -> str:
        return self.name.rpartition("/")[2]

    def version(self) -> FileVersion:
        return FileVersion.of(os.fstat(self.descriptor))

    def check_name(self, version: FileVersion) -> None:
        """Raise unless the name still leads to these very bytes."""
        try:
            now = FileVersion.of(os.stat(self.base, dir_fd=self.folder, follow_symlinks=False))
        except FileNotFoundError:
            raise _Busy("changed") from None
        if now != version:
            raise _Busy("changed")


@dataclass(slots=True)
class _Progress:
    """What one pass has counted so far."""

    judge: _Judge
    lines: int = 0
    unparsed: int = 0
    counts: dict[int, Count] = field(default_factory=dict)
    _tail: bytes = b""
    _named: set[int] = field(default_factory=set)

    def take(self, line: bytes, overlong: bool, context: _Context) -> _Verdict | None:
        """Judge one line and count it."""
        if overlong or self._tail:
            self._search(line, context)
            return None
        self.lines += 1
        is_json, verdict = self.judge.line(line, context)
        self.unparsed += not is_json
        if verdict is not None:
            for position, tally in verdict.tallies.items():
                self._add(position, tally.count())
        return verdict if verdict is not None and verdict.changes else None

    def _search(self, part: bytes, context: _Context) -> None:
        found = self.judge.unparsed(self._tail + part, context)
        self._named.update(found.tallies if found else ())
        self._tail = part[-_OVERLAP:]
        if part.endswith(b"\n"):
            self.end()

    def end(self) -> None:
        """An overlong line is over: it counts once, however many its parts were."""
        if self._tail:
            self.lines += 1
            self.unparsed += 1
            for position in self._named:
                self._add(position, Count(suspicious=1))
            self._tail = b""
            self._named.clear()

    def _add(self, position: int, count: Count) -> None:
        ordinal = self.judge.subjects[position].ordinal
        self.counts[ordinal] = self.counts.get(ordinal, Count()) + count


class LogFiles:
    """The log files of one product: see the module.

    Keep one instance for a worker's life: it knows which files it renamed itself, and need not let them settle.

    Args:
        source: where the files are.
        rules: how their lines are read; each rule is held against every line.
        normalise: brings an identifier to its normal form.
        now: seconds of the epoch; another clock for tests.
    """

    def __init__(
        self,
        source: LogSource,
        rules: Sequence[LineRule],
        normalise: Normalise,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._rules = tuple(rules)
        self._normalise = normalise
        self._now = now
        self._own: set[tuple[int, int]] = set()

    def files(self) -> tuple[LogFile, ...]:
        """The files there are now, by name.

        Raises:
            Unavailable: the folder is missing; ``Denied``: it, or one below it that a pattern names, cannot be read.
        """
        with told_plainly():
            return self._files()

    def plan(
        self, subjects: Sequence[Subject], files: Iterable[LogFile] | None = None, guards: Guards | None = None
    ) -> tuple[FilePlan, ...]:
        """What a rewrite would find, per file and subject; nothing is changed.

        Args:
            subjects: the batch.
            files: only these; ``None`` takes all, including those that appear or are renamed while reading.
            guards: only ``may_continue`` is asked.

        Raises:
            Stopped: by ``may_continue``.
            StoreError: a file could not be read for lack of rights, or the like. A broken file is no error here but a
                plan that is not ``readable``.
        """
        judge = self._judge(subjects)
        guards = guards or Guards()
        readings: dict[tuple[int, int], FilePlan] = {}
        # What was renamed or rewritten between the listing and its turn has not been read: look again.
        for _ in range(_ROUNDS):
            listed = self.files() if files is None else tuple(files)
            todo = [file for file in listed if not _is_read(file, readings.get(file.version.identity))]
            for file in todo:
                if not guards.may_continue():
                    raise Stopped
                with told_plainly():
                    plan = self._survey(file, judge)
                if plan is not None:
                    readings[plan.version.identity] = plan
            if files is not None:
                return tuple(readings.values())
            if not todo:
                found = ((file, readings[file.version.identity]) for file in listed)
                return tuple(replace(plan, name=file.name, state=file.state) for file, plan in found)
        raise Unavailable("the folder does not come to rest")

    def rewrite(self, plan: FilePlan, subjects: Sequence[Subject], guards: Guards | None = None) -> FileResult:
        """Erase the subjects from the planned file, wherever renaming has brought it since. Safe to repeat.

        What a rotation has compressed in the meantime is another file, which :meth:`verify` finds.

        Raises:
            StoreError: see the module; the file is then as it was, or (in place) partly done.
            Exception: what ``still_mine`` raised; the same holds.
        """
        guards = guards or Guards()
        if not guards.may_continue():
            return FileResult(plan.name, Outcome.STOPPED)
        progress = _Progress(self._judge(subjects))
        result = FileResult(plan.name, Outcome.ABSENT)
        try:
            with told_plainly():
                try:
                    self._clean()
                    name = self._locate(plan)
                    if name is None:
                        return result
                    result = replace(result, name=name)
                    with self._open(name, lock=True) as opened:
                        result = self._rewritten(opened, progress, guards)
                except FileNotFoundError:
                    result = replace(result, outcome=Outcome.BUSY, reason="changed")
                except _Busy as busy:
                    result = replace(result, outcome=Outcome.BUSY, reason=str(busy.args[0]))
                except _Unreadable:
                    result = replace(result, outcome=Outcome.UNREADABLE)
                except _Halt:
                    result = replace(result, outcome=Outcome.STOPPED)
        except _Refused as refused:
            raise refused.error from None
        return replace(result, counts=progress.counts, lines=progress.lines, unparsed=progress.unparsed)

    def verify(self, subjects: Sequence[Subject], guards: Guards | None = None) -> Totals:
        """What is left of the subjects, by reading every file afresh; a dead worker's leavings go first.

        Raises like :meth:`plan`. All is done when ``remaining`` and ``unreadable`` are empty.
        """
        self.clean()
        return Totals.of(self.plan(subjects, guards=guards))

    probe = verify

    def clean(self) -> int:
        """Remove temporary files of workers that died; how many. Those of living workers stay."""
        with told_plainly():
            return self._clean()

    # Listing

    def _judge(self, subjects: Sequence[Subject]) -> _Judge:
        return _Judge(self._rules, subjects, self._normalise, self._source.scrub_unparsed)

    def _files(self) -> tuple[LogFile, ...]:
        folder = self._source.folder
        seen: dict[str, os.stat_result] = {}
        active: set[str] = set()
        for pattern in (*self._source.patterns, *self._source.active):
            for path in _expand(folder, pattern.split("/")):
                with contextlib.suppress(FileNotFoundError):
                    name = path.relative_to(folder).as_posix()
                    seen[name] = path.lstat()
                    if pattern in self._source.active:
                        active.add(name)
        self._own &= {(file.st_dev, file.st_ino) for file in seen.values()}
        plain = [name for name in seen if not name.endswith(".gz")]
        if not active and plain:
            active.add(max(plain, key=lambda name: (seen[name].st_mtime_ns, name)))
        now = self._now()
        return tuple(
            LogFile(name, self._state(name, seen, active, now), FileVersion.of(seen[name])) for name in sorted(seen)
        )

    def _state(self, name: str, seen: Mapping[str, os.stat_result], active: set[str], now: float) -> FileState:
        if name in active:
            return FileState.ACTIVE
        if name.endswith(".gz") and name.removesuffix(".gz") in seen:
            return FileState.UNSETTLED  # the compressor removes the plain file when it has finished
        file = seen[name]
        settled = now - file.st_mtime >= self._source.settle_s
        if (file.st_dev, file.st_ino) not in self._own:
            settled = settled and now - file.st_ctime >= min(self._source.settle_s, _RENAME_SETTLE_S)
        return FileState.CLOSED if settled else FileState.UNSETTLED

    def _locate(self, plan: FilePlan) -> str | None:
        """The planned file's present name: where rotation has moved it, else the name it had."""
        files = self._files()
        planned = plan.version
        named = next((file.version for file in files if file.name == plan.name), None)
        # Itself, or a copy that replaced it: copies keep the time.
        if named and (named.identity == planned.identity or named.mtime_ns == planned.mtime_ns):
            return plan.name
        for file in files:
            now = file.version
            # An inode's number is given anew once its file is gone: then to something smaller or older, as a rule.
            if now.identity == planned.identity and now.size >= planned.size and now.mtime_ns >= planned.mtime_ns:
                return file.name
        return plan.name if named else None

    @contextlib.contextmanager
    def _open(self, name: str, *, lock: bool = False) -> Iterator[_Opened]:
        path = self._source.folder / name
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        descriptor = -1
        try:
            flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            writable = lock
            try:
                descriptor = os.open(path.name, flags | (os.O_RDWR if lock else os.O_RDONLY), dir_fd=folder)
            except PermissionError:
                if not lock:
                    raise
                # A closed file may be read-only: replacing it needs the folder's permission alone.
                writable = False
                descriptor = os.open(path.name, flags | os.O_RDONLY, dir_fd=folder)
            opened = _Opened(name, folder, descriptor, writable)
            if lock:
                _lock(descriptor)
                seen = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
                if FileVersion.of(seen).identity != opened.version().identity:
                    raise _Busy("changed")  # another worker renamed a new one over it
            yield opened
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            os.close(folder)

    def _clean(self) -> int:
        removed = 0
        folders = {
            above
            for pattern in (*self._source.patterns, *self._source.active)
            for above in _folders(self._source.folder, pattern.split("/")[:-1])
        }
        for folder in folders:
            for path in _expand(folder, [".oblio-*.tmp"]):
                with contextlib.suppress(FileNotFoundError, _Busy):
                    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    try:
                        _lock(descriptor)
                        path.unlink()
                        removed += 1
                    finally:
                        os.close(descriptor)
        return removed

    # Reading

    def _survey(self, file: LogFile, judge: _Judge) -> FilePlan | None:
        """A dry run over one file; ``None`` if it is gone."""
        progress = _Progress(judge)
        version, readable = file.version, True
        try:
            with self._open(file.name) as opened:
                version = opened.version()
                context = _context(version, file.state)
                for _ in self._judged(opened, version, progress, context):
                    pass
        except (FileNotFoundError, _Busy):
            return None
        except _Unreadable:
            readable = False
        return FilePlan(
            name=file.name,
            state=file.state,
            version=version,
            counts=progress.counts,
            lines=progress.lines,
            unparsed=progress.unparsed,
            readable=readable,
        )

    def _judged(
        self, opened: _Opened, version: FileVersion, progress: _Progress, context: _Context
    ) -> Iterator[tuple[bytes, tuple[tuple[int, _Member], ...], _Verdict | None]]:
        for line, breaks, overlong in _lines(_pieces(opened.descriptor, version.size), self._source.max_line):
            unfinished = context.active and not line.endswith(b"\n") and not overlong
            if unfinished and (context.in_place or not progress.judge.is_json(line)):
                break  # the writer is about to go on
            yield line, breaks, progress.take(line, overlong, context)
        progress.end()

    # Writing

    def _rewritten(self, opened: _Opened, progress: _Progress, guards: Guards) -> FileResult:
        state = next((file.state for file in self._files() if file.name == opened.name), FileState.UNSETTLED)
        if state is FileState.UNSETTLED:
            raise _Busy("unsettled")
        version = opened.version()
        survey = _Progress(progress.judge)
        context = _context(version, state)
        context.in_place = context.active
        if not any(verdict for _, _, verdict in self._judged(opened, version, survey, context)):
            progress.counts, progress.lines, progress.unparsed = survey.counts, survey.lines, survey.unparsed
            return FileResult(opened.name, Outcome.UNCHANGED)
        if state is FileState.CLOSED:
            return self._replace(opened, progress, guards)
        rotated = self._rotate(opened, guards)
        if rotated is not None:
            return self._replace(replace(opened, name=rotated), progress, guards)
        result = self._overwrite(opened, progress, guards)
        return replace(result, rotate_failed=self._source.rotate is not None)

    def _replace(self, opened: _Opened, progress: _Progress, guards: Guards) -> FileResult:
        """Copy the file without the subjects and rename the copy over it."""
        version = opened.version()
        temporary, descriptor = _temporary(opened.folder)
        try:
            copy = _Copy(descriptor)
            context = _context(version, FileState.CLOSED)
            for line, breaks, verdict in self._judged(opened, version, progress, context):
                copy.line(line, breaks, None if verdict is None else self._new(line, verdict, progress.judge, context))
            copy.finish()
            _take_over(opened.descriptor, descriptor)
            os.fsync(descriptor)
            _check_copy(descriptor, copy)
            self._ask(guards)
            opened.check_name(version)
            os.rename(temporary, opened.base, src_dir_fd=opened.folder, dst_dir_fd=opened.folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=opened.folder)
            os.close(descriptor)
            raise
        try:
            seen = os.fstat(descriptor)
            self._own.add(FileVersion.of(seen).identity)
            fsync_folder((self._source.folder / opened.name).parent)
        finally:
            os.close(descriptor)  # and with it the lock on what is the log file now
        return FileResult(opened.name, Outcome.CHANGED)

    def _overwrite(self, opened: _Opened, progress: _Progress, guards: Guards) -> FileResult:
        """Overwrite the values where they stand, the writer going on behind them."""
        if not opened.writable:
            raise PermissionError(errno.EACCES, "")
        version = opened.version()
        context = _context(version, FileState.ACTIVE)
        context.in_place = True
        at = 0
        batch: list[tuple[int, bytes, bytes]] = []
        for line, breaks, verdict in self._judged(opened, version, progress, context):
            if breaks:
                raise _Busy("compressed")
            if verdict is not None:
                new = self._new(line, verdict, progress.judge, context)
                spans = [(0, len(line))] if verdict.drop else [(start, end) for start, end, _ in verdict.disjoint()]
                batch += [(at + start, line[start:end], new[start:end]) for start, end in spans]
            if len(batch) >= _BATCH:
                self._write_batch(opened, batch, guards)
            at += len(line)
        self._write_batch(opened, batch, guards)
        os.fsync(opened.descriptor)
        return FileResult(opened.name, Outcome.CHANGED, in_place=True)

    def _write_batch(self, opened: _Opened, batch: list[tuple[int, bytes, bytes]], guards: Guards) -> None:
        if not batch:
            return
        self._ask(guards)
        for at, old, new in batch:
            # A file truncated or replaced meanwhile has other bytes here, or none.
            if os.pread(opened.descriptor, len(old), at) != old:
                raise _Busy("changed")
            os.pwrite(opened.descriptor, new, at)
            if os.pread(opened.descriptor, len(new), at) != new:
                raise Failed("written bytes read back differently")
        batch.clear()

    @staticmethod
    def _new(line: bytes, verdict: _Verdict, judge: _Judge, context: _Context) -> bytes:
        """What the line becomes, read again before it is used."""
        ending = line[len(line.rstrip(b"\r\n")) :]
        if verdict.drop:
            return b"{}".ljust(len(line) - len(ending)) + ending if context.in_place else b""
        new = verdict.applied(line)
        if context.in_place and len(new) != len(line):
            raise Failed("a length changed")
        judge.confirm(new, verdict, context)
        return new

    @staticmethod
    def _ask(guards: Guards) -> None:
        try:
            if not guards.may_continue():
                raise _Halt
            guards.still_mine()
        except _Halt:
            raise
        except Exception as error:
            raise _Refused(error) from error

    def _rotate(self, opened: _Opened, guards: Guards) -> str | None:
        """Have the writer let go of the file; its new name, or ``None`` where that did not work."""
        hook = self._source.rotate
        if hook is None:
            return None
        self._ask(guards)
        before = opened.version()
        try:
            if callable(hook):
                hook()
            else:
                subprocess.run(list(hook), check=True, timeout=self._source.rotate_wait_s, capture_output=True)  # noqa: S603 - the operator's own command
        except Exception:  # noqa: BLE001 - whatever a product's hook raises, in place still works
            return None
        until = time.monotonic() + self._source.rotate_wait_s
        while True:
            version = opened.version()
            if version.size < before.size:
                raise _Busy("changed")  # it was copied and truncated: the lines are in another file now
            quiet = self._now() - version.mtime_ns / 1e9 >= self._source.rotate_quiet_s
            if quiet or time.monotonic() >= until:
                break
            time.sleep(0.02)
        names = {file.name: file.state for file in self._files() if file.version.identity == version.identity}
        if not names:
            raise _Busy("changed")
        moved = [name for name, state in names.items() if state is not FileState.ACTIVE]
        same_folder = [name for name in moved if name.rpartition("/")[0] == opened.name.rpartition("/")[0]]
        return same_folder[0] if quiet and same_folder else None


def _is_read(file: LogFile, reading: FilePlan | None) -> bool:
    """Whether a reading is still true of a file; of one that grows, what was there at the time is enough."""
    if reading is None:
        return False
    then, now = reading.version, file.version
    return file.state is not FileState.CLOSED or (then.size, then.mtime_ns) == (now.size, now.mtime_ns)


def _context(version: FileVersion, state: FileState) -> _Context:
    written_by = datetime.fromtimestamp(version.mtime_ns / 1e9, UTC)
    return _Context(written_by, active=state is FileState.ACTIVE)


def _expand(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Regular files by a pattern. Unlike ``Path.glob`` it raises where a folder cannot be read."""
    for above in _folders(folder, parts[:-1]):
        with os.scandir(above) as entries:
            for entry in entries:
                if _fits(entry.name, parts[-1]) and entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


def _folders(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    if not parts:
        if not folder.is_dir():
            raise Unavailable("no folder")
        yield folder
        return
    for above in _folders(folder, parts[:-1]):
        with os.scandir(above) as entries:
            found = [e.path for e in entries if _fits(e.name, parts[-1]) and e.is_dir(follow_symlinks=False)]
        yield from (Path(path) for path in sorted(found))


def _fits(name: str, pattern: str) -> bool:
    hidden = name.startswith(".") and not pattern.startswith(".")
    return not hidden and fnmatch.fnmatchcase(name, pattern)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _Busy("locked") from None


def _temporary(folder: int) -> tuple[str, int]:
    """A new file in the folder, locked, so that a run elsewhere does not take it for a dead worker's."""
    while True:
        name = f".oblio-{secrets.token_hex(8)}.tmp"
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)  # it was removed between its making and its lock


def _take_over(source: int, target: int) -> None:
    """Give the copy the original's owner, mode, extended attributes and times. Raises where owner or mode cannot be."""
    seen, made = os.fstat(source), os.fstat(target)
    if (seen.st_uid, seen.st_gid) != (made.st_uid, made.st_gid):
        os.fchown(target, seen.st_uid, seen.st_gid)
    os.fchmod(target, stat.S_IMODE(seen.st_mode))
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for name in os.listxattr(source):
                with contextlib.suppress(OSError):  # some belong to the system
                    os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def _check_copy(descriptor: int, copy: _Copy) -> None:
    """Read the copy back: what was written must be what is there, before it replaces anything."""
    total = checksum = 0
    try:
        for text, _ in _pieces(descriptor, os.fstat(descriptor).st_size):
            total += len(text)
            checksum = zlib.crc32(text, checksum)
    except _Unreadable:
        raise Failed("the copy cannot be read") from None
    if (total, checksum) != (copy.total, copy.checksum):
        raise Failed("the copy reads differently")
