from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from consumers.samples.logwriter import LogWriter


def wait_for(writer: LogWriter, lines: int) -> None:
    until = time.monotonic() + 10
    while writer.written < lines and time.monotonic() < until:
        time.sleep(0.002)
    assert writer.written >= lines


def test_every_line_it_counts_is_in_a_file(tmp_path: Path):
    with LogWriter(tmp_path, pause=0) as writer:
        wait_for(writer, 300)
    assert writer.stop() == writer.written
    assert writer.missing() == []
    assert len((tmp_path / "app.jsonl").read_bytes().splitlines()) == writer.written


def test_rotation_under_way_loses_nothing_and_closes_for_good(tmp_path: Path):
    with LogWriter(tmp_path, pause=0.0005) as writer:
        closed = {}
        for count in range(1, 5):
            wait_for(writer, count * 50)
            path = writer.rotate()
            closed[path] = path.read_bytes()
        wait_for(writer, writer.written + 20)
    assert len(closed) == 4
    assert all(path.read_bytes() == content for path, content in closed.items())
    assert writer.missing() == []


def test_it_adds_to_an_active_file_that_is_there(tmp_path: Path):
    (tmp_path / "app.jsonl").write_text("{}\n")
    with LogWriter(tmp_path, pause=0) as writer:
        wait_for(writer, 5)
    assert (tmp_path / "app.jsonl").read_text().startswith("{}\n{")


def test_lines_that_somebody_lost_are_told(tmp_path: Path):
    writer = LogWriter(tmp_path)
    for _ in range(5):
        writer.write()
    path = writer.rotate()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    writer.write()
    writer.stop()
    assert writer.missing() == [3]


def test_a_rewrite_under_the_writer_loses_its_lines_and_that_shows(tmp_path: Path):
    """The failure this writer is there to show: a temporary file renamed over the active one."""
    writer = LogWriter(tmp_path)
    writer.write()
    copy = tmp_path / "copy"
    copy.write_bytes(writer.active.read_bytes())
    writer.write()  # into the file that is about to be replaced
    copy.rename(writer.active)
    writer.write()  # into the file that has no name any more
    writer.stop()
    assert writer.missing() == [2, 3]


def test_what_it_says_can_be_chosen(tmp_path: Path):
    writer = LogWriter(tmp_path, about=lambda number: {"user_id": 1001, "message": f"line {number}"})
    writer.write()
    writer.stop()
    assert '"user_id":1001' in writer.active.read_text()
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.write()
