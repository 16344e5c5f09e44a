"""A product as a model: receipts, plans, highest seq, stops, brakes and expiry as in :mod:`consumers`, rows in memory.

What is in :class:`tests.simulation.disk.Disk` survives a crash; each place between two durable writes is a point where one can happen. The
loop around it is the real one (:class:`consumers.runner.Loop`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from consumers import offsets
from consumers.runner import Loop
from orchestrator.timekeeper import group_of
from schemas import codec
from schemas import messages as m
from schemas.codes import Evidence, FailureCode, Outcome, Phase
from schemas.identifiers import Identifier
from schemas.sealing import (
    SharedKey,
    ack_context,
    brake_content,
    command_content,
    command_context,
    digest,
    stop_content,
)
from schemas.topics import Topic
from schemas.transport import Bus, BusError, Message, Reader, Record, TopicPartition
from tests.simulation.disk import DATASET, Disk, Kind, Plan, Row, StepId

CHUNK = 2
"""Rows in one transaction: few, so that there are many places to die."""


class Around(Protocol):
    """What the world does to a product."""

    def now(self) -> int: ...
    def point(self, name: str) -> None: ...
    def lost(self) -> bool:
        """Whether a broken client loses this command or ack."""
        ...

    def failure(self, product: str) -> FailureCode | None:
        """Whether this command fails, for no fault of the orchestrator."""
        ...

    def effect(self, product: str, tenant: str, request: str, phase: Phase, rows: int) -> None:
        """Rows are being changed right now: is that allowed?"""
        ...


class SimulatedProduct:
    """One process of one product; a new one after each crash, over the same disk."""

    def __init__(self, kind: Kind, disk: Disk, bus: Bus, keys: Mapping[str, SharedKey], around: Around) -> None:
        self.kind = kind
        self.name = kind.name
        self.disk = disk
        self._keys = keys
        self._around = around
        self._bus = bus
        self._loops = {
            topic: Loop(self, bus, topic, self._group(topic), obey=obey, member=f"{self.name}-1")  # type: ignore[arg-type]
            for topic, obey in ((Topic.COMMANDS, self.handle), (Topic.STOPS, self.stop))
        }
        self._readers: dict[Topic, Reader] = {}
        self.worked = 0

    def _group(self, topic: Topic) -> str:
        return group_of(self.name) + (".stops" if topic is Topic.STOPS else "")

    def commands_turn(self) -> bool:
        """One turn of the loop over commands; whether it did anything."""
        return self._turn(Topic.COMMANDS)

    def stops_turn(self) -> bool:
        """One turn of the loop over stops."""
        return self._turn(Topic.STOPS)

    def _turn(self, topic: Topic) -> bool:
        """As :meth:`consumers.runner.Loop.run` does it: after a failure of the log, with a new reader."""
        before = self.worked
        loop = self._loops[topic]
        if topic not in self._readers:
            self._readers[topic] = self._bus.reader(self._group(topic), [topic.value], f"{self.name}-1")
            loop._generation = 0
        try:
            loop.turn(self._readers[topic])
        except BusError:
            self._readers.pop(topic).close()
            return True
        return self.worked > before

    # --- what the loop asks of a product ---------------------------------------------------------------------------

    def owed(self, at: Sequence[TopicPartition], _identity: str = "") -> Mapping[TopicPartition, int]:
        # A partition that was never read is begun at its start: a new reader group finds all that is there.
        return {place: self.disk.owed.get(place, 0) for place in at}

    def moved(self, records: Sequence[Record], _identity: str = "") -> None:
        self._around.point("product.acked")
        for at, (first, after) in offsets.spans(records).items():
            owed = self.disk.owed.get(at, 0)
            if first <= owed < after:
                self.disk.owed[at] = after
        self._around.point("product.moved")

    # --- commands --------------------------------------------------------------------------------------------------

    def handle(self, records: Sequence[Record]) -> list[Message]:
        self.worked += 1
        messages = []
        for record in records:
            _, command = codec.message_of(record)
            assert isinstance(command, m.Command)
            for to in command.to:
                if to.product == self.name and not self._around.lost():
                    messages += self._packed(self._obeyed(command, to))
        self._around.point("product.answered")
        return messages

    def _packed(self, ack: m.Ack) -> list[Message]:
        if self._around.lost():
            return []
        key = list(self._keys.values())[-1]
        return [codec.pack(Topic.ACKS, ack.request, ack, f"/products/{self.name}", signer=key)]

    def _obeyed(self, command: m.Command, to: m.Address) -> m.Ack:
        key = self._keys[to.key]
        key.verify(command_content(command, to), to.mac)
        subject = msgspec.json.decode(key.open(to.sealed, command_context(command, to)), type=m.SealedSubject)
        ids = frozenset(subject.identifiers)
        if self._around.now() > command.expires_at:
            return self._ack(command, to, Outcome.EXPIRED)
        matched = bool(self.kind.kinds & {identifier.kind for identifier in ids}) or subject.records is not None
        if not matched and command.phase not in (Phase.RESOLVE, Phase.RESTORE):
            return self._ack(command, to, Outcome.CANNOT_MATCH)
        if not self._newest(command, to.seq):
            return self._ack(command, to, Outcome.SUPERSEDED)
        code = self._around.failure(self.name)
        if code is not None:
            return self._failed(command, to, code)
        done = self.disk.receipts.get(_step(command, to))
        if done is not None:
            return self._repeated(command, to, done, ids)
        match command.phase:
            case Phase.RESOLVE:
                return self._resolve(command, to, ids)
            case Phase.PROBE:
                return self._probe(command, to, subject)
            case Phase.TRASH if not self.kind.native:
                found = len(self._matching(command, subject))
                return self._receipt(command, to, m.Counts(found=found, skipped=found))
            case _:
                return self._effect(command, to, subject)

    def _newest(self, command: m.Command, seq: int) -> bool:
        """Obey, unless a higher one, or the stop of this one, was obeyed before."""
        place = (command.tenant, command.request)
        highest, stopped = self.disk.steps.get(place, (0, False))
        if seq < highest or (seq == highest and stopped):
            return False
        self.disk.steps[place] = (seq, False)
        return True

    def _braked(self, tenant: str) -> bool:
        return any(self.disk.brakes.get(scope, (0, False))[1] for scope in (None, tenant))

    # --- phases ----------------------------------------------------------------------------------------------------

    def _resolve(self, command: m.Command, to: m.Address, ids: frozenset[Identifier]) -> m.Ack:
        return self._sealed(self._receipt(command, to, m.Counts(), Evidence.ASSERTED), command, ids)

    def _repeated(self, command: m.Command, to: m.Address, done: m.Ack, ids: frozenset[Identifier]) -> m.Ack:
        again = msgspec.structs.replace(done, seq=to.seq, attempt=to.attempt)
        return self._sealed(again, command, ids) if command.phase is Phase.RESOLVE else again

    def _sealed(self, ack: m.Ack, command: m.Command, ids: frozenset[Identifier]) -> m.Ack:
        """What else is known of the person, sealed for the orchestrator; a receipt keeps none of it."""
        found = self.linked(command.tenant, ids) - ids
        if not found:
            return ack
        ack = msgspec.structs.replace(ack, persons=1)
        plain = msgspec.json.encode(m.SealedSubject(identifiers=tuple(sorted(found))))
        key = list(self._keys.values())[-1]
        return msgspec.structs.replace(ack, sealed=key.seal(plain, ack_context(ack)))

    def linked(self, tenant: str, ids: frozenset[Identifier]) -> frozenset[Identifier]:
        """What the profiles say of whoever has a surrogate or an e-mail address of ``ids``."""
        if not self.kind.links:
            return ids
        named = frozenset(each for each in ids if each.kind in self.kind.kinds)
        rows = [row for row in self.disk.rows.values() if row.profile and row.tenant == tenant and row.owners & named]
        return ids.union(*(row.owners for row in rows if not row.erased_by))

    def _probe(self, command: m.Command, to: m.Address, subject: m.SealedSubject) -> m.Ack:
        left = self._matching(command, subject)
        if left:
            counts = m.Counts(found=len(left), skipped=len(left))
            return self._failed(command, to, FailureCode.REMAINS, counts)
        retained = len(self._retained(command, subject))
        return self._receipt(command, to, m.Counts(found=retained, retained=retained), Evidence.PROBED)

    def _effect(self, command: m.Command, to: m.Address, subject: m.SealedSubject) -> m.Ack:
        """Trash, restore and purge: plan, chunks, receipt."""
        if command.phase is not Phase.RESTORE and self._braked(command.tenant):
            return self._failed(command, to, FailureCode.STOPPED)
        step = _step(command, to)
        if step not in self.disk.plans:
            self.disk.plans[step] = Plan(self._wanted(command, subject, []))
            self._around.point("product.planned")
        plan = self.disk.plans[step]
        while True:
            while plan.cursor < len(plan.keys):
                refusal = self._chunk(command, to, plan)
                if refusal is not None:
                    return refusal
                self._tell(command, to, plan)
            more = self._wanted(command, subject, plan.keys)
            if not more:
                break
            plan.keys += more
        if self.disk.steps[command.tenant, command.request] != (to.seq, False):
            return self._ack(command, to, Outcome.SUPERSEDED)
        return self._finished(command, to, subject, plan)

    def _chunk(self, command: m.Command, to: m.Address, plan: Plan) -> m.Ack | None:
        """One transaction: still allowed, then some rows, and how far the plan is."""
        if self.disk.steps[command.tenant, command.request] != (to.seq, False):
            return self._ack(command, to, Outcome.SUPERSEDED)
        if command.phase is not Phase.RESTORE and self._braked(command.tenant):
            return self._failed(command, to, FailureCode.STOPPED)
        keys = plan.keys[plan.cursor : plan.cursor + CHUNK]
        self._around.effect(self.name, command.tenant, command.request, command.phase, len(keys))
        for key in keys:
            self._apply(self.disk.rows[key], command)
        plan.cursor += len(keys)
        self._around.point("product.chunk")
        return None

    def _tell(self, command: m.Command, to: m.Address, plan: Plan) -> None:
        """A sign of life; the work goes on without it."""
        if plan.cursor < len(plan.keys) and not self._around.lost():
            ack = self._ack(command, to, Outcome.PROGRESS)
            ack = msgspec.structs.replace(ack, done=plan.cursor, total=len(plan.keys))
            with suppress(BusError):
                self._bus.publish(self._packed(ack))

    def _apply(self, row: Row, command: m.Command) -> None:
        match command.phase:
            case Phase.TRASH:
                row.hidden_by = command.request
            case Phase.RESTORE:
                row.hidden_by = None
            case _:
                row.erased_by = row.erased_by or command.request

    def _finished(self, command: m.Command, to: m.Address, subject: m.SealedSubject, plan: Plan) -> m.Ack:
        place, n = (command.tenant, command.request), len(plan.keys)
        if command.phase is Phase.TRASH:
            self.disk.trash.setdefault(place, []).extend(plan.keys)
        else:
            self.disk.trash.pop(place, None)
        for step in [step for step in self.disk.plans if step[:2] == place and step[2] in (command.phase, Phase.TRASH)]:
            del self.disk.plans[step]
        match command.phase:
            case Phase.TRASH:
                counts = m.Counts(found=n, hidden=n)
            case Phase.RESTORE:
                counts = m.Counts(found=n, restored=n)
            case _:
                kept = len(self._retained(command, subject))
                counts = m.Counts(found=n + kept, erased=n, retained=kept)
        return self._receipt(command, to, counts, Evidence.RECOUNTED)

    # --- rows ------------------------------------------------------------------------------------------------------

    def _wanted(self, command: m.Command, subject: m.SealedSubject, known: Sequence[str]) -> list[str]:
        """Rows that the phase has yet to work: of its own trash, or by whom they belong to."""
        rows = self.disk.rows
        if command.phase is Phase.TRASH:
            keys = [key for key in self._matching(command, subject) if rows[key].hidden_by is None]
        else:
            trashed = self._trashed(command)
            keys = [key for key in trashed if rows[key].hidden_by == command.request and not rows[key].erased_by]
            if command.phase is Phase.PURGE:
                keys += [key for key in self._matching(command, subject) if key not in keys]
        return [key for key in keys if key not in known]

    def _trashed(self, command: m.Command) -> Iterator[str]:
        """What is in the request's trash, also by a trash phase that was stopped half-way."""
        place = (command.tenant, command.request)
        yield from self.disk.trash.get(place, ())
        for step, plan in self.disk.plans.items():
            if step[:2] == place and step[2] is Phase.TRASH:
                yield from plan.keys[: plan.cursor]

    def _matching(self, command: m.Command, subject: m.SealedSubject) -> list[str]:
        return [key for key in self._named(command, subject) if not self.disk.rows[key].retained]

    def _retained(self, command: m.Command, subject: m.SealedSubject) -> list[str]:
        return [key for key in self._named(command, subject) if self.disk.rows[key].retained]

    def _named(self, command: m.Command, subject: m.SealedSubject) -> list[str]:
        rows = self.disk.rows
        if subject.records is not None:
            keys = subject.records.keys if subject.records.product == self.name else ()
            return [
                key for key in keys if key in rows and rows[key].tenant == command.tenant and not rows[key].erased_by
            ]
        ids = frozenset(identifier for identifier in subject.identifiers if identifier.kind in self.kind.kinds)
        return [
            key
            for key, row in rows.items()
            if not row.erased_by and row.matches(command.tenant, ids, command.cutoff_at)
        ]

    # --- answers ---------------------------------------------------------------------------------------------------

    def _ack(self, command: m.Command, to: m.Address, outcome: Outcome, counts: m.Counts | None = None) -> m.Ack:
        return m.Ack(
            tenant=command.tenant,
            request=command.request,
            product=self.name,
            phase=command.phase,
            epoch=to.epoch,
            seq=to.seq,
            attempt=to.attempt,
            outcome=outcome,
            at=self._around.now(),
            counts={DATASET: counts} if counts is not None and counts.found else {},
        )

    def _failed(self, command: m.Command, to: m.Address, code: FailureCode, counts: m.Counts | None = None) -> m.Ack:
        ack = self._ack(command, to, Outcome.FAILED, counts)
        return msgspec.structs.replace(ack, failure=m.Failure(code=code))

    def _receipt(
        self, command: m.Command, to: m.Address, counts: m.Counts, evidence: Evidence = Evidence.ASSERTED
    ) -> m.Ack:
        """Success is kept, and given again to whoever asks for the same again."""
        outcome = Outcome.DONE if counts.found else Outcome.NOTHING_FOUND
        ack = self._ack(command, to, outcome, counts)
        ack = msgspec.structs.replace(ack, evidence=evidence, map=digest(b"map"))
        ack = msgspec.structs.replace(ack, receipt=digest(msgspec.json.encode(ack)))
        self.disk.receipts[_step(command, to)] = ack
        self._around.point("product.receipt")
        return ack

    # --- stops -----------------------------------------------------------------------------------------------------

    def stop(self, records: Sequence[Record]) -> list[Message]:
        self.worked += 1
        messages = []
        for record in records:
            _, message = codec.message_of(record)
            if isinstance(message, m.Stop) and message.product == self.name:
                self._keys[message.key].verify(stop_content(message), message.mac)
                messages += self._packed(self._stopped(message))
            elif isinstance(message, m.Brake) and message.product == self.name:
                self._keys[message.key].verify(brake_content(message), message.mac)
                if self.disk.brakes.get(message.tenant, (0, False))[0] < message.seq:
                    self.disk.brakes[message.tenant] = (message.seq, message.stopped)
            self._around.point("product.stopped")
        return messages

    def _stopped(self, stop: m.Stop) -> m.Ack:
        place = (stop.tenant, stop.request)
        obeyed = stop.seq >= self.disk.steps.get(place, (0, False))[0]
        phase, counts = Phase.PURGE, m.Counts()
        if obeyed:
            self.disk.steps[place] = (stop.seq, True)
            for step, plan in self.disk.plans.items():
                if step[:2] == place and step[3] == stop.epoch and step[2] in (Phase.TRASH, Phase.PURGE):
                    phase, n = step[2], plan.cursor
                    counts = m.Counts(found=n, hidden=n) if phase is Phase.TRASH else m.Counts(found=n, erased=n)
        return m.Ack(
            tenant=stop.tenant,
            request=stop.request,
            product=self.name,
            phase=phase,
            epoch=stop.epoch,
            seq=stop.seq,
            attempt=1,
            outcome=Outcome.STOPPED if obeyed else Outcome.SUPERSEDED,
            at=self._around.now(),
            counts={DATASET: counts} if counts.found else {},
        )


def _step(command: m.Command, to: m.Address) -> StepId:
    return (command.tenant, command.request, command.phase, to.epoch)
