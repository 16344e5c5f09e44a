"""The README is followed to the letter: every command in it is run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Shell, finish, start

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)

ELSEWHERE = {
    "make demo": "tests/cli/test_demo.py runs what it runs",
    "make test": "you are looking at it",
    'export PATH="$PWD/.venv/bin:$PATH"': "the shell of the tests has it",
    "oblio dev": "started before, as in another terminal",
}


def commands() -> list[str]:
    """The lines of all blocks, without their comments."""
    lines = [line.partition("    #")[0].strip() for block in BLOCKS for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_commands_run_elsewhere_are_in_the_readme() -> None:
    assert set(ELSEWHERE) <= set(commands())


@pytest.mark.timeout(180)
def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    home = tmp_path / ".oblio"
    process = start(home, 200)
    try:
        script = "\n".join(["set -euxo pipefail", *(line for line in commands() if line not in ELSEWHERE)])
        done = subprocess.run(
            ["bash", "-c", script],
            env=Shell(home).environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        assert "Ended: the request was cancelled; what was hidden is back." in done.stdout
        assert "line 4: " in done.stderr, "the bad line of the file is named"
    finally:
        finish(process)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 140
