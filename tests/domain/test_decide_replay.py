"""The same again: in the same epoch, under a higher one, and after a probe that found something."""

from __future__ import annotations

import pytest

from orchestrator.domain.calendar import DAY_MS
from orchestrator.domain.commands import NotPossible
from orchestrator.domain.policy import HOUR, Retry
from orchestrator.domain.state import Stage, StepStatus
from schemas.codes import FailureCode
from tests.domain.script import START, Told, products

ONE = products("tickets", retry=Retry(attempts=2))
TWO = products("tickets", "chat")
THREE = products("tickets", "chat", "guide")


def parked(line: str = "denied") -> Told:
    return Told(ONE, grace=0).tell("accept", "go", f"tickets failed {line}")


def test_a_replay_begins_with_the_first_attempt_again():
    told = Told(ONE, grace=0).tell("accept", "go", "tickets failed internal_error", "wait 1h", "go")
    assert told.said("tickets failed internal_error") == ["tickets parked: internal_error"]
    told.tell("replay tickets")
    assert told.said("go") == ["purge out: tickets 3/1"]
    assert told.said("tickets failed internal_error") == ["tickets failed: internal_error"]


def test_a_replay_in_the_same_epoch_may_be_answered_by_the_receipt_of_before():
    told = parked().tell("replay tickets")
    assert told.step("tickets").cutoff_at == START
    assert told.said("tickets done seq=1") == ["tickets purge done", "settle started"]


def test_a_forced_replay_wants_an_answer_of_its_own():
    told = parked().tell("force tickets")
    assert told.said("tickets done epoch=1") == []
    assert told.said("tickets done epoch=2 seq=1") == [], "nothing of epoch 2 went out yet"
    assert told.said("go") == ["purge out: tickets 2/1 in epoch 2"]
    assert told.said("tickets done epoch=1 seq=1") == []
    assert told.said("tickets done") == ["tickets purge done in epoch 2", "settle started"]


def test_a_failing_step_can_be_replayed_before_its_time():
    told = Told(ONE, grace=0).tell("accept", "go", "tickets failed internal_error", "replay tickets")
    assert told.said("go") == ["purge out: tickets 2/1"]


def test_a_step_that_timed_out_can_be_replayed_before_its_time():
    told = Told(ONE, grace=0).tell("accept", "go", "due", "replay tickets")
    assert told.said("go") == ["purge out: tickets 2/1"]


def test_the_ceiling_is_raised_for_this_step_and_kept():
    told = parked("ceiling_exceeded").tell("replay tickets 500")
    assert told.step("tickets").ceiling == 500
    told.tell("go", "tickets failed denied", "replay tickets")
    assert told.step("tickets").ceiling == 500
    told.tell("go", "tickets failed denied", "force tickets")
    assert told.step("tickets").ceiling == 500
    told.tell("go", "tickets failed denied", "replay tickets 0")
    assert told.step("tickets").ceiling == 0


def test_a_forced_replay_may_raise_the_ceiling():
    told = parked("ceiling_exceeded").tell("force tickets 500")
    assert told.step("tickets").ceiling == 500


def test_what_is_done_and_replayed_has_nothing_out_that_could_be_stopped():
    told = Told(ONE, grace=0).tell("accept", "go", "tickets done", "force tickets")
    assert told.said("hold") == ["held"]


def test_success_leaves_nothing_of_the_way_there():
    told = Told(TWO, grace=0).tell(
        "accept", "go", "tickets failed internal_error", "wait 1h", "go", "tickets progress 5"
    )
    step = told.tell("tickets done").step("tickets")
    assert (step.failure, step.earlier, step.done, step.total, step.spent) == (None, None, 0, 0, 2)


def test_a_replay_forgets_the_failure():
    told = parked().tell("replay tickets")
    assert told.step("tickets").failure is None


def test_a_stopping_step_is_not_replayed():
    told = Told(ONE, grace=0).tell("accept", "go", "due", "hold")
    with pytest.raises(NotPossible, match="being stopped"):
        told.tell("replay tickets")


def test_a_step_of_a_cancelled_request_is_not_replayed():
    told = Told(TWO).tell("accept trash", "go", "tickets failed denied", "cancel")
    assert told.state.stopping
    with pytest.raises(NotPossible, match="being cancelled"):
        told.tell("replay tickets")


def test_a_waived_step_is_not_replayed():
    told = Told(TWO, grace=0).tell("accept", "go", "tickets failed denied", "waive tickets")
    with pytest.raises(NotPossible, match="the step is waived"):
        told.tell("force tickets")


def test_a_replayed_step_stays_held():
    told = parked().tell("hold", "tickets stopped", "replay tickets")
    assert told.said("go") == []
    told.tell("release")
    assert told.said("go") == ["purge out: tickets 3/1"]


def test_a_forced_replay_while_a_later_wave_is_under_way():
    told = Told(products("tickets", "profile:2"), grace=0).tell("accept", "go", "tickets done", "go")
    told.tell("force tickets")
    assert told.said("go") == ["purge out: tickets 2/1 in epoch 2"]
    assert told.said("profile done") == ["profile purge done"]
    assert told.said("tickets done")[-1] == "settle started"


def test_a_forced_replay_out_of_settling_settles_anew():
    told = Told(ONE, grace=0).tell("accept", "go", "tickets done", "wait 23h", "force tickets", "go")
    assert told.state.stage is Stage.PURGING
    assert told.said("tickets done") == ["tickets purge done in epoch 2", "settle started"]
    assert told.state.probe_at == told.now + 24 * HOUR


def test_the_cut_off_of_the_first_purge_stays_that_of_a_forced_one():
    """Who was given the e-mail address in between is somebody else."""
    told = Told(ONE, grace=0).tell("accept", "go", "tickets done", "wait 10h", "force tickets", "go")
    assert told.step("tickets").cutoff_at == START


# --- after a probe that found something ----------------------------------------------------------------------------


def probed(*lines: str) -> Told:
    told = Told(THREE, grace=0).tell("accept", "go", "tickets done", "chat done", "guide done", "due", "go")
    return told.tell(*lines)


def test_what_remains_is_purged_under_a_higher_epoch_and_probed_again():
    told = probed("chat nothing", "guide nothing", "tickets failed remains", "replay tickets")
    assert told.state.stage is Stage.PURGING
    assert told.said("go") == ["purge out: tickets 3/1 in epoch 2"]
    assert told.said("tickets done")[-1] == "settle started"
    assert told.said("due") == ["probe begins"]
    assert told.said("go") == ["probe out: chat 3/1, guide 3/1, tickets 4/1 in epoch 2"]


def test_nothing_is_left_over_in_the_others_when_one_is_purged_again():
    told = probed("guide failed denied", "tickets failed remains", "replay tickets")
    assert told.said("hold") == ["held"], "probes have no effect, and need no stop"
    assert told.step("guide").failure is None
    assert told.state.due_at is not None
    assert told.state.next_due() == told.state.due_at + 1


def test_setbacks_of_one_phase_do_not_slow_down_the_next():
    told = Told(ONE, grace=0).tell("accept")
    for _ in range(6):
        told.tell("go", "tickets failed contention", "wait 2h")
    told.tell("go", "tickets done", "due", "go", "tickets failed contention")
    assert (told.step("tickets").retry_at or 0) - told.now < 60_000


def test_the_second_probe_is_not_satisfied_with_an_answer_to_the_first():
    told = probed("chat nothing", "guide nothing", "tickets failed remains", "replay tickets", "go", "tickets done")
    told.tell("due", "go")
    assert told.said("chat nothing epoch=1 seq=2") == []
    assert told.said("chat nothing") == ["chat probe nothing_found in epoch 2"]


def test_probes_under_way_are_asked_again_later():
    told = probed("tickets failed remains", "replay tickets")
    assert told.step("chat").status is StepStatus.SUCCEEDED
    assert told.said("chat nothing phase=probe") == []
    told.tell("go", "tickets done", "due")
    assert told.said("go") == ["probe out: chat 3/1, guide 3/1, tickets 4/1 in epoch 2"]


def test_two_products_with_remains_each_wait_for_their_decision():
    told = probed("chat failed remains", "guide nothing", "tickets failed remains", "replay tickets")
    assert told.step("chat").status is StepStatus.PARKED
    told.tell("go")
    assert told.said("tickets done") == ["tickets purge done in epoch 2"]
    assert told.said("replay chat") == ["chat replayed: purge in epoch 2"]
    told.tell("go")
    assert told.said("chat done") == ["chat purge done in epoch 2", "settle started"]


def test_remains_that_are_waived_while_another_is_purged_again():
    told = probed("chat failed remains", "guide nothing", "tickets failed remains", "replay tickets", "go")
    assert told.said("waive chat") == ["chat waived"]
    assert told.said("tickets done") == ["tickets purge done in epoch 2", "settle started"]


def test_a_probe_that_failed_for_another_reason_is_only_asked_again():
    told = probed("chat failed denied", "guide nothing", "tickets nothing")
    assert told.said("replay chat") == ["chat replayed: probe"]
    told.tell("go")
    assert told.said("chat nothing")[-1] == "ended: completed"


def test_a_failed_probe_does_not_hold_up_the_purge_of_another_products_remains():
    told = probed("chat failed denied", "guide nothing", "tickets failed remains", "replay tickets", "go")
    assert told.said("tickets done")[-1] == "settle started"


def test_an_older_nothing_left_does_not_take_back_what_remains():
    told = probed("due", "wait 1h", "go tickets")
    assert told.said("tickets failed remains") == ["tickets parked: remains"]
    assert told.said("tickets nothing seq=2 attempt=1") == []


def test_a_forced_replay_of_a_probe_runs_in_an_epoch_of_its_own():
    told = probed("chat failed denied", "guide nothing", "tickets nothing", "force chat")
    assert told.state.stage is Stage.PROBING
    assert told.said("go") == ["probe out: chat 3/1 in epoch 2"]
    assert told.step("tickets").status is StepStatus.SUCCEEDED


def test_the_purge_after_the_probe_keeps_the_cut_off_of_the_first():
    told = probed("chat nothing", "guide nothing", "tickets failed remains", "replay tickets", "go")
    assert told.step("tickets").cutoff_at == START


def test_waived_products_stay_waived_when_another_is_purged_again():
    told = Told(TWO, grace=0).tell("accept", "go", "chat failed denied", "waive chat", "tickets done", "due", "go")
    told.tell("tickets failed remains", "replay tickets", "go", "tickets done", "due")
    assert told.said("go") == ["probe out: tickets 4/1 in epoch 2"]
    assert told.said("tickets nothing")[-1] == "ended: completed_waived"


# --- the limit of the vault ----------------------------------------------------------------------------------------


def outlasted(*lines: str, **policy) -> Told:
    told = Told(TWO, **policy).tell(*lines, "wait 101d")
    while not told.state.vault_gone:
        told.tell("tick")
    return told


def test_at_the_limit_the_identifiers_are_destroyed_and_every_open_step_waits_for_a_person():
    told = Told(TWO, grace=0).tell("accept housekeeping", "go", "chat done", "tickets failed internal_error")
    assert told.said("due") == ["vault destroyed"]
    assert told.now == START + 100 * DAY_MS
    step = told.step("tickets")
    assert step.status is StepStatus.PARKED
    assert step.failure is not None
    assert step.failure.code is FailureCode.UNDECRYPTABLE
    assert told.said("tick") == []


def test_after_the_limit_nothing_can_be_dispatched_or_replayed_but_everything_waived():
    told = outlasted("accept", "hold", grace=0)
    told.tell("release")
    assert told.said("go") == []
    with pytest.raises(NotPossible, match="send a new request"):
        told.tell("replay chat")
    assert told.said("waive chat") == ["chat waived"]
    assert told.said("waive tickets") == ["tickets waived", "ended: completed_waived"]


def test_an_answer_after_the_limit_still_counts():
    told = outlasted("accept", "go", grace=0)
    assert told.said("tickets done") == ["tickets purge done"]


def test_a_failure_after_the_limit_does_not_hide_the_graver_reason():
    told = outlasted("accept", "go", grace=0)
    assert told.said("tickets failed store_unavailable") == []
    assert told.said("tickets progress 5") == []


@pytest.mark.parametrize(
    "lines",
    [
        ("accept housekeeping behind 1",),
        ("accept housekeeping", "hold"),
        ("accept trash housekeeping", "go", "tickets done", "chat done", "hold"),
    ],
)
def test_a_phase_that_begins_after_the_limit_waits_for_a_person(lines):
    told = outlasted(*lines).tell("turn 1" if "behind" in lines[0] else "release")
    assert told.state.stage is Stage.PURGING
    for step in told.state.steps.values():
        assert step.status is StepStatus.PARKED
        assert step.failure is not None
        assert step.failure.code is FailureCode.UNDECRYPTABLE


def test_cancel_after_the_limit():
    told = outlasted("accept housekeeping", "hold")
    assert told.said("cancel") == ["cancel asked", "ended: cancelled"]


def test_cancel_after_the_limit_leaves_it_to_a_person_what_stays_hidden():
    told = outlasted("accept trash housekeeping", "go", "tickets done", "chat done", "hold")
    assert told.said("cancel") == ["cancel asked", "restore begins: chat, tickets"]
    told.tell("waive chat")
    assert told.said("waive tickets") == ["tickets waived", "ended: cancelled"]


def test_a_stop_at_the_limit_still_waits_for_its_answer():
    told = Told(TWO, grace=0).tell("accept housekeeping", "go", "hold", "wait 100d", "tick")
    assert told.state.vault_gone
    assert told.state.stopping
    told.tell("tickets stopped", "chat stopped")
    assert {step.status for step in told.state.steps.values()} == {StepStatus.PARKED}
