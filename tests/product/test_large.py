"""A subject with very many tickets goes alone, chunk by chunk, and can be stopped between two of them."""

from __future__ import annotations

import msgspec
import pytest

from consumers.samples.seed import grow
from schemas.codes import FailureCode, Outcome, Phase
from schemas.topics import Topic
from schemas.transport import Message
from tests.product.support import (
    Crash,
    acks,
    brake,
    command,
    crashing,
    data_map,
    left_over,
    obey,
    of,
    one,
    records,
    request_id,
    stop_of,
)

MANY = 1_500


@pytest.fixture
def subject(people):
    return people.choose(2)[0]


@pytest.fixture
def chunked():
    shipped = data_map("tickets")
    return msgspec.structs.replace(
        shipped, limits=msgspec.structs.replace(shipped.limits, chunk_rows=400, max_share=1.0)
    )


@pytest.fixture
def world(fresh, subject):
    made = fresh("tickets")
    grow(made.stores, subject, tickets=MANY)
    return made


def purge(subject, request=None, seq=1):
    return command("tickets", Phase.PURGE, subject.tenant, of(subject), request=request or request_id(), seq=seq)


def after_commit(number, action):
    """Do ``action`` between two transactions, after the ``number``-th."""
    calls = iter(range(1, number + 1))

    def boundary(word):
        if word == "committed" and next(calls, 0) == number:
            action()

    return boundary


def untouched(world, subject):
    with world.stores.cursor("tickets") as cursor:
        cursor.execute(
            "select count(*) from tickets where tenant = %s and requester_id = %s and subject <> '[erased]'",
            (subject.tenant, subject.user_id),
        )
        return cursor.fetchone()[0]


def test_progress_is_told_and_neighbours_are_served(world, subject, people, chunked):
    neighbours = [s for s in people.everywhere() if s != subject][:3]
    product = world.product("tickets", map_=chunked)
    told: list[Message] = []
    product.on_progress = told.extend
    large, *others = obey(product, purge(subject), *map(purge, neighbours))
    everyone = {ack.request: ack for ack in (large, *others)}
    assert {ack.outcome for ack in everyone.values()} == {Outcome.DONE}
    biggest = max(everyone.values(), key=lambda ack: ack.counts["tickets"].redacted)
    assert biggest.counts["tickets"].redacted > MANY
    assert biggest.counts["comments"].redacted >= MANY
    assert untouched(world, subject) == 0
    progress = [ack for ack in acks(told) if ack.request == biggest.request and ack.outcome is Outcome.PROGRESS]
    assert len(progress) >= 2 * MANY // 400
    assert [ack.done for ack in progress] == sorted(ack.done for ack in progress)
    assert progress[-1].done == progress[-1].total


@pytest.mark.parametrize("at", [3, 6, 9])
def test_killed_in_a_chunk_it_resumes_at_the_cursor(world, subject, chunked, at):
    wanted = purge(subject)
    expected = sum(world.product("tickets", map_=chunked).preview(asked(subject))[0].values())
    with pytest.raises(Crash):
        obey(world.product("tickets", map_=chunked, boundary=crashing(at)), wanted)
    survivor = world.product("tickets", map_=chunked)
    told: list[Message] = []
    survivor.on_progress = told.extend
    ack = one(survivor, wanted)
    assert ack.outcome is Outcome.DONE
    assert sum(n.found for n in ack.counts.values()) == expected
    assert untouched(world, subject) == 0
    assert len(acks(told)) <= 2 * MANY // 400 + 12 - at // 2


def asked(subject):
    from consumers.product import Asked

    return [Asked(subject.tenant, of(subject))]


def test_a_stop_takes_its_turn_between_two_chunks(world, subject, chunked):
    request = request_id()
    wanted = purge(subject, request)
    stops: list[Message] = []
    control = world.product("tickets", map_=chunked)
    stop = records(stop_of(wanted, seq=2), topic=Topic.STOPS)
    worker = world.product("tickets", map_=chunked, boundary=after_commit(4, lambda: stops.extend(control.stop(stop))))
    assert obey(worker, wanted) == []  # the stop has answered
    (stopped,) = acks(stops)
    assert (stopped.outcome, stopped.seq, stopped.phase) == (Outcome.STOPPED, 2, Phase.PURGE)
    done = sum(n.changed for n in stopped.counts.values())
    left = untouched(world, subject)
    assert done > 0
    assert left > 0
    assert one(worker, wanted).outcome is Outcome.SUPERSEDED
    assert untouched(world, subject) == left
    resumed = one(control, purge(subject, request, seq=3))
    assert resumed.outcome is Outcome.DONE
    assert untouched(world, subject) == 0
    assert sum(n.changed for n in resumed.counts.values()) > done + left


def test_a_brake_stops_between_two_chunks_and_the_rest_follows_later(world, subject, chunked):
    request = request_id()
    control = world.product("tickets", map_=chunked)
    on = records(brake("tickets", 1, stopped=True), topic=Topic.STOPS)
    worker = world.product("tickets", map_=chunked, boundary=after_commit(4, lambda: control.stop(on)))
    stopped = one(worker, purge(subject, request))
    assert (stopped.outcome, stopped.failure.code) == (Outcome.FAILED, FailureCode.STOPPED)
    assert sum(n.changed for n in stopped.counts.values()) > 0
    assert untouched(world, subject) > 0
    control.stop(records(brake("tickets", 2, stopped=False), topic=Topic.STOPS))
    assert one(control, purge(subject, request, seq=2)).outcome is Outcome.DONE
    assert untouched(world, subject) == 0


def test_a_stop_before_the_command_and_a_stop_too_late(fresh, people):
    product = fresh("guide").product("guide")
    (subject,) = people.choose(1)
    early = command("guide", Phase.PURGE, subject.tenant, of(subject))
    (ack,) = acks(product.stop(records(stop_of(early, seq=2), topic=Topic.STOPS)))
    assert (ack.outcome, ack.counts) == (Outcome.STOPPED, {})
    assert one(product, early).outcome is Outcome.SUPERSEDED
    newer = command("guide", Phase.PURGE, subject.tenant, of(subject), request=early.request, seq=4)
    assert one(product, newer).outcome is Outcome.DONE
    (late,) = acks(product.stop(records(stop_of(early, seq=3), topic=Topic.STOPS)))
    assert late.outcome is Outcome.SUPERSEDED


def test_restore_brings_back_what_a_stopped_trash_had_hidden(world, subject, chunked):
    request = request_id()
    trash = command("tickets", Phase.TRASH, subject.tenant, of(subject), request=request)
    control = world.product("tickets", map_=chunked)
    stop = records(stop_of(trash, seq=2), topic=Topic.STOPS)
    stops: list[Message] = []
    worker = world.product("tickets", map_=chunked, boundary=after_commit(3, lambda: stops.extend(control.stop(stop))))
    obey(worker, trash)
    (stopped,) = acks(stops)
    hidden = sum(n.hidden for n in stopped.counts.values())
    assert 0 < hidden < MANY
    back = one(control, command("tickets", Phase.RESTORE, subject.tenant, of(subject), request=request, seq=3))
    assert sum(n.restored for n in back.counts.values()) == hidden
    assert left_over(control) == {"plans": 0, "trash": 0}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_seventy_thousand_tickets(fresh, subject):
    made = fresh("tickets")
    grow(made.stores, subject, tickets=70_000)
    product = made.product("tickets", more={"lease_s": 30.0, "progress_s": 0.2})
    told: list[Message] = []
    product.on_progress = told.extend
    wanted = command("tickets", Phase.PURGE, subject.tenant, of(subject), ceiling=1_000_000)
    ack = one(product, wanted)
    assert (ack.outcome, ack.failure) == (Outcome.DONE, None)
    assert ack.counts["tickets"].redacted > 70_000
    assert len(acks(told)) > 3
    assert untouched(made, subject) == 0


def test_steps_that_are_too_many_rows_together_go_in_smaller_groups(fresh, people):
    shipped = data_map("guide")
    tiny = msgspec.structs.replace(shipped, limits=msgspec.structs.replace(shipped.limits, chunk_rows=6, max_share=1.0))
    chosen = people.everywhere()[:12]
    commands = [command("guide", Phase.PURGE, s.tenant, of(s)) for s in chosen]
    expected = own_comments(obey(fresh("guide").product("guide"), *commands))
    product = fresh("guide").product("guide", map_=tiny)
    acks_ = obey(product, *commands)
    assert {ack.outcome for ack in acks_} == {Outcome.DONE}
    assert own_comments(acks_) == expected


def own_comments(found):
    """Others' answers that quote two of them count for whoever comes first, so they are left out."""
    return {ack.request: ack.counts.get("article_comments") for ack in found}


@pytest.mark.parametrize("name", ["tickets", "guide", "chat"])
def test_a_batch_costs_as_many_statements_as_one_command(fresh, people, name):
    import sqlalchemy as sa

    product = fresh(name).product(name)
    counts = people.counts
    plain = [s for s in people.subjects if not counts[s.key]["tickets"]["attachments"] and not s.phone_at_home]
    seen: list[str] = []
    sa.event.listen(
        product.holdings.home, "before_cursor_execute", lambda _c, _cur, statement, *_: seen.append(statement)
    )
    obey(product, command(name, Phase.PURGE, plain[0].tenant, of(plain[0])))  # warm: the catalogue is read once
    spent = []
    for group in (plain[1:8], plain[8:28]):
        seen.clear()
        found = obey(product, *(command(name, Phase.PURGE, s.tenant, of(s)) for s in group))
        assert {ack.failure for ack in found} == {None}
        spent.append(len(seen))
    assert spent[1] <= spent[0] + 2  # what nobody has need not be verified
    assert spent[1] < 3 * len(product.holdings.rows) + 8
