"""A folder of log files whose active file is empty."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.jsonl").touch()
    return tmp_path
