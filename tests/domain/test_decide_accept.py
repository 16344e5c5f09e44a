"""What a request becomes when it arrives."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from orchestrator.domain.calendar import DAY_MS, millis
from orchestrator.domain.commands import NotPossible, Tick
from orchestrator.domain.decide import decide
from orchestrator.domain.policy import HOUR, Policy, Product, TenantPolicy
from orchestrator.domain.state import Stage
from schemas import events as e
from schemas.codes import Phase, Scope
from tests.domain.script import EMAIL, LINKED, PHONE, START, TENANT, USER, Told, products

CASES = [
    # what                                    policy         line                         events
    ("purge waits for its grace time",        {},            "accept",                    ["accepted"]),
    ("purge without grace is ready",          {"grace": 0},  "accept",                    ["accepted, purge is ready"]),
    ("trash can be undone and goes at once",  {},            "accept trash",              ["accepted, trash is ready"]),
    ("behind another it waits",               {"grace": 0},  "accept trash behind 1",     ["accepted"]),
    ("records of one product",                {"grace": 0},  "accept records tickets",    ["accepted, purge is ready"]),
    ("housekeeping",                          {"grace": 0},  "accept housekeeping",       ["accepted, purge is ready"]),
    ("late on arrival is taken all the same", {"grace": 0},  "accept received -40d",      ["accepted, purge is ready"]),
]  # fmt: skip


@pytest.mark.parametrize("policy,line,expected", [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_accept(policy, line, expected):
    assert Told(**policy).said(line) == expected


def accepted(line: str, registry: dict[str, Product] | None = None, **policy) -> e.Accepted:
    (event,) = Told(registry, **policy).events(line)
    assert isinstance(event, e.Accepted)
    return event


def test_every_registered_product_gets_a_step_with_its_wave():
    event = accepted("accept", products("tickets", "profile:2", "logs:3"))
    assert event.steps == {"logs": 3, "profile": 2, "tickets": 1}
    assert event.registry == 1
    assert event.scope is Scope.SUBJECT


def test_named_records_concern_their_product_alone():
    event = accepted("accept records chat kinds email", LINKED | products("chat"))
    assert event.steps == {"chat": 1}
    assert event.scope is Scope.RECORDS
    assert event.resolve == ()


def test_records_of_a_product_nobody_registered_are_refused():
    with pytest.raises(NotPossible, match="not registered"):
        Told().tell("accept records crm")


def test_without_any_product_there_is_nothing_to_certify():
    with pytest.raises(NotPossible, match="no product is registered"):
        Told({}).tell("accept")


def test_a_product_that_knows_the_missing_identifiers_is_asked_first():
    event = accepted("accept kinds email", LINKED, grace=0)
    assert (event.resolve, event.starts) == (("tickets",), Phase.RESOLVE)


def test_nobody_is_asked_for_what_the_request_has():
    event = accepted("accept kinds email,phone,user_id", LINKED, grace=0)
    assert (event.resolve, event.starts) == ((), Phase.PURGE)


def test_nobody_is_asked_for_what_nobody_needs():
    registry = {
        "tickets": Product("tickets", kinds=EMAIL, links=((EMAIL, USER),)),
        "chat": Product("chat", kinds=EMAIL),
    }
    assert accepted("accept kinds email", registry).resolve == ()


def test_who_cannot_start_from_the_identifiers_given_is_not_asked():
    assert accepted("accept kinds device_id", LINKED).resolve == ()


def test_links_of_one_product_are_followed_to_their_end():
    chained = Product("crm", kinds=EMAIL, links=((EMAIL, USER), (USER, PHONE)))
    assert chained.finds(EMAIL) == EMAIL | USER | PHONE
    assert accepted("accept kinds email", {"crm": chained, "voice": Product("voice", kinds=PHONE)}).resolve == ("crm",)


# --- the three times, and those that follow from them --------------------------------------------------------------


def test_the_legal_clock_runs_from_when_the_subject_asked():
    event = accepted("accept received -10d")
    assert event.received_at == START - 10 * DAY_MS  # 21 January
    assert event.due_raw == "2025-02-21"
    assert event.due_at == millis(datetime(2025, 2, 22, tzinfo=UTC)) - 1


def test_the_due_date_is_the_tenants():
    tokyo = {TENANT: TenantPolicy(zone=ZoneInfo("Asia/Tokyo"))}
    event = accepted("accept", tenants=tokyo)
    assert event.due_at == millis(datetime(2025, 3, 1, tzinfo=ZoneInfo("Asia/Tokyo"))) - 1


def test_the_raw_date_is_kept_beside_the_rolled_one():
    told = Told()
    told.now = millis(datetime(2025, 2, 1, 12, tzinfo=UTC))  # due on Saturday 1 March, so on Monday 3 March
    (event,) = told.events("accept")
    assert isinstance(event, e.Accepted)
    assert event.due_raw == "2025-03-01"
    assert event.due_at == millis(datetime(2025, 3, 4, tzinfo=UTC)) - 1


def test_housekeeping_has_no_clock():
    event = accepted("accept housekeeping")
    assert (event.due_at, event.due_raw) == (None, None)


def test_grace_is_counted_from_acceptance():
    assert accepted("accept received -10d").purge_from == START + 24 * HOUR
    assert accepted("accept", grace=HOUR).purge_from == START + HOUR
    assert accepted("accept trash").purge_from is None
    assert accepted("accept", grace=0).purge_from is None


def test_the_identifiers_are_destroyed_at_the_latest_after_the_limit():
    assert accepted("accept").vault_until == START + 100 * DAY_MS


def test_late_on_arrival_is_shown_at_once_and_goes_on():
    told = Told(grace=0).tell("accept received -40d")
    assert told.state.next_due() is not None
    assert (told.state.next_due() or 0) < told.now
    assert told.said("tick") == ["deadline missed"]
    assert told.said("go") == ["purge out: chat 1/1, tickets 1/1"]


def test_nothing_can_happen_to_a_request_that_does_not_exist():
    policy = Policy(1, products("tickets"), {})
    with pytest.raises(ValueError, match="does not exist"):
        decide(None, Tick(), START, policy)


def test_a_request_is_accepted_once():
    told = Told().tell("accept")
    with pytest.raises(ValueError, match="already"):
        told.tell("accept")


# --- grace, and requests behind another ----------------------------------------------------------------------------


def test_the_grace_time_ends_by_itself():
    told = Told().tell("accept", "wait 23h")
    assert told.said("tick") == []
    assert told.said("go") == []
    assert told.state.next_due() == START + 24 * HOUR
    assert told.said("due") == ["purge begins"]
    assert told.now - START == 24 * HOUR


def test_a_request_behind_others_waits_for_each_of_them():
    told = Told(grace=0).tell("accept behind 1,2")
    assert told.said("turn 1") == ["turn came"]
    assert told.state.stage is Stage.BEHIND
    assert told.said("turn 1") == []
    assert told.said("turn 2") == ["turn came", "purge begins"]


@pytest.mark.parametrize(
    "line,expected",
    [
        ("accept behind 1", ["turn came"]),
        ("accept trash behind 1", ["turn came", "trash begins"]),
        ("accept kinds email behind 1", ["turn came", "resolve begins: tickets"]),
    ],
)
def test_when_its_turn_came_it_begins_as_any_other(line, expected):
    told = Told(LINKED).tell(line, "wait 1m")
    assert told.said("turn 1") == expected


def test_the_grace_time_may_be_over_when_the_turn_comes():
    told = Told().tell("accept behind 1", "wait 25h")
    assert told.said("turn 1") == ["turn came", "purge begins"]


def test_the_grace_time_may_last_longer_than_the_turn():
    told = Told().tell("accept behind 1", "wait 23h", "turn 1")
    assert told.state.stage is Stage.GRACE
    assert told.said("due") == ["purge begins"]
    assert told.now == START + 24 * HOUR


def test_resolving_is_part_of_the_grace_time():
    told = Told(LINKED).tell("accept kinds email", "go", "wait 5m", "tickets done")
    assert told.state.stage is Stage.GRACE
    assert told.said("due") == ["purge begins"]
    assert told.now == START + 24 * HOUR


def test_trash_follows_resolving_at_once():
    told = Told(LINKED).tell("accept trash kinds email", "go")
    assert told.said("tickets done") == ["tickets resolve done", "trash begins"]


def test_late_but_not_yet_due_is_not_late():
    told = Told().tell("accept received -27d")
    due = told.state.due_at
    assert due is not None
    told.now = due
    assert "deadline missed" not in told.said("tick")
    told.now = due + 1
    assert told.said("tick") == ["deadline missed"]
