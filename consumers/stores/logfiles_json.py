"""JSON of a line: where its values stand in the bytes, and what they say."""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import dataclass
from typing import Any

Steps = tuple[str | int, ...]
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]|[^\s{}\[\],:"]++', re.DOTALL)
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Span:
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


def scan(line: bytes, wanted: frozenset[str]) -> dict[str, list[Span]]:
    """Where the values of these paths stand, duplicates of a key included. The line is known to be JSON."""
    found: dict[str, list[Span]] = {}
    stack: list[_Frame] = []

    def note(path: str, steps: Steps, start: int, end: int) -> None:
        if path in wanted:
            found.setdefault(path, []).append(Span(steps, start, end, line[start:end]))

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


def in_scope(one: Steps, other: Steps) -> bool:
    """Whether two values belong together: not where their ways part at two elements of one array."""
    for left, right in zip(one, other, strict=False):
        if left != right:
            return not (isinstance(left, int) and isinstance(right, int))
    return True


_ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[\"\\/bfnrt]")


class Text:
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


def dumped(value: object) -> bytes:
    """The value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


BLANK = re.compile(rb'null|0|"\**"|\{\}')
"""Values that tell nothing about anyone, ours or not: they need no erasing."""


def same_length(token: bytes, raw: bytes) -> bytes:
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


def thoroughly(line: bytes) -> Any:
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


def chains_of(path: str) -> tuple[tuple[str, ...], ...]:
    """The ways a dotted path may be cut into keys: all nested first, one flat key last."""
    head, dot, rest = path.partition(".")
    if not dot:
        return ((path,),)
    chains = [(head, *chain) for chain in chains_of(rest)]
    chains += [(f"{head}.{chain[0]}", *chain[1:]) for chain in chains_of(rest)]
    return tuple(chains)


def leaves(document: Any, chains: tuple[tuple[str, ...], ...]) -> list[str]:
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
