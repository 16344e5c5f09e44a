"""A closed log file copied without the subjects, and the copy renamed over it.

Mode, owner, extended attributes, modification time and gzip framing (members, their headers, their order) are kept.
The copy is made beside the file, synced and read back; between opening and rename the file must not have changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from consumers.stores.logfiles_folder import Opened
from consumers.stores.logfiles_gzip import CHUNK, Member, pieces, trailer
from consumers.stores.logfiles_judgement import Context, Judge
from consumers.stores.logfiles_reading import judged
from consumers.stores.logfiles_results import FileState, FileVersion, Outcome, Unfinished
from consumers.stores.objects_answers import Failed
from consumers.stores.objects_folder import fsync_folder


def replaced(opened: Opened, judge: Judge, may_continue: Callable[[], bool]) -> FileVersion | None:
    """Rename a copy without the subjects over the file; its version, or ``None`` where there was nothing to erase.

    Raises:
        Unfinished: the file changed meanwhile, cannot be read, or ``may_continue`` said no. It is as it was.
    """
    version = opened.version()
    with _temporary(opened.folder) as (temporary, descriptor):
        copy = _Copy(descriptor)
        if not _fill(copy, opened, version, judge):
            return None
        _take_over(opened.descriptor, descriptor)
        os.fsync(descriptor)
        _check(descriptor, copy)
        if not may_continue():
            raise Unfinished(Outcome.STOPPED)
        opened.check_name(version)
        os.rename(temporary, opened.path.name, src_dir_fd=opened.folder, dst_dir_fd=opened.folder)
        fsync_folder(opened.path.parent)
        return FileVersion.of(os.fstat(descriptor))


def _fill(copy: _Copy, opened: Opened, version: FileVersion, judge: Judge) -> bool:
    """Write the file's lines into the copy; whether any of them changed."""
    context = Context.of(version, FileState.CLOSED)
    changed = False
    for line, verdict in judged(opened.descriptor, version, judge, context):
        new = judge.rewritten(line.raw, verdict, context) if verdict is not None and verdict.changes else None
        changed = changed or new is not None
        copy.line(line.raw, line.breaks, new)
    copy.finish()
    return changed


@contextlib.contextmanager
def _temporary(folder: int) -> Iterator[tuple[str, int]]:
    """A new file in the folder, which goes at the end unless it was renamed.

    It is locked, so that a run elsewhere does not take it for a dead worker's.
    """
    name, descriptor = _made(folder)
    try:
        yield name, descriptor
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        os.close(descriptor)  # and with it the lock, on what may be the log file now


def _made(folder: int) -> tuple[str, int]:
    while True:
        name = f".oblio-{secrets.token_hex(8)}.tmp"
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)  # it was removed between its making and its lock


class _Copy:
    """Writes lines to a descriptor, in the gzip members in which they stood."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()
        self._deflater: Any = None
        self._member = (0, 0)
        self.total = self.checksum = 0

    def line(self, line: bytes, breaks: Sequence[tuple[int, Member]], new: bytes | None) -> None:
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

    def _begin(self, member: Member) -> None:
        self._end()
        self._put(member.header)
        if not member.is_padding:
            # The header's eighth byte tells how hard its maker tried.
            level = {2: 9, 4: 1}.get(member.header[8], 6)
            self._deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
            self._member = (0, 0)

    def _end(self) -> None:
        if self._deflater is not None:
            self._put(self._deflater.flush() + trailer(*self._member))
            self._deflater = None

    def _put(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        view = memoryview(bytes(self._buffer))
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._buffer.clear()


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


def _check(descriptor: int, copy: _Copy) -> None:
    """Read the copy back: what was written must be what is there, before it replaces anything."""
    total = checksum = 0
    try:
        for text, _ in pieces(descriptor, os.fstat(descriptor).st_size):
            total += len(text)
            checksum = zlib.crc32(text, checksum)
    except Unfinished:
        raise Failed("the copy cannot be read") from None
    if (total, checksum) != (copy.total, copy.checksum):
        raise Failed("the copy reads differently")
