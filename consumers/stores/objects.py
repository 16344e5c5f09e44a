"""Objects of a product (recordings, attachments), looked at, listed and deleted by key over fsspec.

A plan names an object *and its version*, so that what is deleted is what was found: an object that was
written anew under the same key in between is :attr:`DeleteOutcome.CHANGED` and stays.

What is promised, by kind of store:

* ``file://``: a deletion is on the disk when :meth:`ObjectStore.delete` returns (the folder is synced, also when
  the object was absent already, because the deletion of a crashed try may not be). The version is size and SHA-256.
  Between the last look and the unlink lie microseconds in which a writer could still replace the file; a
  POSIX file system offers nothing better. Emptied folders stay: removing one would race with a
  writer that has just made it. A second hard link to the file is out of reach.
* ``s3://``: every version and every delete marker of the key goes, by version id, so that a version written
  meanwhile is untouched. This needs ``s3:ListBucketVersions`` and ``s3:DeleteObjectVersion``; without them deleting
  is ``denied``, since a delete marker alone would leave the recording where it was.
* any other: deleted through fsspec. Where such a store keeps old versions by itself (object versioning of GCS,
  soft delete of Azure) its own life-cycle rule has to end them.

Errors carry a stable ``code``; none quotes a key, a path or a driver's own text::

    StoreError
    ├── Unavailable  "unavailable"    the store or its root cannot be reached; a later try may succeed
    ├── TimedOut     "timeout"        no answer in time; a later try may succeed
    ├── Denied       "denied"         the store refuses us
    ├── BadKey       "bad_key"        the key is malformed or leads out of the root
    ├── NotAnObject  "not_an_object"  a folder, a link or a device stands where an object was named
    └── Failed       "failed"         anything else
"""

from __future__ import annotations

import contextlib
import enum
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, ClassVar, Protocol

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

__all__ = [
    "BadKey",
    "DeleteOutcome",
    "Denied",
    "Failed",
    "NotAnObject",
    "ObjectStore",
    "ObjectVersion",
    "StoreError",
    "TimedOut",
    "Unavailable",
    "fsync_folder",
    "told_plainly",
]


class StoreError(Exception):
    """A store did not do what was asked. ``detail`` is an errno's or a class's name, never data."""

    code: ClassVar[str] = "failed"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        super().__init__(f"{self.code} ({detail})" if detail else self.code)
        self.detail = detail


class Unavailable(StoreError):
    """The store or its root cannot be reached; a later try may succeed."""

    code = "unavailable"
    retryable = True


class TimedOut(StoreError):
    """The store gave no answer in time; a later try may succeed."""

    code = "timeout"
    retryable = True


class Denied(StoreError):
    """The store refuses us: credentials, grants, file modes, or a retention lock."""

    code = "denied"


class BadKey(StoreError):
    """The key is malformed or leads out of the root."""

    code = "bad_key"


class NotAnObject(StoreError):
    """A folder, a link or a device stands where an object was named."""

    code = "not_an_object"


class Failed(StoreError):
    """Anything else."""


class DeleteOutcome(enum.Enum):
    """What :meth:`ObjectStore.delete` found and did."""

    DELETED = "deleted"  # it was there, and is gone
    ABSENT = "absent"  # it was gone already: counts as done
    CHANGED = "changed"  # another version than expected: not deleted, the caller decides


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One object as it stood when it was looked at.

    ``tag`` names the content: ``sha256:…``, or the store's own ``etag:…``. Two versions are the same if key, size
    and tag are; ``modified_ns`` (nanoseconds of the epoch, 0 where unknown) is told, not compared, because a
    touched file is no other content.
    """

    key: str
    size: int
    tag: str
    modified_ns: int = 0

    def same(self, other: ObjectVersion) -> bool:
        """Whether both are the same content under the same key."""
        return (self.key, self.size, self.tag) == (other.key, other.size, other.tag)


class ObjectStore:
    """The objects below one root, for example ``file:///srv/voice``, ``memory://voice`` or ``s3://bucket/voice``.

    ``options`` are fsspec's own for that kind of store (endpoint, time-outs, credentials). Keys are relative to the
    root, with ``/`` between their parts. One instance may be used by several threads.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        with told_plainly():
            filesystem, root = url_to_fs(url, **(options or {}))
        self._backend: _Backend
        if isinstance(filesystem, LocalFileSystem):
            self._backend = _Folder(Path(root))
        else:
            self._backend = _Remote(filesystem, root)

    def check(self) -> None:
        """Raise :class:`Unavailable` unless the root is there: an empty wrong place must not look like a clean one."""
        with told_plainly():
            self._backend.check()

    def stat(self, key: str) -> ObjectVersion | None:
        """The object's present version, or ``None`` where there is none.

        Reads the whole object where the store gives no tag of its own.

        Raises:
            StoreError: see the module; also if the root itself is missing.
        """
        _check_key(key)
        with told_plainly():
            return self._backend.stat(key)

    def exists(self, key: str) -> bool:
        """Whether there is an object under this key. Raises like :meth:`stat`."""
        return self.stat(key) is not None

    def delete(self, key: str, expected: ObjectVersion | None = None) -> DeleteOutcome:
        """Delete the object, durably, and where the store keeps old versions those too.

        Args:
            key: the object's key.
            expected: delete only this version; ``None`` deletes whatever is there.

        Raises:
            StoreError: see the module; whether the object is gone is then unknown, and trying again is safe.
        """
        _check_key(key)
        if expected is not None and expected.key != key:
            raise BadKey("another key's version")
        with told_plainly():
            return self._backend.delete(key, expected)

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with ``prefix`` (plain text: ``a/b`` finds ``a/bc``), in no promised order.

        Raises:
            StoreError: see the module.
        """
        if prefix:
            _check_key(prefix.removesuffix("/"))
        with told_plainly():
            yield from self._backend.keys(prefix)


class _Backend(Protocol):
    def check(self) -> None: ...

    def stat(self, key: str) -> ObjectVersion | None: ...

    def delete(self, key: str, expected: ObjectVersion | None) -> DeleteOutcome: ...

    def keys(self, prefix: str) -> Iterator[str]: ...


class _Folder:
    """A folder of this machine, by system calls: fsspec neither syncs nor refuses links."""

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

    def delete(self, key: str, expected: ObjectVersion | None) -> DeleteOutcome:
        path = self._path(key)
        opened = self._open(path)
        if opened is None:
            self.check()
            self._sync_above(path)
            return DeleteOutcome.ABSENT
        with opened:
            seen = os.fstat(opened.fileno())
            if expected is not None:
                if seen.st_size != expected.size or not _read_version(key, opened).same(expected):
                    return DeleteOutcome.CHANGED
                if not _same_file(seen, path):
                    return DeleteOutcome.CHANGED
            with contextlib.suppress(FileNotFoundError):  # another worker was faster: gone is gone
                path.unlink()
        self._sync_above(path)
        return DeleteOutcome.DELETED

    def keys(self, prefix: str) -> Iterator[str]:
        self.check()
        above = self._root / prefix.rpartition("/")[0]
        for folder, _, names in os.walk(above, onerror=_raise_unless_missing):
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix) and not path.is_symlink():
                    yield key

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


class _Remote:
    """Any other store, through fsspec; one that offers S3's own calls is asked for old versions."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._fs = filesystem
        self._root = filesystem._strip_protocol(root).rstrip("/")

    def check(self) -> None:
        # In memory an empty root is no entry at all, and there is no address to get wrong.
        if isinstance(self._fs, MemoryFileSystem):
            return
        # A prefix disappears with its last object; what must be there is the bucket.
        container = self._root.lstrip("/").partition("/")[0]
        if container and not self._fs.exists(container):
            raise Unavailable("no root")

    def stat(self, key: str) -> ObjectVersion | None:
        try:
            info = self._info(key)
            tag = _tag_of(info) or self._digest(self._path(key))
        except FileNotFoundError:
            self.check()
            return None
        return ObjectVersion(key=key, size=int(info["size"]), tag=tag, modified_ns=_modified_ns(info))

    def delete(self, key: str, expected: ObjectVersion | None) -> DeleteOutcome:
        # Versions first: what is written after this line is not in the list, and so is not deleted.
        versions = self._versions(key)
        if expected is not None:
            current = self.stat(key)
            if current is not None and not current.same(expected):
                return DeleteOutcome.CHANGED
        if versions is None:
            try:
                self._info(key)
                self._fs.rm_file(self._path(key))
            except FileNotFoundError:
                self.check()
                return DeleteOutcome.ABSENT
            return DeleteOutcome.DELETED
        bucket, _, name = self._path(key).lstrip("/").partition("/")
        for version in versions:
            self._fs.call_s3("delete_object", Bucket=bucket, Key=name, VersionId=version)
        self._fs.invalidate_cache(self._path(key))
        if not versions:
            self.check()
        return DeleteOutcome.DELETED if versions else DeleteOutcome.ABSENT

    def keys(self, prefix: str) -> Iterator[str]:
        self._fs.invalidate_cache()
        above = prefix.rpartition("/")[0]
        base = self._root + "/"
        found = self._fs.find(base + above if above else self._root)
        if not found:
            self.check()
        for path in found:
            key = str(path).removeprefix(base)
            if key.startswith(prefix):
                yield key

    def _info(self, key: str) -> Mapping[str, Any]:
        info: Mapping[str, Any] = self._fs.info(self._path(key))
        if info["type"] != "file":
            raise NotAnObject
        return info

    def _path(self, key: str) -> str:
        path = f"{self._root}/{key}"
        self._fs.invalidate_cache(path)
        return path

    def _digest(self, path: str) -> str:
        with self._fs.open(path, "rb") as opened:
            digest = hashlib.sha256()
            while chunk := opened.read(1 << 20):
                digest.update(chunk)
        return f"sha256:{digest.hexdigest()}"

    def _versions(self, key: str) -> tuple[str, ...] | None:
        """Ids of all versions and delete markers of this key; ``None`` where the store knows no such thing."""
        if not hasattr(self._fs, "call_s3"):
            return None
        bucket, _, name = self._path(key).lstrip("/").partition("/")
        found: list[str] = []
        after: dict[str, str] = {}
        while True:
            try:
                page = self._fs.call_s3("list_object_versions", Bucket=bucket, Prefix=name, **after)
            except OSError as error:
                if error.errno == errno.ENOSYS:  # S3-compatible without versions: nothing old can be left
                    return None
                raise
            entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
            found += [entry["VersionId"] for entry in entries if entry["Key"] == name]
            # Keys come in order, and the exact one before those it is a prefix of.
            if not page.get("IsTruncated") or page.get("NextKeyMarker", name) != name:
                return tuple(found)
            after = {"KeyMarker": page["NextKeyMarker"]}
            if page.get("NextVersionIdMarker"):
                after["VersionIdMarker"] = page["NextVersionIdMarker"]


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


_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNAVAILABLE = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,  # what s3fs makes of SlowDown and ServiceUnavailable
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.ESTALE,
        getattr(errno, "EREMOTEIO", errno.EIO),  # what s3fs makes of InternalError
    }
)


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """Turn whatever a file system or its driver raises into a :class:`StoreError` that quotes no data.

    Used by the log files' store as well. Programming errors (``TypeError`` and the like) pass as they are.
    """
    try:
        yield
    except (StoreError, TypeError, AttributeError, NameError, AssertionError):
        raise
    except Exception as error:  # noqa: BLE001 - drivers of fsspec raise what they like
        # "from None": a traceback must not print the driver's text, which quotes the path.
        raise _plain(error) from None


def _plain(error: Exception) -> StoreError:
    if isinstance(error, TimeoutError):
        return TimedOut()
    if isinstance(error, OSError):
        detail = errno.errorcode.get(error.errno or 0, type(error).__name__)
        if isinstance(error, PermissionError) or error.errno in _DENIED:
            return Denied(detail)
        if isinstance(error, (FileNotFoundError, ConnectionError)) or error.errno in _UNAVAILABLE:
            return Unavailable(detail)
        return Failed(detail)
    # Drivers' own errors are known by name, so that none of the drivers needs to be installed.
    name = type(error).__name__
    if "Timeout" in name:
        return TimedOut(name)
    if "Connect" in name or "Endpoint" in name:
        return Unavailable(name)
    if "Credential" in name or "Denied" in name:
        return Denied(name)
    return Failed(name)


def _check_key(key: str) -> None:
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise BadKey("malformed")


def _read_version(key: str, opened: BufferedReader) -> ObjectVersion:
    seen = os.fstat(opened.fileno())
    opened.seek(0)
    digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return ObjectVersion(key=key, size=seen.st_size, tag=f"sha256:{digest}", modified_ns=seen.st_mtime_ns)


def _same_file(seen: os.stat_result, path: Path) -> bool:
    """Whether ``path`` still is the file that was opened, unwritten since."""
    try:
        now = path.lstat()
    except FileNotFoundError:
        return True  # gone meanwhile: what follows finds that out
    return all(getattr(seen, name) == getattr(now, name) for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns"))


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _tag_of(info: Mapping[str, Any]) -> str:
    """The store's own name for the content, if it has one."""
    for field in ("ETag", "etag", "md5Hash", "content_md5"):
        value = info.get(field)
        if value:
            return f"etag:{str(value).strip(chr(34))}"
    return ""


def _modified_ns(info: Mapping[str, Any]) -> int:
    for field in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(field)
        if isinstance(value, (int, float)):
            return int(value * 1e9)
        if value is not None and hasattr(value, "timestamp"):
            return int(value.timestamp() * 1e9)
    return 0
