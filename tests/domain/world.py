"""One request, its products, and everybody who may meddle with it.

The world keeps notes of its own (holds placed, commands sent, acks delivered) and judges the core by them, not by the
core's own state.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from orchestrator.domain.advance import advance
from orchestrator.domain.answers import CHANGES, SUCCESS
from orchestrator.domain.calendar import DAY_MS
from orchestrator.domain.commands import Accept, Answer, Dispatch, DomainCommand, NotPossible, Operate, Tick
from orchestrator.domain.decide import decide
from orchestrator.domain.evolve import evolve, fold
from orchestrator.domain.policy import HOUR, MINUTE, SECOND, Policy, Product, Retry, TenantPolicy
from orchestrator.domain.state import FINISHED, IN_FLIGHT, RETRYING, Stage, State, StepStatus
from orchestrator.domain.view import Status, WaitsFor, story, summary
from schemas import events as e
from schemas import messages as m
from schemas.codes import (
    Capacity,
    Channel,
    End,
    FailureCode,
    HoldCode,
    Mode,
    Outcome,
    Phase,
    ReasonCode,
    Right,
    Role,
)
from tests.domain.diagrams import drawn, walked
from tests.domain.script import COMMITMENT, EMAIL, ID, PHONE, START, TENANT, USER, WHO, hold_id, other

NAMES = ("tickets", "chat", "voice")
DESTRUCTIVE = frozenset({Phase.TRASH, Phase.PURGE})
CHANGING = DESTRUCTIVE | {Phase.RESTORE}
REASON: dict[str, Any] = {"tenant": TENANT, "request": ID, **WHO}

HAPPENS = (
    *["round"] * 6,
    *["due"] * 5,
    *["answer"] * 4,
    *["dispatch"] * 2,
    *["hold"] * 2,
    *["release"] * 3,
    *["replay"] * 4,
    *["old answer"] * 2,
    *["unasked answer"] * 2,
    *["read"] * 2,
    *["wait"] * 2,
    *["turn"] * 2,
    *["waive"] * 1,
    *["cancel", "restore"],
)
"""What may happen, as often as it stands here."""

TYPICAL = (*[Outcome.DONE] * 4, Outcome.NOTHING_FOUND, Outcome.FAILED, Outcome.FAILED, Outcome.EXPIRED, None)

names = st.sampled_from(NAMES)
phases = st.sampled_from(list(Phase))
failures = st.sampled_from([m.Failure(code=code) for code in FailureCode])


@dataclasses.dataclass(frozen=True)
class Sent:
    """A command or a stop on its way."""

    name: str
    phase: Phase
    epoch: int
    seq: int
    attempt: int
    stop: bool = False


class World(RuleBasedStateMachine):
    """One request, its products, and everybody who may meddle with it."""

    state: State
    policy: Policy

    # --- the beginning ---------------------------------------------------------------------------------------------

    @initialize(
        waves=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
        attempts=st.integers(1, 3),
        grace=st.sampled_from([0, HOUR]),
        settle=st.sampled_from([HOUR, HOUR, 0]),
        limit=st.sampled_from([100 * DAY_MS] * 4 + [5 * DAY_MS]),
        mode=st.sampled_from(list(Mode)),
        right=st.sampled_from([Right.ERASURE, Right.HOUSEKEEPING]),
        age=st.sampled_from([0, 20 * DAY_MS, 40 * DAY_MS]),
        behind=st.sampled_from([0] * 6 + [1, 2]),
        resolving=st.sampled_from([False, False, True]),
    )
    def begin(self, *, waves, attempts, grace, settle, limit, mode, right, age, behind, resolving):
        self.policy = Policy(
            registry=1,
            products=_registry(waves, Retry(attempts=attempts, first=SECOND, longest=MINUTE), resolving=resolving),
            tenants={TENANT: TenantPolicy()},
            grace=grace,
            settle=settle,
            trash=3 * DAY_MS,
            margin=DAY_MS,
            vault_limit=limit,
        )
        self.now = START
        self.history: list[e.Recorded] = []
        self.holds: dict[str, str | None] = {}
        self.sent: list[Sent] = []
        self.acks: list[m.Ack] = []
        self.unread: dict[str, int] = {}
        self.stopping: set[str] = set()
        self.undone = False
        self.turns = {other(str(n)) for n in range(behind)}
        self.purge_at = START + grace
        self.do(
            Accept(
                request=ID,
                tenant=TENANT,
                right=right,
                mode=mode,
                capacity=Capacity.CONTROLLER,
                channel=Channel.EVENT,
                ground=None,
                received_at=START - age,
                commitment=COMMITMENT,
                kinds=EMAIL,
                behind=tuple(sorted(self.turns)),
            )
        )

    # --- deciding, and what must hold of every decision ------------------------------------------------------------

    def do(self, command: DomainCommand) -> list[e.AnyEvent]:
        before = getattr(self, "state", None)
        events = decide(before, command, self.now, self.policy)
        assert events == decide(before, command, self.now, self.policy), "deterministic"
        assert not (before is not None and before.ended and events), "after the end nothing happens"
        for event in events:
            self._judge(event, command)
            n = self.state.n + 1 if self.history else 1
            recorded = e.Recorded(id=ID, tenant=TENANT, n=n, at=self.now, event=event)
            e.check(e.encode(recorded))
            assert story(recorded)
            self.history.append(recorded)
            self.state = evolve(self.state if self.history[:-1] else None, recorded)
        assert advance(self.state, self.now, self.policy) == [], "nothing is left to follow"
        return events

    def _judge(self, event: e.AnyEvent, command: DomainCommand) -> None:
        match event:
            case e.Dispatched():
                self._judge_dispatch(event)
            case e.Succeeded():
                self._judge_success(event, command)
            case e.Waived() | e.Parked() | e.Failed() | e.TimedOut():
                assert not self._succeeded(event.step, event.phase, getattr(event, "epoch", self._epoch(event.step)))
            case e.CancelAsked() | e.RestoreAsked():
                assert not self._dispatched(Phase.PURGE), "too late to undo"
            case e.Trashed():
                self._judge_trashed(event)
            case e.DeadlineMissed() | e.VaultDestroyed():
                assert not any(type(event) is type(r.event) for r in self.history), "told once"
            case e.Ended():
                assert not self.stopping, "every stop was answered"
                self._judge_end(event)
        self._keep(event)

    def _keep(self, event: e.AnyEvent) -> None:
        """Write down what later events are judged by."""
        match event:
            case e.StopSent():
                self._note(event.steps, stop=True)
                self.stopping |= event.steps.keys()
            case e.Stopped() | e.Succeeded() | e.Waived():
                self.stopping.discard(event.step)
            case e.HoldPlaced():
                self.holds[event.hold] = event.product
            case e.HoldReleased():
                del self.holds[event.hold]
            case e.CancelAsked() | e.RestoreAsked():
                self.undone = True
            case e.TurnCame():
                self.turns.remove(event.ended)
            case e.Trashed():
                self.purge_at = event.purge_at

    def _judge_dispatch(self, event: e.Dispatched) -> None:
        assert not self.turns
        for name, (seq, attempt) in event.steps.items():
            assert not self._waived(name) or event.phase is Phase.RESTORE
            assert event.phase is Phase.RESTORE or not self._held(name), "held"
            assert (event.phase is Phase.RESTORE) == self.undone, "nothing but the restore after a cancel"
            assert seq > max((s.seq for s in self.sent if s.name == name), default=0), "seq rises strictly"
            assert attempt <= self.policy.products[name].retry.attempts
            assert self.state.steps[name].status not in IN_FLIGHT, "one command at a time"
            assert not self._succeeded(name, event.phase, event.epoch)
            assert name not in self.stopping
            if event.phase is Phase.PURGE:
                assert self.now >= START + self.policy.grace
                assert self.now >= self.purge_at
                self._judge_waves(name)
        self._note({name: seq for name, (seq, _) in event.steps.items()}, event)

    def _judge_waves(self, name: str) -> None:
        """No purge while an earlier wave has not answered, unless somebody had it replayed."""
        if any(isinstance(r.event, e.Replayed) for r in self.history):
            return
        for earlier, product in self.policy.products.items():
            if product.wave < self.policy.products[name].wave:
                assert self._waived(earlier) or self._succeeded(earlier, Phase.PURGE, 1)

    def _judge_success(self, event: e.Succeeded, command: DomainCommand) -> None:
        assert isinstance(command, Answer)
        ack = command.ack
        assert ack.outcome in SUCCESS
        assert (ack.product, ack.phase, ack.epoch) == (event.step, event.phase, event.epoch)
        assert any((s.name, s.phase, s.epoch) == (event.step, event.phase, event.epoch) for s in self._commands())
        assert not self._succeeded(event.step, event.phase, event.epoch), "one outcome per step, phase and epoch"
        assert not self._waived(event.step, event.phase)

    def _judge_trashed(self, event: e.Trashed) -> None:
        for name in NAMES:
            assert self._waived(name) or self._succeeded(name, Phase.TRASH, self._epoch(name))
        if self.state.due_at is not None:
            latest = max(self.now, START + self.policy.grace, self.state.due_at - self.policy.margin)
            assert event.purge_at <= latest

    def _judge_end(self, event: e.Ended) -> None:
        if self.undone:
            assert event.end in (End.CANCELLED, End.WITHDRAWN)
            assert not self._dispatched(Phase.PURGE)
            back = [name for name in NAMES if self._last(name, Phase.RESTORE) is not None]
            for name in self._dispatched(Phase.TRASH):
                assert name in back or self._waived(name, undoing=True)
            assert event.restored == (bool(back) and set(back) == self._dispatched(Phase.TRASH))
            return
        assert event.end not in (End.CANCELLED, End.WITHDRAWN)
        for name in NAMES:
            if self._waived(name):
                assert event.end is End.COMPLETED_WAIVED
                continue
            purged, probed = self._last(name, Phase.PURGE), self._last(name, Phase.PROBE)
            assert purged is not None, "every required product answered"
            if self.policy.settle:
                assert probed is not None
                assert probed > purged, "the last look is younger than the last purge"
        if event.end is End.NO_DATA_FOUND:
            assert not any(isinstance(r.event, e.Succeeded) and _erased(r.event) for r in self.history)

    # --- notes -----------------------------------------------------------------------------------------------------

    def _note(self, seqs: dict[str, int], event: e.Dispatched | None = None, *, stop: bool = False) -> None:
        for name, seq in seqs.items():
            assert seq > max((s.seq for s in self.sent if s.name == name), default=0), "seq rises strictly"
            step = self.state.steps[name]
            phase = event.phase if event else step.phase or Phase.PURGE
            attempt = event.steps[name][1] if event else step.attempt
            self.sent.append(Sent(name, phase, event.epoch if event else step.epoch, seq, attempt, stop=stop))
            self.unread[name] = seq

    def _commands(self) -> list[Sent]:
        return [sent for sent in self.sent if not sent.stop]

    def _held(self, name: str) -> bool:
        return any(product in (None, name) for product in self.holds.values())

    def _dispatched(self, phase: Phase) -> set[str]:
        return {sent.name for sent in self._commands() if sent.phase is phase}

    def _epoch(self, name: str) -> int:
        return self.state.steps[name].epoch

    def _succeeded(self, name: str, phase: Phase, epoch: int) -> bool:
        return any(
            isinstance(r.event, e.Succeeded) and (r.event.step, r.event.phase, r.event.epoch) == (name, phase, epoch)
            for r in self.history
        )

    def _last(self, name: str, phase: Phase) -> int | None:
        return max(
            (
                r.n
                for r in self.history
                if isinstance(r.event, e.Succeeded) and (r.event.step, r.event.phase) == (name, phase)
            ),
            default=None,
        )

    def _waived(self, name: str, phase: Phase | None = None, *, undoing: bool = False) -> bool:
        """A waive of the question for identifiers counts for that alone; one before a cancel not for the restore."""
        undo = max((r.n for r in self.history if isinstance(r.event, e.CancelAsked | e.RestoreAsked)), default=0)
        waives = [r for r in self.history if isinstance(r.event, e.Waived) and r.event.step == name]
        if phase is not None:
            return any(isinstance(r.event, e.Waived) and r.event.phase is phase and r.n > undo for r in waives)
        lasting = [r for r in waives if isinstance(r.event, e.Waived) and r.event.phase is not Phase.RESOLVE]
        return any(r.n > undo for r in lasting) if undoing else bool(lasting)

    # --- what must hold at every moment ----------------------------------------------------------------------------

    @invariant()
    def never_stuck(self):
        if not self.history or self.state.ended:
            return
        state, told = self.state, summary(self.state, self.now)
        waiting_for_somebody = told.waits_for in (WaitsFor.PERSON, WaitsFor.REQUEST)
        may_go = [
            name
            for name, step in state.steps.items()
            if state.dispatchable(name, step.retry_at if step.status in RETRYING and step.retry_at else self.now)
        ]
        timed = any(step.due is not None for step in state.steps.values())
        on_time = state.stage in (Stage.GRACE, Stage.TRASHED, Stage.SETTLING) and not state.held_back
        assert waiting_for_somebody or may_go or timed or on_time, told
        assert (told.waits_for is not WaitsFor.NOTHING) or may_go
        assert state.next_due() is not None or state.deadline_missed or state.due_at is None
        if told.waits_for is WaitsFor.PERSON:
            assert told.status in (Status.PARKED, Status.HELD)
            assert state.parked or self.holds
        if told.waits_for is WaitsFor.REQUEST:
            assert self.turns
        if told.waits_for is WaitsFor.CLOCK:
            assert told.until is not None

    @invariant()
    def a_stop_is_only_of_what_is_not_finished(self):
        for step in self.state.steps.values() if self.history else ():
            assert step.stop_at is None or step.status not in FINISHED
            assert (step.status in IN_FLIGHT) == (step.timeout_at is not None)
            assert (step.status in RETRYING) == (step.retry_at is not None)

    # --- the gate and the clock ------------------------------------------------------------------------------------

    # One rule with a choice of its own: Hypothesis leaves out rules at random, and a world that stands still has
    # little to show.

    @rule(what=st.sampled_from(HAPPENS), name=names, data=st.data())
    def something_happens(self, what, name, data):
        match what:
            case "dispatch":
                self.do(Dispatch((name,)))
            case "round":
                self._round(data.draw(st.tuples(*[st.sampled_from(TYPICAL)] * 3)), data.draw(failures))
            case "due":
                if data.draw(st.booleans()):
                    self.unread.clear()
                self._until_due(data.draw(st.sampled_from([0, 0, HOUR])))
            case "wait":
                self.now += SECOND * data.draw(st.sampled_from([1, 60, 600, 86_400]))
                self.do(Tick(frozenset(self.unread)))
            case "read":
                self.unread.pop(name, None)
            case "turn":
                for ended in sorted(self.turns)[:1]:
                    self._turn(ended)
            case "cancel" | "restore" if data.draw(st.integers(0, 4)) < 4:
                pass  # seldom: after it there is not much left to see
            case answer if answer.endswith("answer"):
                self._answered(answer, name, data)
            case _:
                self._asked(what, name, flag=data.draw(st.booleans()))

    def _answered(self, what: str, name: str, data: Any) -> None:
        """To one of the last commands, again, or to nothing we asked; each may come again."""
        outcome = data.draw(st.sampled_from([*Outcome, Outcome.DONE, Outcome.DONE]))
        if what == "unasked answer":
            sent = Sent(name, data.draw(phases), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9)), 1)
            self.deliver(self._ack(sent, outcome))
        elif what == "old answer" and self.acks:
            self.deliver(data.draw(st.sampled_from(self.acks)))
        elif self.sent:
            sent = data.draw(st.sampled_from(self.sent[-6:]))
            done = data.draw(st.integers(0, 9))
            self.deliver(self._ack(sent, Outcome.STOPPED if sent.stop else outcome, data.draw(failures), done=done))

    def _until_due(self, late: int) -> None:
        due = self.state.next_due()
        if due is not None and due < self.now + 40 * DAY_MS:
            self.now = max(self.now, due) + late
            self.tick()

    def _round(self, outcomes: tuple[Outcome | None, ...], failure: m.Failure) -> None:
        """The gate opens, and each product that was told something answers, or not."""
        self.do(Dispatch(NAMES))
        for name, outcome in zip(NAMES, outcomes, strict=True):
            last = next((sent for sent in reversed(self.sent) if sent.name == name), None)
            if last is not None and outcome is not None and self.state.steps[name].status in IN_FLIGHT:
                self.deliver(self._ack(last, Outcome.STOPPED if last.stop else outcome, failure))

    def tick(self) -> None:
        """A look at the clock moves the timer on: no busy loop."""
        for _ in range(4):  # the limit of the vault and what follows from it may take a look each
            due = self.state.next_due()
            if due is None or due > self.now:
                return
            before = self.state
            self.do(Tick(frozenset(self.unread)))
            assert self.state is not before, "a timer that is due does something"
        due = self.state.next_due()
        assert due is None or due > self.now, "and is not due again at once"

    # --- products --------------------------------------------------------------------------------------------------

    def _ack(self, sent: Sent, outcome: Outcome, failure: m.Failure | None = None, done: int = 0) -> m.Ack:
        return m.Ack(
            tenant=TENANT,
            request=ID,
            product=sent.name,
            phase=sent.phase,
            epoch=sent.epoch,
            seq=sent.seq,
            attempt=sent.attempt,
            outcome=outcome,
            at=self.now,
            failure=failure if outcome is Outcome.FAILED else None,
            counts=_counts(sent.phase) if outcome is Outcome.DONE else {},
            done=done,
            total=9,
        )

    def deliver(self, ack: m.Ack) -> None:
        self.acks.append(ack)
        sent = self.unread.get(ack.product)
        if sent is not None and sent <= ack.seq:
            del self.unread[ack.product]
        self.do(Answer(ack))

    # --- people ----------------------------------------------------------------------------------------------------

    def operate(self, operation: m.AnyOperation) -> list[e.AnyEvent] | None:
        before = self.state
        try:
            return self.do(Operate(operation))
        except NotPossible:
            assert self.state is before
            return None

    def _asked(self, what: str, product: str, *, flag: bool) -> None:
        match what:
            case "hold":
                self.operate(_hold(product if flag else None))
            case "release":
                for hold in sorted(self.holds)[:1]:
                    self.operate(m.ReleaseOperation(**REASON, hold=hold, reason=ReasonCode.OTHER))
            case "replay":
                self.operate(m.ReplayOperation(**REASON, product=product, reason=ReasonCode.OTHER, force=flag))
            case "waive":
                self.operate(m.WaiveOperation(**REASON, product=product, reason=ReasonCode.OTHER))
            case "cancel":
                self.operate(m.CancelOperation(**REASON, reason=ReasonCode.OTHER, withdrawn=flag))
            case _:
                self.operate(m.RestoreOperation(**REASON, reason=ReasonCode.OTHER))

    def _turn(self, ended: str) -> None:
        system: dict[str, Any] = REASON | {"role": Role.SYSTEM}
        self.operate(m.TurnOperation(**system, ended=ended))

    # --- the end ---------------------------------------------------------------------------------------------------

    def teardown(self):
        if not getattr(self, "history", None):
            return
        assert fold(self.history) == self.state
        for _ in range(100):
            if self.state.ended:
                break
            self.helped()
        assert self.state.ended, summary(self.state, self.now)
        assert self.state.next_due() is None
        assert fold(self.history) == self.state
        for ways, arrows in zip(walked(self.history), drawn(), strict=True):
            assert ways <= arrows, ways - arrows
        late: list[DomainCommand] = [Tick(), Dispatch(NAMES), *(Answer(ack) for ack in self.acks[-5:])]
        for command in late:
            assert self.do(command) == []

    def helped(self) -> None:
        """One round of a good day: products answer, people release and mend, time passes."""
        for ended in sorted(self.turns):
            self._turn(ended)
        for hold in sorted(self.holds):
            self.operate(m.ReleaseOperation(**REASON, hold=hold, reason=ReasonCode.OTHER))
        self.do(Dispatch(NAMES))
        for name, step in sorted(self.state.steps.items()):
            last = next((s for s in reversed(self.sent) if s.name == name), None)
            if last is not None and (step.stop_at is not None or step.status in IN_FLIGHT):
                self.deliver(self._ack(last, Outcome.STOPPED if last.stop else Outcome.DONE))
            elif step.status is StepStatus.PARKED:
                replay = m.ReplayOperation(**REASON, product=name, reason=ReasonCode.CAUSE_MENDED)
                if self.operate(replay) is None:
                    self.operate(m.WaiveOperation(**REASON, product=name, reason=ReasonCode.OTHER))
        self._until_something_is_due()

    def _until_something_is_due(self) -> None:
        told = summary(self.state, self.now)
        if told.waits_for is WaitsFor.CLOCK and told.until is not None:
            self.now = max(self.now, told.until)
        self.tick()


def _hold(product: str | None) -> m.HoldOperation:
    return m.HoldOperation(
        **REASON, hold=hold_id(product), code=HoldCode.OTHER, review_on="2025-06-30", product=product
    )


def _registry(waves: tuple[int, int, int], retry: Retry, *, resolving: bool) -> dict[str, Product]:
    made = {name: Product(name, wave=wave, retry=retry) for name, wave in zip(NAMES, waves, strict=True)}
    if resolving:
        made["tickets"] = dataclasses.replace(made["tickets"], kinds=EMAIL | USER, links=((EMAIL, USER | PHONE),))
        made["voice"] = dataclasses.replace(made["voice"], kinds=PHONE)
    return made


def _counts(phase: Phase) -> dict[str, m.Counts]:
    """What a product may have changed in this phase."""
    return (
        {"rows": m.Counts(found=2, skipped=1, **dict.fromkeys(sorted(CHANGES[phase])[:1], 1))} if CHANGES[phase] else {}
    )


def _erased(event: e.Succeeded) -> bool:
    return event.phase in CHANGING and event.outcome is Outcome.DONE
