"""The next offset that this product owes, per partition, in its own database.

What the broker remembers is a hint: a reader that was frozen and woken into a rebalance can be given a batch that
begins too high. So whoever reads compares the batch with what is owed, and goes back if it begins above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from consumers import arrays
from consumers.stores.sql_errors import store_errors
from schemas.transport import Record, TopicPartition

_OWED = sa.text("select topic, partition, next_offset from oblio.offsets where product = :product and log = :log")

_TABLE = arrays.table(topic="text", partition="integer", first_offset="bigint", next_offset="bigint")

_MOVE = sa.text(f"""
    insert into oblio.offsets as o (product, log, topic, partition, next_offset)
    select :product, :log, topic, partition, next_offset from {_TABLE}
     order by topic, partition
        on conflict (product, log, topic, partition) do update set next_offset = excluded.next_offset
     where o.next_offset < excluded.next_offset
       and o.next_offset >= (select w.first_offset from {_TABLE} where (w.topic, w.partition) = (o.topic, o.partition))
""")


def owed(connection: sa.Connection, product: str, log: str, at: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """The next offset owed of each of these partitions; one never read before is missing."""
    wanted = set(at)
    with store_errors():
        rows = connection.execute(_OWED, {"product": product, "log": log}).all()
    return {key: row[2] for row in rows if (key := TopicPartition(row[0], row[1])) in wanted}


def gaps(records: Sequence[Record], known: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Partitions of the batch that begin above what is owed, with the offset to go back to."""
    return {at: known[at] for at, (first, _) in spans(records).items() if at in known and first > known[at]}


def spans(records: Iterable[Record]) -> dict[TopicPartition, tuple[int, int]]:
    """First offset, and the one after the last, of each partition in a batch."""
    found: dict[TopicPartition, tuple[int, int]] = {}
    for record in records:
        at = TopicPartition(record.topic, record.partition)
        first, _ = found.get(at, (record.offset, 0))
        found[at] = (first, record.offset + 1)
    return found


def move(connection: sa.Connection, product: str, log: str, records: Sequence[Record]) -> None:
    """Owe what comes after these records. Never backwards, and never over records that were not in hand."""
    found = spans(records)
    parameters = {
        "product": product,
        "log": log,
        "w_topic": arrays.plain(at.topic for at in found),
        "w_partition": arrays.plain(at.partition for at in found),
        "w_first_offset": arrays.plain(first for first, _ in found.values()),
        "w_next_offset": arrays.plain(after for _, after in found.values()),
    }
    with store_errors():
        connection.execute(_MOVE, parameters)
