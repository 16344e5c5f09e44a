"""Which steps the gate asks the log about before it sends them another command."""

from __future__ import annotations

from orchestrator.dispatcher import may_be_unread
from tests.domain.script import Told, products


def told(*lines: str, **policy: int) -> Told:
    return Told(products("tickets"), **({"grace": 0} | policy)).tell("accept", *lines)


def test_a_first_command_follows_none():
    assert not may_be_unread(told().step("tickets"))


def test_a_product_that_has_answered_has_read():
    # Its committed offset may lag behind for ever: the next record of the partition may never come.
    assert not may_be_unread(told("go", "tickets failed store_unavailable").step("tickets"))


def test_a_product_that_has_purged_has_read_before_it_is_asked_to_look_again():
    probing = told("go", "tickets done", "due", settle=60_000)
    assert probing.state.stage.value == "probing"
    assert not may_be_unread(probing.step("tickets"))


def test_silence_says_nothing_about_reading():
    assert may_be_unread(told("go", "due").step("tickets"))


def test_a_stop_that_was_obeyed_overtook_the_command():
    assert may_be_unread(told("go", "hold", "tickets stopped", "release").step("tickets"))
