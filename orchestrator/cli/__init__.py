"""`oblio …`: the command line. A composition root: it may know both sides of the log."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the script `oblio` calls this."""
    from orchestrator.cli.app import app  # noqa: PLC0415  the parts are read when the command is, not before

    app()
