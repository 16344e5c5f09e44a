"""The log that orchestrator and products meet on, behind one small protocol (:mod:`schemas.transport`)."""

from __future__ import annotations

from schemas.transport import (
    Batch,
    Bus,
    BusError,
    Fenced,
    Headers,
    Message,
    OffsetOutOfRange,
    Position,
    Publisher,
    Reader,
    Record,
    TopicPartition,
    UnknownTopic,
    partition_of,
)

__all__ = [
    "Batch",
    "Bus",
    "BusError",
    "Fenced",
    "Headers",
    "Message",
    "OffsetOutOfRange",
    "Position",
    "Publisher",
    "Reader",
    "Record",
    "TopicPartition",
    "UnknownTopic",
    "partition_of",
]
