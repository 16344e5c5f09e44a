"""What the log no longer has is told, never skipped in silence; what a client skipped is read again."""

from __future__ import annotations

from typing import Any

from orchestrator.client import Submitted
from schemas.topics import Topic
from schemas.transport import Batch, TopicPartition
from tests.engine.house import House, wish


def at_of(one: Submitted) -> TopicPartition:
    return TopicPartition(one.position.topic, one.position.partition)


def test_an_outage_longer_than_retention_stops_the_partition_and_says_so(house: House) -> None:
    lost = house.ask(*(wish(f"early{n}") for n in range(20)))
    gone = {at_of(one) for one in lost}
    # Nobody reads for longer than the log keeps its records; then more come.
    house.bus.trim(Topic.REQUESTS.value, 2**52)
    house.ask(*(wish(f"late{n}") for n in range(20)))
    for _ in range(6):
        house.engine.step(0)
    assert set(house.engine.gaps) == gone, "every partition that lost something stands still"
    for gap in house.engine.gaps.values():
        assert gap.asked < gap.first
    assert house.queries.requests(limit=100).lines == (), "nothing behind the gap is taken before a person accepts it"


def test_a_batch_that_begins_above_what_is_owed_is_not_taken(house: House) -> None:
    house.engine.step(0)
    submitted = house.ask(*(wish(f"anna{n}") for n in range(6)))
    reader: Any = house.engine._reader
    honest = reader.poll

    def skipping(limit: int, timeout: float) -> Batch:
        """A client that was frozen, and woke up past some records."""
        reader.poll = honest
        batch = honest(limit, timeout)
        first = {
            at: min(r.offset for r in batch.records if at == at_of_record(r)) for at in map(at_of_record, batch.records)
        }
        kept = tuple(r for r in batch.records if r.offset != first[at_of_record(r)])
        return Batch(kept, batch.assigned, batch.generation)

    reader.poll = skipping
    for _ in range(6):
        house.engine.step(0)
    assert len(house.queries.requests_of([one.key for one in submitted])) == 6
    assert len(house.queries.requests(limit=100).lines) == 6, "and none twice"


def at_of_record(record: Any) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)
