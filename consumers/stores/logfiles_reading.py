"""Log files read line by line, each line held against the rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from consumers.stores.logfiles_gzip import Member, Piece, pieces
from consumers.stores.logfiles_judgement import Context, Judge, Verdict
from consumers.stores.logfiles_results import Count, FileVersion

MAX_LINE = 4 << 20  # bytes; longer lines are not parsed, but searched like those that are no JSON
_OVERLAP = 512  # bytes of an overlong line's part that are searched again with the next


class Line(NamedTuple):
    """A line with its end, or a part of an overlong one."""

    raw: bytes
    breaks: tuple[tuple[int, Member], ...]
    """The gzip members that begin inside it, with their offsets."""
    is_part: bool


def lines(text: Iterable[Piece]) -> Iterator[Line]:
    """The lines of the text; one longer than :data:`MAX_LINE` comes in parts, so that memory stays bounded."""
    carry = b""
    breaks: list[tuple[int, Member]] = []
    overlong = False
    for piece, member in text:
        if member is not None:
            breaks.append((len(carry), member))
            continue
        whole = (carry + piece).split(b"\n")
        carry = whole.pop()
        for line in whole:
            yield Line(line + b"\n", tuple(breaks), overlong)
            overlong = False
            breaks.clear()
        if len(carry) > MAX_LINE:
            overlong = True
            yield Line(carry, tuple(breaks), True)
            carry = b""
            breaks.clear()
    if carry or breaks:
        yield Line(carry, tuple(breaks), overlong)


def judged(
    descriptor: int, version: FileVersion, judge: Judge, context: Context
) -> Iterator[tuple[Line, Verdict | None]]:
    """The lines of a file as long as it was at ``version``, with what is to happen to each.

    Raises:
        Unfinished: the file cannot be read to its end.
    """
    tail = b""
    for line in lines(pieces(descriptor, version.size)):
        ended = line.raw.endswith(b"\n")
        if line.is_part:
            yield line, judge.part(tail + line.raw)
            tail = b"" if ended else line.raw[-_OVERLAP:]
            continue
        if context.active and not ended and (context.in_place or not judge.is_json(line.raw)):
            return  # the writer is about to go on
        yield line, judge.line(line.raw, context)


def counted(descriptor: int, version: FileVersion, judge: Judge, context: Context) -> dict[int, Count]:
    """What a dry run finds, by ordinal; an overlong line counts once for each part. Raises as :func:`judged`."""
    found: dict[int, Count] = {}
    for _, verdict in judged(descriptor, version, judge, context):
        for subject, tally in verdict.tallies.items() if verdict is not None else ():
            found[subject.ordinal] = found.get(subject.ordinal, Count()) + tally.count()
    return found
