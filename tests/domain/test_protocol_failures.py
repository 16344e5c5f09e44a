"""The failures that plain designs of this protocol have, each by its name, as far as the core prevents them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.domain.calendar import DAY_MS, millis
from orchestrator.domain.commands import NotPossible
from orchestrator.domain.policy import HOUR
from schemas import events as e
from schemas.codes import Phase
from tests.domain.script import LINKED, START, Told, products

ONE = products("tickets")
TWO = products("tickets", "chat")


def copies(told: Told) -> int:
    """How many commands went out."""
    return sum(len(r.event.steps) for r in told.history if isinstance(r.event, e.Dispatched))


def test_joining_silently_under_erases():
    """A second request for the subject has a life of its own: it waits, and then asks every product again."""
    told = Told(TWO, grace=0).tell("accept behind 1", "turn 1")
    assert told.said("go") == ["purge out: chat 1/1, tickets 1/1"]


def test_a_cut_off_at_the_asking_lets_weeks_of_data_of_the_same_account_survive():
    told = Told(ONE).tell("accept received -20d", "wait 24h", "tick", "wait 3h", "go")
    assert told.step("tickets").cutoff_at == START + 27 * HOUR


def test_no_cut_off_destroys_a_stranger_who_got_the_e_mail_later():
    """Every later look and every repetition of the purge keeps to the cut-off of its first dispatch."""
    told = Told(ONE, grace=0).tell("accept", "go")
    assert told.step("tickets").cutoff_at == START
    told.tell("tickets failed internal_error", "wait 1h", "go")
    assert told.step("tickets").cutoff_at == START
    told.tell("tickets done", "due", "go")
    assert told.step("tickets").phase is Phase.PROBE
    assert told.step("tickets").cutoff_at == START
    told.tell("tickets failed remains", "replay tickets", "wait 48h", "go")
    assert told.step("tickets").phase is Phase.PURGE
    assert told.step("tickets").cutoff_at == START


def test_voice_is_keyed_by_phone_and_the_subject_gave_an_e_mail():
    """Five honest answers that nothing was found, and everything stays: tickets is asked for the number first."""
    told = Told(LINKED, grace=0)
    assert told.said("accept kinds email") == ["accepted, resolve is ready"]
    assert told.said("go") == ["resolve out: tickets 1/1"]
    assert told.said("tickets done") == ["tickets resolve done", "purge begins"]
    assert told.said("go") == ["purge out: tickets 2/1, voice 1/1"]


def test_what_a_product_cannot_match_is_not_done():
    told = Told(TWO, grace=0).tell("accept", "go", "tickets done")
    assert told.said("chat cannot_match") == ["chat parked: cannot_match"]
    assert not told.state.ended


def test_nothing_found_anywhere_is_never_titled_an_erasure():
    told = Told(TWO, grace=0, settle=0).tell("accept", "go", "tickets nothing")
    assert told.said("chat nothing")[-1] == "ended: no_data_found"


def test_an_instance_frozen_between_commit_and_publish_sends_trash_after_the_restore():
    """The restore has the higher seq, so the product answers the late trash with `superseded`; that changes nothing."""
    told = Told(ONE).tell("accept trash", "go", "cancel", "tickets stopped", "go")
    trash, restore = (r.event.steps["tickets"][0] for r in told.history if isinstance(r.event, e.Dispatched))
    assert trash < restore
    assert told.said(f"tickets superseded seq={trash} phase=trash") == []
    assert told.said(f"tickets superseded seq={trash}") == []
    assert told.said("tickets done")[-1] == "ended: cancelled, restored"


def test_a_product_down_for_a_night_gets_eight_copies_of_everything_and_parks_it_all():
    told = Told(TWO, grace=0).tell("accept", "go", "chat done")
    while told.now < START + 12 * HOUR:
        due = told.state.next_due()
        assert due is not None
        told.now = due
        told.tell("tick unread tickets", "go")
    assert copies(told) == 2, "one command to each"
    assert told.step("tickets").spent == 0
    assert not told.state.parked
    assert told.said("tickets done") == ["tickets purge done", "settle started"]


def test_a_product_down_for_a_night_gets_a_stop_every_minute():
    told = Told(ONE, grace=0).tell("accept", "go", "hold")
    while told.now < START + 12 * HOUR:
        due = told.state.next_due()
        assert due is not None
        told.now = due
        told.tell("tick unread tickets")
    assert sum(isinstance(r.event, e.StopSent) for r in told.history) == 1
    assert len(told.history) < 25


def test_the_purge_on_day_30_would_get_the_trashs_receipt_and_do_nothing():
    told = Told(ONE).tell("accept trash housekeeping", "go", "tickets done", "due", "go")
    assert told.now - START == 30 * DAY_MS
    assert told.said("tickets done phase=trash") == []
    assert told.said("tickets done phase=trash seq=1") == []
    assert told.said("tickets done phase=purge seq=1 epoch=2") == []
    assert told.said("tickets done") == ["tickets purge done", "settle started"]


def test_a_receipt_of_an_older_epoch_answers_no_forced_replay():
    told = Told(ONE, grace=0).tell("accept", "go", "tickets done", "force tickets", "go")
    assert told.said("tickets done epoch=1 seq=1") == []
    assert told.said("tickets done epoch=1 seq=2") == []
    assert told.said("tickets done epoch=2") == ["tickets purge done in epoch 2", "settle started"]


def test_success_completes_whatever_its_attempt_and_failure_counts_for_the_current_one():
    told = Told(ONE, grace=0).tell("accept", "go", "due", "wait 1h", "go")
    assert told.said("tickets failed denied seq=1 attempt=1") == []
    assert told.said("tickets done seq=1 attempt=1") == ["tickets purge done", "settle started"]
    assert told.said("tickets failed denied") == []


def test_counts_that_do_not_add_up_are_no_evidence():
    told = Told(ONE, grace=0).tell("accept", "go")
    assert told.said("tickets done found=3 erased=2") == ["tickets parked: invalid_ack"]
    assert told.said("tickets done found=3 erased=3") == ["tickets purge done", "settle started"]


def test_cancel_is_possible_until_the_first_purge_is_dispatched_and_not_later():
    told = Told(TWO, grace=0).tell("accept")
    assert Told(TWO, grace=0).tell("accept").said("cancel")[-1] == "ended: cancelled"
    told.tell("go tickets")
    with pytest.raises(NotPossible, match="Place a hold"):
        told.tell("cancel")


def test_a_request_shows_stopping_until_every_addressed_product_acked_and_lists_what_was_done_meanwhile():
    told = Told(TWO, grace=0).tell("accept", "go", "hold")
    (stopped,) = told.events("chat stopped found=4 erased=4")
    assert isinstance(stopped, e.Stopped)
    assert stopped.counts["rows"].erased == 4
    assert told.state.stopping
    told.tell("tickets done found=1 erased=1 seq=1")
    assert not told.state.stopping


def test_received_on_31_january_due_on_28_february_purged_on_2_march():
    told = Told(ONE).tell("accept trash", "go", "tickets done")
    assert told.state.due_at == millis(datetime(2025, 3, 1, tzinfo=UTC)) - 1
    assert told.said("due") == ["purge begins"]
    assert told.now == millis(datetime(2025, 2, 24, tzinfo=UTC)) - 1


def test_a_product_whose_clock_is_ahead_finds_each_command_expired():
    told = Told(ONE, grace=0).tell("accept")
    for _ in range(200):
        told.tell("go", "tickets expired", "wait 10m")
    assert copies(told) < 60


def test_a_history_restored_from_a_backup_finds_its_seqs_used_up():
    """The product obeyed higher ones. Each try rises by one, without waiting for a time-out, until it is heard."""
    told = Told(ONE, grace=0).tell("accept", "go")
    for _ in range(3):
        assert told.said("tickets superseded") == ["tickets failed: conflict"]
        told.tell("wait 1h", "go")
    assert told.said("tickets done") == ["tickets purge done", "settle started"]


def test_a_dead_product_holds_nobody_for_ever():
    """Down for good, while under way, stopping, or asked to restore: a person can go on without it."""
    for history in (["wait 5m", "tick unread tickets"], ["hold"], ["cancel"]):
        told = Told(TWO).tell("accept trash", "go", "chat done", *history)
        told.tell("waive tickets")
        if told.state.undo is not None:
            told.tell("go", "chat done")
            assert told.state.ended
        else:
            assert told.state.purge_at is not None


def test_a_night_of_contention_does_not_fill_the_history():
    told = Told(ONE, grace=0).tell("accept", "go")
    while told.now < START + 12 * HOUR:
        told.tell("tickets failed contention", "wait 1m")
        while not told.said("go"):
            told.tell("wait 1m")
    assert len(told.history) < 60
