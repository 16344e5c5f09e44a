"""Objects anywhere else, through fsspec; a store that offers S3's own calls is asked for old versions."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Mapping
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from consumers.stores.objects_answers import DeleteOutcome, NotAnObject, ObjectVersion, Unavailable


class Remote:
    """The objects below ``root`` of an fsspec file system."""

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
        return ObjectVersion(key=key, size=int(info["size"]), tag=tag)

    def delete(self, expected: ObjectVersion) -> DeleteOutcome:
        key = expected.key
        # Versions first: what is written after this line is not in the list, and so is not deleted.
        versions = self._versions(key)
        current = self.stat(key)
        if current is not None and current != expected:
            return DeleteOutcome.CHANGED
        if versions is None:
            if current is not None:
                with contextlib.suppress(FileNotFoundError):  # another worker was faster: gone is gone
                    self._fs.rm_file(self._path(key))
            return DeleteOutcome.ABSENT if current is None else DeleteOutcome.DELETED
        bucket, _, name = self._path(key).lstrip("/").partition("/")
        for version in versions:
            self._fs.call_s3("delete_object", Bucket=bucket, Key=name, VersionId=version)
        self._fs.invalidate_cache(self._path(key))
        return DeleteOutcome.DELETED if versions else DeleteOutcome.ABSENT

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


def _tag_of(info: Mapping[str, Any]) -> str:
    """The store's own name for the content, if it has one."""
    for field in ("ETag", "etag", "md5Hash", "content_md5"):
        value = info.get(field)
        if value:
            return f"etag:{str(value).strip(chr(34))}"
    return ""
