"""From the first command to the end: phases, waves, settling, and what each end is called."""

from __future__ import annotations

import pytest

from orchestrator.domain.calendar import DAY_MS, moment
from orchestrator.domain.evolve import evolve, fold
from orchestrator.domain.policy import HOUR, Product
from orchestrator.domain.state import Stage, StepStatus
from schemas import events as e
from schemas.codes import End, Evidence
from tests.domain.script import START, Told, products

ONE = products("tickets")
TWO = products("tickets", "chat")
WAVES = products("tickets:1", "chat:1", "profile:2", "logs:3")

CASES = [
    # what                                        told so far                              line               events
    ("the gate lets one product go",              ["accept"],                              "go chat",         ["purge out: chat 1/1"]),
    ("nothing goes twice",                        ["accept", "go"],                        "go",              []),
    ("an unknown product goes nowhere",           ["accept"],                              "go crm",          []),
    ("one of two is done",                        ["accept", "go"],                        "chat done",       ["chat purge done"]),
    ("both are done",                             ["accept", "go", "chat done"],           "tickets done",    ["tickets purge done", "settle started"]),
    ("nothing found is an answer, too",           ["accept", "go", "chat nothing"],        "tickets nothing", ["tickets purge nothing_found", "settle started"]),
    ("settling ends by itself",                   ["accept", "go", "chat done", "tickets done"], "due",       ["probe begins"]),
    ("an ack before any command is no evidence",  ["accept"],                              "chat done seq=0", []),
    ("a success is heard once",                   ["accept", "go", "chat done"],           "chat done",       []),
    ("another product's name says nothing",       ["accept records tickets", "go"],        "tickets done",    ["tickets purge done", "settle started"]),
]  # fmt: skip


@pytest.mark.parametrize("history,line,expected", [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_purge(history, line, expected):
    assert Told(TWO, grace=0).tell(*history).said(line) == expected


def test_an_undisturbed_request_of_five_products_makes_eight_events_without_settling():
    told = Told(products("tickets", "chat", "guide", "voice", "logs"), grace=0, settle=0).tell("accept", "go")
    for name in ("tickets", "chat", "guide", "voice"):
        told.tell(f"{name} done found=2 erased=2")
    assert told.said("logs nothing") == ["logs purge nothing_found", "ended: completed"]
    assert len(told.history) == 8


def test_what_a_product_counted_stands_in_the_event():
    told = Told(ONE, grace=0).tell("accept", "go")
    event = told.events("tickets done found=5 erased=2 redacted=1 retained=1 skipped=1")[0]
    assert isinstance(event, e.Succeeded)
    assert event.counts["rows"].found == 5
    assert event.evidence is Evidence.ASSERTED


# --- waves ---------------------------------------------------------------------------------------------------------


def test_a_wave_waits_for_the_one_before():
    told = Told(WAVES, grace=0).tell("accept")
    assert told.said("go") == ["purge out: chat 1/1, tickets 1/1"]
    assert told.said("chat done") == ["chat purge done"]
    assert told.said("go") == []
    assert told.said("tickets done") == ["tickets purge done"]
    assert told.said("go") == ["purge out: profile 1/1"]
    assert told.step("logs").status is StepStatus.PENDING
    told.tell("profile done")
    assert told.said("go") == ["purge out: logs 1/1"]


def test_restore_goes_through_the_waves_in_reverse():
    told = Told(WAVES).tell("accept trash", "go", "tickets done", "chat done", "go", "profile done", "go", "logs done")
    assert told.said("restore") == ["restore asked", "restore begins: chat, logs, profile, tickets"]
    assert told.said("go") == ["restore out: logs 2/1"]
    assert told.said("logs done") == ["logs restore done"]
    assert told.said("go") == ["restore out: profile 2/1"]
    told.tell("profile done")
    assert told.said("go") == ["restore out: chat 2/1, tickets 2/1"]
    told.tell("chat done")
    assert told.said("tickets done") == ["tickets restore done", "ended: cancelled, restored"]


def test_looking_needs_no_waves():
    told = Told(WAVES, grace=0).tell(
        "accept", "go", "tickets done", "chat done", "go", "profile done", "go", "logs done"
    )
    told.tell("due")
    assert all(step.status is StepStatus.READY for step in told.state.steps.values())


def test_a_waived_step_holds_up_no_wave():
    told = Told(WAVES, grace=0).tell("accept", "go", "tickets done", "chat failed denied")
    assert told.said("waive chat") == ["stop: chat 2", "chat waived"]
    assert told.said("go") == ["purge out: profile 1/1"]


def test_a_failing_step_holds_up_the_waves_after_it():
    told = Told(WAVES, grace=0).tell("accept", "go", "tickets done", "chat failed store_unavailable", "wait 1m")
    assert told.said("go") == ["purge out: chat 2/2"]


# --- trash, then purge ---------------------------------------------------------------------------------------------


def test_trash_then_purge_by_itself():
    told = Told(TWO).tell("accept trash housekeeping", "go", "tickets done", "wait 1h")
    assert told.said("chat done") == ["chat trash done", "trashed"]
    assert told.state.stage is Stage.TRASHED
    trashed_at = told.now
    assert told.said("go") == []
    assert told.said("due") == ["purge begins"]
    assert told.now == trashed_at + 30 * DAY_MS
    assert told.said("go") == ["purge out: chat 2/1, tickets 2/1"]


TRASHED = [
    # accepted on Friday 31 January, 09:30    purged
    ("accept trash housekeeping",             "2025-03-02T09:30:00.000"),
    ("accept trash",                          "2025-02-23T23:59:59.999"),  # due on 28 February
    ("accept trash received -20d",            "2025-02-06T23:59:59.999"),  # due on 11 February
    ("accept trash received -24d",            "2025-02-02T23:59:59.999"),  # due on 7 February
    ("accept trash received -28d",            "2025-02-01T09:30:00.000"),  # the margin has begun: grace all the same
    ("accept trash received -40d",            "2025-02-01T09:30:00.000"),  # late on arrival: grace all the same
]  # fmt: skip


@pytest.mark.parametrize("line,purged", TRASHED)
def test_trash_never_outlasts_the_due_date_and_grace_comes_before_the_first_purge(line, purged):
    told = Told(ONE).tell(line, "go", "tickets done")
    while "purge begins" not in told.said("due"):
        assert not told.state.purge_dispatched
    assert moment(told.now).isoformat(timespec="milliseconds") == purged + "+00:00"


def test_trash_that_took_long_is_purged_when_it_must():
    told = Told(ONE).tell("accept trash", "go", "wait 27d")
    assert told.said("tickets done") == ["tickets trash done", "trashed", "purge begins"]


def test_the_policy_says_how_long_the_trash_is_kept():
    told = Told(ONE, trash=2 * DAY_MS, grace=0).tell("accept trash", "go", "tickets done")
    assert told.state.purge_at == START + 2 * DAY_MS


def test_grace_outlasts_a_shorter_trash():
    told = Told(ONE, trash=HOUR).tell("accept trash housekeeping", "go", "tickets done")
    assert told.state.purge_at == START + 24 * HOUR


# --- the probe -----------------------------------------------------------------------------------------------------


def settled(registry: dict[str, Product] = TWO) -> Told:
    told = Told(registry, grace=0).tell("accept", "go", *(f"{name} done" for name in registry))
    return told.tell("due")


def test_a_probe_that_finds_nothing_ends_the_request():
    told = settled().tell("go", "chat nothing")
    assert told.said("tickets nothing") == ["tickets probe nothing_found", "ended: completed"]


def test_without_a_settle_time_there_is_no_probe():
    told = Told(ONE, grace=0, settle=0).tell("accept", "go")
    assert told.said("tickets done") == ["tickets purge done", "ended: completed"]


def test_the_probe_looks_with_the_cut_off_of_the_purge():
    told = Told(ONE, grace=0).tell("accept", "wait 1h", "go", "tickets done", "due", "go")
    assert told.step("tickets").cutoff_at == START + HOUR


def test_products_with_different_cut_offs_get_a_command_each():
    told = Told(products("tickets", "chat", "profile:2"), grace=0).tell("accept", "go", "tickets done", "chat done")
    told.tell("wait 1m", "go", "profile done", "due")
    assert told.said("go") == ["probe out: chat 2/1, tickets 2/1", "probe out: profile 2/1"]


def test_a_command_expires_with_the_shortest_life_and_waits_for_the_slowest_product():
    registry = products("tickets", timeout=HOUR, lifetime=5 * HOUR) | products("chat", timeout=2 * HOUR)
    (event,) = Told(registry, grace=0).tell("accept").events("go")
    assert isinstance(event, e.Dispatched)
    assert (event.timeout_at, event.expires_at) == (START + 2 * HOUR, START + 5 * HOUR)


def test_a_product_that_left_the_registry_keeps_its_open_step():
    told = Told(TWO, grace=0).tell("accept")
    told.policy = Told(ONE, grace=0).policy
    assert told.said("go") == ["purge out: chat 1/1, tickets 1/1"]


def test_a_history_begins_with_its_acceptance():
    second = Told(ONE, grace=0).tell("accept", "go").history[1]
    with pytest.raises(ValueError, match="begins with accepted"):
        evolve(None, second)
    assert fold([]) is None


def test_the_purge_out_of_the_trash_has_a_cut_off_of_its_own():
    told = Told(ONE).tell("accept trash", "go", "tickets done", "due", "go")
    assert told.step("tickets").cutoff_at == told.now


def test_a_probe_that_finds_something_waits_for_a_person():
    told = settled().tell("go", "chat nothing")
    assert told.said("tickets failed remains") == ["tickets parked: remains"]
    assert not told.state.ended


def test_a_probe_changes_nothing():
    told = settled().tell("go")
    assert told.said("tickets done found=1 erased=1") == ["tickets parked: invalid_ack"]


# --- ends ----------------------------------------------------------------------------------------------------------

ENDS = [
    (End.COMPLETED, ["tickets done found=2 erased=2", "chat nothing"]),
    (End.COMPLETED, ["tickets done", "chat nothing"]),
    (End.COMPLETED_RETAINED, ["tickets done found=2 erased=1 retained=1", "chat nothing"]),
    (End.COMPLETED_RETAINED, ["tickets done found=2 retained=2", "chat nothing"]),
    (End.NO_DATA_FOUND, ["tickets nothing", "chat nothing"]),
    (End.COMPLETED_WAIVED, ["tickets done found=1 retained=1", "chat failed denied", "waive chat"]),
    (End.COMPLETED_WAIVED, ["tickets nothing", "chat failed denied", "waive chat"]),
    (
        End.COMPLETED_WAIVED,
        ["tickets failed denied", "waive tickets", "chat failed denied", "waive chat"],
    ),
]


@pytest.mark.parametrize("end,lines", ENDS)
@pytest.mark.parametrize("settle", [0, 24 * HOUR])
def test_ends(end, lines, settle):
    told = Told(TWO, grace=0, settle=settle).tell("accept", "go", *lines)
    if settle and not all(step.waived for step in told.state.steps.values()):
        told.tell("due", "go")
        for name, step in told.state.steps.items():
            if not step.waived:
                told.tell(f"{name} nothing")
    assert told.state.end is end
    assert told.state.ended_at == told.now


def test_what_a_probe_sees_retained_counts():
    told = Told(ONE, grace=0).tell("accept", "go", "tickets done", "due", "go")
    assert told.said("tickets done found=1 retained=1")[-1] == "ended: completed_retained"


def test_what_was_found_in_the_trash_was_found():
    told = Told(ONE, settle=0).tell("accept trash", "go", "tickets done found=1 hidden=1", "due", "go")
    assert told.said("tickets nothing")[-1] == "ended: completed"


def test_a_second_purge_that_finds_nothing_makes_the_first_no_lie():
    told = Told(ONE, grace=0).tell("accept", "go", "tickets done found=1 erased=1", "force tickets", "go")
    told.tell("tickets nothing", "due", "go")
    assert told.said("tickets nothing")[-1] == "ended: completed"


def test_what_was_erased_before_a_stop_was_found():
    told = Told(ONE, grace=0, settle=0).tell("accept", "go", "hold", "tickets stopped found=1 erased=1")
    told.tell("release", "go")
    assert told.said("tickets nothing")[-1] == "ended: completed"


def test_a_second_purge_says_anew_what_is_retained():
    told = Told(ONE, grace=0).tell("accept", "go", "tickets done found=1 retained=1", "force tickets", "go")
    told.tell("tickets done found=1 erased=1", "due", "go")
    assert told.said("tickets nothing")[-1] == "ended: completed"


def test_after_the_end_nothing_happens():
    told = Told(ONE, grace=0, settle=0).tell("accept", "go", "tickets done")
    for line in ("tickets done", "tickets failed denied", "tickets stopped", "go", "tick", "turn 1"):
        assert told.said(line) == []
    assert told.state.next_due() is None
    assert told.tell("wait 101d").said("tick") == []
