"""Two workers at one step: the frozen one is fenced, the living one is left alone."""

from __future__ import annotations

import threading

import pytest

from schemas.codes import Outcome, Phase
from tests.product.support import acks, command, left_over, obey, of, one, records, state

NAMES = ["guide", "voice", "logs", "tickets"]


class Freezer:
    """A boundary that holds its worker at the ``at``-th point until it is let go."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0
        self.frozen, self.thawed = threading.Event(), threading.Event()

    def __call__(self, _: str) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.frozen.set()
            assert self.thawed.wait(20)


def in_thread(product, *commands):
    found = []
    thread = threading.Thread(target=lambda: found.extend(acks(product.handle(records(*commands)))))
    thread.start()
    return thread, found


@pytest.mark.parametrize("name", NAMES)
def test_a_worker_that_wakes_up_late_writes_nothing_any_more(fresh, people, name):
    calm, world = fresh(name), fresh(name)
    (subject,) = people.choose(1)
    wanted = command(name, Phase.PURGE, subject.tenant, of(subject))
    expected = one(calm.product(name), wanted)
    freezer = Freezer(at=2)  # after the first commit: the plan is there, the rest is to come
    sleeper, other = world.product(name, boundary=freezer), world.product(name)
    thread, late = in_thread(sleeper, wanted)
    assert freezer.frozen.wait(20)
    ack = one(other, wanted)
    assert (ack.outcome, ack.counts) == (expected.outcome, expected.counts)
    freezer.thawed.set()
    thread.join(20)
    assert late == []
    assert state(world, name) == state(calm, name)
    assert left_over(other)["plans"] == 0


def test_the_step_of_a_living_worker_is_left_to_it(fresh, people):
    world = fresh("guide")
    (subject,) = people.choose(1)
    wanted = command("guide", Phase.PURGE, subject.tenant, of(subject))
    freezer = Freezer(at=2)
    worker, other = world.product("guide", boundary=freezer), world.product("guide")
    thread, answers = in_thread(worker, wanted)
    assert freezer.frozen.wait(20)
    done = threading.Event()

    def stay_alive():
        while not done.wait(0.02):
            with worker.holdings.session() as session:
                worker._kernel.plans.keep(session.home)

    heart = threading.Thread(target=stay_alive)
    heart.start()
    try:
        assert obey(other, wanted) == []
    finally:
        done.set()
        heart.join()
    freezer.thawed.set()
    thread.join(20)
    assert [ack.outcome for ack in answers] == [Outcome.DONE]


def test_many_workers_and_every_step_has_one_receipt(fresh, people):
    world = fresh("guide")
    chosen = people.everywhere()[:8]
    commands = [command("guide", Phase.PURGE, s.tenant, of(s)) for s in chosen]
    workers = [world.product("guide") for _ in range(3)]
    running = [in_thread(worker, *commands) for worker in workers]
    for thread, _ in running:
        thread.join(30)
    found: dict[str, set[str | None]] = {}
    for _, answers in running:
        for ack in answers:
            assert ack.outcome is Outcome.DONE
            found.setdefault(ack.request, set()).add(ack.receipt)
    assert {request: len(receipts) for request, receipts in found.items()} == {c.request: 1 for c in commands}


# --- contention ---------------------------------------------------------------------------------------------------


def test_a_row_that_somebody_holds_for_a_while_is_waited_for(fresh, people):
    import msgspec

    from tests.product.support import data_map

    world = fresh("guide")
    (subject, other) = people.everywhere()[:2]
    shipped = data_map("guide")
    store = msgspec.structs.replace(shipped.stores["db"], lock_timeout_ms=50)
    product = world.product("guide", map_=msgspec.structs.replace(shipped, stores={"db": store}))
    commands = [command("guide", Phase.PURGE, s.tenant, of(s)) for s in (subject, other)]
    locked, release = threading.Event(), threading.Event()

    def hold():
        with world.stores.engine("guide").begin() as connection:
            connection.exec_driver_sql(
                "select 1 from article_comments where tenant = %(t)s and author_id = %(a)s for update",
                {"t": subject.tenant, "a": subject.user_id},
            )
            locked.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(20)
    threading.Timer(0.12, release.set).start()
    assert [ack.outcome for ack in obey(product, *commands)] == [Outcome.DONE] * 2
    holder.join()


def test_a_row_that_is_never_let_go_fails_its_own_step_alone(fresh, people):
    import msgspec

    from schemas.codes import FailureCode
    from tests.product.support import data_map

    world = fresh("guide")
    chosen = people.everywhere()[:4]
    blocked = chosen[1]
    shipped = data_map("guide")
    store = msgspec.structs.replace(shipped.stores["db"], lock_timeout_ms=20)
    product = world.product(
        "guide", map_=msgspec.structs.replace(shipped, stores={"db": store}), more={"retries": 2, "backoff_s": 0.001}
    )
    commands = [command("guide", Phase.PURGE, s.tenant, of(s)) for s in chosen]
    with world.stores.engine("guide").begin() as connection:
        connection.exec_driver_sql(
            "select 1 from article_comments where tenant = %(t)s and author_id = %(a)s for update",
            {"t": blocked.tenant, "a": blocked.user_id},
        )
        answers = {ack.request: ack for ack in obey(product, *commands)}
    outcomes = [answers[c.request].outcome for c in commands]
    assert outcomes == [Outcome.DONE, Outcome.FAILED, Outcome.DONE, Outcome.DONE]
    assert answers[commands[1].request].failure.code is FailureCode.CONTENTION
    assert one(product, commands[1]).outcome is Outcome.DONE


def test_a_store_that_is_away_fails_the_batch_with_a_code_and_without_a_word(fresh, people):
    from schemas.codes import FailureCode

    world = fresh("guide")
    (subject,) = people.choose(1)
    world.product("guide")
    product = world.product("guide", more={"addresses": {"database": "postgresql://nobody@127.0.0.1:9/none"}})
    ack = one(product, command("guide", Phase.PURGE, subject.tenant, of(subject)))
    assert (ack.outcome, ack.failure.code) == (Outcome.FAILED, FailureCode.STORE_UNAVAILABLE)


def test_a_plan_made_by_an_older_map_is_done_again_by_the_new_one(fresh, people):
    import msgspec

    from tests.product.support import Crash, crashing, data_map

    calm, world = fresh("guide"), fresh("guide")
    (subject,) = people.choose(1)
    shipped = data_map("guide")
    comments = shipped.datasets["article_comments"]
    kept = {name: treatment for name, treatment in comments.columns.items() if name != "author_name"}
    careless = msgspec.structs.replace(comments, columns=kept, keep=(*comments.keep, "author_name"))
    older = msgspec.structs.replace(shipped, datasets=shipped.datasets | {"article_comments": careless})
    wanted = command("guide", Phase.PURGE, subject.tenant, of(subject))
    expected = one(calm.product("guide"), wanted)
    with pytest.raises(Crash):
        one(world.product("guide", map_=older, boundary=crashing(2)), wanted)
    ack = one(world.product("guide"), wanted)
    assert (ack.outcome, ack.counts, ack.map) == (Outcome.DONE, expected.counts, shipped.digest())
    assert state(world, "guide") == state(calm, "guide")
