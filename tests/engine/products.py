"""Products that say what a test tells them to, over the real contract: they decrypt, check and sign as real ones do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from msgspec.structs import replace

from orchestrator.keys import KeyRing
from orchestrator.timekeeper import group_of
from schemas import codec
from schemas import messages as m
from schemas.codes import Evidence, FailureCode, Outcome, Phase
from schemas.sealing import command_content, digest, stop_content
from schemas.topics import Topic
from schemas.transport import Bus, Record, TopicPartition

Answer = Callable[[m.Command, m.Address], m.Ack | None]


COUNTS = {
    Phase.RESOLVE: {},
    Phase.TRASH: {"rows": m.Counts(found=3, hidden=3)},
    Phase.RESTORE: {"rows": m.Counts(found=3, restored=3)},
    Phase.PURGE: {"rows": m.Counts(found=3, erased=3)},
    Phase.PROBE: {"rows": m.Counts()},
}


def done(command: m.Command, to: m.Address) -> m.Ack:
    """The honest answer of a product that found three rows."""
    return m.Ack(
        tenant=command.tenant,
        request=command.request,
        product=to.product,
        phase=command.phase,
        epoch=to.epoch,
        seq=to.seq,
        attempt=to.attempt,
        outcome=Outcome.DONE,
        at=command.cutoff_at,
        counts=COUNTS[command.phase],
        evidence=Evidence.RECOUNTED,
        map=digest(b"map"),
        receipt=digest(b"receipt"),
    )


def failing(code: str, *, times: int = 1_000_000, dataset: str | None = None) -> Answer:
    """Fail each step so many times, then be honest."""
    failed: Counter[str] = Counter()

    def answer(command: m.Command, to: m.Address) -> m.Ack:
        failed[command.request] += 1
        if failed[command.request] > times:
            return done(command, to)
        failure = m.Failure(code=FailureCode(code), dataset=dataset)
        return replace(done(command, to), outcome=Outcome.FAILED, counts={}, failure=failure, map=None, receipt=None)

    return answer


def silent(command: m.Command, to: m.Address) -> None:
    """Read the command, and answer nothing: the acknowledgement was lost."""


class ScriptedProduct:
    """One product on the bus; :meth:`work` reads what is there and answers it."""

    def __init__(self, name: str, bus: Bus, keys: KeyRing, answer: Answer = done) -> None:
        self.name = name
        self.answer = answer
        self.seen: list[m.Command] = []
        self._bus = bus
        self._keys = keys.products[name]
        self._commands = bus.reader(group_of(name), [Topic.COMMANDS], f"{name}-1")
        self._stops = bus.reader(group_of(name) + ".stops", [Topic.STOPS], f"{name}-1")

    def work(self) -> int:
        """Answer every command and stop there is; returns how many records were read."""
        return self._read_commands() + self._read_stops()

    def _read_commands(self) -> int:
        batch = self._commands.poll(500, 0)
        for record in batch.records:
            _, command = codec.message_of(record)
            assert isinstance(command, m.Command)
            for to in command.to:
                if to.product == self.name:
                    self._keys[to.key].verify(command_content(command, to), to.mac)
                    self.seen.append(command)
                    self._send(self.answer(command, to))
        self._commands.commit({_at(record): record.offset + 1 for record in batch.records})
        return len(batch.records)

    def _read_stops(self) -> int:
        batch = self._stops.poll(500, 0)
        for record in batch.records:
            _, stop = codec.message_of(record)
            if isinstance(stop, m.Stop) and stop.product == self.name:
                self._keys[stop.key].verify(stop_content(stop), stop.mac)
                self._send(
                    m.Ack(
                        tenant=stop.tenant,
                        request=stop.request,
                        product=stop.product,
                        phase=self.seen[-1].phase,
                        epoch=stop.epoch,
                        seq=stop.seq,
                        attempt=1,
                        outcome=Outcome.STOPPED,
                        at=0,
                    )
                )
        self._stops.commit({_at(record): record.offset + 1 for record in batch.records})
        return len(batch.records)

    def _send(self, ack: m.Ack | None) -> None:
        if ack is not None:
            signer = list(self._keys.values())[-1]
            self._bus.publish([codec.pack(Topic.ACKS, ack.request, ack, f"/products/{self.name}", signer=signer)])


def _at(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)
