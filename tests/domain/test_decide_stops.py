"""Stops, and what waits for their answers: holds, cancel and restore, waives."""

from __future__ import annotations

import pytest

from orchestrator.domain.commands import NotPossible
from orchestrator.domain.policy import MINUTE, Product
from orchestrator.domain.state import Stage, StepStatus
from schemas.codes import End
from tests.domain.script import EMAIL, LINKED, PHONE, Told, products

TWO = products("tickets", "chat")
RESOLVING = ["accept trash kinds email"]
RESTORING = ["accept trash", "go", "tickets done", "chat done", "restore"]


# --- stopping ------------------------------------------------------------------------------------------------------


def test_the_request_is_stopping_until_every_product_has_answered():
    told = Told(TWO, grace=0).tell("accept", "go", "hold")
    assert told.state.stopping
    told.tell("chat stopped")
    assert told.state.stopping
    told.tell("tickets stopped")
    assert not told.state.stopping


def test_what_was_stopped_is_ready_again():
    told = Told(TWO, grace=0).tell("accept", "go", "hold", "chat stopped", "tickets stopped")
    assert told.said("go") == []
    told.tell("release")
    assert told.said("go") == ["purge out: chat 3/1, tickets 3/1"]


def test_a_product_that_was_not_asked_to_stop_goes_on():
    told = Told(TWO, grace=0).tell("accept", "go tickets", "hold tickets")
    assert told.said("go") == ["purge out: chat 1/1"]


def test_nothing_goes_out_to_a_product_that_has_not_answered_its_stop():
    told = Told(TWO, grace=0).tell("accept", "go", "hold", "release")
    assert told.said("go") == []
    told.tell("tickets stopped")
    assert told.said("go") == ["purge out: tickets 3/1"]


def test_nor_does_a_repetition_that_was_due():
    told = Told(TWO, grace=0).tell("accept", "go", "tickets failed internal_error", "hold", "release", "wait 1h")
    assert told.said("go") == []
    told.tell("tickets stopped")
    assert told.said("go") == ["purge out: tickets 3/2"]


def test_a_success_before_the_stop_stands_and_nothing_is_left_to_stop():
    told = Told(TWO, grace=0).tell("accept", "go", "hold")
    assert told.said("chat done seq=1") == ["chat purge done"]
    assert told.step("chat").stop_at is None
    assert told.said("chat stopped") == []
    told.tell("tickets stopped")
    assert told.step("chat").status is StepStatus.SUCCEEDED


def test_a_success_after_the_stop_was_answered_stands_too():
    told = Told(TWO, grace=0).tell("accept", "go", "hold", "chat stopped")
    assert told.said("chat done seq=1") == ["chat purge done"]


def test_a_failure_is_not_the_answer_to_a_stop():
    told = Told(TWO, grace=0).tell("accept", "go", "hold")
    assert told.said("chat failed stopped seq=1") == []
    assert told.said("chat failed denied") == []
    assert told.said("chat progress 5") == []


def test_the_stopped_command_does_not_answer_the_stop():
    told = Told(TWO, grace=0).tell("accept", "go", "hold")
    assert told.said("chat stopped seq=1") == []


def test_a_stop_without_answer_is_sent_again_ever_more_seldom():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "hold")
    sent: list[int] = []
    for _ in range(8):
        assert told.said("due") == [f"stop: tickets {len(sent) + 3}"]
        sent.append(told.now - told.state.accepted_at)
    assert [moment // MINUTE for moment in sent] == [1, 2, 4, 8, 16, 32, 64, 124]


def test_any_of_the_stops_may_be_answered():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "hold", "due", "due")
    assert told.step("tickets").seq == 4
    assert told.said("tickets stopped seq=2") == ["tickets stopped"]
    assert not told.state.stopping


def test_an_answer_to_the_stop_of_an_earlier_hold_does_not_count_for_this_one():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "hold", "tickets stopped", "release", "go", "hold")
    assert told.step("tickets").seq == 4
    assert told.said("tickets stopped seq=2") == []
    assert told.said("due") == ["stop: tickets 5"]
    assert told.state.next_due() == told.now + MINUTE
    assert told.said("tickets stopped") == ["tickets stopped"]


def test_a_stop_is_not_sent_again_to_a_product_that_reads_nothing():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "hold", "wait 1m")
    assert told.said("tick unread tickets") == ["unread: tickets"]
    assert told.state.stopping
    assert told.step("tickets").seq == 2


def test_how_long_to_wait_for_a_stop_is_counted_from_the_stop_and_not_from_the_command():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "wait 9h", "hold", "wait 1m")
    told.tell("tick unread tickets")
    assert told.state.next_due() == told.now + MINUTE


def test_while_stopping_the_command_cannot_time_out():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "hold", "wait 1h")
    assert told.said("tick") == ["stop: tickets 3"]


def test_a_step_that_timed_out_may_still_be_read_and_is_stopped():
    told = Told(TWO, grace=0).tell("accept", "go", "due")
    assert told.said("hold") == ["held", "stop: chat 2, tickets 2"]


def test_a_step_that_was_parked_for_its_silence_may_still_be_read_and_is_stopped():
    told = Told(products("tickets"), grace=0)
    told.tell("accept", "go")
    while not told.state.parked:
        told.tell("due", "wait 2h", "go")
    seq = told.step("tickets").seq
    assert told.said("hold") == ["held", f"stop: tickets {seq + 1}"]
    assert told.said("tickets stopped") == ["tickets stopped"]
    assert told.step("tickets").status is StepStatus.PARKED


def test_a_step_that_was_replayed_after_its_silence_may_still_be_read_and_is_stopped():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "due", "force tickets")
    assert told.said("hold") == ["held", "stop: tickets 2"]


def test_a_step_that_has_failed_is_stopped_as_its_command_may_lie_in_the_log_twice():
    told = Told(TWO, grace=0).tell("accept", "go", "chat failed denied", "tickets failed store_unavailable")
    assert told.said("hold") == ["held", "stop: chat 2, tickets 2"]


def test_a_hold_placed_while_a_product_does_not_read():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "wait 5m", "tick unread tickets")
    assert told.said("hold") == ["held", "stop: tickets 2"]
    assert told.said("tickets stopped") == ["tickets stopped"]
    told.tell("release")
    assert told.said("go") == ["purge out: tickets 3/1"]


# --- cancel and restore --------------------------------------------------------------------------------------------


def test_cancel_while_the_trash_is_under_way():
    told = Told(TWO).tell("accept trash", "go", "chat done")
    assert told.said("cancel") == ["cancel asked", "stop: tickets 2"]
    assert told.said("tick") == []
    assert told.said("tickets stopped found=2 hidden=2") == ["tickets stopped", "restore begins: chat, tickets"]
    assert told.said("go") == ["restore out: chat 2/1, tickets 3/1"]
    told.tell("chat done")
    assert told.said("tickets done found=2 restored=2") == ["tickets restore done", "ended: cancelled, restored"]


def test_cancel_and_a_success_that_overtakes_the_stop():
    told = Told(TWO).tell("accept trash", "go", "chat done", "cancel")
    assert told.said("tickets done seq=1") == ["tickets trash done", "restore begins: chat, tickets"]


def test_a_step_whose_trash_never_went_out_needs_no_restore():
    told = Told(products("tickets", "profile:2")).tell("accept trash", "go", "tickets done")
    assert told.said("cancel") == ["cancel asked", "restore begins: tickets"]


def test_nothing_but_the_restore_goes_out_after_a_cancel():
    told = Told(TWO).tell("accept trash", "go tickets", "cancel")
    assert told.said("go") == []
    told.tell("tickets stopped")
    assert told.said("go") == ["restore out: tickets 3/1"]


def test_cancel_under_a_hold_that_is_still_stopping():
    told = Told(TWO).tell("accept trash", "go", "hold")
    assert told.said("cancel") == ["cancel asked"]
    told.tell("chat stopped")
    assert told.said("tickets stopped") == ["tickets stopped", "restore begins: chat, tickets"]
    assert told.said("go") == ["restore out: chat 3/1, tickets 3/1"]


def test_cancel_out_of_the_purge_stage_before_anything_was_dispatched():
    told = Told(TWO).tell("accept trash", "go", "chat done", "tickets done", "due")
    assert told.state.stage is Stage.PURGING
    assert told.said("cancel") == ["cancel asked", "restore begins: chat, tickets"]


def test_one_dispatched_purge_is_enough_to_be_too_late():
    told = Told(TWO, grace=0).tell("accept", "go chat")
    with pytest.raises(NotPossible):
        told.tell("cancel")


def test_a_restore_that_meets_a_conflict_waits_for_a_person():
    told = Told(TWO).tell(*RESTORING).tell("go", "tickets done")
    assert told.said("chat failed restore_conflict") == ["chat parked: restore_conflict"]
    assert told.said("replay chat") == ["chat replayed: restore"]
    told.tell("go")
    assert told.said("chat done")[-1] == "ended: cancelled, restored"


def test_a_restore_without_one_product_does_not_say_restored():
    told = Told(TWO).tell(*RESTORING).tell("go", "tickets done", "chat failed restore_conflict")
    assert told.said("waive chat") == ["chat waived", "ended: cancelled"]


def test_what_a_waived_product_may_have_hidden_comes_back_too():
    told = Told(TWO).tell("accept trash", "go", "chat done", "tickets failed denied", "waive tickets")
    assert told.state.stage is Stage.TRASHED
    assert told.said("restore") == ["restore asked", "restore begins: chat, tickets"]


def test_a_waive_after_the_cancel_means_the_restore():
    told = Told(TWO).tell("accept trash", "go", "chat done", "cancel")
    assert told.said("waive tickets") == ["tickets waived", "restore begins: chat"]
    told.tell("go")
    assert told.said("chat done") == ["chat restore done", "ended: cancelled"]
    assert told.state.end is End.CANCELLED


# --- waive ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [
        ["wait 5m", "tick unread tickets"],
        ["due"],
        ["due", "replay tickets"],
    ],
)
def test_a_waived_step_that_may_still_be_read_is_stopped_and_not_waited_for(history):
    told = Told(TWO, grace=0).tell("accept", "go", "chat done", *history)
    assert told.said("waive tickets") == ["stop: tickets 2", "tickets waived", "settle started"]
    assert not told.state.stopping
    assert told.said("tickets stopped") == []


def test_a_product_that_never_answers_its_stop_can_be_waived():
    told = Told(TWO, grace=0).tell("accept", "go", "chat done", "hold tickets")
    assert told.said("waive tickets") == ["tickets waived", "settle started"]


def test_a_success_after_the_waive_is_noted_once():
    told = Told(TWO, grace=0).tell("accept", "go", "tickets failed denied", "waive tickets")
    assert told.said("tickets done") == ["tickets noted: done"]
    assert told.said("tickets done") == []
    assert told.step("tickets").status is StepStatus.WAIVED


def test_what_a_waived_product_did_before_it_was_stopped_is_noted():
    told = Told(TWO, grace=0).tell("accept", "go", "due", "waive tickets")
    assert told.said("tickets stopped found=3 erased=3") == ["tickets noted: stopped"]


def test_a_waived_step_is_out_of_the_later_phases_too():
    told = Told(TWO).tell("accept trash", "go", "chat done", "tickets failed denied", "waive tickets", "due")
    assert told.said("go") == ["purge out: chat 2/1"]
    assert told.said("chat done") == ["chat purge done", "settle started"]
    told.tell("due")
    assert told.said("go") == ["probe out: chat 3/1"]
    assert told.said("chat nothing")[-1] == "ended: completed_waived"


def test_who_has_no_part_in_a_phase_is_idle_and_who_was_waived_stays_so():
    told = Told(products("tickets", "chat", "guide:2")).tell("accept trash", "go", "chat done")
    told.tell("tickets failed denied", "cancel", "waive tickets")
    assert told.state.stage is Stage.RESTORING
    assert {name: step.status for name, step in told.state.steps.items()} == {
        "chat": StepStatus.READY,
        "guide": StepStatus.IDLE,
        "tickets": StepStatus.WAIVED,
    }


def test_late_evidence_of_a_waived_product_is_noted_in_a_later_phase_too():
    told = Told(TWO).tell("accept trash", "go", "chat done", "tickets failed denied", "waive tickets", "due")
    assert told.state.stage is Stage.PURGING
    assert told.said("tickets stopped found=1 hidden=1") == ["tickets noted: stopped"]


def test_the_erasure_waits_for_every_product_that_is_asked_first():
    registry = LINKED | {"crm": Product("crm", kinds=EMAIL, links=((EMAIL, PHONE),))}
    told = Told(registry, grace=0).tell("accept kinds email", "go", "crm done")
    assert told.state.stage is Stage.RESOLVING
    assert told.said("tickets done")[-1] == "purge begins"


def test_waiving_the_question_for_identifiers_is_not_waiving_the_erasure():
    told = Told(LINKED).tell(*RESOLVING).tell("waive tickets")
    assert told.said("go") == ["trash out: tickets 1/1, voice 1/1"]
    assert not told.step("tickets").waived


def test_an_answer_to_the_waived_question_is_noted_and_the_erasure_counts_anew():
    told = Told(LINKED, grace=0).tell("accept kinds email", "hold", "release", "go", "due", "waive tickets")
    assert told.state.stage is Stage.PURGING
    assert told.said("tickets done phase=resolve") == []
    told.tell("go", "tickets failed denied", "waive tickets")
    assert told.said("tickets done") == ["tickets noted: done"]


def test_all_steps_waived():
    told = Told(TWO, grace=0).tell("accept", "waive chat")
    assert told.said("waive tickets") == ["tickets waived", "ended: completed_waived"]


def test_all_steps_waived_in_the_trash_wait_for_their_purge_date():
    told = Told(TWO).tell("accept trash", "waive chat")
    assert told.said("waive tickets") == ["tickets waived", "trashed"]
    assert told.said("due") == ["purge begins", "ended: completed_waived"]
