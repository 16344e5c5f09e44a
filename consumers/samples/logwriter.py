"""A service that keeps on logging: appends to the active log file while others read, rotate or redact beside it."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from consumers.samples.log_rows import ACTIVE, encode_line
from consumers.samples.remains import log_files, parsed

SERVICE = "live"  # the ``service`` of its lines: no sample line has it


class LogWriter:
    """Appends a line at a time to ``app.jsonl``, each by one write on a descriptor opened with ``O_APPEND``.

    Like a real service it keeps its descriptor: if somebody renames the file under it, its lines go on into the
    renamed file, until it is told to rotate. Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    Args:
        folder: The folder of the log files.
        tenant: Whose lines they are.
        pause: Seconds between two lines; 0 writes as fast as it can.
        about: Makes what a line says beside the usual fields, from its number; nobody in particular by default.
    """

    def __init__(
        self,
        folder: Path,
        tenant: str = "acme",
        pause: float = 0.005,
        about: Callable[[int], dict[str, Any]] = lambda number: {"message": f"heartbeat {number}"},
    ) -> None:
        self._folder = folder
        self._tenant, self._pause, self._about = tenant, pause, about
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sample log writer", daemon=True)
        self._written = 0
        self._descriptor = self._open()

    @property
    def active(self) -> Path:
        return self._folder / ACTIVE

    @property
    def written(self) -> int:
        """How many lines it has written so far."""
        return self._written

    def start(self) -> LogWriter:
        """Begin to write, in a thread."""
        self._thread.start()
        return self

    def stop(self) -> int:
        """End, and say how many lines were written."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
        return self._written

    def __enter__(self) -> LogWriter:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def write(self) -> None:
        """Append one line now."""
        with self._lock:
            line = self._line(self._written + 1)
            done = os.write(self._descriptor, line)
            assert done == len(line), "a local file takes a line whole"
            self._written += 1

    def rotate(self) -> Path:
        """Close the active file under a name of its own and begin a new one; the closed file's path.

        Nothing is written between the two, so no line is lost, and none goes into a file already closed.
        """
        with self._lock:
            closed = self._closed_name()
            self.active.rename(closed)
            descriptor, self._descriptor = self._descriptor, self._open()
            os.close(descriptor)
        return closed

    def missing(self) -> list[int]:
        """The numbers of lines that were written and stand in no file of the folder any more."""
        found = {
            number
            for _, content in log_files(self._folder)
            for entry in map(parsed, content.splitlines())
            if entry is not None and entry.get("service") == SERVICE and isinstance(number := entry.get("number"), int)
        }
        return [number for number in range(1, self._written + 1) if number not in found]

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.write()
            self._stopping.wait(self._pause)

    def _open(self) -> int:
        return os.open(self.active, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def _closed_name(self) -> Path:
        day = datetime.now(UTC).date()
        numbered = (f"app-{day}.{number}.jsonl" for number in itertools.count(1))
        paths = (self._folder / name for name in itertools.chain([f"app-{day}.jsonl"], numbered))
        return next(path for path in paths if not path.exists())

    def _line(self, number: int) -> bytes:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        entry = {"ts": now, "level": "info", "service": SERVICE, "tenant": self._tenant, "user_id": None, "email": None}
        tail = {"ip": None, "message": "", "request_id": f"{SERVICE}-{number}", "number": number}
        return encode_line(entry | tail | self._about(number))
