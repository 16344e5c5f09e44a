"""The log file that is being written: its writer is made to let go of it, or values are overwritten where they stand.

Overwriting changes no length and touches complete lines only: a writer that appends loses nothing. A writer that
*truncates* the file instead (copytruncate) could meet such a write in the microseconds after our last look at the
bytes: such a product needs a command that rotates.
"""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from consumers.stores.logfiles_folder import Folder, Opened
from consumers.stores.logfiles_judgement import Context, Judge
from consumers.stores.logfiles_reading import judged
from consumers.stores.logfiles_results import FileState, Outcome, Unfinished, busy
from consumers.stores.objects_answers import Failed

_BATCH = 64  # values overwritten between two questions whether to go on
QUIET_S = 1.0  # what was rotated must not have been written for so long…
PATIENCE_S = 10.0  # …and is waited for at most so long, as the command is; then it is overwritten in place


def overwritten(opened: Opened, judge: Judge, may_continue: Callable[[], bool]) -> bool:
    """Overwrite the subjects' values where they stand, the writer going on behind them; whether there were any.

    Raises:
        Unfinished: the file was truncated or replaced, is compressed, or ``may_continue`` said no; part of it may be done.
    """
    version = opened.version()
    context = Context.of(version, FileState.ACTIVE, in_place=True)
    at = 0
    changed = False
    batch: list[tuple[int, bytes, bytes]] = []
    for line, verdict in judged(opened.descriptor, version, judge, context):
        if line.breaks:
            raise busy("compressed")
        if verdict is not None and verdict.changes:
            changed = True
            new = judge.rewritten(line.raw, verdict, context)
            spans = [(0, len(line.raw))] if verdict.drop else [(start, end) for start, end, _ in verdict.disjoint()]
            batch += [(at + start, line.raw[start:end], new[start:end]) for start, end in spans]
        if len(batch) >= _BATCH:
            _write(opened, batch, may_continue)
            batch.clear()
        at += len(line.raw)
    if batch:
        _write(opened, batch, may_continue)
    if changed:
        os.fsync(opened.descriptor)
    return changed


def _write(opened: Opened, batch: Sequence[tuple[int, bytes, bytes]], may_continue: Callable[[], bool]) -> None:
    if not opened.writable:
        raise PermissionError(errno.EACCES, "")
    if not may_continue():
        raise Unfinished(Outcome.STOPPED)
    for at, old, new in batch:
        # A file truncated or replaced meanwhile has other bytes here, or none.
        if os.pread(opened.descriptor, len(old), at) != old:
            raise busy("changed")
        os.pwrite(opened.descriptor, new, at)
        if os.pread(opened.descriptor, len(new), at) != new:
            raise Failed("written bytes read back differently")


def rotated(folder: Folder, opened: Opened, command: Sequence[str]) -> Opened | None:
    """Have the writer let go of the file; the file under its new name, or ``None`` where that did not work.

    Raises:
        Unfinished: ``busy``, because the command copied the lines elsewhere or took the file out of sight.
    """
    before = opened.version()
    try:
        subprocess.run(list(command), check=True, timeout=PATIENCE_S, capture_output=True)  # noqa: S603 - the operator's own command
    except (OSError, subprocess.SubprocessError):
        return None
    until = time.monotonic() + PATIENCE_S
    while not (quiet := folder.now() - opened.version().mtime_ns / 1e9 >= QUIET_S) and time.monotonic() < until:
        time.sleep(0.02)
    version = opened.version()
    if version.size < before.size:
        raise busy("changed")  # it was copied and truncated: the lines are in another file now
    names = {file.name: file.state for file in folder.files() if file.version.identity == version.identity}
    if not names:
        raise busy("changed")
    moved = [name for name, state in names.items() if state is not FileState.ACTIVE]
    beside = [name for name in moved if folder.path(name).parent == opened.path.parent]
    return replace(opened, name=beside[0], path=folder.path(beside[0])) if quiet and beside else None
