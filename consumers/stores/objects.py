"""Objects of a product (recordings, attachments), looked at and deleted by key over fsspec.

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

Errors are those of :mod:`consumers.stores.objects_answers`.
"""

from __future__ import annotations

from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from consumers.stores.objects_answers import (
    BadKey,
    DeleteOutcome,
    Denied,
    Failed,
    NotAnObject,
    ObjectVersion,
    StoreError,
    TimedOut,
    Unavailable,
    told_plainly,
)
from consumers.stores.objects_folder import Folder
from consumers.stores.objects_remote import Remote

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
]


class ObjectStore:
    """The objects below one root, for example ``file:///srv/voice``, ``memory://voice`` or ``s3://bucket/voice``.

    Keys are relative to the root, with ``/`` between their parts. One instance may be used by several threads.
    """

    def __init__(self, url: str) -> None:
        with told_plainly():
            filesystem, root = url_to_fs(url)
        local = isinstance(filesystem, LocalFileSystem)
        self._backend: Folder | Remote = Folder(Path(root)) if local else Remote(filesystem, root)

    def stat(self, key: str) -> ObjectVersion | None:
        """The object's present version, or ``None`` where there is none.

        Reads the whole object where the store gives no tag of its own.

        Raises:
            StoreError: see the module; also if the root itself is missing, because an empty wrong place must not
                look like a clean one.
        """
        _check_key(key)
        with told_plainly():
            return self._backend.stat(key)

    def exists(self, key: str) -> bool:
        """Whether there is an object under this key. Raises like :meth:`stat`."""
        return self.stat(key) is not None

    def delete(self, expected: ObjectVersion) -> DeleteOutcome:
        """Delete this version of an object, durably, and where the store keeps old versions those too.

        Raises:
            StoreError: see the module; whether the object is gone is then unknown, and trying again is safe.
        """
        _check_key(expected.key)
        with told_plainly():
            return self._backend.delete(expected)


def _check_key(key: str) -> None:
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise BadKey("malformed")
