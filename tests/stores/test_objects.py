from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from consumers.stores import objects, objects_folder
from consumers.stores.objects import (
    BadKey,
    DeleteOutcome,
    Denied,
    Failed,
    NotAnObject,
    ObjectStore,
    ObjectVersion,
    StoreError,
    TimedOut,
    Unavailable,
)

KEYS = ("2024/a.wav", "2024/b.wav", "2025/a.wav", "2024-extra.wav")


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    if request.param == "file":
        root = tmp_path / "voice"
        root.mkdir()
        return f"file://{root}"
    return f"memory://voice-{uuid.uuid4().hex}"


def put(url: str, key: str, content: bytes) -> None:
    filesystem, root = fsspec.url_to_fs(url)
    path = f"{root}/{key}"
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    filesystem.pipe_file(path, content)


def version(key: str) -> ObjectVersion:
    """Some version of an object that nobody has looked at."""
    return ObjectVersion(key, 1, "sha256:0")


def seen(store: ObjectStore, key: str) -> ObjectVersion:
    """The version of an object that is there."""
    found = store.stat(key)
    assert found is not None
    return found


def test_version_names_content(url):
    store = ObjectStore(url)
    put(url, "r/1.wav", b"RIFF")
    first = seen(store, "r/1.wav")
    assert (first.key, first.size) == ("r/1.wav", 4)
    assert first.tag.startswith("sha256:")
    put(url, "r/1.wav", b"RIFX")
    assert store.stat("r/1.wav") != first
    put(url, "r/1.wav", b"RIFF")
    assert store.stat("r/1.wav") == first  # written anew, the same content


def test_delete_what_was_found_and_nothing_else(url):
    store = ObjectStore(url)
    for key in KEYS:
        put(url, key, key.encode())
    expected = seen(store, "2024/a.wav")
    assert store.delete(expected) is DeleteOutcome.DELETED
    assert store.delete(expected) is DeleteOutcome.ABSENT
    assert [key for key in KEYS if store.exists(key)] == list(KEYS[1:])


def test_another_version_stays(url):
    store = ObjectStore(url)
    put(url, "a.wav", b"hers")
    expected = seen(store, "a.wav")
    put(url, "a.wav", b"his!")
    assert store.delete(expected) is DeleteOutcome.CHANGED
    put(url, "a.wav", b"longer than hers")
    assert store.delete(expected) is DeleteOutcome.CHANGED
    assert store.exists("a.wav")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a/..", "./a", "a//b", "a/", "a\0b"], ids=repr)
def test_keys_stay_below_the_root(url, key):
    store = ObjectStore(url)
    for call in (store.stat, store.exists, lambda key: store.delete(version(key))):
        with pytest.raises(BadKey):
            call(key)


def test_a_folder_is_no_object(url):
    put(url, "people/anna/1.wav", b"x")
    store = ObjectStore(url)
    for call in (store.stat, lambda key: store.delete(version(key))):
        with pytest.raises(NotAnObject):
            call("people/anna")
    assert store.exists("people/anna/1.wav")


# --- a folder of this machine


def test_links_are_not_followed(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "link").symlink_to(tmp_path / "outside/secret")
    os.mkfifo(root / "pipe")
    store = ObjectStore(f"file://{root}")
    with pytest.raises(BadKey):
        store.delete(version("folder/secret"))
    for key in ("link", "pipe"):
        with pytest.raises(NotAnObject):
            store.delete(version(key))
    assert (tmp_path / "outside/secret").exists()


def test_missing_root_is_no_clean_root(tmp_path):
    store = ObjectStore(f"file://{tmp_path}/nowhere")
    for call in (lambda: store.stat("a"), lambda: store.delete(version("a"))):
        with pytest.raises(Unavailable):
            call()


def test_deletion_is_synced_also_when_repeated(tmp_path, monkeypatch):
    synced: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    (tmp_path / "2024").mkdir()
    (tmp_path / "2024/a").write_bytes(b"x")
    store = ObjectStore(f"file://{tmp_path}")
    found = seen(store, "2024/a")
    store.delete(found)
    assert synced == [str(tmp_path / "2024")]
    # A crash may have come between the first unlink and its sync.
    assert store.delete(found) is DeleteOutcome.ABSENT
    assert synced == [str(tmp_path / "2024")] * 2
    assert store.delete(version("gone/folder/a")) is DeleteOutcome.ABSENT
    assert synced[2:] == [str(tmp_path)]


def test_replaced_between_look_and_unlink(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"hers")
    store = ObjectStore(f"file://{tmp_path}")
    expected = seen(store, "a")
    real = objects_folder._read_version

    def replaced_meanwhile(key: str, opened: Any) -> Any:
        version = real(key, opened)
        (tmp_path / "new").write_bytes(b"hers")
        (tmp_path / "new").replace(path)
        return version

    monkeypatch.setattr(objects_folder, "_read_version", replaced_meanwhile)
    assert store.delete(expected) is DeleteOutcome.CHANGED
    assert path.exists()


# --- errors


@pytest.mark.parametrize(
    "raised, expected",
    [
        (PermissionError(errno.EACCES, "no", "/srv/anna@x.org"), Denied),
        (OSError(errno.EROFS, "no", "/srv/anna@x.org"), Denied),
        (TimeoutError("anna@x.org"), TimedOut),
        (ConnectionResetError(errno.ECONNRESET, "anna@x.org"), Unavailable),
        (OSError(errno.EBUSY, "anna@x.org"), Unavailable),
        (OSError(errno.ENOSPC, "anna@x.org"), Failed),
        (type("ConnectTimeoutError", (Exception,), {})("anna@x.org"), TimedOut),
        (type("EndpointConnectionError", (Exception,), {})("anna@x.org"), Unavailable),
        (type("NoCredentialsError", (Exception,), {})("anna@x.org"), Denied),
        (ValueError("anna@x.org"), Failed),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_errors_have_codes_and_quote_nothing(monkeypatch, raised, expected):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise raised

    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    with pytest.raises(StoreError) as caught:
        ObjectStore("memory://v").stat("anna@x.org")
    assert type(caught.value) is expected
    assert caught.value.code == expected.code
    assert "anna" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_unknown_kind_of_store():
    with pytest.raises(Failed):
        ObjectStore("nosuch://bucket")


# --- old versions, by the calls that s3fs offers


class Versioned(AbstractFileSystem):  # type: ignore[misc]
    """Keeps versions as S3 does, and offers the two calls of s3fs that the store makes. Pages hold two entries."""

    protocol = "versioned"
    cachable = False
    knows_versions = True

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []

    def exists(self, path: str, **kwargs: Any) -> bool:
        return path.strip("/") == "bucket"

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        key = path.strip("/").removeprefix("bucket/")
        latest = next((e for e in self.entries if e["Key"] == key), None)
        if latest is None or latest["Marker"]:
            raise FileNotFoundError(path)
        return {"name": path, "type": "file", "size": 1, "ETag": f'"{latest["VersionId"]}"'}

    def call_s3(self, method: str, **kwargs: Any) -> dict[str, Any]:
        assert kwargs.pop("Bucket") == "bucket"
        if not self.knows_versions:
            raise OSError(errno.ENOSYS, "NotImplemented")
        if method == "delete_object":
            self.entries = [
                e for e in self.entries if (e["Key"], e["VersionId"]) != (kwargs["Key"], kwargs["VersionId"])
            ]
            return {}
        assert method == "list_object_versions"
        found = sorted((e for e in self.entries if e["Key"].startswith(kwargs["Prefix"])), key=lambda e: e["Key"])
        if "KeyMarker" in kwargs:
            after = (kwargs["KeyMarker"], kwargs["VersionIdMarker"])
            found = found[[(e["Key"], e["VersionId"]) for e in found].index(after) + 1 :]
        page, rest = found[:2], found[2:]
        more = {"NextKeyMarker": page[-1]["Key"], "NextVersionIdMarker": page[-1]["VersionId"]} if rest else {}
        return {
            "Versions": [e for e in page if not e["Marker"]],
            "DeleteMarkers": [e for e in page if e["Marker"]],
            "IsTruncated": bool(rest),
            **more,
        }

    def add(self, key: str, version: str, *, marker: bool = False) -> None:
        self.entries.insert(0, {"Key": key, "VersionId": version, "Marker": marker})


@pytest.fixture
def versioned(monkeypatch):
    filesystem = Versioned()
    monkeypatch.setattr(objects, "url_to_fs", lambda url: (filesystem, "/bucket"))
    return filesystem


def test_old_versions_and_markers_go_too(versioned):
    for number in range(5):
        versioned.add("a.wav", f"v{number}")
        versioned.add("a.wav.txt", f"w{number}")
    store = ObjectStore("s3://bucket")
    expected = seen(store, "a.wav")
    assert expected.tag == "etag:v4"
    assert store.delete(expected) is DeleteOutcome.DELETED
    assert {entry["Key"] for entry in versioned.entries} == {"a.wav.txt"}
    assert store.delete(expected) is DeleteOutcome.ABSENT


def test_hidden_by_a_marker_is_not_gone(versioned):
    versioned.add("a.wav", "v1")
    store = ObjectStore("s3://bucket")
    expected = seen(store, "a.wav")
    versioned.add("a.wav", "m1", marker=True)
    assert store.stat("a.wav") is None
    assert store.delete(expected) is DeleteOutcome.DELETED
    assert versioned.entries == []


def test_newer_version_keeps_all(versioned):
    versioned.add("a.wav", "v1")
    store = ObjectStore("s3://bucket")
    expected = seen(store, "a.wav")
    versioned.add("a.wav", "v2")
    assert store.delete(expected) is DeleteOutcome.CHANGED
    assert len(versioned.entries) == 2


def test_missing_bucket(versioned, monkeypatch):
    monkeypatch.setattr(Versioned, "exists", lambda self, path, **kwargs: False)
    with pytest.raises(Unavailable):
        ObjectStore("s3://bucket").delete(version("a.wav"))


def test_no_versions_to_ask_for(versioned, monkeypatch):
    versioned.knows_versions = False
    versioned.add("a.wav", "v1")
    removed = []
    monkeypatch.setattr(Versioned, "rm_file", lambda self, path: removed.append(path))
    store = ObjectStore("s3://bucket")
    expected = seen(store, "a.wav")
    assert store.delete(expected) is DeleteOutcome.DELETED
    assert removed == ["/bucket/a.wav"]
