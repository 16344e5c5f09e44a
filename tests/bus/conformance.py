"""What every bus promises, as tests: subclass `BusConformance` and give it a fixture `log` (a `tests.bus.steps.Log`).

The tests speak to `schemas.transport` alone. A bus object stands for one process; where a test needs a process that
went silent, it takes an impatient bus and no longer polls one of its readers.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas.transport import BusError, Fenced, Message, OffsetOutOfRange, TopicPartition, UnknownTopic, partition_of
from tests.bus.churn import churn
from tests.bus.steps import (
    PATIENCE_S,
    Log,
    eventually,
    joined,
    messages,
    next_generation,
    offsets,
    offsets_in,
    partitions,
    share,
    take,
    values,
)


class BusConformance:
    # Publishing

    def test_a_record_comes_back_as_it_was_published(self, log: Log):
        topic, bus = log.topic(1), log.bus()
        sent = [
            Message(topic, b"key", b"value"),
            Message(topic, b"\x00\xff\\", bytes(range(256)), (("ce_id", b"1"), ("ce_id", b"\x00"), ("naïve", b""))),
            Message(topic, b"", b""),
            Message(topic, b"large", bytes(500_000)),
        ]
        before = time.time_ns() // 1_000_000
        bus.publish(sent)
        found = take(joined(bus, "g", [topic]), len(sent))
        assert [(r.key, r.value, r.headers) for r in found] == [(m.key, m.value, m.headers) for m in sent]
        assert all(abs(r.timestamp_ms - before) < 60_000 for r in found)

    def test_offsets_count_from_zero_in_each_partition(self, log: Log):
        topic, bus = log.topic(3), log.bus()
        first = bus.publish(messages(topic, 30))
        second = bus.publish(messages(topic, 30))
        for partition in range(3):
            run = [at.offset for at in (*first, *second) if at.partition == partition]
            assert run == list(range(len(run)))
        found = {r.position: r.key for r in take(joined(bus, "g", [topic]), 60)}
        assert [found[at] for at in first] == [m.key for m in messages(topic, 30)]

    def test_the_key_decides_the_partition_unless_the_caller_does(self, log: Log):
        topic, bus = log.topic(5), log.bus()
        sent = messages(topic, 40)
        assert [at.partition for at in bus.publish(sent)] == [partition_of(m.key, 5) for m in sent]
        assert {at.partition for at in bus.publish(messages(topic, 9, partition=3))} == {3}

    def test_one_call_may_span_topics(self, log: Log):
        left, right, bus = log.topic(2), log.topic(3), log.bus()
        sent = [m for pair in zip(messages(left, 20), messages(right, 20), strict=True) for m in pair]
        assert [at.topic for at in bus.publish(sent)] == [m.topic for m in sent]
        assert len(take(joined(bus, "g", [left, right]), 40)) == 40

    def test_nothing_to_publish_is_nothing(self, log: Log):
        assert log.bus().publish([]) == ()

    def test_unknown_topics_are_told_by_name(self, log: Log):
        bus, topic = log.bus(), log.topic(2)
        for attempt in (
            lambda: bus.publish([Message("absent", b"k", b"v")]),
            lambda: bus.reader("g", [topic, "absent"], "one"),
            lambda: bus.partitions("absent"),
            lambda: bus.identity("absent"),
            lambda: bus.committed("g", [TopicPartition("absent", 0)]),
        ):
            with pytest.raises(UnknownTopic, match="absent"):
                attempt()
        with pytest.raises(BusError):
            bus.publish([Message(topic, b"k", b"v", partition=2)])

    def test_a_topic_made_later_is_found(self, log: Log):
        bus = log.bus()
        bus.publish(messages(log.topic(1), 1))
        topic = log.topic(4)
        assert bus.partitions(topic) == 4
        assert len(bus.publish(messages(topic, 3))) == 3

    def test_a_log_has_an_identity(self, log: Log):
        one, other = log.topic(1), log.topic(1)
        assert log.bus().identity(one) == log.bus().identity(one) != log.bus().identity(other)

    # Reading

    def test_the_first_poll_brings_the_assignment_and_no_records(self, log: Log):
        topic, bus = log.topic(3), log.bus()
        bus.publish(messages(topic, 10))
        reader = bus.reader("g", [topic], "one")
        first = reader.poll(500, PATIENCE_S)
        while not first.assigned:
            first = reader.poll(500, PATIENCE_S)
        assert first.records == ()
        assert first.assigned == set(partitions(bus, topic))
        assert first.generation > 0
        second = reader.poll(500, PATIENCE_S)
        assert second.records
        assert (second.assigned, second.generation) == (first.assigned, first.generation)

    def test_records_of_a_partition_come_in_the_order_of_their_offsets(self, log: Log):
        topic, bus = log.topic(4), log.bus()
        reader = joined(bus, "g", [topic])
        for turn in range(5):
            bus.publish(messages(topic, 50, mark=f"t{turn}-"))
        found = take(reader, 250, at_once=37)
        for run in offsets(found).values():
            assert run == list(range(len(run)))

    def test_a_poll_takes_no_more_than_asked(self, log: Log):
        topic, bus = log.topic(4), log.bus()
        bus.publish(messages(topic, 40))
        reader = joined(bus, "g", [topic])
        assert 1 <= len(reader.poll(7, PATIENCE_S).records) <= 7
        assert len(reader.poll(1, PATIENCE_S).records) == 1
        assert reader.poll(0, 0.0).records == ()

    def test_every_group_gets_everything(self, log: Log):
        topic, bus = log.topic(2), log.bus()
        readers = [joined(bus, group, [topic]) for group in ("a", "b")]
        bus.publish(messages(topic, 20))
        assert [sorted(values(take(reader, 20))) for reader in readers] == [
            sorted(m.value for m in messages(topic, 20))
        ] * 2

    def test_what_was_not_committed_comes_again(self, log: Log):
        topic, bus = log.topic(1), log.bus()
        bus.publish(messages(topic, 10))
        reader = joined(bus, "g", [topic])
        assert [r.offset for r in take(reader, 10)] == list(range(10))
        reader.commit({TopicPartition(topic, 0): 4})
        reader.close()
        assert [r.offset for r in take(joined(log.bus(), "g", [topic]), 6)] == list(range(4, 10))

    def test_the_committed_offset_can_be_read_by_anyone(self, log: Log):
        topic, bus = log.topic(3), log.bus()
        at = partitions(bus, topic)
        other = log.bus()
        assert other.committed("g", at) == dict.fromkeys(at, 0)
        reader = joined(bus, "g", [topic])
        reader.commit({at[0]: 5, at[2]: 7})
        reader.commit({})
        assert other.committed("g", at) == {at[0]: 5, at[1]: 0, at[2]: 7}
        assert other.committed("another", at) == dict.fromkeys(at, 0)

    def test_a_reader_goes_back_to_the_offset_owed(self, log: Log):
        topic, bus = log.topic(2), log.bus()
        bus.publish(messages(topic, 20, partition=0) + messages(topic, 20, partition=1))
        reader = joined(bus, "g", [topic])
        take(reader, 40)
        reader.seek(TopicPartition(topic, 1), 13)
        assert offsets(take(reader, 7)) == {TopicPartition(topic, 1): list(range(13, 20))}
        reader.seek(TopicPartition(topic, 0), 20)
        assert reader.poll(500, 0.05).records == ()

    def test_a_seek_after_the_first_poll_decides_where_reading_starts(self, log: Log):
        topic, bus = log.topic(1), log.bus()
        bus.publish(messages(topic, 20))
        reader = joined(bus, "g", [topic])
        reader.commit({TopicPartition(topic, 0): 15})
        reader.close()
        reader = joined(bus, "g", [topic])
        reader.seek(TopicPartition(topic, 0), 9)
        assert [r.offset for r in take(reader, 11)] == list(range(9, 20))

    def test_only_what_is_assigned_can_be_sought(self, log: Log):
        topic, other, bus = log.topic(1), log.topic(1), log.bus()
        reader = joined(bus, "g", [topic])
        with pytest.raises(Fenced):
            reader.seek(TopicPartition(other, 0), 0)

    def test_a_backlog_is_read_without_waiting(self, log: Log):
        topic, bus = log.topic(2), log.bus()
        bus.publish(messages(topic, 60))
        reader = joined(bus, "g", [topic])
        begun = time.monotonic()
        take(reader, 60, at_once=1)
        assert time.monotonic() - begun < 10

    def test_an_empty_poll_waits_as_long_as_told(self, log: Log):
        bus, topic = log.bus(), log.topic(1)
        reader = joined(bus, "g", [topic])
        begun = time.monotonic()
        assert reader.poll(10, 0.2).records == ()
        assert 0.19 < time.monotonic() - begun < 5

    def test_a_waiting_poll_hears_of_a_new_record(self, log: Log):
        topic, bus = log.topic(3), log.bus()
        reader = joined(bus, "g", [topic])
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(reader.poll, 10, PATIENCE_S)
            log.bus().publish(messages(topic, 1))
            assert len(waiting.result().records) == 1

    # Groups

    def test_members_share_partitions_by_ranges_alike_over_topics(self, log: Log):
        acks, operations, bus = log.topic(5), log.topic(5), log.bus()
        readers = [bus.reader("g", [acks, operations], name) for name in ("one", "two")]
        owned = share(*readers, all_of=partitions(bus, acks, operations))
        for mine in owned:
            numbers = [sorted(at.partition for at in mine if at.topic == topic) for topic in (acks, operations)]
            assert numbers[0] == numbers[1]
            assert numbers[0] == list(range(numbers[0][0], numbers[0][-1] + 1))
        assert sorted(len(mine) for mine in owned) == [4, 6]

    def test_a_member_more_than_partitions_waits_without_any(self, log: Log):
        topic, bus = log.topic(1), log.bus()
        one, two = joined(bus, "g", [topic], "one"), bus.reader("g", [topic], "two")
        with ThreadPoolExecutor(1) as pool:
            joining = pool.submit(two.poll, 10, 5.0)
            while not joining.done():
                one.poll(0, 0.05)
            idle = [reader for reader in (one, two) if not reader.poll(0, 0.05).assigned]
            assert len(idle) == 1

    def test_a_newcomer_takes_nothing_before_its_owner_has_settled_it(self, log: Log):
        topic, bus = log.topic(2), log.bus()
        one = joined(bus, "g", [topic], "one")
        bus.publish(messages(topic, 10, partition=0) + messages(topic, 10, partition=1))
        read = take(one, 20)
        two = log.bus().reader("g", [topic], "two")
        for _ in range(3):
            assert two.poll(500, 0.1).records == ()
        one.commit({at: run[-1] + 1 for at, run in offsets(read).items()})
        mine, theirs = share(one, two, all_of=partitions(bus, topic))
        assert (len(mine), len(theirs)) == (1, 1)
        bus.publish(messages(topic, 1, partition=0) + messages(topic, 1, partition=1))
        assert [r.offset for r in (*take(one, 1), *take(two, 1))] == [10, 10]

    def test_a_change_of_assignment_comes_first_and_alone(self, log: Log):
        topic, bus = log.topic(4), log.bus()
        one = joined(bus, "g", [topic], "one")
        before = one.poll(0, 0.0)
        two = log.bus().reader("g", [topic], "two")
        share(one, two, all_of=partitions(bus, topic))
        shared = one.poll(0, 0.0)
        bus.publish(messages(topic, 40))
        take(one, offsets_in(topic, shared))
        two.close()
        bus.publish(messages(topic, 40))
        changed = next_generation(one, shared.generation)
        assert changed.records == ()
        assert changed.assigned == set(partitions(bus, topic))
        assert changed.generation > shared.generation > before.generation

    def test_a_graceful_close_hands_over_at_once(self, log: Log):
        topic, bus = log.topic(4), log.bus()
        one, two = bus.reader("g", [topic], "one"), log.bus().reader("g", [topic], "two")
        share(one, two, all_of=partitions(bus, topic))
        begun = time.monotonic()
        one.close()
        share(two, all_of=partitions(bus, topic))
        assert time.monotonic() - begun < 3

    def test_closing_a_bus_closes_its_readers(self, log: Log):
        topic, bus, other = log.topic(2), log.bus(), log.bus()
        one, two = bus.reader("g", [topic], "one"), other.reader("g", [topic], "two")
        share(one, two, all_of=partitions(other, topic))
        bus.close()
        bus.close()
        share(two, all_of=partitions(other, topic))
        with pytest.raises(BusError):
            bus.publish(messages(topic, 1))
        with pytest.raises(BusError):
            one.poll(1, 0.0)

    def test_a_silent_member_loses_its_partitions_and_is_fenced(self, log: Log):
        topic, frozen, alive = log.topic(2), log.bus(impatient=True), log.bus(impatient=True)
        at = partitions(alive, topic)
        one = joined(frozen, "g", [topic], "one")
        alive.publish(messages(topic, 5, partition=0))
        read = take(one, 5)
        before = one.poll(0, 0.0)
        two = alive.reader("g", [topic], "two")
        share(two, all_of=at)
        again = take(two, 5)
        assert values(again) == values(read)
        two.commit({at[0]: 5})
        with pytest.raises(Fenced):
            one.commit({at[0]: 1})
        assert alive.committed("g", at) == {at[0]: 5, at[1]: 0}
        back = one.poll(500, 5.0)
        assert back.records == ()
        assert back.generation > before.generation
        share(one, two, all_of=at)

    def test_a_commit_is_all_or_none(self, log: Log):
        topic, bus = log.topic(2), log.bus()
        at = partitions(bus, topic)
        one, two = bus.reader("g", [topic], "one"), log.bus().reader("g", [topic], "two")
        mine, theirs = share(one, two, all_of=at)
        with pytest.raises(Fenced):
            one.commit(dict.fromkeys(at, 3))
        assert bus.committed("g", at) == dict.fromkeys(at, 0)
        one.commit(dict.fromkeys(mine, 3))
        two.commit(dict.fromkeys(theirs, 4))
        assert bus.committed("g", at) == dict.fromkeys(mine, 3) | dict.fromkeys(theirs, 4)

    # Closing

    def test_close_from_another_thread_ends_a_waiting_poll(self, log: Log):
        topic, bus = log.topic(1), log.bus()
        reader = joined(bus, "g", [topic])
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(reader.poll, 10, PATIENCE_S)
            begun = time.monotonic()
            reader.close()
            assert waiting.result().records == ()
            assert time.monotonic() - begun < 5
        reader.close()
        for attempt in (lambda: reader.poll(1, 0.0), lambda: reader.commit({TopicPartition(topic, 0): 1})):
            with pytest.raises(Fenced):
                attempt()

    def test_a_reader_that_never_polled_can_be_closed(self, log: Log):
        log.bus().reader("g", [log.topic(1)], "one").close()

    # Retention

    def test_what_retention_took_is_a_gap_that_is_told_once_and_stops_that_partition_alone(self, log: Log):
        topic, bus = log.topic(2), log.bus()
        at = partitions(bus, topic)
        reader = joined(bus, "g", [topic])
        bus.publish(messages(topic, 6, partition=0))
        boundary = 1 + max(r.timestamp_ms for r in take(reader, 6))
        eventually(lambda: time.time_ns() // 1_000_000 > boundary)
        bus.publish(messages(topic, 4, partition=0) + messages(topic, 3, partition=1))
        log.trim(topic, boundary)
        take(reader, 7)
        reader.seek(at[0], 2)
        with pytest.raises(OffsetOutOfRange) as gap:
            reader.poll(500, PATIENCE_S)
        assert (gap.value.at, gap.value.asked, gap.value.first, gap.value.end) == (at[0], 2, 6, 10)
        bus.publish(messages(topic, 1, partition=0) + messages(topic, 1, partition=1))
        assert offsets(take(reader, 1)) == {at[1]: [3]}
        assert reader.poll(500, 0.05).records == ()
        reader.seek(at[0], gap.value.first)
        assert offsets(take(reader, 5)) == {at[0]: [6, 7, 8, 9, 10]}

    def test_a_new_group_begins_with_what_is_left(self, log: Log):
        topic, bus = log.topic(1), log.bus()
        bus.publish(messages(topic, 6))
        log.trim(topic, time.time_ns() // 1_000_000 + 60_000)
        bus.publish(messages(topic, 2))
        assert [r.offset for r in take(joined(bus, "g", [topic]), 2)] == [6, 7]

    def test_an_offset_the_log_has_not_reached_is_out_of_range(self, log: Log):
        topic, bus = log.topic(1), log.bus()
        bus.publish(messages(topic, 3))
        reader = joined(bus, "g", [topic])
        reader.seek(TopicPartition(topic, 0), 4)
        with pytest.raises(OffsetOutOfRange):
            reader.poll(500, PATIENCE_S)
        reader.seek(TopicPartition(topic, 0), 3)
        bus.publish(messages(topic, 1))
        assert [r.offset for r in take(reader, 1)] == [3]

    # Many at once

    def test_publishers_side_by_side_lose_and_lock_nothing(self, log: Log):
        left, right, bus = log.topic(3), log.topic(3), log.bus()
        reader = joined(bus, "g", [left, right])
        start = threading.Barrier(4)

        def publish(writer: int) -> None:
            start.wait()
            for turn in range(10):
                sent = messages(left, 12, mark=f"{writer}.{turn}.") + messages(right, 12, mark=f"{writer}.{turn}.")
                bus.publish(sent if writer % 2 else sent[::-1])

        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(publish, writer) for writer in range(4)]
            found = take(reader, 4 * 10 * 24, at_once=100)
            for each in done:
                each.result()
        assert len({(r.topic, r.key) for r in found}) == len(found)
        for run in offsets(found).values():
            assert run == list(range(len(run)))

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_a_group_in_turmoil_reads_everything_in_order(self, log: Log, seed: int):
        topics = [log.topic(4), log.topic(4)]
        churn(log, topics, seed)
