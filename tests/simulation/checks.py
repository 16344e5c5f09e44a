"""The promises, checked while the simulation runs and at its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from orchestrator.domain.calendar import DAY_MS
from orchestrator.domain.evolve import evolve
from orchestrator.domain.policy import HOUR
from orchestrator.domain.state import FINISHED, Stage, State, StepStatus
from orchestrator.store import rows as r
from schemas import events as e
from schemas import messages as m
from schemas.codes import Outcome, Phase
from schemas.codes import RejectionCode as Code
from schemas.topics import Topic
from schemas.transport import TopicPartition, partition_of
from tests.simulation.chance import SKEW
from tests.simulation.rowchecks import UNDONE, Broken, RowChecks, overlap
from tests.simulation.store import STEP, Tables, fold_brake

if TYPE_CHECKING:
    from tests.simulation.people import Asking
    from tests.simulation.world import World

PATIENCE = 32 * DAY_MS
"""Longer than anything here is to wait, save for its turn."""

EFFECTS = frozenset({Phase.TRASH, Phase.PURGE})
EXPECTED = frozenset({Code.NOT_POSSIBLE_NOW, Code.UNKNOWN_REQUEST, Code.IDEMPOTENCY_CONFLICT})
"""What people may be told in a world where everybody keeps to the contract."""


class Checks:
    """Knows what truly happened, and compares."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._last_effect: dict[str, str] = {}
        """Per request that changed rows, where it did so last."""
        self._cutoffs: dict[tuple[str, str], int] = {}
        """Per request and product the last cut-off that a command gave."""
        self._sent: dict[tuple[str, str], tuple[Phase, int, int]] = {}
        """Per request and product the phase, epoch and seq of the last command."""

    @property
    def _tables(self) -> Tables:
        return self._world.store.tables

    # --- while it runs ---------------------------------------------------------------------------------------------

    def heard(self, recorded: Sequence[tuple[e.Recorded, bytes]]) -> None:
        """Events were committed."""
        for entry, _ in recorded:
            self._world.say(f"{entry.id[-4:]}/{entry.n} {_words(entry.event)}")
            event = entry.event
            if entry.id != e.INSTALLATION:
                self._world.operator.noticed(entry)
            if isinstance(event, e.Dispatched) and event.phase in EFFECTS:
                for name in event.steps:
                    scopes = [(t, p) for t in ("", entry.tenant) for p in ("", name)]
                    if any(scope in self._tables.brakes for scope in scopes):
                        raise Broken("nothing destructive is dispatched while a brake is on", name)
            if isinstance(event, e.Dispatched):
                self._gate(entry, event)
        for row in self._tables.outbox.values():
            self._nameless(json.dumps(row.body).encode(), "an outbox row")

    def _gate(self, entry: e.Recorded, event: e.Dispatched) -> None:
        """No more in flight than the product's window, and nothing sent after what it has not read."""
        for name in event.steps:
            flying = sum(row[STEP["product"]] == name and row[STEP["in_flight"]] for row in self._tables.steps.values())
            if flying > self._world.setting.policy.product(name).window:
                raise Broken("a product's window is kept", name)
            before = self._sent.get((entry.id, name))
            if (
                before is not None
                and before[:2] == (event.phase, event.epoch)
                and not self._was_read(entry.id, name, before[2])
            ):
                raise Broken("at most one unread command per step", f"{name} for {entry.id[-4:]}")
            cutoff = self._tables.requests[entry.id].steps[name].cutoff_at or 0
            self._cutoffs[entry.id, name] = max(self._cutoffs.get((entry.id, name), 0), cutoff)
            self._sent[entry.id, name] = (event.phase, event.epoch, event.steps[name][0])

    def _was_read(self, request: str, name: str, seq: int) -> bool:
        """Whether the product has taken a command off the log, or answered it."""
        disk, number = self._world.disks[name], partition_of(request, self._world.setting.shards)
        for record in self._world.bus.topics[Topic.ACKS][number].records:
            if record.key.decode() == request:
                ack = msgspec.json.decode(record.value, type=m.Ack)
                # A stop is read past the commands: that it was obeyed does not say that they were read.
                if ack.product == name and ack.seq == seq and ack.outcome is not Outcome.STOPPED:
                    return True
        for record in self._world.bus.topics[Topic.COMMANDS][number].records:
            if record.key.decode() == request:
                command = msgspec.json.decode(record.value, type=m.Command)
                if any(to.product == name and to.seq == seq for to in command.to):
                    return record.offset < disk.owed.get(TopicPartition(Topic.COMMANDS, number), 0)
        return True  # never published: its request had lost its identifiers

    def effect(self, product: str, tenant: str, request: str, phase: Phase) -> None:
        """A product changes rows right now."""
        state = self._tables.requests[request]
        step = state.steps[product]
        if step.waived or step.status is StepStatus.WAIVED:
            return  # nobody waits for it any more, and nobody may say when it stopped
        where = f"{phase.value} of {product} for {request[-4:]}"
        if state.ended:
            raise Broken("nothing is changed after the end", where)
        if phase is Phase.RESTORE:
            if state.undo is None:
                raise Broken("nothing is restored unless somebody asked", where)
            return
        if state.tenant != tenant or state.behind:
            raise Broken("a request waits for its turn", where)
        if phase is Phase.PURGE and self._world.clock < state.accepted_at + self._world.setting.policy.grace - SKEW:
            raise Broken("nothing is purged before the grace time is over", where)
        coming_back = step.phase is Phase.RESTORE and step.status not in FINISHED  # under a seq above what is done now
        undone = state.undo is not None and not coming_back
        if step.stop_at is None and (_held(state, product) or undone):
            raise Broken("once a product has stopped, it has stopped", where)
        self._alone(state, where)

    def _alone(self, state: State, where: str) -> None:
        """Requests that name the same subject never have effects at once."""
        asking = self.askings().get(state.id)
        for request, other in self.askings().items():
            if asking is None or request == state.id or not overlap(asking, other):
                continue
            if self._last_effect.get(f"{request}") and not self._tables.requests[request].ended:
                raise Broken("requests for one subject run one after another", where)
        self._last_effect[state.id] = where

    def askings(self) -> dict[str, Asking]:
        """Who was meant by each request."""
        found = {}
        for asking in self._world.platform.askings:
            submitted = self._tables.submissions.get(asking.submission)
            if submitted is not None:
                found[submitted[0]] = asking
        return found

    # --- at the end ------------------------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Everything that must be true when nothing is left to do."""
        self._all_ended()
        askings = self.askings()
        if len(askings) != len(self._world.platform.askings):
            raise Broken("no valid request is lost")
        if set(askings) != set(self._tables.requests) or len(set(askings)) != len(self._tables.submissions):
            raise Broken("every submission has one stream")
        histories = {request: [e.decode(raw) for raw in raws] for request, raws in self._tables.events.items()}
        self._brakes(histories.pop(e.INSTALLATION, []))
        for request, history in histories.items():
            self._history(request, history)
        self._nothing_left()
        self._rejections()
        self._published()
        RowChecks(self._world.disks, self._world.setting.kinds, self._tables).check(askings, histories, self._cutoffs)
        self._no_names()

    def standing(self) -> str:
        """Which requests are open, and how they stand."""
        return "; ".join(
            f"{request[-4:]} {state.stage.value} "
            + ",".join(f"{name}={step.status.value}" for name, step in state.steps.items())
            + (f" behind {[other[-4:] for other in state.behind]}" if state.behind else "")
            for request, state in self._tables.requests.items()
            if not state.ended
        )

    def _all_ended(self) -> None:
        if standing := self.standing():
            raise Broken("every accepted request ends", standing)

    def _history(self, request: str, history: Sequence[e.Recorded]) -> None:
        """The stream by itself: gapless, in order, folding to what is stored."""
        if [entry.n for entry in history] != list(range(1, len(history) + 1)):
            raise Broken("positions have no gap", request)
        state: State | None = None
        before = history[0].at
        seqs: Counter[str] = Counter()
        outcomes: Counter[tuple[str, Phase, int]] = Counter()
        for entry in history:
            event = entry.event
            if state is not None:
                self._event(state, event, seqs, outcomes)
                if entry.at - before > PATIENCE and state.stage is not Stage.BEHIND:
                    raise Broken("nothing waits for the limit of the vault alone", f"{request[-4:]}/{entry.n}")
            if isinstance(event, e.StillUnread) and entry.at > self._world.setting.calm_at + HOUR:
                raise Broken("a product that reads is not taken for one that does not", f"{request[-4:]}/{entry.n}")
            before = entry.at
            state = evolve(state, entry)
        assert state is not None
        if not state.ended or sum(isinstance(entry.event, e.Ended) for entry in history) != 1:
            raise Broken("a request ends once, and last", request)
        if state.end in UNDONE and any(
            isinstance(x.event, e.Dispatched) and x.event.phase is Phase.PURGE for x in history
        ):
            raise Broken("what was purged is not called cancelled", request)
        if any(isinstance(x.event, e.CancelAsked | e.RestoreAsked) for x in history) and state.end not in UNDONE:
            raise Broken("what was cancelled is not erased", request)
        if any(n > 1 for n in outcomes.values()):
            raise Broken("a step has one outcome per phase and epoch", request)
        self._derived(request, state)

    def _event(
        self, state: State, event: object, seqs: Counter[str], outcomes: Counter[tuple[str, Phase, int]]
    ) -> None:
        """One event, given the state before it."""
        match event:
            case e.Dispatched():
                for name, (seq, _) in event.steps.items():
                    self._dispatched(state, name, event.phase)
                    self._rising(seqs, name, seq)
            case e.StopSent():
                for name, seq in event.steps.items():
                    self._rising(seqs, name, seq)
            case e.Succeeded():
                outcomes[event.step, event.phase, event.epoch] += 1
                receipt = self._world.disks[event.step].receipts.get((state.tenant, state.id, event.phase, event.epoch))
                if receipt is None or receipt.receipt != event.receipt or receipt.counts != event.counts:
                    raise Broken("success needs the product's receipt of that phase and epoch", event.step)
            case e.Waived():
                outcomes[event.step, event.phase, state.steps[event.step].epoch] += 1
            case _:
                pass

    def _dispatched(self, state: State, name: str, phase: Phase) -> None:
        if phase is not Phase.RESTORE and _held(state, name):
            raise Broken("what is held is not dispatched", name)
        if phase in EFFECTS:
            wave = state.steps[name].wave
            before = [step for step in state.steps.values() if step.wave < wave and step.epoch == 1]
            if any(step.status not in FINISHED for step in before):  # what is done once more by force is out of turn
                raise Broken("a wave waits for the one before", name)

    def _rising(self, seqs: Counter[str], name: str, seq: int) -> None:
        if seq <= seqs[name]:
            raise Broken("seq rises with every command and stop", name)
        seqs[name] = seq

    def _derived(self, request: str, state: State) -> None:
        tables, shards = self._tables, self._world.setting.shards
        if tables.streams[request] != state.n or r.thaw(r.freeze(tables.requests[request])) != state:
            raise Broken("the stored state is the fold of its history", request)
        for name in state.steps:
            if tables.steps[request, name] != r.step_row(state, name, shards):
                raise Broken("derived rows are those of the fold", f"{request[-4:]} {name}")

    def _brakes(self, history: Sequence[e.Recorded]) -> None:
        brakes: dict[tuple[str, str], tuple[int, int]] = {}
        for entry in history:
            fold_brake(brakes, entry)
        if brakes != self._tables.brakes:
            raise Broken("brakes are the fold of their history")

    def _nothing_left(self) -> None:
        tables = self._tables
        for name in ("outbox", "timers", "vault", "sent", "open_subjects", "waits"):
            if getattr(tables, name):
                raise Broken("nothing is left of requests that ended", name)
        owed = {(self._world.bus.identity(topic), n) for topic in (Topic.REQUESTS, Topic.OPERATIONS, Topic.ACKS)
                for n in range(self._world.bus.partitions(topic))}  # fmt: skip
        for log, partition in owed:
            end = len(self._world.bus.topics[log.split("/")[1]][partition].records)
            if tables.offsets.get((log, partition), 0) != end:
                raise Broken("every record is taken", log)

    def _rejections(self) -> None:
        """What keeps to the contract is taken; what does not is refused, once, and told."""
        forged = self._world.intruder.positions
        refused = {(row.topic, row.partition, row.offset): row for row in self._tables.quarantine.values()}
        for place, row in refused.items():
            if row.code not in EXPECTED and place not in forged:
                raise Broken("what keeps to the contract is taken", f"{row.code} on {row.topic}")
        if forged - refused.keys():
            raise Broken("what is forged is refused")
        told = {record.key.decode() for p in self._world.bus.topics[Topic.REJECTED] for record in p.records}
        if told != {row.id for row in refused.values()}:
            raise Broken("every rejection is told")

    def _published(self) -> None:
        """Every event is on the log, in its canonical bytes, and for the first time in order."""
        told: dict[str, dict[str, bytes]] = {}
        for partition in self._world.bus.topics[Topic.EVENTS]:
            for record in partition.records:
                name = record.header("ce_id") or b""
                told.setdefault(record.key.decode(), {}).setdefault(name.decode(), record.value)
        for request, raws in self._tables.events.items():
            if list(told.get(request, {}).items()) != [(f"{request}/{n}", raw) for n, raw in enumerate(raws, 1)]:
                raise Broken("every event is published, in order", request)

    # --- names -----------------------------------------------------------------------------------------------------

    def _no_names(self) -> None:
        for raws in self._tables.events.values():
            self._nameless(b"".join(raws), "an event")
        for topic, partitions in self._world.bus.topics.items():
            for partition in partitions:
                for record in partition.records:
                    self._nameless(record.value, topic)

    def _nameless(self, raw: bytes, where: str) -> None:
        if b"@" in raw or b"+3906" in raw or b"user-of-" in raw or b"newcomer-" in raw:
            raise Broken("no identifier outside the vault", where)


def _held(state: State, product: str) -> bool:
    return any(hold.product in (None, product) for hold in state.holds)


def _words(event: object) -> str:
    """An event for the story: its name, and what it says of steps."""
    name = type(event).__name__
    told = []
    for attribute in (
        "phase",
        "epoch",
        "seq",
        "attempt",
        "step",
        "steps",
        "outcome",
        "failure",
        "end",
        "ended",
        "behind",
    ):
        value = getattr(event, attribute, None)
        if value not in (None, (), {}):
            told.append(f"{attribute}={getattr(value, 'code', value)}")
    return f"{name} {' '.join(str(each) for each in told)}"
