"""The topics of the log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DAY_MS = 24 * 60 * 60 * 1000


class Topic(StrEnum):
    """Name of a topic."""

    REQUESTS = "erasure.requests.v1"
    OPERATIONS = "erasure.operations.v1"
    COMMANDS = "erasure.commands.v1"
    STOPS = "erasure.stops.v1"
    ACKS = "erasure.acks.v1"
    EVENTS = "erasure.events.v1"
    REJECTED = "erasure.rejected.v1"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """``sharded`` topics have as many partitions as the installation has shards; ``retention_ms`` in milliseconds."""

    topic: Topic
    sharded: bool
    retention_ms: int
    description: str

    @property
    def segment_ms(self) -> int:
        """Only closed segments are deleted, so a record may outlive its retention by this much: at most a quarter."""
        return self.retention_ms // 4


TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(Topic.REQUESTS, False, 7 * DAY_MS, "What platform teams ask for: erase, cancel."),
    TopicSpec(Topic.OPERATIONS, True, 7 * DAY_MS, "What people and the orchestrator itself ask of an open request."),
    TopicSpec(Topic.COMMANDS, True, 3 * DAY_MS, "One phase of a request for the products addressed; sealed."),
    TopicSpec(Topic.STOPS, False, 3 * DAY_MS, "Stops, read past any backlog of commands and before every chunk."),
    TopicSpec(Topic.ACKS, True, 3 * DAY_MS, "What products answer."),
    TopicSpec(Topic.EVENTS, True, 30 * DAY_MS, "The history of every request, in canonical bytes."),
    TopicSpec(Topic.REJECTED, False, 30 * DAY_MS, "Class, code and position of what was refused; never its payload."),
)
