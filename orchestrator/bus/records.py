"""Appending, reading and trimming the records of a PostgreSQL-backed bus.

The one invariant: a partition's offsets are taken from its head's row, whose lock is held until the transaction
ends. So an offset becomes visible only after every lower one, and there are no holes.
"""

from __future__ import annotations

import io
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, text

from orchestrator.bus.catalogue import Catalogue, Topic
from schemas.transport import Headers, Message, Position, Record, TopicPartition, partition_of

CHANNEL = "oblio_bus"
"""Where listeners hear of new records (``topic <id>``) and of changed groups (``group <name>``)."""

TRIM_ROWS = 5000
"""Records deleted per transaction."""

# Heads are locked in the order of their ids, here and wherever several are locked, so that two publishers cannot
# wait for each other. The time is read under the locks: within a partition it never goes back.
_MOVE_HEADS = text(f"""
    SELECT pg_notify('{CHANNEL}', 'topic ' || id) FROM unnest(CAST(:topics AS int[])) AS topic(id);
    SELECT id FROM bus.heads WHERE id = ANY(CAST(:ids AS int[])) ORDER BY id FOR NO KEY UPDATE;
    UPDATE bus.heads AS head
    SET next_offset = next_offset + taken.count,
        appended_ms = greatest(appended_ms, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint))
    FROM unnest(CAST(:ids AS int[]), CAST(:counts AS int[])) AS taken(id, count)
    WHERE head.id = taken.id
    RETURNING head.id, head.next_offset - taken.count, head.appended_ms
""")

_COPY = 'COPY bus.records (head_id, "offset", published_ms, key, value, headers) FROM STDIN (FORMAT binary)'
_COPY_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_ROW = struct.Struct(">h iiiqiq")
"""Number of columns, then length and value of the three integer columns."""
_LENGTH = struct.Struct(">i")

# The subquery is evaluated once per partition, as a range of the primary key: ORDER BY keeps the planner from
# turning it into a join.
_FETCH = text("""
    SELECT wanted.head_id, record."offset", record.published_ms, record.key, record.value, record.headers
    FROM unnest(CAST(:ids AS int[]), CAST(:starts AS bigint[]), CAST(:counts AS int[])) AS wanted(head_id, start, count)
    CROSS JOIN LATERAL (
        SELECT r."offset", r.published_ms, r.key, r.value, r.headers
        FROM bus.records AS r
        WHERE r.head_id = wanted.head_id
          AND r."offset" >= wanted.start AND r."offset" < wanted.start + wanted.count
        ORDER BY r."offset"
    ) AS record
""")

# Times never go back within a partition, so the first record that is young enough ends what is to be removed: the
# search reads no more than what will be deleted, and locks nothing.
_EXPIRED = text("""
    SELECT head.id, coalesce(
        (SELECT r."offset" FROM bus.records AS r
         WHERE r.head_id = head.id AND r."offset" >= head.first_offset AND r.published_ms >= :before
         ORDER BY r."offset" LIMIT 1),
        head.next_offset)
    FROM bus.heads AS head WHERE head.topic_id = :topic ORDER BY head.id
""")

_RAISE_FIRST = text("UPDATE bus.heads SET first_offset = greatest(first_offset, :first) WHERE id = :head")

_DELETE = text("""
    DELETE FROM bus.records
    WHERE head_id = :head AND "offset" < :first AND "offset" IN (
        SELECT r."offset" FROM bus.records AS r
        WHERE r.head_id = :head AND r."offset" < :first ORDER BY r."offset" LIMIT :rows)
""")

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode


@dataclass(frozen=True, slots=True)
class Span:
    """What to read of one partition: ``count`` records from offset ``start`` on."""

    head: int
    start: int
    count: int


def append(connection: Connection, catalogue: Catalogue, messages: Sequence[Message]) -> tuple[Position, ...]:
    """Append messages within the caller's transaction; offsets are theirs, and visible, once it commits.

    The partitions stay locked until then, so this is the last thing a transaction does. It must read committed
    rows (PostgreSQL's default isolation).
    """
    topics = {name: catalogue.topic(name) for name in {message.topic for message in messages}}
    placed = [_place(topics[message.topic], message) for message in messages]
    ids = [catalogue.head(at) for at in placed]
    counts = Counter(ids)
    moved = connection.execute(
        _MOVE_HEADS,
        {"topics": [t.id for t in topics.values()], "ids": list(counts), "counts": list(counts.values())},
    )
    heads = {head: (offset, now) for head, offset, now in moved}
    body = bytearray(_COPY_HEAD)
    positions = []
    for at, head, message in zip(placed, ids, messages, strict=True):
        offset, now = heads[head]
        heads[head] = (offset + 1, now)
        positions.append(Position(at.topic, at.partition, offset))
        _add_row(body, head, offset, now, message)
    body += _COPY_END
    # SQLAlchemy has no COPY; it is four times as fast as any INSERT of byte strings, which travel as hexadecimal text.
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.copy_expert(_COPY, io.BytesIO(body))
    return tuple(positions)


def _place(topic: Topic, message: Message) -> TopicPartition:
    partition = message.partition
    return TopicPartition(topic.name, partition_of(message.key, len(topic.heads)) if partition is None else partition)


def _add_row(body: bytearray, head: int, offset: int, now: int, message: Message) -> None:
    body += _ROW.pack(6, 4, head, 8, offset, 8, now)
    for column in (message.key, message.value):
        body += _LENGTH.pack(len(column))
        body += column
    if message.headers:
        headers = _encode_headers(message.headers)
        body += _LENGTH.pack(len(headers))
        body += headers
    else:
        body += _NULL


def fetch(
    connection: Connection, spans: Sequence[Span], partitions: Mapping[int, TopicPartition]
) -> dict[int, list[Record]]:
    """The records of each span, by head, ascending; fewer than asked where some were trimmed meanwhile."""
    rows = connection.execute(
        _FETCH,
        {
            "ids": [span.head for span in spans],
            "starts": [span.start for span in spans],
            "counts": [span.count for span in spans],
        },
    )
    return {head: [_record(row, partitions[head]) for row in run] for head, run in groupby(rows, attrgetter("head_id"))}


def _record(row: Row[int, int, int, memoryview, memoryview, memoryview | None], at: TopicPartition) -> Record:
    _, offset, published_ms, key, value, headers = row
    return Record(
        at.topic,
        at.partition,
        offset,
        bytes(key),
        bytes(value),
        () if headers is None else _decode_headers(headers),
        published_ms,
    )


def trim(connection: Connection, topic: Topic, before_ms: int) -> int:
    """Remove the records of ``topic`` that are older than ``before_ms``, and say how many went.

    First they are put out of the log, then they are deleted, by at most :data:`TRIM_ROWS` a transaction: a crash
    in between leaves rows that nobody reads and that the next trim finds. ``connection`` is in autocommit mode.
    """
    removed = 0
    for head, first in connection.execute(_EXPIRED, {"topic": topic.id, "before": before_ms}).all():
        connection.execute(_RAISE_FIRST, {"head": head, "first": first})
        deleted = TRIM_ROWS
        while deleted == TRIM_ROWS:
            deleted = connection.execute(_DELETE, {"head": head, "first": first, "rows": TRIM_ROWS}).rowcount
            removed += deleted
    return removed
