"""Every command has help and stands in the docs."""

from __future__ import annotations

import pytest

from orchestrator.cli import reference

COMMANDS = dict(reference.commands())


def test_the_page_is_in_step() -> None:
    assert reference.TARGET.read_text() == reference.reference(), "run: python -m orchestrator.cli.reference"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert len((command.help or "").strip()) > 20
    for parameter in command.params:
        assert (getattr(parameter, "help", None) or "").strip(), f"{name} {parameter.name} has no help"


def test_the_commands_that_the_readme_promises_exist() -> None:
    wanted = {
        *("demo", "dev", "erase", "cancel", "restore", "hold", "release", "replay", "status", "watch", "history"),
        *("products list", "products check", "probe", "rejected list", "rejected show", "rejected resubmit"),
        *("stop", "resume", "rebuild"),
    }
    assert wanted <= set(COMMANDS)


def test_what_lists_or_shows_takes_json() -> None:
    for name in ("status", "watch", "history", "products list", "products check", "probe", "rejected list", "demo"):
        assert any("--json" in parameter.opts for parameter in COMMANDS[name].params), name
