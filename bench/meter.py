"""What a run costs beside wall time: CPU seconds by process, transactions, statements."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa


class Statements:
    """Counts what this process asks of PostgreSQL through SQLAlchemy, from now on."""

    def __init__(self) -> None:
        self.count = 0
        sa.event.listen(sa.Engine, "before_cursor_execute", self._note)

    def _note(self, *_: Any) -> None:
        self.count += 1


class Meter:
    """CPU seconds of this process, of the products' and of PostgreSQL; where there is no ``/proc``, of this one alone.

    Args:
        server: process id of the postmaster.
        other: process id of the products.
    """

    def __init__(self, server: int, other: int) -> None:
        self._server = server
        self._other = other

    def read(self) -> Counter[str]:
        """Milliseconds since each process began."""
        found: Counter[str] = Counter()
        found["python"] = round(time.process_time() * 1000)
        if _stat(self._server):
            found["python"] += _running(self._other)
            found["postgres"] = _running(self._server) + sum(map(_running, _children(self._server)))
            found["postgres"] += _ended(self._server)
        return found


def postmaster(database: sa.Engine) -> int:
    """The server's process id, the parent of each session's; 0 where there is no ``/proc``."""
    with database.connect() as connection:
        session = _stat(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    return int(session[1]) if session else 0


def transactions(database: sa.Engine) -> int:
    """Transactions committed in all databases of the server, as far as its sessions have told."""
    with database.connect() as connection:
        return int(connection.exec_driver_sql("SELECT sum(xact_commit) FROM pg_stat_database").scalar_one())


def _children(parent: int) -> list[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if (fields := _stat(pid)) and int(fields[1]) == parent]


def _running(pid: int) -> int:
    """What a process has used so far."""
    return _milliseconds(_stat(pid)[11:13])


def _ended(pid: int) -> int:
    """What its children used that have ended."""
    return _milliseconds(_stat(pid)[13:15])


def _milliseconds(ticks: list[str]) -> int:
    return sum(map(int, ticks)) * 1000 // os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; empty where it says nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
