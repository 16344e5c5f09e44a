"""The loop: poll, decide, commit, publish.

A crash anywhere means a batch read again or a record published again, never a lost or doubled decision: events,
heads, derived rows and the offsets consumed move in one transaction.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import dispatcher, timekeeper
from orchestrator.desk import Desk
from orchestrator.domain.policy import Policy
from orchestrator.domain.state import State
from orchestrator.intake import Intake, IntakeSettings
from orchestrator.keys import KeyRing
from orchestrator.publisher import Publisher
from orchestrator.receiver import Poisoned, Receiver
from orchestrator.store.store import Store
from orchestrator.store.unit import LostOffsets, LostShard
from schemas.topics import Topic
from schemas.transport import Batch, Bus, BusError, Fenced, OffsetOutOfRange, Reader, Record, TopicPartition

log = structlog.get_logger()

GROUP = "orchestrator"
TOPICS = (Topic.REQUESTS.value, Topic.OPERATIONS.value, Topic.ACKS.value)
CACHED_STATES = 20_000
UPKEEP_MS = 60_000
BACK_OFF_S = (0.05, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """``instance`` names this process among its siblings.

    ``batch``: records per poll. ``idle_s``: how long an idle loop waits for a record, in seconds.
    """

    instance: str
    intake: IntakeSettings = field(default_factory=IntakeSettings)
    batch: int = 500
    idle_s: float = 0.05


def clock() -> int:
    """Milliseconds of the epoch."""
    return time.time_ns() // 1_000_000


class Engine:
    """One instance of the orchestrator. Used by one thread."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        keys: KeyRing,
        policy: Policy,
        settings: EngineSettings,
        *,
        now: Callable[[], int] = clock,
    ) -> None:
        self._store = store
        self._bus = bus
        self._policy = policy
        self._settings = settings
        self._now = now
        self._receiver = Receiver(keys, Intake(keys, settings.intake), store.shards)
        self._publisher = Publisher(store, bus, keys, lambda name: policy.product(name).ceiling)
        self._reader: Reader | None = None
        self._generation = -1
        self._owned: dict[int, int] = {}
        self._owed: dict[TopicPartition, int] = {}
        self._cache: OrderedDict[str, State] = OrderedDict()
        self._upkeep: Callable[[int], object] | None = getattr(store, "upkeep", None)
        self._kept_at = now()
        self.gaps: dict[TopicPartition, OffsetOutOfRange] = {}
        """Partitions that stand still because the log no longer has what is owed: not ready until a person accepts."""

    # --- the loop --------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. Failures of the log or of the database are waited out."""
        failures = 0
        while not stop.is_set():
            try:
                self.step(0.0 if failures else self._settings.idle_s)
                failures = 0
            except (BusError, SQLAlchemyError, LostShard, LostOffsets) as error:
                self._recover(error)
                stop.wait(BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)])
                failures += 1
        self.close()

    def step(self, timeout_s: float) -> bool:
        """One turn of the loop; returns whether anything was done."""
        batch = self._poll(timeout_s)
        if batch.generation != self._generation:
            self._take_over(batch)
        worked = self._turn(batch.records)
        self._keep()
        return self._publish() or worked

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _poll(self, timeout_s: float) -> Batch:
        if self._reader is None:
            self._reader = self._bus.reader(GROUP, TOPICS, self._settings.instance)
            self._generation = -1
        try:
            return self._reader.poll(self._settings.batch, timeout_s)
        except OffsetOutOfRange as gap:
            self.gaps[gap.at] = gap
            log.error("offset_out_of_range", topic=gap.at.topic, partition=gap.at.partition, asked=gap.asked)  # noqa: TRY400  the place says all
            return Batch((), frozenset(self._owed), self._generation)

    def _recover(self, error: Exception) -> None:
        """Forget what may be untrue, and read the assignment and the offsets owed from the beginning."""
        log.warning("engine_recovers", error=type(error).__name__)
        self._cache.clear()
        if isinstance(error, Fenced) and self._reader is not None:
            self._reader.close()
            self._reader = None
        self._owed.clear()
        self._owned.clear()
        self._generation = -1

    # --- ownership -------------------------------------------------------------------------------------------------

    def _take_over(self, batch: Batch) -> None:
        """Take the shards of the partitions assigned, under a new epoch, and go to the offsets owed."""
        shards = sorted(at.partition for at in batch.assigned if at.topic == Topic.ACKS)
        self._owned = self._store.take_shards(shards, self._settings.instance)
        owed = self._store.offsets_owed(sorted(self._place(at) for at in batch.assigned))
        self._owed = {at: owed[self._place(at)] for at in batch.assigned}
        self._cache.clear()
        assert self._reader is not None
        for at, offset in self._owed.items():
            self._reader.seek(at, offset)
        self._reader.commit(self._owed)  # a predecessor may have died before it told the log
        self._generation = batch.generation
        log.info("shards_taken", shards=shards, instance=self._settings.instance)

    def _place(self, at: TopicPartition) -> tuple[str, int]:
        """The name under which the offset is kept: an offset of another log means nothing here."""
        return self._bus.identity(at.topic), at.partition

    # --- one transaction -------------------------------------------------------------------------------------------

    def _turn(self, records: Sequence[Record]) -> bool:
        """Take the records, let time pass, and ask the gate what may go out: all in one transaction.

        So a request that need not wait is accepted and sent out at once, and what its answers make ready goes out with
        them: its state is written once for both.
        """
        taken, moves = self._owed_records(records)
        if not (taken or self._owned):
            return False
        desk = self._decided(taken, moves)
        self._remember(desk)
        if moves:
            self._owed.update(moves)
            assert self._reader is not None
            self._reader.commit(moves)
        return bool(taken) or not desk.changes.empty

    def _decided(self, records: Sequence[Record], moves: Mapping[TopicPartition, int]) -> Desk:
        """Decide and commit; should our code fail over one record, again without it."""
        poisoned: list[Record] = []
        while True:
            try:
                with self._store.unit(self._owned) as unit:
                    unit.move_offsets({self._place(at): (self._owed[at], new) for at, new in moves.items()})
                    desk = Desk(unit, self._cache, self._policy, self._now())
                    if records:
                        self._receiver.receive(desk, records, poisoned)
                    if self._owned:
                        shards = sorted(self._owned)
                        timekeeper.fire(desk, self._bus, unit.due(shards, desk.now, timekeeper.LIMIT))
                        dispatcher.dispatch(desk, dispatcher.select_ready(desk, shards), self._bus)
                    if not desk.changes.empty:
                        unit.write(desk.changes)
            except Poisoned as found:
                log.error("record_poisoned", topic=found.record.topic, offset=found.record.offset)  # noqa: TRY400
                poisoned.append(found.record)
            else:
                return desk

    def _owed_records(self, records: Sequence[Record]) -> tuple[list[Record], dict[TopicPartition, int]]:
        """The records that come next in their partitions; repeats drop, and after a jump the reader goes back."""
        assert self._reader is not None
        taken: list[Record] = []
        next_: dict[TopicPartition, int] = {}
        for record in records:
            at = TopicPartition(record.topic, record.partition)
            owed = next_.get(at, self._owed.get(at, -1))
            if record.offset == owed:
                taken.append(record)
                next_[at] = record.offset + 1
            elif record.offset > owed >= 0:
                log.warning("records_skipped", topic=at.topic, partition=at.partition, owed=owed, got=record.offset)
                self._reader.seek(at, owed)
        return taken, next_

    def _remember(self, desk: Desk) -> None:
        """Keep what was committed at hand, the least recently used going first."""
        for request, state in desk.changes.states.items():
            if state.ended:
                self._cache.pop(request, None)
            else:
                self._cache[request] = state
                self._cache.move_to_end(request)
        while len(self._cache) > CACHED_STATES:
            self._cache.popitem(last=False)

    # --- what follows ----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Do the store's chores about once a minute; one in memory has none."""
        now = self._now()
        if self._upkeep is not None and now - self._kept_at >= UPKEEP_MS:
            self._kept_at = now
            self._upkeep(now)

    def _publish(self) -> bool:
        if not self._owned:
            return False
        return self._publisher.publish(sorted(self._owned)) > 0
