"""The folder of a product's log files: which there are, which may be changed, and opening one of them.

**Locks.** ``flock`` on the log file itself, without waiting: it leaves nothing behind in the product's folder. Since a
rename replaces the inode, whoever got the lock looks whether the name still leads to what it locked. Temporary files
(``.oblio-*.tmp``) are locked by their maker as well, so an unlocked one is a dead worker's and is removed by the next
run.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from consumers.stores.logfiles_results import FileState, FileVersion, LogFile, Unfinished, busy
from consumers.stores.logfiles_rules import LogSource
from consumers.stores.objects_answers import Unavailable

RENAME_SETTLE_S = 2.0  # a rotation renames first and makes the writer reopen a moment later


@dataclass(slots=True)
class Opened:
    """One file held open, and the folder it stands in."""

    name: str
    path: Path
    folder: int
    descriptor: int
    writable: bool

    def version(self) -> FileVersion:
        return FileVersion.of(os.fstat(self.descriptor))

    def check_name(self, version: FileVersion) -> None:
        """Raise ``busy`` unless the name still leads to these very bytes."""
        try:
            now = FileVersion.of(os.stat(self.path.name, dir_fd=self.folder, follow_symlinks=False))
        except FileNotFoundError:
            raise busy("changed") from None
        if now != version:
            raise busy("changed")


class Folder:
    """The files of ``source`` as one worker sees them: it knows which it renamed itself, and need not let them settle."""

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self.now: Callable[[], float] = time.time
        """Seconds of the epoch."""
        self._own: set[tuple[int, int]] = set()

    def own(self, version: FileVersion) -> None:
        """Keep in mind that this file is our copy: no writer has ever had it open."""
        self._own.add(version.identity)

    def path(self, name: str) -> Path:
        """Where the file of that name is."""
        return self._source.folder / name

    def files(self) -> tuple[LogFile, ...]:
        """The files there are now, by name. Raises Unavailable where the folder is missing, and OSError."""
        patterns = dict.fromkeys((*self._source.patterns, *self._source.active))
        found = {pattern: self._matching(pattern) for pattern in patterns}
        seen = {name: stat for stats in found.values() for name, stat in stats.items()}
        active = {name for pattern in self._source.active for name in found[pattern]}
        if not active:
            active = {name for stats in found.values() for name in _newest(stats)}
        now = self.now()
        self._own &= {(stat.st_dev, stat.st_ino) for stat in seen.values()}
        return tuple(self._file(name, seen, now, active=name in active) for name in sorted(seen))

    def _matching(self, pattern: str) -> dict[str, os.stat_result]:
        found: dict[str, os.stat_result] = {}
        for path in _expanded(self._source.folder, pattern.split("/")):
            with contextlib.suppress(FileNotFoundError):
                found[path.relative_to(self._source.folder).as_posix()] = path.lstat()
        return found

    def _file(self, name: str, seen: Mapping[str, os.stat_result], now: float, *, active: bool) -> LogFile:
        version = FileVersion.of(seen[name])
        if active:
            return LogFile(name, FileState.ACTIVE, version)
        if name.endswith(".gz") and name.removesuffix(".gz") in seen:
            # The compressor removes the plain file when it has finished.
            return LogFile(name, FileState.UNSETTLED, version, math.inf)
        settled_at = seen[name].st_mtime + self._source.settle_s
        if version.identity not in self._own:
            settled_at = max(settled_at, seen[name].st_ctime + min(self._source.settle_s, RENAME_SETTLE_S))
        if settled_at > now:
            return LogFile(name, FileState.UNSETTLED, version, settled_at - now)
        return LogFile(name, FileState.CLOSED, version)

    def locate(self, name: str, planned: FileVersion) -> LogFile | None:
        """The planned file as it is now: where rotation has moved it, else what has the name it had."""
        files = self.files()
        named = next((file for file in files if file.name == name), None)
        # Itself, or a copy that replaced it: copies keep the time.
        if named and (named.version.identity == planned.identity or named.version.mtime_ns == planned.mtime_ns):
            return named
        for file in files:
            now = file.version
            # An inode's number is given anew once its file is gone: then to something smaller or older, as a rule.
            if now.identity == planned.identity and now.size >= planned.size and now.mtime_ns >= planned.mtime_ns:
                return file
        return named

    @contextlib.contextmanager
    def open(self, name: str, *, lock: bool = False) -> Iterator[Opened]:
        """One file for reading; with ``lock`` for writing too, where its mode allows it.

        Raises:
            Unfinished: ``busy``, because somebody else has the lock or has just replaced the file.
            OSError: it cannot be opened.
        """
        path = self.path(name)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            opened = _opened(name, path, folder, lock=lock)
            try:
                if lock:
                    locked(opened.descriptor)
                    seen = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
                    if FileVersion.of(seen).identity != opened.version().identity:
                        raise busy("changed")  # another worker renamed a new one over it
                yield opened
            finally:
                os.close(opened.descriptor)
        finally:
            os.close(folder)

    def clean(self) -> None:
        """Remove temporary files of workers that died. Those of living workers stay."""
        patterns = (*self._source.patterns, *self._source.active)
        folders = {tuple(pattern.split("/")[:-1]) for pattern in patterns}
        for path in [path for parts in folders for path in _expanded(self._source.folder, [*parts, ".oblio-*.tmp"])]:
            with contextlib.suppress(FileNotFoundError, Unfinished):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    locked(descriptor)
                    path.unlink()
                finally:
                    os.close(descriptor)


def _newest(stats: Mapping[str, os.stat_result]) -> list[str]:
    """The newest plain file of each folder."""
    found: dict[str, str] = {}
    for name in sorted((name for name in stats if not name.endswith(".gz")), key=lambda n: (stats[n].st_mtime_ns, n)):
        found[name.rpartition("/")[0]] = name
    return list(found.values())


def _opened(name: str, path: Path, folder: int, *, lock: bool) -> Opened:
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if lock:
        # A closed file may be read-only: replacing it needs the folder's permission alone.
        with contextlib.suppress(PermissionError):
            return Opened(name, path, folder, os.open(path.name, flags | os.O_RDWR, dir_fd=folder), writable=True)
    return Opened(name, path, folder, os.open(path.name, flags | os.O_RDONLY, dir_fd=folder), writable=False)


def _expanded(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
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


def locked(descriptor: int) -> None:
    """Lock an open file. Raises Unfinished (``busy``) where somebody else has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise busy("locked") from None
