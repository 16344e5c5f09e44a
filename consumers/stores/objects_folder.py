"""Objects in a folder of this machine, by system calls: fsspec neither syncs nor refuses links."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from consumers.stores.objects_answers import BadKey, DeleteOutcome, NotAnObject, ObjectVersion, Unavailable


class Folder:
    """The objects below a folder; keys are relative paths."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        if not self._root.is_dir():
            raise Unavailable("no root")

    def stat(self, key: str) -> ObjectVersion | None:
        opened = self._open(self._path(key))
        if opened is None:
            self.check()
            return None
        with opened:
            return _read_version(key, opened)

    def delete(self, expected: ObjectVersion) -> DeleteOutcome:
        path = self._path(expected.key)
        opened = self._open(path)
        if opened is None:
            self.check()
            self._sync_above(path)
            return DeleteOutcome.ABSENT
        with opened:
            seen = os.fstat(opened.fileno())
            same = seen.st_size == expected.size and _read_version(expected.key, opened) == expected
            if not same or not _same_file(seen, path):
                return DeleteOutcome.CHANGED
            with contextlib.suppress(FileNotFoundError):  # another worker was faster: gone is gone
                path.unlink()
        self._sync_above(path)
        return DeleteOutcome.DELETED

    def _path(self, key: str) -> Path:
        path = self._root / key
        if not path.parent.resolve().is_relative_to(self._root.resolve()):
            raise BadKey("leads out of the root")
        return path

    @staticmethod
    def _open(path: Path) -> BufferedReader | None:
        """The regular file, opened for reading, or ``None`` where nothing is."""
        try:
            # Non-blocking, so that a pipe put there by someone does not hang us; no-follow, because deleting a
            # link would leave the data it points at.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise NotAnObject from None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotAnObject
        return os.fdopen(descriptor, "rb")

    def _sync_above(self, path: Path) -> None:
        """Sync the nearest folder that is there: an earlier deletion may not have reached the disk."""
        folder = path.parent
        while not folder.is_dir() and folder != self._root:
            folder = folder.parent
        fsync_folder(folder)


def fsync_folder(folder: Path) -> None:
    """Write the folder's entries to the disk; a file system that cannot sync folders is left alone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _read_version(key: str, opened: BufferedReader) -> ObjectVersion:
    seen = os.fstat(opened.fileno())
    opened.seek(0)
    digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return ObjectVersion(key=key, size=seen.st_size, tag=f"sha256:{digest}")


def _same_file(seen: os.stat_result, path: Path) -> bool:
    """Whether ``path`` still is the file that was opened, unwritten since."""
    try:
        now = path.lstat()
    except FileNotFoundError:
        return True  # gone meanwhile: what follows finds that out
    return all(getattr(seen, name) == getattr(now, name) for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns"))
