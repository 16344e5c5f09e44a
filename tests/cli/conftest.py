"""A running embedded system, and a shell to talk to it as a person does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """What a command said, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Shell:
    """Runs `oblio` against one installation."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"OBLIO_HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1"}

    def run(self, *words: str) -> Done:
        """One command, in this process: its own start-up is tested with the README."""
        result = CliRunner().invoke(app, ["--home", str(self.home), *words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def process(self, *words: str) -> Done:
        """The same as a process of its own."""
        command = [str(BIN / "oblio"), *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=150, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *words: str) -> Any:
        """The parsed answer of a command that must succeed."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def start(home: Path, subjects: int) -> subprocess.Popen[str]:
    """`oblio dev`, once it says that it runs."""
    home.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [str(BIN / "oblio"), "dev", "--subjects", str(subjects)],
        env=Shell(home).environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "running" in line:
            return process
    raise AssertionError(f"oblio dev ended with {process.wait()}")


def finish(process: subprocess.Popen[str]) -> None:
    """Stop it as an operator would; it must leave in peace."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell beside a running `oblio dev` with no grace and no settle time."""
    home = tmp_path_factory.mktemp("home") / ".oblio"
    home.mkdir()
    (home / "oblio.toml").write_text(
        'shards = 2\n[policy]\ngrace = "0"\nsettle = "0"\n[tenants.acme]\nzone = "Europe/Rome"\n[tenants.globex]\n'
    )
    process = start(home, 200)
    try:
        yield Shell(home)
    finally:
        finish(process)


@pytest.fixture
def ended(shell: Shell) -> Callable[[str], str]:
    """Wait until a request has ended; its end."""

    def wait(request: str) -> str:
        shell.run("watch", request, "--json")
        return str(shell.json("status", request)["state"]["end"])

    return wait
