"""A consumer group in turmoil, from a seed: members come, close, fall silent and return while records are published."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from schemas.transport import Fenced, Message, Position, TopicPartition

if TYPE_CHECKING:
    from schemas.transport import Batch, Bus, Record
    from tests.bus.steps import Log

MEMBERS = 3
PUBLISHED = 40
"""Calls per publisher."""
FREEZE_S = 1.2
"""Silence of a member that freezes: longer than an impatient bus waits."""
LIMIT_S = 30.0


class Witness:
    """What the whole group was given, checked as it comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seen: set[Position] = set()

    def saw(self, records: tuple[Record, ...]) -> None:
        with self._lock:
            self.seen.update(record.position for record in records)


class Member:
    """One member's life: polls, commits what it read, and now and then closes, freezes or dawdles."""

    def __init__(self, log: Log, topics: list[str], name: str, seed: int, witness: Witness) -> None:
        self._random = random.Random(f"{seed}/{name}")
        self._bus: Bus = log.bus(impatient=True)
        self._topics = topics
        self._name = name
        self._witness = witness

    def live(self, over: threading.Event) -> None:
        while not over.is_set():
            reader = self._bus.reader("turmoil", self._topics, self._name)
            generation = 0
            # None: wherever the group was, for nothing was read of it in this generation.
            expected: dict[TopicPartition, int | None] = {}
            for _ in range(self._random.randrange(5, 40)):
                batch = reader.poll(self._random.choice([1, 10, 200]), 0.02)
                if batch.generation != generation:
                    assert batch.generation > generation
                    assert batch.records == ()
                    generation, expected = batch.generation, dict.fromkeys(batch.assigned)
                self._check(batch, expected)
                self._witness.saw(batch.records)
                self._dawdle(over)
                try:
                    reader.commit({at: offset for at, offset in expected.items() if offset is not None})
                except Fenced:
                    expected = dict.fromkeys(expected)
                if over.is_set():
                    break
            reader.close()

    def _check(self, batch: Batch, expected: dict[TopicPartition, int | None]) -> None:
        runs = defaultdict(list)
        for record in batch.records:
            runs[TopicPartition(record.topic, record.partition)].append(record.offset)
        for at, run in runs.items():
            assert at in batch.assigned
            begin = expected[at]
            assert run == list(range(run[0] if begin is None else begin, run[0] + len(run)))
            expected[at] = run[-1] + 1

    def _dawdle(self, over: threading.Event) -> None:
        fate = self._random.random()
        if fate < 0.02:
            over.wait(FREEZE_S)
        elif fate < 0.2:
            over.wait(0.01)


def churn(log: Log, topics: list[str], seed: int) -> None:
    """Run it, and hold what the group saw against what was published."""
    witness, over = Witness(), threading.Event()
    members = [Member(log, topics, f"m{n}", seed, witness) for n in range(MEMBERS)]
    bus = log.bus()

    def publish(writer: int) -> set[Position]:
        chance = random.Random(f"{seed}/publisher/{writer}")
        published: set[Position] = set()
        for turn in range(PUBLISHED):
            count = chance.randrange(1, 15)
            published.update(
                bus.publish(
                    [Message(chance.choice(topics), f"{writer}.{turn}.{n}".encode(), b"") for n in range(count)]
                )
            )
            time.sleep(chance.random() * 0.02)
        return published

    with ThreadPoolExecutor(MEMBERS + 2) as pool:
        lives = [pool.submit(member.live, over) for member in members]
        published = set[Position]().union(*pool.map(publish, range(2)))
        deadline = time.monotonic() + LIMIT_S
        before: dict[TopicPartition, int] = {}
        while not over.is_set():
            over.wait(0.01)
            before = check_committed(bus, topics, witness, before)
            failed = any(life.done() for life in lives)
            if failed or witness.seen >= published or time.monotonic() > deadline:
                over.set()
        for life in lives:
            life.result()
    assert witness.seen == published


def check_committed(
    bus: Bus, topics: list[str], witness: Witness, before: dict[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """The group's offsets never go back, and never stand above a record that nobody was given."""
    at = [TopicPartition(topic, n) for topic in topics for n in range(bus.partitions(topic))]
    now = dict(bus.committed("turmoil", at))
    for one, offset in now.items():
        begin = before.get(one, 0)
        assert offset >= begin
        assert witness.seen >= {Position(one.topic, one.partition, n) for n in range(begin, offset)}
    return now
