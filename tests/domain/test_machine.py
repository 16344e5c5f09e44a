"""Any interleaving of messages, people, time and the gate keeps the rules of :mod:`tests.domain.judge`, and ends."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from orchestrator.domain.policy import HOUR
from orchestrator.domain.state import IN_FLIGHT
from orchestrator.domain.view import WaitsFor, summary
from tests.domain.script import Told, products
from tests.domain.world import World


@pytest.mark.parametrize("steps", [20, 60])
def test_any_interleaving(steps):
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=150,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


@given(
    waves=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    mode=st.sampled_from(["", " trash"]),
    right=st.sampled_from(["", " housekeeping"]),
    grace=st.sampled_from([0, 24 * HOUR]),
    settle=st.sampled_from([0, 24 * HOUR]),
    failures=st.lists(st.sampled_from(["store_unavailable", "contention", "verification_failed"]), max_size=4),
)
def test_where_every_product_answers_it_ends_by_itself_and_nobody_is_asked(
    *, waves, mode, right, grace, settle, failures
):
    told = Told(products(*(f"p{n}:{wave}" for n, wave in enumerate(waves))), grace=grace, settle=settle)
    told.tell(f"accept{mode}{right}")
    to_fail = iter(failures)
    rounds = 0
    while not told.state.ended:
        rounds += 1
        assert rounds < 3 * len(set(waves)) + 2 * len(failures) + 6
        assert summary(told.state, told.now).waits_for is not WaitsFor.PERSON
        told.tell("go")
        for name, step in told.state.steps.items():
            if step.status in IN_FLIGHT:
                code = next(to_fail, None)
                told.tell(f"{name} failed {code}" if code else f"{name} done")
        until = summary(told.state, told.now).until
        told.now = max(told.now, until or 0)
        told.tell("tick")
