"""The bus over PostgreSQL keeps the common promises, and those that are its own."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Unfinished

import pytest
import sqlalchemy as sa

from orchestrator.bus import database, groups, records
from schemas.transport import Fenced, Message, TopicPartition
from tests.bus.conformance import BusConformance
from tests.bus.postgres_log import PostgresLog, counted, waiting_for_locks
from tests.bus.steps import PATIENCE_S, eventually, joined, messages, offsets, partitions, share, take


class TestPostgresBus(BusConformance):
    """The common promises."""


# Offsets visible in order


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_an_offset_is_not_read_before_a_lower_one_whose_commit_is_slow(log, end):
    topic = log.topic(2)
    bus = log.bus()
    reader = joined(bus, "g", [topic])
    slow = log.engine.connect()
    records.append(slow, bus._database.catalogue, [Message(topic, b"k", b"slow", partition=0)])
    with ThreadPoolExecutor(1) as pool:
        quick = pool.submit(bus.publish, [Message(topic, b"k", b"quick", partition=0)])
        with pytest.raises(Unfinished):
            quick.result(0.1)
        bus.publish([Message(topic, b"k", b"elsewhere", partition=1)])
        assert [r.value for r in take(reader, 1)] == [b"elsewhere"]
        assert reader.poll(10, 0.05).records == ()
        getattr(slow, end)()
        slow.close()
        assert quick.result(PATIENCE_S)[0].offset == (1 if end == "commit" else 0)
    expected = [b"slow", b"quick"] if end == "commit" else [b"quick"]
    found = take(reader, len(expected))
    assert [r.value for r in found] == expected
    assert offsets(found) == {TopicPartition(topic, 0): list(range(len(expected)))}


def test_a_publisher_frozen_in_its_transaction_is_put_out_of_the_way(log, monkeypatch):
    monkeypatch.setattr(database, "LIMIT_MS", 150)
    topic, bus = log.topic(1), log.bus()
    with pytest.raises(sa.exc.DBAPIError), bus._database.atomic() as frozen:  # noqa: PT012 - a scenario
        records.append(frozen, bus._database.catalogue, messages(topic, 1, mark="frozen"))
        monkeypatch.setattr(database, "LIMIT_MS", 10_000)
        bus.publish(messages(topic, 1, mark="quick"))
        frozen.execute(sa.text("SELECT 1"))
    assert [r.value for r in take(joined(bus, "g", [topic]), 1)] == [b"quick-0"]


def test_partitions_are_locked_in_a_fixed_order_whatever_the_order_of_the_messages(log):
    topic, bus = log.topic(2), log.bus()
    # The first partition's row now lies behind the second's: a scan of the table would meet them the other way round.
    bus.publish(messages(topic, 1, partition=0))
    holder = log.engine.connect()
    holder.execute(sa.text("SELECT 1 FROM bus.heads WHERE partition = 0 FOR UPDATE"))
    with ThreadPoolExecutor(1) as pool:
        both = pool.submit(bus.publish, messages(topic, 1, partition=1) + messages(topic, 1, partition=0))
        eventually(lambda: waiting_for_locks(log) == 1)
        assert bus.publish(messages(topic, 1, partition=1))[0].offset == 0
        holder.rollback()
        holder.close()
        assert [at.offset for at in both.result()] == [1, 1]


def test_the_log_s_time_never_goes_back_within_a_partition(log):
    topic, bus = log.topic(1), log.bus()
    ahead = time.time_ns() // 1_000_000 + 3_600_000
    log.execute("UPDATE bus.heads SET appended_ms = :ahead", ahead=ahead)
    bus.publish(messages(topic, 1))
    assert take(joined(bus, "g", [topic]), 1)[0].timestamp_ms == ahead


# Groups


def test_what_a_member_keeps_in_a_change_goes_on_where_it_was(log):
    topic, bus = log.topic(2), log.bus()
    one = joined(bus, "g", [topic], "one")
    bus.publish(messages(topic, 10, partition=0) + messages(topic, 10, partition=1))
    take(one, 20)
    two = log.bus().reader("g", [topic], "two")
    share(one, two, all_of=partitions(bus, topic))
    bus.publish(messages(topic, 1, partition=0))
    assert offsets(take(one, 1)) == {TopicPartition(topic, 0): [10]}
    assert offsets(take(two, 10)) == {TopicPartition(topic, 1): list(range(10))}


def test_the_database_itself_refuses_a_commit_in_part(log):
    left, right = log.topic(1), log.topic(1)
    bus = log.bus()
    one, two = bus.reader("g", [left], "one"), bus.reader("g", [right], "two")
    share(one, two, all_of=partitions(bus, left, right))
    heads = [bus._database.catalogue.head(TopicPartition(topic, 0)) for topic in (left, right)]
    with log.engine.begin() as connection, pytest.raises(Fenced):
        groups.commit(connection, "g", one.alive_member(60), dict.fromkeys(heads, 3))
    assert set(bus.committed("g", partitions(bus, left, right)).values()) == {0}


def test_a_restarted_member_takes_its_own_place_and_the_old_one_is_fenced(log):
    topic = log.topic(3)
    old = joined(log.bus(), "g", [topic], "one")
    bus = log.bus()
    bus.publish(messages(topic, 9))
    new = joined(bus, "g", [topic], "one")
    take(new, 9)
    with pytest.raises(Fenced):
        old.commit({TopicPartition(topic, 0): 1})
    for _ in range(2):
        with pytest.raises(Fenced):
            old.poll(1, 0.0)
    assert new.poll(0, 0.0).assigned == set(partitions(bus, topic))


def test_a_member_that_is_late_but_alone_keeps_its_partitions(log):
    topic = log.topic(1)
    reader = joined(log.bus(), "g", [topic])
    log.execute("UPDATE bus.members SET expires_at = now() - interval '1 hour'")
    with log.engine.connect() as connection:
        assert groups.lost(connection, ["g"]) == []
    reader.commit({TopicPartition(topic, 0): 0})


def test_a_member_removed_while_it_was_away_joins_again_with_nothing_lost(log):
    topic, bus = log.topic(2), log.bus()
    reader = joined(bus, "g", [topic])
    bus.publish(messages(topic, 10, partition=0))
    take(reader, 10)
    reader.commit({TopicPartition(topic, 0): 6})
    log.execute("UPDATE bus.members SET expires_at = now() - interval '1 hour'")
    other = joined(log.bus(), "g", [topic], "two")
    other.close()
    back = reader.poll(500, PATIENCE_S)
    assert (len(back.assigned), back.records) == (2, ())
    assert [r.offset for r in take(reader, 4)] == [6, 7, 8, 9]


FROZEN = """
import sys, sqlalchemy as sa
from orchestrator.bus.postgres import PostgresBus
from schemas.transport import Fenced, TopicPartition
address, topic = sys.argv[1:]
bus = PostgresBus(sa.create_engine(address), session_s=0.6)
reader = bus.reader("g", [topic], "frozen")
found = []
while not found:
    found = reader.poll(10, 5.0).records
print("read", flush=True)
sys.stdin.readline()
try:
    reader.commit({TopicPartition(topic, 0): found[-1].offset + 1})
    print("committed", flush=True)
except Fenced:
    print("fenced", flush=True)
print(len(reader.poll(10, 5.0).records), flush=True)
bus.close()
"""


def test_a_process_that_was_stopped_past_its_session_wakes_up_fenced(log):
    topic, bus = log.topic(1), log.bus(impatient=True)
    bus.publish(messages(topic, 3))
    address = log.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", FROZEN, address, topic]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "read\n"
            process.send_signal(signal.SIGSTOP)
            two = bus.reader("g", [topic], "two")
            share(two, all_of=partitions(bus, topic))
            take(two, 3)
            two.commit({TopicPartition(topic, 0): 2})
            process.send_signal(signal.SIGCONT)
            assert process.communicate("go\n", timeout=PATIENCE_S)[0] == "fenced\n0\n"
        finally:
            process.kill()
    assert bus.committed("g", [TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): 2}


# Fairness, speed, thrift


def test_a_long_backlog_does_not_keep_the_other_partitions_waiting(log):
    topic, bus = log.topic(4), log.bus()
    bus.publish(messages(topic, 900, partition=1) + messages(topic, 3, partition=0) + messages(topic, 3, partition=3))
    reader = joined(bus, "g", [topic])
    batch = reader.poll(100, 1.0)
    assert {at.partition: len(run) for at, run in offsets(batch.records).items()} == {0: 3, 1: 94, 3: 3}
    reader.seek(TopicPartition(topic, 0), 0)
    reader.seek(TopicPartition(topic, 3), 0)
    assert {reader.poll(1, 1.0).records[0].partition for _ in range(3)} == {0, 1, 3}


def test_publishing_and_polling_cost_a_fixed_number_of_statements(log):
    topic, bus = log.topic(12), log.bus()
    reader = joined(bus, "g", [topic])
    bus.publish(messages(topic, 1))
    take(reader, 1)
    with counted(log.engine) as statements:
        bus.publish(messages(topic, 500))
        assert len(statements) == 2  # the limits, and the heads; the rows go by COPY
        statements.clear()
        assert len(reader.poll(500, 1.0).records) == 500
        assert len(statements) == 2  # how far the partitions are, and their records


def test_an_idle_reader_asks_the_database_nothing(log):
    topic, bus = log.topic(2), log.bus()
    reader = bus.reader("g", [topic], "one")
    share(reader, all_of=partitions(bus, topic))
    eventually(lambda: not reader.poll(10, 0.01).records and not reader._news.is_set())
    with counted(log.engine) as statements:
        for _ in range(10):
            reader.poll(10, 0.03)
    assert len(statements) <= 1


def test_a_new_record_is_seen_within_milliseconds(log):
    topic, bus = log.topic(4), log.bus()
    reader = joined(log.bus(), "g", [topic])
    seen: list[float] = []
    arrived = threading.Event()

    def read() -> None:
        while len(seen) < 20:
            if reader.poll(10, 5.0).records:
                seen.append(time.perf_counter())
                arrived.set()

    waits = []
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for _ in range(20):
            arrived.clear()
            bus.publish(messages(topic, 1))
            published = time.perf_counter()
            assert arrived.wait(PATIENCE_S)
            waits.append(seen[-1] - published)
        reading.result()
    assert statistics.median(waits) < 0.05


def test_one_connection_of_the_pool_is_enough(log, engine_for):
    narrow = PostgresLog(engine_for(log.engine.url, pool_size=1, max_overflow=0, pool_timeout=2))
    topic, bus = log.topic(2), narrow.bus()
    reader = joined(bus, "g", [topic])
    bus.publish(messages(topic, 5))
    take(reader, 5)
    reader.commit({TopicPartition(topic, 0): 1})
    narrow.close()
