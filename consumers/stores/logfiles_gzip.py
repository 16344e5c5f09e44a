"""Bytes of log files as text, plain or gzip, whose members and their headers are kept in mind (RFC 1952)."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from consumers.stores.logfiles_results import Outcome, Unfinished, busy

CHUNK = 1 << 20
_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Member:
    """Where a gzip member begins: its header as it stands, or the padding after the last one."""

    header: bytes
    is_padding: bool = False


Piece = tuple[bytes, Member | None]
"""Bytes of text, or (with no bytes) the beginning of a member."""


def pieces(descriptor: int, size: int) -> Iterator[Piece]:
    """The text of the first ``size`` bytes of a file, decompressed if it is gzip by its first bytes."""
    raw = _raw(descriptor, size)
    first = next(raw, b"")
    if len(first) == 1:
        first += next(raw, b"")
    if first[:2] == _MAGIC:
        yield from gunzipped(first, raw)
        return
    if first:
        yield first, None
    for chunk in raw:
        yield chunk, None


def _raw(descriptor: int, size: int) -> Iterator[bytes]:
    at = 0
    while at < size:
        chunk = os.pread(descriptor, min(CHUNK, size - at), at)
        if not chunk:
            raise busy("changed")  # truncated under our hands
        at += len(chunk)
        yield chunk


def gunzipped(buffer: bytes, more: Iterator[bytes]) -> Iterator[Piece]:
    """The text of gzip data that begins with ``buffer``. Raises Unfinished (``unreadable``)."""
    while buffer:
        if buffer.strip(b"\0") == b"":
            yield b"", Member(buffer, is_padding=True)
            buffer = next(more, b"")
            continue
        while (length := _header_length(buffer)) is None:
            buffer += _next(more)
        yield b"", Member(buffer[:length])
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        buffer = buffer[length:]
        checksum = total = 0
        while not inflater.eof:
            try:
                text = inflater.decompress(buffer, CHUNK)
            except zlib.error:
                raise Unfinished(Outcome.UNREADABLE) from None
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
        if buffer[:8] != trailer(checksum, total):
            raise Unfinished(Outcome.UNREADABLE)
        buffer = buffer[8:] or next(more, b"")


def _next(more: Iterator[bytes]) -> bytes:
    chunk = next(more, b"")
    if not chunk:
        raise Unfinished(Outcome.UNREADABLE)  # the file ends inside a member
    return chunk


def trailer(checksum: int, total: int) -> bytes:
    """The end of a member: the CRC-32 and the length of its text."""
    return checksum.to_bytes(4, "little") + (total & 0xFFFFFFFF).to_bytes(4, "little")


def _header_length(data: bytes) -> int | None:
    """How long the gzip header at the beginning of ``data`` is (RFC 1952); ``None`` if it goes on after it."""
    if len(data) < 10:
        return None
    if data[:2] != _MAGIC or data[2] != 8:
        raise Unfinished(Outcome.UNREADABLE)
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
