"""The bus over PostgreSQL when its database goes away, forgets, or is made."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
import sqlalchemy as sa

from orchestrator.bus import records, schema
from orchestrator.bus.postgres import PostgresBus
from schemas.transport import BusError, Message, OffsetOutOfRange, Position
from tests.bus.postgres_log import cut, works
from tests.bus.steps import PATIENCE_S, eventually, joined, messages, take

# A database that goes away


def test_a_restart_of_the_database_is_an_error_and_then_over(log):
    topic, bus = log.topic(2), log.bus()
    reader = joined(bus, "g", [topic])
    bus.publish(messages(topic, 3))
    take(reader, 3)
    cut(log.engine)
    published: list[Position] = []
    read: set[Position] = set()
    eventually(lambda: works(lambda: published.extend(bus.publish(messages(topic, 4)))))
    eventually(lambda: works(lambda: read.update(r.position for r in reader.poll(500, 0.05).records)))
    while not read >= set(published):
        read |= {r.position for r in reader.poll(500, 1.0).records}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reader.poll, 10, PATIENCE_S)
        bus.publish(messages(topic, 1))
        assert waiting.result().records


def test_a_poll_that_fails_at_its_last_moment_has_taken_nothing(log):
    topic, bus = log.topic(1), log.bus()
    bus.publish(messages(topic, 3))
    reader = joined(bus, "g", [topic])

    def fail(*_: object) -> None:
        raise psycopg2.OperationalError("cut while the connection went back to the pool")

    sa.event.listen(log.engine, "checkin", fail)
    try:
        with pytest.raises(BusError):
            reader.poll(10, 0.0)
    finally:
        sa.event.remove(log.engine, "checkin", fail)
    assert [r.offset for r in take(reader, 3)] == [0, 1, 2]


def test_a_database_that_takes_no_connections_is_told_without_its_words(log, postgres):
    topic, bus = log.topic(1), log.bus()
    reader = joined(bus, "g", [topic])
    name = log.engine.url.database
    postgres._execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    cut(log.engine, postgres.url("postgres"))
    for attempt in (lambda: bus.publish(messages(topic, 1)), lambda: reader.poll(1, 0.0)):
        for _ in range(2):
            with pytest.raises(BusError, match="no connection") as failure:
                attempt()
            assert failure.value.__context__ is None
    reader.close()
    postgres._execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    eventually(lambda: works(lambda: bus.publish(messages(topic, 1))))


def test_errors_name_the_state_and_never_the_data(log):
    topic, bus = log.topic(1), log.bus()
    bus.publish(messages(topic, 1))
    log.execute("UPDATE bus.heads SET next_offset = 0")
    with pytest.raises(BusError, match=r"publish: .*23505") as failure:
        bus.publish([Message(topic, b"a.person@example.org", b"secret")])
    assert failure.value.__context__ is None
    assert "person" not in str(failure.value)


# Retention


def test_trimming_leaves_the_young_and_says_how_many_went(log, monkeypatch):
    monkeypatch.setattr(records, "TRIM_ROWS", 40)
    topic, bus = log.topic(2), log.bus()
    bus.publish(messages(topic, 100))
    reader = joined(bus, "g", [topic])
    boundary = 1 + max(r.timestamp_ms for r in take(reader, 100))
    eventually(lambda: time.time_ns() // 1_000_000 > boundary)
    bus.publish(messages(topic, 7))
    assert bus.trim(topic, boundary) == 100
    assert bus.trim(topic, boundary) == 0
    assert len(take(reader, 7)) == 7
    with log.engine.connect() as connection:
        count = "SELECT count(*) FROM bus.records JOIN bus.heads ON id = head_id JOIN bus.topics t ON t.id = topic_id"
        assert connection.scalar(sa.text(f"{count} WHERE name = :topic"), {"topic": topic}) == 7


def test_records_trimmed_while_they_are_read_are_a_gap(log):
    topic, bus = log.topic(1), log.bus()
    bus.publish(messages(topic, 10))
    reader = joined(bus, "g", [topic])
    take(reader, 4, at_once=4)
    log.execute("DELETE FROM bus.records")
    assert reader.poll(10, 1.0).records == ()
    log.execute("UPDATE bus.heads SET first_offset = next_offset")
    with pytest.raises(OffsetOutOfRange):
        reader.poll(10, 1.0)


# Installation


def test_installing_again_adds_what_is_new_and_refuses_to_change_what_is_there(log):
    one, other = log.topic(2), log.topic(3)
    PostgresBus.install(log.engine, {one: 2, other: 3})
    assert [log.bus().partitions(topic) for topic in (one, other)] == [2, 3]
    with pytest.raises(BusError, match="has 2 partitions, not 4"):
        PostgresBus.install(log.engine, {one: 4})
    with pytest.raises(BusError, match="at least one"):
        PostgresBus.install(log.engine, {"another": 0})


def test_tables_of_another_version_are_refused_by_name(database, engine_for):
    engine = engine_for(database)
    PostgresBus.install(engine, {})
    with engine.begin() as connection:
        connection.execute(sa.update(schema.log).values(version=schema.VERSION + 1))
    with pytest.raises(BusError, match=f"version {schema.VERSION + 1}"):
        PostgresBus.install(engine, {})


def test_two_may_install_at_once(database, engine_for):
    engine = engine_for(database)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: PostgresBus.install(engine, {"a": 2, "b": 3}), range(4)))
    bus = PostgresBus(engine)
    assert bus.partitions("b") == 3
    bus.close()
