"""The simulation can fail: each of these rules, broken on purpose, is found within a few hundred seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator import dispatcher, engine, publisher, receiver
from orchestrator.domain import advance, answers, decide, operations
from orchestrator.domain import state as states
from orchestrator.domain.commands import Answer
from orchestrator.domain.state import State
from schemas.codes import Phase
from schemas.transport import BusError, Record, TopicPartition
from tests.simulation import disk, product, store
from tests.simulation.rowchecks import Broken
from tests.simulation.world import World

pytestmark = [pytest.mark.simulation, pytest.mark.slow]

MOST = 600
"""Seeds within which a broken rule must show."""


def first_broken() -> tuple[int, str]:
    """The first seed that fails, and the promise that it did not keep."""
    for seed in range(MOST):
        try:
            World(seed).run()
        except Broken as broken:
            return seed, broken.promise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            return seed, type(error).__name__
    return MOST, ""


Break = Callable[[pytest.MonkeyPatch], None]


def any_epoch_counts(patch: pytest.MonkeyPatch) -> None:
    """An ack of another phase or epoch is taken for one of the present."""
    right = answers.answered

    def wrong(state: State, answer: Answer, now: int, policy: Any) -> Any:
        step = state.steps.get(answer.ack.product)
        if step is not None and step.phase is not None and step.begun and answer.ack.seq <= step.seq:
            answer = Answer(replace(answer.ack, phase=step.phase, epoch=step.epoch), answer.kinds)
        return right(state, answer, now, policy)

    patch.setattr(answers, "answered", wrong)


def nothing_is_stopped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operations, "stops", lambda *_args, **_more: [])


def the_publisher_does_not_check(patch: pytest.MonkeyPatch) -> None:
    """What the log did not confirm is taken to be there."""
    right = publisher.Publisher.publish

    def wrong(self: publisher.Publisher, shards: Sequence[int]) -> int:
        try:
            return right(self, shards)
        except BusError:
            rows = self._store.outbox(shards, publisher.LIMIT)
            self._store.published([row.id for row in rows], [])
            return 0

    patch.setattr(publisher.Publisher, "publish", wrong)


def a_jump_of_the_reader_goes_unseen(patch: pytest.MonkeyPatch) -> None:
    def wrong(_self: engine.Engine, records: Sequence[Record]) -> Any:
        ends = {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}
        return list(records), ends

    patch.setattr(engine.Engine, "_owed_records", wrong)
    patch.setattr(store.MemoryUnit, "move_offsets", lambda self, moves: self._writable().offsets.update(
        {place: new for place, (_, new) in moves.items()}
    ))  # fmt: skip


def nobody_is_fenced(patch: pytest.MonkeyPatch) -> None:
    """An instance that was frozen goes on as if its shards were still its own."""
    patch.setattr(store.MemoryUnit, "fence", lambda _self, _owned: None)
    patch.setattr(store.MemoryUnit, "move_offsets", lambda _self, _moves: None)


def nobody_waits_for_the_same_subject(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(receiver.Receiver, "_in_turn", lambda *_: Nobody())


class Nobody(dict[str, tuple[str, ...]]):
    """Whom everybody is behind."""

    def __missing__(self, _key: str) -> tuple[str, ...]:
        return ()


def whoever_is_cancelled_leaves_the_line(patch: pytest.MonkeyPatch) -> None:
    right = advance._undo
    patch.setattr(advance, "_undo", lambda state: right(replace(state, behind=())))


def brakes_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store.MemoryUnit, "_braked", lambda *_: False)


def grace_is_over_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(advance, "_reached", lambda _moment, _now: True)


def holds_do_not_hold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(State, "held", lambda _self, _product: False)


def time_outs_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(states.Step, "due", property(lambda _self: None))


def waves_do_not_wait(patch: pytest.MonkeyPatch) -> None:
    def wrong(steps: Mapping[str, states.Step]) -> dict[str, states.Step]:
        pending = states.StepStatus.PENDING
        return {
            name: replace(step, status=states.StepStatus.READY) if step.status is pending else step
            for name, step in steps.items()
        }

    patch.setattr("orchestrator.domain.phases.promoted", wrong)


def unread_commands_are_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatcher, "may_be_unread", lambda _step: False)


def the_vault_keeps_what_it_has(patch: pytest.MonkeyPatch) -> None:
    right = store.MemoryUnit._kept

    def wrong(self: store.MemoryUnit, changes: Any) -> None:
        changes.vault_gone.clear()
        right(self, changes)

    patch.setattr(store.MemoryUnit, "_kept", wrong)


def seqs_start_anew_with_each_phase(patch: pytest.MonkeyPatch) -> None:
    right = decide._dispatched

    def wrong(*args: Any, **more: Any) -> Any:
        event = right(*args, **more)
        return replace(event, steps={name: (attempt, attempt) for name, (_, attempt) in event.steps.items()})

    patch.setattr(decide, "_dispatched", wrong)


def derived_rows_of_the_steps_that_moved_alone(patch: pytest.MonkeyPatch) -> None:
    """A hold, or an end, changes the rows of steps that did not move themselves."""

    def wrong(known: Sequence[State], before: Mapping[str, State]) -> list[tuple[State, str]]:
        return [(s, name) for s in known for name, step in s.steps.items() if step is not before[s.id].steps[name]]

    patch.setattr(store, "_changed_steps", wrong)


def a_receipt_serves_every_phase(patch: pytest.MonkeyPatch) -> None:
    """The purge on day 30 gets the trash's receipt, and does nothing."""

    def wrong(command: Any, to: Any) -> Any:
        phase = Phase.PURGE if command.phase is Phase.TRASH else command.phase
        return (command.tenant, command.request, phase, to.epoch)

    patch.setattr(product, "_step", wrong)


def products_obey_whatever_comes(patch: pytest.MonkeyPatch) -> None:
    right = product.SimulatedProduct._newest

    def wrong(self: product.SimulatedProduct, command: Any, seq: int) -> bool:
        self.disk.steps[command.tenant, command.request] = (seq, False)
        return right(self, command, seq)

    patch.setattr(product.SimulatedProduct, "_newest", wrong)


def a_crash_forgets_what_was_done(patch: pytest.MonkeyPatch) -> None:
    """No plan: what was erased before the crash is not counted after it."""
    right = product.SimulatedProduct._effect

    def wrong(self: product.SimulatedProduct, command: Any, to: Any, subject: Any) -> Any:
        self.disk.plans.pop(product._step(command, to), None)
        return right(self, command, to, subject)

    patch.setattr(product.SimulatedProduct, "_effect", wrong)


def tenants_are_not_told_apart(patch: pytest.MonkeyPatch) -> None:
    right = disk.Row.matches
    patch.setattr(disk.Row, "matches", lambda self, _tenant, ids, cutoff: right(self, self.tenant, ids, cutoff))


def addresses_are_nobodys_but_the_first_owners(patch: pytest.MonkeyPatch) -> None:
    """Without a cut-off, a stranger who got the address later loses what is theirs."""
    right = disk.Row.matches
    patch.setattr(disk.Row, "matches", lambda self, tenant, ids, _cutoff: right(self, tenant, ids, 1 << 60))


BROKEN: dict[Break, str] = {
    any_epoch_counts: "success needs the product's receipt of that phase and epoch",
    nothing_is_stopped: "once a product has stopped, it has stopped",
    the_publisher_does_not_check: "",
    a_jump_of_the_reader_goes_unseen: "",
    nobody_is_fenced: "",
    nobody_waits_for_the_same_subject: "requests for one subject run one after another",
    whoever_is_cancelled_leaves_the_line: "requests for one subject run one after another",
    brakes_are_not_looked_at: "nothing destructive is dispatched while a brake is on",
    grace_is_over_at_once: "nothing is purged before the grace time is over",
    holds_do_not_hold: "",
    time_outs_are_forgotten: "",
    waves_do_not_wait: "a wave waits for the one before",
    unread_commands_are_sent_again: "at most one unread command per step",
    the_vault_keeps_what_it_has: "nothing is left of requests that ended",
    seqs_start_anew_with_each_phase: "",
    derived_rows_of_the_steps_that_moved_alone: "",
    a_receipt_serves_every_phase: "",
    products_obey_whatever_comes: "",
    a_crash_forgets_what_was_done: "",
    tenants_are_not_told_apart: "the others' rows are what they were",
    addresses_are_nobodys_but_the_first_owners: "",
}
"""Each broken rule, with the promise that must show it first; none where several may."""


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_a_broken_rule_is_found(rule: Break, monkeypatch: pytest.MonkeyPatch):
    rule(monkeypatch)
    seed, promise = first_broken()
    assert seed < MOST, "no seed noticed"
    assert BROKEN[rule] in ("", promise)
