"""The two levels of deletion: hidden and brought back, hidden and purged, and what comes in between."""

from __future__ import annotations

import pytest

from consumers.samples.fingerprint import differences, fingerprint, remains
from schemas.codes import FailureCode, Outcome, Phase
from tests.product.support import command, left_over, of, one, request_id, state


@pytest.fixture
def subject(people):
    return people.choose(1)[0]


class Story:
    """One request over the help desk, command by command."""

    def __init__(self, product, subject):
        self.product, self.subject, self.request, self.seq = product, subject, request_id(), 0

    def take(self, phase, epoch=1):
        self.seq += 1
        wanted = command(
            self.product.name,
            phase,
            self.subject.tenant,
            of(self.subject),
            request=self.request,
            seq=self.seq,
            epoch=epoch,
        )
        return one(self.product, wanted)


def test_restored_is_as_it_was(fresh, subject):
    world = fresh("tickets")
    story = Story(world.product("tickets"), subject)
    before = state(world, "tickets")
    hidden = story.take(Phase.TRASH)
    assert hidden.outcome is Outcome.DONE
    assert {name: n.hidden for name, n in hidden.counts.items()}.keys() == {"tickets", "users"}
    assert state(world, "tickets") != before
    back = story.take(Phase.RESTORE)
    assert {name: n.restored for name, n in back.counts.items()} == {
        name: n.hidden for name, n in hidden.counts.items()
    }
    assert state(world, "tickets") == before
    assert left_over(story.product) == {"plans": 0, "trash": 0}


def test_trash_restore_and_in_epoch_two_trash_and_purge(fresh, subject):
    world = fresh()
    before = fingerprint(world.stores, [subject])
    story = Story(world.product("tickets"), subject)
    first, back = story.take(Phase.TRASH), story.take(Phase.RESTORE)
    second = story.take(Phase.TRASH, epoch=2)
    assert second.counts == first.counts
    assert second.receipt != first.receipt
    purged = story.take(Phase.PURGE, epoch=2)
    assert [ack.outcome for ack in (first, back, second, purged)] == [Outcome.DONE] * 4
    assert purged.counts["tickets"].redacted == first.counts["tickets"].hidden
    assert left_over(story.product) == {"plans": 0, "trash": 0}
    assert [f for f in remains(world.stores, [subject]) if f.product == "tickets" and not f.retained] == []
    assert [
        d for d in differences(before, fingerprint(world.stores, [subject], like=before)) if d.product == "tickets"
    ] == []


def test_what_was_hidden_before_stays_hidden_after_a_restore(fresh, subject):
    world = fresh("tickets")
    with world.stores.cursor("tickets") as cursor:
        cursor.execute(
            "update tickets set deleted_at = '2026-01-01' where (tenant, id) = (select tenant, min(id) from tickets"
            " where tenant = %s and requester_id = %s group by tenant) returning id",
            (subject.tenant, subject.user_id),
        )
        (theirs,) = cursor.fetchone()
    story = Story(world.product("tickets"), subject)
    story.take(Phase.TRASH)
    story.take(Phase.RESTORE)
    with world.stores.cursor("tickets") as cursor:
        cursor.execute(
            "select id from tickets where tenant = %s and requester_id = %s and deleted_at is not null",
            (subject.tenant, subject.user_id),
        )
        assert cursor.fetchall() == [(theirs,)]


def test_restore_is_all_or_nothing(fresh, subject):
    world = fresh("tickets")
    story = Story(world.product("tickets"), subject)
    story.take(Phase.TRASH)
    hidden = state(world, "tickets")
    with world.stores.cursor("tickets") as cursor:  # the address was registered anew
        cursor.execute(
            "insert into users (tenant, id, email, name, locale, time_zone) values (%s, 999999, %s, 'New', 'en', 'UTC')",
            (subject.tenant, subject.email),
        )
    refused = story.take(Phase.RESTORE)
    assert (refused.outcome, refused.failure.code) == (Outcome.FAILED, FailureCode.RESTORE_CONFLICT)
    assert refused.counts == {}
    with world.stores.cursor("tickets") as cursor:
        cursor.execute("delete from users where tenant = %s and id = 999999", (subject.tenant,))
    assert state(world, "tickets") == hidden
    assert story.take(Phase.RESTORE).outcome is Outcome.DONE


def test_purge_reaches_what_the_account_gained_since_the_trash(fresh, subject):
    world = fresh("tickets")
    story = Story(world.product("tickets"), subject)
    hidden = story.take(Phase.TRASH)
    with world.stores.cursor("tickets") as cursor:
        cursor.execute(
            "insert into tickets (tenant, id, requester_id, subject, description, status, channel, priority)"
            " values (%s, 888888, %s, 'Late', 'Written meanwhile', 'new', 'web', 'low')",
            (subject.tenant, subject.user_id),
        )
    purged = story.take(Phase.PURGE)
    assert purged.counts["tickets"].redacted == hidden.counts["tickets"].hidden + 1


def test_purge_reaches_what_was_trashed_even_if_nothing_names_it_any_more(fresh, subject):
    world = fresh("tickets")
    story = Story(world.product("tickets"), subject)
    hidden = story.take(Phase.TRASH)
    with world.stores.cursor("tickets") as cursor:
        cursor.execute(
            "update tickets set requester_id = null where tenant = %s and requester_id = %s",
            (subject.tenant, subject.user_id),
        )
    purged = story.take(Phase.PURGE)
    assert purged.counts["tickets"].redacted == hidden.counts["tickets"].hidden


def test_a_product_that_defers_does_nothing_until_the_purge(fresh, subject):
    world = fresh("voice")
    story = Story(world.product("voice"), subject)
    before = state(world, "voice")
    hidden = story.take(Phase.TRASH)
    assert hidden.outcome is Outcome.DONE
    assert all(n.found == n.skipped > 0 for n in hidden.counts.values())
    assert state(world, "voice") == before
    assert story.take(Phase.RESTORE).outcome is Outcome.NOTHING_FOUND
    assert story.take(Phase.PURGE).counts["recordings"].erased == hidden.counts["recordings"].found
