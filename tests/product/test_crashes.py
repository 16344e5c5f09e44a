"""Killed at every point between two durable writes, and started again: the same counts, the same data, one receipt.

Two worlds go side by side. In one a person's step is undisturbed; in the other it dies at its first point, the next
person's at its second, and so on, until several have no such point any more. At the end both hold the same.
"""

from __future__ import annotations

import itertools

import pytest

from consumers.samples.stores import PRODUCTS
from schemas.codes import Outcome, Phase
from tests.product.support import Crash, command, crashing, left_over, of, one, state

ENOUGH = 2
FILES = {"tickets": "attachments", "voice": "transcripts"}
LEAST_POINTS = {"tickets": 8, "voice": 9, "logs": 8}


def crash_everywhere(calm, rough, name, subjects, *, phase, before=()):
    """Give how many points a step of ``phase`` has; ``before`` are phases that come first, undisturbed."""
    undisturbed = calm.product(name)
    unharmed = 0
    people = iter(subjects)
    for at in itertools.count(1):
        subject = next(people)
        first = command(name, (*before, phase)[0], subject.tenant, of(subject))
        commands = [
            command(name, one_phase, subject.tenant, of(subject), request=first.request, seq=seq)
            for seq, one_phase in enumerate((*before, phase), 1)
        ]
        for earlier in commands[:-1]:
            assert one(undisturbed, earlier).failure is None
            assert one(rough.product(name), earlier).failure is None
        expected = one(undisturbed, commands[-1])
        assert expected.outcome in (Outcome.DONE, Outcome.NOTHING_FOUND), expected.failure
        died = True
        try:
            one(rough.product(name, boundary=crashing(at)), commands[-1])
            died = False
        except Crash:
            pass
        survivor = rough.product(name)
        ack = one(survivor, commands[-1])
        assert (ack.outcome, ack.counts) == (expected.outcome, expected.counts), at
        assert left_over(survivor)["plans"] == 0, at
        unharmed = 0 if died else unharmed + 1
        if unharmed == ENOUGH:
            return at - ENOUGH
        rough.close()
        calm.stores.dispose()
    raise AssertionError


def those_with_much(people, name):
    """Twenty who have most there, the one with least first: late points need people with many items."""
    files = FILES.get(name)
    mine = {}
    for one_of_them in people.subjects:
        counts = people.counts[one_of_them.key][name]
        mine[one_of_them] = counts[files] if files else counts.total()
    return sorted(sorted(mine, key=lambda s: mine[s])[-20:], key=lambda s: mine[s])


@pytest.mark.parametrize("name", PRODUCTS)
def test_purge_survives_a_crash_at_any_point(fresh, people, name):
    calm, rough = fresh(name), fresh(name)
    points = crash_everywhere(calm, rough, name, those_with_much(people, name), phase=Phase.PURGE)
    assert points >= LEAST_POINTS.get(name, 4)
    assert state(calm, name) == state(rough, name)


@pytest.mark.parametrize("phase,before", [(Phase.TRASH, ()), (Phase.RESTORE, (Phase.TRASH,))])
def test_trash_and_restore_survive_a_crash_at_any_point(fresh, people, phase, before):
    calm, rough = fresh("tickets"), fresh("tickets")
    points = crash_everywhere(calm, rough, "tickets", those_with_much(people, "tickets"), phase=phase, before=before)
    assert points >= 4
    hidden = "select tenant, id, deleted_at is null from tickets order by 1, 2"
    seen = []
    for world in (calm, rough):
        with world.stores.cursor("tickets") as cursor:
            cursor.execute(hidden)
            seen.append(cursor.fetchall())
    assert seen[0] == seen[1]
