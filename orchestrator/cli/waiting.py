"""Waiting until the orchestrator has read what a command published."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from orchestrator.cli.installation import Connected
from orchestrator.cli.options import PATIENCE_S
from orchestrator.engine import GROUP
from schemas.transport import Position, TopicPartition


def wait_until_read(system: Connected, positions: Sequence[Position]) -> bool:
    """Whether the orchestrator got past these positions in time: by then each was taken, or is in quarantine."""
    last: dict[TopicPartition, int] = {}
    for position in positions:
        at = TopicPartition(position.topic, position.partition)
        last[at] = max(last.get(at, -1), position.offset)
    until = time.monotonic() + PATIENCE_S
    while not _past(system, last):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _past(system: Connected, last: Mapping[TopicPartition, int]) -> bool:
    committed = system.bus.committed(GROUP, last)
    return all(committed[at] > offset for at, offset in last.items())
