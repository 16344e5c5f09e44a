"""One request, its products, and everybody who may meddle with it; :mod:`tests.domain.judge` watches."""

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

from orchestrator.domain.answers import CHANGES
from orchestrator.domain.calendar import DAY_MS
from orchestrator.domain.commands import Accept, Answer, Dispatch, DomainCommand, NotPossible, Operate, Tick
from orchestrator.domain.evolve import fold
from orchestrator.domain.policy import HOUR, MINUTE, SECOND, Policy, Product, Retry, TenantPolicy
from orchestrator.domain.state import FINISHED, IN_FLIGHT, RETRYING, Stage, StepStatus
from orchestrator.domain.view import Status, WaitsFor, summary
from schemas import events as e
from schemas import messages as m
from schemas.codes import (
    Capacity,
    Channel,
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
from tests.domain.judge import NAMES, Judge, Sent
from tests.domain.script import COMMITMENT, EMAIL, ID, PHONE, START, TENANT, USER, WHO, hold_id, other

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


class World(Judge, RuleBasedStateMachine):
    """One request, its products, and everybody who may meddle with it."""

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
