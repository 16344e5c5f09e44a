"""The stop button: no destructive dispatch while it is pressed, on any instance, before or after a restart."""

from __future__ import annotations

from schemas import codec
from schemas import messages as m
from schemas.codes import Mode
from schemas.topics import Topic
from tests.engine.house import House, wish


def commands(house: House) -> int:
    return sum(len(product.seen) for product in house.products.values())


def test_nothing_destructive_goes_out_until_it_is_released(house: House):
    house.brake(stopped=True)
    house.step(3)
    house.ask(wish("ada"), wish("trash", mode=Mode.TRASH))
    house.settle()
    assert commands(house) == 0
    assert {line.tenant for line in house.queries.brakes()} == {None}
    house.engine.close()
    house.engine = house.new_engine("o2")
    house.settle()
    assert commands(house) == 0, "it survives a restart"
    house.brake(stopped=False)
    house.settle()
    assert house.ends() == ["completed"]
    assert house.queries.brakes() == []


def test_what_is_in_flight_may_finish_and_the_next_wave_waits(house: House):
    [request] = house.accepted(wish("ada"))
    house.step()
    house.brake(stopped=True)
    house.settle()
    assert house.statuses(request)["logs"] == "ready"
    assert set(house.statuses(request).values()) == {"ready", "succeeded"}
    house.brake(stopped=False)
    house.settle()
    assert house.ends() == ["completed"]


def test_of_a_tenant_and_of_a_product(house: House):
    house.brake(stopped=True, tenant="globex")
    house.brake(stopped=True, tenant="acme", product="voice")
    house.step(3)
    acme, globex = house.accepted(wish("ada"), wish("ada", "globex"))
    house.settle()
    assert house.statuses(globex) == dict.fromkeys(house.products, "ready") | {"logs": "pending"}
    assert house.statuses(acme)["voice"] == "ready"
    assert house.statuses(acme)["chat"] == "succeeded"
    assert [(line.tenant, line.product) for line in house.queries.brakes()] == [("acme", "voice"), ("globex", None)]
    house.brake(stopped=False, tenant="globex")
    house.settle()
    assert house.ends() == ["completed"]
    house.brake(stopped=False, tenant="acme", product="voice")
    house.settle()
    assert house.ends() == ["completed", "completed"]


def test_each_is_an_event_and_every_product_is_told_in_order(house: House):
    house.brake(stopped=True)
    house.brake(stopped=True)
    house.brake(stopped=False)
    house.settle()
    history = house.queries.history("00000000-0000-0000-0000-000000000000")
    assert [(one.n, one.event.stopped, one.event.seq) for one in history] == [(1, True, 1), (2, True, 2), (3, False, 3)]
    reader = house.bus.reader("look", [Topic.STOPS.value], "me")
    reader.poll(1, 0)
    told = [codec.message_of(record)[1] for record in reader.poll(100, 1).records]
    by_product = {
        name: [t.seq for t in told if isinstance(t, m.Brake) and t.product == name] for name in house.products
    }
    assert by_product == {key: [1, 2, 3] for key in house.products}
