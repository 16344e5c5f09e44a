"""Products that do not read, do not answer, or fail: what is sent again, and what is not."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.domain.policy import HOUR, MINUTE, Product, Retry
from schemas import messages as m
from schemas.codes import Mode, ReasonCode
from tests.engine.house import House, policy, wish
from tests.engine.products import done, failing, silent


def sent_to(house: House, product: str) -> int:
    return len(house.products[product].seen)


def test_a_product_down_for_a_night_finds_one_command(house: House):
    [request] = house.accepted(wish("ada"))
    house.settle(without=("voice",))
    for _ in range(12):
        house.clock.pass_(hours=1)
        house.settle(without=("voice",))
    assert house.statuses(request)["voice"] == "unread"
    assert house.events(request).count("StillUnread") <= 12
    assert "Parked" not in house.events(request)
    assert "TimedOut" not in house.events(request)
    house.settle()
    assert sent_to(house, "voice") == 1
    assert house.ends() == ["completed"]


def test_an_answer_that_was_lost_is_asked_for_again(house: House):
    house.products["voice"].answer = silent
    [request] = house.accepted(wish("ada"))
    house.settle()
    assert house.statuses(request)["voice"] == "dispatched"
    house.clock.pass_(seconds=299)
    house.settle()
    assert sent_to(house, "voice") == 1
    house.clock.pass_(seconds=2)
    house.settle()
    assert house.statuses(request)["voice"] == "timed_out"
    house.products["voice"].answer = done
    house.clock.pass_(hours=1.5)
    house.settle()
    assert sent_to(house, "voice") == 2
    assert house.ends() == ["completed"]
    assert house.events(request).count("TimedOut") == 1


def test_a_late_answer_counts_as_well(house: House):
    kept: list[m.Ack] = []

    def later(command: m.Command, to: m.Address) -> None:
        kept.append(done(command, to))

    house.products["voice"].answer = later
    [request] = house.accepted(wish("ada"))
    house.settle()
    house.clock.pass_(seconds=301)
    house.settle()
    assert house.statuses(request)["voice"] == "timed_out"
    house.products["voice"]._send(kept[0])
    house.settle()
    assert house.ends() == ["completed"]


def test_failures_are_tried_again_and_then_wait_for_a_person(house_for: Callable[..., House]):
    retry = Retry(attempts=3, first=MINUTE, longest=HOUR)
    house = house_for(policy_=policy(known={"voice": Product("voice", retry=retry)}))
    house.products["voice"].answer = failing("store_unavailable", dataset="recordings")
    [request] = house.accepted(wish("ada"))
    house.settle()
    [group] = house.queries.failing()
    assert (group.product, group.failure.value, group.dataset, group.count) == (
        "voice",
        "store_unavailable",
        "recordings",
        1,
    )
    assert (group.status.value, group.samples, group.first) == ("waiting", (request,), house.clock())
    for _ in range(4):
        house.clock.pass_(hours=2)
        house.settle()
    assert house.statuses(request)["voice"] == "parked"
    assert sent_to(house, "voice") == 3
    assert house.queries.failing()[0].status.value == "parked"
    house.products["voice"].answer = done
    house.operate(m.ReplayOperation, request, product="voice", reason=ReasonCode.CAUSE_MENDED)
    house.settle()
    assert house.ends() == ["completed"]
    assert house.queries.failing() == []


def test_the_trash_is_emptied_by_itself_and_before_the_law_says(house: House):
    [request] = house.accepted(wish("ada", mode=Mode.TRASH))
    house.settle()
    assert house.stage(request) == "trashed"
    house.clock.pass_(days=20)
    house.settle()
    assert house.stage(request) == "trashed"
    house.clock.pass_(days=7)
    house.settle()
    assert house.ends() == ["completed"]
    assert "DeadlineMissed" not in house.events(request)


def test_restoring_brings_back_and_ends(house: House):
    [request] = house.accepted(wish("ada", mode=Mode.TRASH))
    house.settle()
    house.operate(m.RestoreOperation, request, reason=ReasonCode.SUBJECT_ASKED)
    house.settle()
    assert house.ends() == ["cancelled"]
    assert house.count("vault") == 0


def test_identifiers_do_not_outlive_their_limit(house: House):
    house.products["voice"].answer = failing("ceiling_exceeded")
    [request] = house.accepted(wish("ada"))
    house.settle()
    limit = house.view(request).state.vault_limit_at
    assert limit is not None
    assert [line.request for line in house.queries.vault_near_limit(limit + 1)] == [request]
    assert house.queries.vault_near_limit(limit) == []
    house.clock.ms = limit
    house.settle()
    assert house.count("vault") == 0
    assert house.view(request).state.vault_gone
    assert house.statuses(request)["voice"] == "parked"
    house.operate(m.WaiveOperation, request, product="voice", reason=ReasonCode.NOT_APPLICABLE)
    house.settle()
    assert house.count("open_subjects") == 1
