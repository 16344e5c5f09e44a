"""The state diagrams of ``docs/state-machines.md``, and the ways that a history went through them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from orchestrator.domain.evolve import evolve
from orchestrator.domain.state import State
from schemas import events as e

DOCUMENT = Path(__file__).parents[2] / "docs" / "state-machines.md"

Edges = frozenset[tuple[str, str]]
_EDGE = re.compile(r"^\s*(\S+) --> (\S+?)(?: : .+)?$", re.MULTILINE)


@cache
def drawn() -> tuple[Edges, Edges]:
    """The arrows of the request's diagram and of the step's; ``*`` is the beginning."""
    request, step = re.findall(
        r"```mermaid\nstateDiagram-v2\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL
    )
    return _edges(request), _edges(step)


def _edges(diagram: str) -> Edges:
    return frozenset(
        (source.replace("[*]", "*"), target) for source, target in _EDGE.findall(diagram) if target != "[*]"
    )


def walked(history: Iterable[e.Recorded]) -> tuple[Edges, Edges]:
    """The ways that requests and steps went; for steps only those that are their own (see the document)."""
    stages: set[tuple[str, str]] = set()
    statuses: set[tuple[str, str]] = set()
    state: State | None = None
    for recorded in history:
        before, state = state, evolve(state, recorded)
        if before is None:
            stages.add(("*", state.stage.value))
            continue
        if before.stage is not state.stage:
            stages.add((before.stage.value, state.stage.value))
        if isinstance(recorded.event, e.PhaseStarted | e.VaultDestroyed):
            continue
        for name, step in state.steps.items():
            own = not isinstance(recorded.event, e.Replayed) or recorded.event.step == name
            if own and before.steps[name].status is not step.status:
                statuses.add((before.steps[name].status.value, step.status.value))
    return frozenset(stages), frozenset(statuses)
