"""The topics of a PostgreSQL-backed bus, remembered: they are made by an installation and never change after."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from orchestrator.bus import schema
from schemas.transport import TopicPartition, UnknownTopic


@dataclass(frozen=True, slots=True)
class Topic:
    """``heads`` are the ids of its partitions' rows, by partition number; ``identity`` tells which log this is."""

    id: int
    name: str
    identity: str
    heads: tuple[int, ...]


class Catalogue:
    """Topics by name and partitions by the id of their row. Safe for several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._topics: dict[str, Topic] = {}
        self._partitions: dict[int, TopicPartition] = {}

    def topic(self, name: str) -> Topic:
        """The topic of that name. Raises :class:`UnknownTopic` if no installation has made it so far."""
        known = self._topics.get(name)
        if known is None:
            self._load()
            known = self._topics.get(name)
        if known is None:
            raise UnknownTopic(f"topic {name} is not installed on this bus")
        return known

    def head(self, at: TopicPartition) -> int:
        """The id of a partition's row. Raises :class:`UnknownTopic` where there is no such partition."""
        heads = self.topic(at.topic).heads
        if not 0 <= at.partition < len(heads):
            raise UnknownTopic(f"topic {at.topic} has {len(heads)} partitions, counted from 0: not {at.partition}")
        return heads[at.partition]

    def heads(self, at: Iterable[TopicPartition]) -> dict[int, TopicPartition]:
        """Each partition by the id of its row."""
        return {self.head(one): one for one in at}

    def partition(self, head: int) -> TopicPartition:
        """The partition of a row's id."""
        if head not in self._partitions:
            self._load()
        return self._partitions[head]

    def _load(self) -> None:
        head_ids = func.array_agg(aggregate_order_by(schema.heads.c.id, schema.heads.c.partition.asc()))
        log_id = select(schema.log.c.id).scalar_subquery()
        query = (
            select(schema.topics.c.id, schema.topics.c.name, log_id, schema.topics.c.identity, head_ids)
            .join(schema.heads, schema.heads.c.topic_id == schema.topics.c.id)
            .group_by(schema.topics.c.id)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        with self._lock:
            for topic_id, name, log, identity, heads in rows:
                self._topics[name] = Topic(topic_id, name, f"{log}/{identity}", tuple(heads))
                self._partitions.update({head: TopicPartition(name, n) for n, head in enumerate(heads)})
