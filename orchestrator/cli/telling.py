"""The telling of a history."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.cli.output import out, when
from orchestrator.domain.story import story as told_of
from schemas.events import Recorded


def story(history: Sequence[Recorded]) -> None:
    """Tell events in plain words, one line each."""
    for recorded in history:
        out.print(f"[dim]{when(recorded.at)}[/dim]  {told_of(recorded)}", highlight=False, soft_wrap=True)
