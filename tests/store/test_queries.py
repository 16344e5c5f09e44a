"""What people ask, and what they get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.domain.calendar import DAY_MS
from orchestrator.domain.state import Stage
from orchestrator.store.database import READER, connect
from orchestrator.store.queries import Filters, Queries
from schemas import messages as m
from schemas.codes import HoldCode, Mode, RejectionCode
from schemas.topics import Topic
from schemas.transport import Message, Position
from tests.engine.house import House, fresh, wish
from tests.engine.products import done, failing
from tests.postgres import Postgres

NOBODY = "01890000-0000-7000-8000-000000000000"


class Town(House):
    """A house that knows its requests by name."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.ids: dict[str, str] = {}


@pytest.fixture(scope="module")
def town(postgres: Postgres) -> Iterator[Town]:
    """Seven requests in different states, each a second after the other."""
    house = Town(fresh(postgres))

    def one(name: str, *args: str, **more: Any) -> None:
        house.clock.pass_(seconds=1)
        [house.ids[name]] = house.accepted(wish(name, *args, **more))

    one("done")
    house.settle()
    house.products["voice"].answer = failing("denied", dataset="recordings")
    one("parked")
    one("parked2", "globex")
    house.settle()
    house.products["voice"].answer = failing("store_unavailable")
    one("failing")
    house.settle()
    house.products["voice"].answer = done
    one("trashed", mode=Mode.TRASH)
    house.settle()
    one("held", "globex", mode=Mode.TRASH)
    house.operate(
        m.HoldOperation,
        house.ids["held"],
        tenant="globex",
        hold="hold-0123456789ab",
        code=HoldCode.LITIGATION,
        review_on="2031-01-01",
    )
    house.step(2)
    one("waiting", "globex")
    one("waiting2", "globex")
    yield house
    house.close()
    postgres.drop_database(house.url)


def names(house: Town, filters: Filters, now: int = 0) -> list[str]:
    known = {request: name for name, request in house.ids.items()}
    return [known[line.id] for line in house.queries.requests(filters, now=now).lines]


ALL = ["waiting2", "waiting", "held", "trashed", "failing", "parked2", "parked", "done"]


@pytest.mark.parametrize(
    "filters,expected",
    [
        (Filters(), ALL),
        (Filters(tenant="globex"), ["waiting2", "waiting", "held", "parked2"]),
        (Filters(tenant="initech"), []),
        (Filters(stage=Stage.TRASHED), ["trashed"]),
        (Filters(stage=Stage.ENDED), ["done"]),
        (Filters(open=True), ALL[:-1]),
        (Filters(parked=True), ["parked2", "parked"]),
        (Filters(parked=True, tenant="acme"), ["parked"]),
        (Filters(held=True), ["held"]),
        (Filters(failing=True), ["failing"]),
        (Filters(product="voice", stage=Stage.PURGING, parked=True), ["parked2", "parked"]),
        (Filters(product="crm"), []),
        (Filters(late=True), []),
    ],
)
def test_requests_by_what_is_asked(town: Town, filters: Filters, expected: list[str]):
    assert names(town, filters) == expected


def test_late_ones(town: Town):
    assert names(town, Filters(late=True), now=town.clock() + 40 * DAY_MS) == ALL[:-1]


def test_since(town: Town):
    at = town.queries.requests(Filters(stage=Stage.TRASHED)).lines[0].accepted_at
    assert names(town, Filters(since=at)) == ALL[:4]


def test_pages_hold_everything_once(town: Town):
    after, seen = None, []
    while True:
        page = town.queries.requests(limit=3, after=after)
        seen += [line.id for line in page.lines]
        after = page.next
        if after is None:
            break
    assert len(seen) == len(set(seen)) == len(ALL)
    for bad in ("", "x", "1.x", f"x.{NOBODY}", f"1;DROP.{NOBODY}"):
        with pytest.raises(ValueError, match="cursor"):
            town.queries.requests(after=bad)


def test_one_request_whole(town: Town):
    view = town.queries.request(town.ids["parked"])
    assert view is not None
    assert view.state.steps["voice"].failure == m.Failure(code="denied", dataset="recordings")  # type: ignore[arg-type]
    assert (view.vault, view.behind, view.state.parked) == (True, (), True)
    assert view.next_at == view.state.next_due()
    ended = town.queries.request(town.ids["done"])
    assert ended is not None
    assert (ended.vault, ended.next_at, ended.state.ended) == (False, None, True)


@pytest.mark.parametrize("request_id", [NOBODY, "", "ada", "' OR 1=1"])
def test_what_is_not_there_is_none(town: Town, request_id: str):
    assert town.queries.request(request_id) is None
    assert town.queries.history(request_id) == []
    assert town.queries.rejected_record(request_id) is None
    assert not town.queries.discard(request_id)
    assert not town.queries.resubmitted(request_id, 1)


def test_history_in_pages(town: Town):
    request = town.ids["done"]
    whole = town.queries.history(request)
    assert [one.n for one in whole] == list(range(1, 10))
    assert town.queries.history(request, after=4, limit=2) == whole[4:6]


def test_what_fails_grouped_by_cause(town: Town):
    groups = {(g.product, g.failure.value, g.dataset, g.status.value): g for g in town.queries.failing()}
    assert set(groups) == {
        ("voice", "denied", "recordings", "parked"),
        ("voice", "store_unavailable", None, "waiting"),
    }
    parked = groups["voice", "denied", "recordings", "parked"]
    assert (parked.count, set(parked.samples)) == (2, {town.ids["parked"], town.ids["parked2"]})
    assert parked.first <= parked.last
    assert [g.count for g in town.queries.failing(tenant="globex")] == [1]
    assert town.queries.failing(product="chat") == []
    assert len(town.queries.failing(samples=1)[0].samples) == 1


def test_counts_by_stage(town: Town):
    counts = {(c.tenant, c.stage.value): (c.count, c.parked, c.held) for c in town.queries.stages()}
    assert counts["acme", "trashed"] == (1, 0, 0)
    assert counts["acme", "purging"] == (2, 1, 0)
    assert sum(count for count, _, _ in counts.values()) == len(ALL) - 1
    assert sum(held for _, _, held in counts.values()) == 1


def test_open_holds(town: Town):
    [line] = town.queries.holds()
    assert (line.request, line.tenant, line.hold.hold) == (town.ids["held"], "globex", "hold-0123456789ab")
    assert town.queries.holds(tenant="acme") == []


def test_requests_of_an_identifier(town: Town):
    keys = town.keys
    digests = [keys.digest("globex", "email", f"{name}@example.org") for name in ("waiting", "waiting2", "nobody")]
    hits = town.queries.by_digests("globex", digests)
    assert [hit.request for hit in hits] == [town.ids["waiting2"], town.ids["waiting"]]
    assert town.queries.by_digests("acme", digests) == []


def test_the_backlog(town: Town):
    backlog = town.queries.backlog(town.clock())
    assert backlog.outbox == {}
    assert backlog.timers_due == 0
    assert backlog.next_timer is not None
    assert backlog.next_timer > town.clock()
    loads = {load.product: load for load in backlog.products}
    assert loads["voice"].parked == 2
    assert loads["chat"].in_flight >= 2
    later = town.queries.backlog(town.clock() + 400 * DAY_MS)
    assert later.timers_due == len(ALL) - 1


def test_rejections_are_listed_newest_first_and_found_by_place(town: Town):
    positions = town.bus.publish([Message(Topic.REQUESTS.value, b"k", b"%d" % n) for n in range(3)])
    for _ in range(3):
        town.clock.pass_(seconds=1)
        town.step()
    lines = town.queries.rejected()
    assert len(lines) == 3
    assert [line.at for line in lines] == sorted((line.at for line in lines), reverse=True)
    assert {line.position for line in lines} == set(positions)
    assert [line.id for line in town.queries.rejected(limit=1, after=lines[0].id)] == [lines[1].id]
    assert town.queries.rejected(after="x") == []
    assert town.queries.rejected(code=RejectionCode.NOT_JSON) == [
        line for line in lines if line.code.value == "not_json"
    ]
    assert town.queries.rejected(since=town.clock() + 1) == []
    assert [line.position for line in town.queries.rejected_at([positions[1]])] == [positions[1]]
    assert town.queries.rejected_at([Position(Topic.REQUESTS.value, 0, 10_000)]) == []
    assert town.queries.rejected_at([]) == []


def test_the_reader_may_ask_what_concerns_no_vault(town: Town):
    engine = connect(town.url, role=READER)
    queries = Queries(engine)
    assert len(queries.requests().lines) == len(ALL)
    assert queries.stages()
    assert queries.failing()
    assert queries.backlog(town.clock()).products
    engine.dispose()
