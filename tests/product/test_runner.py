"""The loop of the embedded system over the real bus: nothing skipped, nothing done twice, stops past the backlog."""

from __future__ import annotations

import threading
import time

import pytest

from consumers import runner
from orchestrator.bus.postgres import PostgresBus
from schemas import codec
from schemas.codes import Outcome, Phase
from schemas.messages import Ack
from schemas.topics import Topic
from schemas.transport import BusError, TopicPartition
from tests.product.support import acks, command, of, stop_of

PATIENCE_S = 20


@pytest.fixture
def bus(database, engine_for):
    engine = engine_for(database)
    PostgresBus.install(engine, {topic.value: 2 for topic in Topic})
    bus = PostgresBus(engine, session_s=5.0)
    yield bus
    bus.close()


@pytest.fixture
def running():
    """Start runners; all are stopped at the end."""
    stop, threads = threading.Event(), []

    def start(product, bus):
        threads.append(threading.Thread(target=runner.run, args=(product, bus, stop)))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def send(bus, *commands):
    return bus.publish([codec.pack(Topic.COMMANDS, c.request, c, "/orchestrator") for c in commands])


def answers(bus, count):
    reader = bus.reader("test", [Topic.ACKS.value], "test-1")
    found: list[Ack] = []
    until = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < until:
        found += acks(reader.poll(100, 0.2).records)
    reader.close()
    return found


def test_commands_are_obeyed_and_offsets_moved(fresh, people, bus, running):
    product = fresh("guide").product("guide")
    running(product, bus)
    commands = [command("guide", Phase.PURGE, s.tenant, of(s)) for s in people.choose(4)]
    positions = send(bus, *commands)
    assert [ack.outcome for ack in answers(bus, 4)] == [Outcome.DONE] * 4
    partitions = {TopicPartition(p.topic, p.partition) for p in positions}
    until = time.monotonic() + PATIENCE_S
    while sum(bus.committed("product.guide", partitions).values()) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    assert sum(bus.committed("product.guide", partitions).values()) == 4
    owed = product.owed(list(partitions), bus.identity(Topic.COMMANDS.value))
    assert owed == dict(bus.committed("product.guide", partitions))


def test_a_batch_that_begins_above_what_is_owed_is_read_again_from_there(fresh, people, bus, running):
    product = fresh("guide").product("guide")
    commands = [command("guide", Phase.PURGE, s.tenant, of(s)) for s in people.choose(4)]
    send(bus, *commands)
    identity = bus.identity(Topic.COMMANDS.value)
    everything = [TopicPartition(Topic.COMMANDS.value, n) for n in range(2)]
    with product.holdings.session() as session:  # it owes everything from the beginning …
        for at in everything:
            session.home.exec_driver_sql(
                "insert into oblio.offsets values ('guide', %(log)s, %(topic)s, %(partition)s, 0)",
                {"log": identity, "topic": at.topic, "partition": at.partition},
            )
    reader = bus.reader("product.guide", [Topic.COMMANDS.value], "frozen")  # … though the log was told otherwise
    reader.poll(10, 0)
    reader.commit(dict.fromkeys(everything, 2))
    reader.close()
    running(product, bus)
    assert {ack.request for ack in answers(bus, 4)} == {c.request for c in commands}


def test_offsets_move_neither_back_nor_over_a_gap(fresh):
    from schemas.transport import Record

    product = fresh("guide").product("guide")

    def batch(*offsets):
        return [Record("t", 0, offset, b"", b"") for offset in offsets]

    at = TopicPartition("t", 0)
    product.moved(batch(5, 6), "log")
    product.moved(batch(3, 4), "log")
    assert product.owed([at], "log") == {at: 7}
    product.moved(batch(9, 10), "log")
    assert product.owed([at], "log") == {at: 7}
    product.moved(batch(6, 7, 8), "log")
    assert product.owed([at], "log") == {at: 9}
    assert product.owed([at], "another log") == {}


def test_a_stop_passes_the_backlog(fresh, people, bus, running):
    product = fresh("guide").product("guide")
    (subject,) = people.choose(1)
    wanted = command("guide", Phase.PURGE, subject.tenant, of(subject))
    stop = stop_of(wanted, seq=2)
    bus.publish([codec.pack(Topic.STOPS, stop.request, stop, "/orchestrator")])
    running(product, bus)
    (stopped,) = answers(bus, 1)
    assert stopped.outcome is Outcome.STOPPED
    send(bus, wanted)
    assert [ack.outcome for ack in answers(bus, 2)][-1] is Outcome.SUPERSEDED


def test_the_loop_outlives_a_log_that_fails(fresh, people, bus, running, monkeypatch):
    product = fresh("guide").product("guide")
    monkeypatch.setattr(runner, "FIRST_PAUSE_S", 0.01)
    publish, failures = bus.publish, iter([BusError(), BusError()])

    def unsteady(messages):
        if messages[0].topic == Topic.ACKS.value and (error := next(failures, None)):
            raise error
        return publish(messages)

    monkeypatch.setattr(bus, "publish", unsteady)
    running(product, bus)
    wanted = command("guide", Phase.PURGE, (subject := people.choose(1)[0]).tenant, of(subject))
    send(bus, wanted)
    (ack,) = answers(bus, 1)
    assert (ack.request, ack.outcome) == (wanted.request, Outcome.DONE)
