"""Steps that fail, keep silent, or wait for somebody."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from orchestrator.domain.commands import Answer
from orchestrator.domain.policy import FOR_A_PERSON, HOUR, MINUTE, SECOND, UNCOUNTED, Retry
from orchestrator.domain.state import StepStatus
from schemas import events as e
from schemas.codes import FailureCode
from tests.domain.script import ID, LINKED, Told, products

ONE = products("tickets", retry=Retry(attempts=3))
OUT = ["accept", "go"]
"""The first command is out."""

COUNTED = sorted(set(FailureCode) - FOR_A_PERSON - UNCOUNTED)

CASES = [
    # what                                          told so far                                    line                                 events
    ("a failure is repeated later",                 OUT,                                           "tickets failed store_unavailable",  ["tickets failed: store_unavailable"]),
    ("the last attempt parks",                      [*OUT, *2 * ["tickets failed internal_error", "wait 1h", "go"]],
                                                                                                   "tickets failed store_timeout",      ["tickets parked: store_timeout"]),
    ("no match waits for a person",                 OUT,                                           "tickets cannot_match",              ["tickets parked: cannot_match"]),
    ("an expired command goes again at once",       OUT,                                           "tickets expired",                   ["tickets failed: expired, uncounted"]),
    ("two people behind one address",               ["accept kinds email", "go"],                  "tickets done persons=2",            ["tickets purge done", "settle started"]),
    ("counts that do not add up",                   OUT,                                           "tickets done found=3 erased=2",     ["tickets parked: invalid_ack"]),
    ("nothing found, and yet erased",               OUT,                                           "tickets nothing found=1 erased=1",  ["tickets parked: invalid_ack"]),
    ("nothing found, and yet retained",             OUT,                                           "tickets nothing found=1 retained=1", ["tickets parked: invalid_ack"]),
    ("hiding is no purge",                          OUT,                                           "tickets done found=1 hidden=1",     ["tickets parked: invalid_ack"]),
    ("nothing is erased in the trash phase",        ["accept trash", "go"],                        "tickets done found=1 erased=1",     ["tickets parked: invalid_ack"]),
    ("a restore brings back and nothing else",      ["accept trash", "go", "tickets done", "restore", "go"],
                                                                                                   "tickets done found=1 hidden=1",     ["tickets parked: invalid_ack"]),
    ("superseded by what we never sent",            OUT,                                           "tickets superseded",                ["tickets failed: conflict"]),
    ("a failure is heard once",                     [*OUT, "tickets failed internal_error"],       "tickets failed internal_error",     []),
    ("a failure of an older attempt says nothing",  [*OUT, "tickets failed internal_error", "wait 1h", "go"],
                                                                                                   "tickets failed denied seq=1 attempt=1", []),
    ("a success of an older attempt completes",     [*OUT, "tickets failed internal_error", "wait 1h", "go"],
                                                                                                   "tickets done seq=1 attempt=1",      ["tickets purge done", "settle started"]),
    ("success while waiting completes",             [*OUT, "tickets failed internal_error"],       "tickets done",                      ["tickets purge done", "settle started"]),
    ("success while parked completes",              [*OUT, "tickets failed denied"],               "tickets done",                      ["tickets purge done", "settle started"]),
    ("a seq we never gave",                         OUT,                                           "tickets done seq=9",                []),
    ("another epoch",                               OUT,                                           "tickets done epoch=2",              []),
    ("another phase",                               OUT,                                           "tickets done phase=trash",          []),
    ("progress renews the time-out",                [*OUT, "wait 4m"],                             "tickets progress 5",                ["tickets at 5"]),
    ("the same progress does not",                  [*OUT, "tickets progress 5"],                  "tickets progress 5",                []),
    ("progress of an older command does not",       [*OUT, "tickets failed internal_error", "wait 1h", "go"],
                                                                                                   "tickets progress 5 seq=1",          []),
]  # fmt: skip


@pytest.mark.parametrize("history,line,expected", [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_answers(history, line, expected):
    assert Told(ONE, grace=0).tell(*history).said(line) == expected


@pytest.mark.parametrize("code", sorted(FOR_A_PERSON))
def test_what_another_try_cannot_mend_waits_for_a_person(code):
    assert Told(ONE, grace=0).tell(*OUT).said(f"tickets failed {code}") == [f"tickets parked: {code}"]


@pytest.mark.parametrize("code", COUNTED)
def test_what_another_try_may_mend_is_tried_again(code):
    assert Told(ONE, grace=0).tell(*OUT).said(f"tickets failed {code}") == [f"tickets failed: {code}"]


@pytest.mark.parametrize("code", sorted(UNCOUNTED))
def test_what_says_nothing_of_the_step_uses_up_no_attempt(code):
    told = Told(ONE, grace=0).tell("accept")
    for _ in range(10):
        assert told.said("go") == [f"purge out: tickets {told.step('tickets').seq}/1"]
        assert told.said(f"tickets failed {code}") == [f"tickets failed: {code}, uncounted"]
        told.tell("wait 2h")
    assert told.step("tickets").spent == 0


def test_not_even_on_the_last_attempt():
    told = Told(ONE, grace=0).tell(*OUT, *2 * ["tickets failed internal_error", "wait 1h", "go"])
    assert told.step("tickets").attempt == 3
    assert told.said("tickets failed contention") == ["tickets failed: contention, uncounted"]


def test_an_answer_of_a_product_that_is_no_part_of_the_request():
    told = Told(products("tickets", "chat"), grace=0)
    told.tell("accept records tickets", "go")
    (dispatched,) = [r.event for r in told.history if isinstance(r.event, e.Dispatched)]
    assert dispatched.steps == {"tickets": (1, 1)}
    tickets = told.answer("tickets", ["done"]).ack
    assert told.do(Answer(replace(tickets, product="chat"))) == []


@pytest.mark.parametrize("line", ["tickets done persons=1", "tickets nothing", "tickets done"])
def test_one_person_or_none_is_no_doubt(line):
    told = Told(LINKED, grace=0).tell("accept kinds email", "go")
    assert told.said(line)[-1] == "purge begins"


def test_who_failed_did_not_find_two_people():
    told = Told(LINKED, grace=0).tell("accept kinds email", "go")
    assert told.said("tickets failed store_unavailable persons=2") == ["tickets failed: store_unavailable"]


def test_two_people_wait_for_a_person_before_anything_is_erased():
    told = Told(LINKED, grace=0).tell("accept kinds email", "go")
    assert told.said("tickets done persons=2") == ["tickets parked: ambiguous_subject"]
    assert told.said("waive tickets") == ["tickets waived", "purge begins"]
    assert told.step("tickets").status is StepStatus.READY


# --- delays --------------------------------------------------------------------------------------------------------


def delays(code: str, times: int) -> list[int]:
    told = Told(products("tickets", retry=Retry(attempts=20)), grace=0).tell("accept")
    found = []
    for _ in range(times):
        told.tell("go")
        (event,) = told.events(f"tickets failed {code}")
        assert isinstance(event, e.Failed)
        found.append(event.retry_at - told.now)
        told.now = event.retry_at
    return found


def test_retries_back_off_up_to_the_longest():
    waits = delays("store_unavailable", 10)
    for attempt, wait in enumerate(waits):
        plain = min(HOUR, 10 * SECOND * 3**attempt)
        assert plain // 2 <= wait < plain * 3 // 2
    assert len(set(waits)) == len(waits), "each attempt has a jitter of its own"


def test_contention_backs_off_too_so_that_a_night_makes_tens_of_events_and_not_thousands():
    waits = delays("contention", 20)
    assert 5 * SECOND <= waits[0] < 15 * SECOND
    assert min(waits[8:]) >= HOUR // 2


def test_an_expired_command_goes_again_at_once_but_only_once():
    waits = delays("expired", 10)
    assert waits[0] == 0
    assert waits[1] >= 5 * SECOND
    assert min(waits[8:]) >= HOUR // 2


def test_a_counted_failure_after_uncounted_ones_begins_anew():
    told = Told(products("tickets"), grace=0).tell("accept")
    for _ in range(5):
        told.tell("go", "tickets failed contention", "wait 2h")
    told.tell("go", "tickets failed internal_error")
    step = told.step("tickets")
    assert (step.setbacks, step.spent) == (0, 1)
    assert step.retry_at is not None
    assert step.retry_at - told.now < 15 * SECOND


def test_the_jitter_comes_from_the_ids():
    retry = Retry()
    assert retry.delay(ID, "tickets", 3) == retry.delay(ID, "tickets", 3)
    assert len({retry.delay(ID, name, 3) for name in ("tickets", "chat", "guide", "voice")}) == 4
    assert retry.delay(ID, "tickets", 10_000) < 2 * HOUR


def test_a_step_goes_again_when_its_time_has_come():
    told = Told(ONE, grace=0).tell(*OUT, "tickets failed internal_error")
    retry_at = told.step("tickets").retry_at
    assert retry_at is not None
    told.now = retry_at - 1
    assert told.said("go") == []
    told.now = retry_at
    assert told.said("go") == ["purge out: tickets 2/2"]


# --- silence -------------------------------------------------------------------------------------------------------


def test_no_answer_in_time():
    told = Told(ONE, grace=0).tell(*OUT)
    assert told.said("due") == ["tickets timed_out"]
    assert told.said("go") == []
    told.tell("wait 1h")
    assert told.said("go") == ["purge out: tickets 2/2"]


def test_the_time_out_is_the_products():
    slow = products("tickets", timeout=HOUR)
    told = Told(slow, grace=0).tell(*OUT, "wait 59m")
    assert told.said("tick") == []
    told.tell("wait 1m")
    assert told.said("tick") == ["tickets timed_out"]


def test_progress_renews_the_time_out():
    told = Told(ONE, grace=0).tell(*OUT, "wait 4m", "tickets progress 5", "wait 4m")
    assert told.said("tick") == []
    assert told.said("due") == ["tickets timed_out"]


def test_progress_of_a_new_attempt_counts_from_its_own_beginning():
    told = Told(ONE, grace=0).tell(*OUT, "tickets progress 50", "due", "wait 1h", "go")
    assert told.said("tickets progress 5") == ["tickets at 5"]


def test_progress_moves_a_step_that_was_given_up_too_early():
    told = Told(ONE, grace=0).tell(*OUT, "due")
    assert told.said("tickets progress 5") == ["tickets at 5"]
    assert told.step("tickets").status is StepStatus.DISPATCHED
    assert told.said("tickets done") == ["tickets purge done", "settle started"]


@pytest.mark.parametrize(
    "line,expected",
    [
        ("tickets done", ["tickets purge done", "settle started"]),
        ("tickets failed store_unavailable", ["tickets failed: store_unavailable"]),
        ("tickets failed denied", ["tickets parked: denied"]),
    ],
)
def test_an_answer_after_the_time_out_is_evidence_and_moves_the_step(line, expected):
    told = Told(ONE, grace=0).tell(*OUT, "due", "wait 2s")
    retry_at = told.step("tickets").retry_at
    assert told.said(line) == expected
    if told.step("tickets").status is StepStatus.WAITING:
        assert told.step("tickets").retry_at == retry_at


def test_after_the_last_time_out_the_step_waits_for_a_person():
    told = Told(ONE, grace=0).tell(*OUT, "due", "wait 1h", "go", "due", "wait 1h", "go")
    assert told.said("due") == ["tickets parked: timed_out"]
    assert told.state.parked


def test_the_last_failure_heard_of_is_kept_beside_the_time_out():
    told = Told(ONE, grace=0).tell(*OUT, "tickets failed store_unavailable", "wait 1h", "go", "due", "wait 1h", "go")
    told.tell("due")
    step = told.step("tickets")
    assert step.failure is not None
    assert step.failure.code is FailureCode.TIMED_OUT
    assert step.earlier is not None
    assert step.earlier.code is FailureCode.STORE_UNAVAILABLE


@pytest.mark.parametrize("code", ["store_unavailable", "contention", "expired", "denied"])
def test_the_answer_of_a_step_that_was_parked_for_its_silence_says_why_once(code):
    told = Told(ONE, grace=0).tell(*OUT, "due", "wait 1h", "go", "due", "wait 1h", "go", "due")
    assert told.said(f"tickets failed {code}") == [f"tickets parked: {code}"]
    assert told.said(f"tickets failed {code}") == []


# --- products that do not read -------------------------------------------------------------------------------------


def test_an_unread_command_waits_and_uses_no_attempt():
    told = Told(ONE, grace=0).tell(*OUT, "wait 5m")
    assert told.said("tick unread tickets") == ["unread: tickets"]
    assert told.step("tickets").status is StepStatus.UNREAD
    assert told.said("go") == []
    assert told.step("tickets").spent == 0


def test_the_time_out_runs_from_the_reading():
    told = Told(ONE, grace=0).tell(*OUT, "wait 5m", "tick unread tickets")
    assert told.said("due") == ["read: tickets"]
    assert told.step("tickets").timeout_at == told.now + 5 * MINUTE
    assert told.said("due") == ["tickets timed_out"]


def test_an_unread_step_takes_its_answer():
    told = Told(ONE, grace=0).tell(*OUT, "wait 5m", "tick unread tickets", "wait 9h")
    assert told.said("tickets done") == ["tickets purge done", "settle started"]


def test_products_that_do_not_read_are_told_together_and_the_others_apart():
    told = Told(products("tickets", "chat", "guide"), grace=0).tell(*OUT, "wait 5m")
    assert told.said("tick unread tickets guide") == ["unread: guide, tickets", "chat timed_out"]


def test_waiting_grows_to_an_hour():
    told = Told(ONE, grace=0).tell(*OUT)
    looks = []
    while told.now - told.state.accepted_at < 12 * HOUR:
        due = told.state.next_due()
        assert due is not None
        told.now = due
        assert told.said("tick unread tickets") == ["unread: tickets"]
        looks.append(due)
    gaps = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == HOUR
    assert len(looks) < 20


def test_a_command_that_expired_unread_goes_again_when_the_product_says_so():
    told = Told(ONE, grace=0).tell(*OUT, "wait 5m", "tick unread tickets", "wait 30h")
    assert told.said("tickets expired") == ["tickets failed: expired, uncounted"]
    assert told.said("go") == ["purge out: tickets 2/1"]
