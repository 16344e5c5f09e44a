"""What must hold of every decision, judged by notes of its own and not by the core's state."""

from __future__ import annotations

import dataclasses

from orchestrator.domain.advance import advance
from orchestrator.domain.answers import SUCCESS
from orchestrator.domain.commands import Answer, DomainCommand
from orchestrator.domain.decide import decide
from orchestrator.domain.evolve import evolve
from orchestrator.domain.policy import Policy
from orchestrator.domain.state import IN_FLIGHT, State
from orchestrator.domain.view import story
from schemas import events as e
from schemas.codes import End, Outcome, Phase
from tests.domain.script import ID, START, TENANT

NAMES = ("tickets", "chat", "voice")
EFFECTS = frozenset({Phase.TRASH, Phase.RESTORE, Phase.PURGE})


@dataclasses.dataclass(frozen=True)
class Sent:
    """A command or a stop on its way."""

    name: str
    phase: Phase
    epoch: int
    seq: int
    attempt: int
    stop: bool = False


class Judge:
    """Decides, writes down, and judges what was decided.

    ``holds``: those in force. ``sent``: every command and stop. ``unread``: the seq that a product has not read yet.
    ``stopping``: products that owe an answer to a stop. ``turns``: requests that go first.
    """

    state: State
    policy: Policy
    now: int
    history: list[e.Recorded]
    holds: dict[str, str | None]
    sent: list[Sent]
    unread: dict[str, int]
    stopping: set[str]
    undone: bool
    turns: set[str]
    purge_at: int

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


def _erased(event: e.Succeeded) -> bool:
    return event.phase in EFFECTS and event.outcome is Outcome.DONE
