"""What the seeded simulation found, each told as short as it can be."""

from __future__ import annotations

from schemas.codes import End
from tests.domain.script import Told, other, products


def test_a_cancelled_request_keeps_its_place_in_line():
    # Whoever came later waits for this one alone: were it gone at once, they would run beside the first.
    told = Told(products("tickets"), grace=0).tell("accept behind 1", "cancel")
    assert not told.state.ended
    assert told.state.behind == (other("1"),)
    assert told.said("turn 1")[-1] == "ended: cancelled"


def test_a_withdrawn_request_behind_two_ends_after_both():
    told = Told(products("tickets"), grace=0).tell("accept behind 1,2", "withdraw", "turn 1")
    assert not told.state.ended
    assert told.tell("turn 2").state.end is End.WITHDRAWN


def test_a_hold_stops_a_step_whose_last_answer_was_a_failure():
    # The same command may lie in the log twice (published again after a crash), and its second copy may still run.
    told = Told(products("tickets"), grace=0).tell("accept", "go", "tickets failed store_unavailable")
    assert "stop: tickets 2" in told.said("hold")


def test_a_hold_stops_a_step_that_was_parked_by_a_failure():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "tickets failed ceiling_exceeded")
    assert "stop: tickets 2" in told.said("hold")


def test_nothing_is_stopped_that_is_done_or_stopped_already():
    told = Told(products("tickets", "chat"), grace=0).tell("accept", "go", "tickets done", "hold", "chat stopped")
    assert "stop" not in " ".join(told.said("hold chat"))


def test_a_doubled_failure_of_a_parked_step_says_nothing_new():
    told = Told(products("tickets"), grace=0).tell("accept", "go", "tickets failed ceiling_exceeded")
    assert told.said("tickets failed ceiling_exceeded") == []
