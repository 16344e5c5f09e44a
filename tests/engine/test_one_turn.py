"""One turn of the engine: the gate is asked in the transaction that takes messages in: what need not wait goes out with it, and no more."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import dispatcher
from orchestrator.desk import Desk
from orchestrator.domain.policy import Product
from schemas.topics import Topic
from tests.engine.house import PRODUCTS, House, policy, wish

FIRST_WAVE = {name: int(name != "logs") for name in PRODUCTS}


def transactions(house: House, request: str) -> list[list[str]]:
    """The types of a request's events, by the transaction that wrote them."""
    groups: dict[str, list[str]] = {}
    rows = house.sql("SELECT xmin::text FROM oblio.events WHERE id = CAST(:id AS uuid) ORDER BY n", id=request)
    for (xmin,), event in zip(rows, house.events(request), strict=True):
        groups.setdefault(xmin, []).append(event)
    return list(groups.values())


def in_flight(house: House) -> dict[str, int]:
    rows = house.sql("SELECT product, count(*) FROM oblio.steps WHERE in_flight GROUP BY product")
    return {product: count for product, count in rows}  # noqa: C416  rows, no pairs


def test_a_request_is_accepted_and_sent_out_at_once_and_so_is_the_next_wave(house: House):
    [request] = house.accepted(wish("ada"))
    assert transactions(house, request) == [["Accepted", "Dispatched"]]
    house.work()
    assert {name: len(product.seen) for name, product in house.products.items()} == FIRST_WAVE, "and published"
    house.settle()
    answers = ["Succeeded"] * sum(FIRST_WAVE.values())
    assert transactions(house, request)[1:] == [[*answers, "Dispatched"], ["Succeeded", "Ended"]]


def test_what_a_product_has_no_room_for_waits_its_turn(house_for: Callable[..., House]):
    house = house_for(policy_=policy(known={"voice": Product("voice", window=2)}))
    house.accepted(*(wish(f"person{n}") for n in range(5)))
    house.step(2)
    assert in_flight(house) == {"chat": 5, "guide": 5, "tickets": 5, "voice": 2}
    house.work("voice")
    house.step()
    assert in_flight(house)["voice"] == 2, "places that become free are given away in the same transaction"
    house.settle()
    assert house.ends() == ["completed"] * 5


def test_a_brake_of_the_same_batch_is_heeded(house: House):
    house.brake(stopped=True, tenant="globex")
    house.ask(wish("ada"), wish("ada", "globex"))
    house.step(2)
    assert in_flight(house) == dict.fromkeys(("chat", "guide", "tickets", "voice"), 1)
    house.settle()
    assert house.ends() == ["completed"]


def test_who_takes_a_request_in_does_not_dispatch_it_for_its_owner(house: House):
    house.ask(wish("ada"))
    reader = house.bus.reader("second", [Topic.REQUESTS.value], "second")
    reader.poll(1, 0)
    with house.store.unit({}) as unit:
        desk = Desk(unit, {}, house.policy, house.clock())
        house.engine._receiver.receive(desk, reader.poll(100, 1).records)
        [request] = desk.changes.states
        assert dispatcher.select_ready(desk, []) == {}
        assert set(dispatcher.select_ready(desk, range(unit.shards))) == {request}
