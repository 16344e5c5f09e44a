"""Structured log files (JSON lines, plain or gzip) of a product: found, redacted and looked through again.

One pass per file serves all subjects of a batch. Two steps, each idempotent::

    for plan in log.plan(subjects):                  # a dry run: counts per file and subject
        log.rewrite(plan.name, plan.version, subjects, may_continue)
    log.plan(subjects)                               # a fresh read; nothing may be pending, nothing suspicious

Whose line is whose, and what of it changes, is told in :mod:`consumers.stores.logfiles_judgement`. Text that is no
JSON is kept unless the rule says otherwise, and reported as ``suspicious`` where it names a subject.

**Which files.** What is closed (not active, untouched for ``settle_s`` seconds) is copied beside itself and the copy
renamed over it (:mod:`consumers.stores.logfiles_copy`). The active file is rotated by the command, if there is one,
and else overwritten in place, value by value (:mod:`consumers.stores.logfiles_active`). A file that needs only a moment
more to settle is waited for; what needs longer, is locked, or changes under our hands is ``busy``.

Errors are those of :mod:`consumers.stores.objects_answers`; what ``may_continue`` raises passes unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from consumers.stores.logfiles_active import overwritten, rotated
from consumers.stores.logfiles_copy import replaced
from consumers.stores.logfiles_folder import RENAME_SETTLE_S, Folder, Opened
from consumers.stores.logfiles_judgement import Context, Judge
from consumers.stores.logfiles_reading import counted, judged
from consumers.stores.logfiles_results import (
    Count,
    FilePlan,
    FileResult,
    FileState,
    FileVersion,
    LogFile,
    Outcome,
    Unfinished,
    busy,
)
from consumers.stores.logfiles_rules import LineAction, LineRule, LogSource, Normalise, Scrub, Subject, Treatment
from consumers.stores.objects_answers import Unavailable, told_plainly

__all__ = [
    "Count",
    "FilePlan",
    "FileResult",
    "FileState",
    "FileVersion",
    "LineAction",
    "LineRule",
    "LogFiles",
    "LogSource",
    "Outcome",
    "Scrub",
    "Subject",
    "Treatment",
]

_ROUNDS = 50


class LogFiles:
    """The log files of one product: see the module.

    Keep one instance for a worker's life: it knows which files it renamed itself, and need not let them settle.

    Args:
        source: where the files are.
        rule: how their lines are read.
        normalise: brings an identifier to its normal form.
    """

    def __init__(self, source: LogSource, rule: LineRule, normalise: Normalise) -> None:
        self._rotate = source.rotate
        self._rule = rule
        self._normalise = normalise
        self._folder = Folder(source)

    def plan(self, subjects: Sequence[Subject]) -> tuple[FilePlan, ...]:
        """What a rewrite would find, per file and subject; no log file is changed, and a dead worker's leavings go.

        Raises:
            StoreError: the folder is missing, or a file could not be read for lack of rights, or the like. A broken
                file is no error here but a plan that is not ``readable``.
        """
        judge = self._judge(subjects)
        readings: dict[tuple[int, int], FilePlan] = {}
        with told_plainly(OSError):
            self._folder.clean()
            # What was renamed or rewritten between the listing and its turn has not been read: look again.
            for _ in range(_ROUNDS):
                listed = self._folder.files()
                todo = [file for file in listed if not _is_read(file, readings.get(file.version.identity))]
                if not todo:
                    return tuple(replace(readings[file.version.identity], name=file.name) for file in listed)
                for plan in filter(None, (self._survey(file, judge) for file in todo)):
                    readings[plan.version.identity] = plan
        raise Unavailable("the folder does not come to rest")

    def rewrite(
        self, name: str, version: FileVersion, subjects: Sequence[Subject], may_continue: Callable[[], bool]
    ) -> FileResult:
        """Erase the subjects from a planned file, wherever renaming has brought it since. Safe to repeat.

        What a rotation has compressed in the meantime is another file, which :meth:`plan` finds.

        Args:
            name: the file's name in the plan.
            version: its version in the plan.
            subjects: the batch.
            may_continue: asked before the file, right before its rename, and before each batch of some 64 values that
                are overwritten in place.

        Raises:
            StoreError: see the module; the file is then as it was, or (in place) partly done.
            Exception: what ``may_continue`` raised; the same holds.
        """
        if not may_continue():
            return FileResult(name, Outcome.STOPPED)
        try:
            with told_plainly(OSError):
                self._folder.clean()
                file = self._rested(name, version)
                if file is None:
                    return FileResult(name, Outcome.ABSENT)
                name = file.name
                try:
                    with self._folder.open(name, lock=True) as opened:
                        return self._rewritten(opened, self._judge(subjects), may_continue)
                except FileNotFoundError:
                    raise busy("changed") from None
        except Unfinished as unfinished:
            return FileResult(name, unfinished.outcome, reason=unfinished.reason)

    def _judge(self, subjects: Sequence[Subject]) -> Judge:
        return Judge(self._rule, subjects, self._normalise)

    def _survey(self, file: LogFile, judge: Judge) -> FilePlan | None:
        """A dry run over one file; ``None`` if it is gone."""
        version, counts, readable = file.version, dict[int, Count](), True
        try:
            with self._folder.open(file.name) as opened:
                version = opened.version()
                counts = counted(opened.descriptor, version, judge, Context.of(version, file.state))
        except FileNotFoundError:
            return None
        except Unfinished as unfinished:
            if unfinished.outcome is not Outcome.UNREADABLE:
                return None
            readable = False
        return FilePlan(file.name, version, counts, readable)

    def _rested(self, name: str, version: FileVersion) -> LogFile | None:
        """The planned file as it is now; one that settles in a moment is waited for."""
        file = self._folder.locate(name, version)
        if file is not None and 0 < file.settles_s <= RENAME_SETTLE_S:
            time.sleep(file.settles_s)
            file = self._folder.locate(name, version)
        return file

    def _rewritten(self, opened: Opened, judge: Judge, may_continue: Callable[[], bool]) -> FileResult:
        # Looked at again, now that it is locked: it may have been rotated.
        state = next((file.state for file in self._folder.files() if file.name == opened.name), FileState.UNSETTLED)
        if state is FileState.UNSETTLED:
            raise busy("unsettled")
        if state is FileState.CLOSED:
            return self._replaced(opened, judge, may_continue)
        if self._rotate:
            if not self._concerns(opened, judge):
                return FileResult(opened.name, Outcome.UNCHANGED)
            if not may_continue():
                raise Unfinished(Outcome.STOPPED)
            if (moved := rotated(self._folder, opened, self._rotate)) is not None:
                return self._replaced(moved, judge, may_continue)
        changed = overwritten(opened, judge, may_continue)
        outcome = Outcome.CHANGED if changed else Outcome.UNCHANGED
        return FileResult(opened.name, outcome, in_place=changed, rotate_failed=bool(self._rotate))

    def _replaced(self, opened: Opened, judge: Judge, may_continue: Callable[[], bool]) -> FileResult:
        copy = replaced(opened, judge, may_continue)
        if copy is None:
            return FileResult(opened.name, Outcome.UNCHANGED)
        self._folder.own(copy)
        return FileResult(opened.name, Outcome.CHANGED)

    @staticmethod
    def _concerns(opened: Opened, judge: Judge) -> bool:
        """Whether there is anything to erase, for which to rotate the file."""
        version = opened.version()
        context = Context.of(version, FileState.ACTIVE, in_place=True)
        found = judged(opened.descriptor, version, judge, context)
        return any(verdict is not None and verdict.changes for _, verdict in found)


def _is_read(file: LogFile, reading: FilePlan | None) -> bool:
    """Whether a reading is still true of a file; of one that grows, what was there at the time is enough."""
    if reading is None:
        return False
    then, now = reading.version, file.version
    return file.state is not FileState.CLOSED or (then.size, then.mtime_ns) == (now.size, now.mtime_ns)
