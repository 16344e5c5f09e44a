"""Nobody's identifiers are anywhere but in the vault, and there only while their request lives."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestrator.domain.policy import Product
from orchestrator.intake import IntakeSettings
from orchestrator.subjects import Vault
from schemas import codec
from schemas import messages as m
from schemas.codes import FailureCode, Ground, Outcome, Right
from schemas.identifiers import Identifier, IdentifierKind
from schemas.sealing import ack_context, command_context
from schemas.topics import Topic
from schemas.transport import Message
from tests.engine.house import House, email, policy, wish
from tests.engine.products import done

NAME = "Ottilie.Winterbourne"
PHONE = "+4930901820"
NEEDLES = [text.encode() for text in (NAME, NAME.lower(), PHONE, "901820")]
NEEDLES += [base64.b64encode(needle).rstrip(b"=")[:-1] for needle in NEEDLES]


def places(house: House, schemas: tuple[str, ...] = ("oblio",)) -> set[str]:
    """Every column of every table that holds one of the needles."""
    found = set()
    tables = house.sql(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = ANY(:schemas)",
        schemas=list(schemas),
    )
    for schema, table in tables:
        for row in house.sql(f'SELECT * FROM {schema}."{table}"'):
            for name, value in row._mapping.items():
                raw = bytes(value) if isinstance(value, memoryview | bytes) else str(value).encode()
                if any(needle in raw for needle in NEEDLES):
                    found.add(f"{schema}.{table}.{name}")
    return found


def test_the_search_finds_what_is_there(house: House):
    house.execute("INSERT INTO oblio.brakes VALUES (:name, '', 1, 1)", name=f"x{NAME}@example.org")
    assert places(house) == {"oblio.brakes.tenant"}


def test_a_sealed_request_in_flight_and_after(house: House):
    [request] = house.accepted(wish(NAME, case="case-4711"))
    house.step(2)
    house.work("chat")
    assert house.count("vault") == 1
    assert places(house, ("oblio", "bus")) == set()
    house.settle()
    assert house.ends() == ["completed"]
    assert (house.count("vault"), house.count("open_subjects"), house.count("sent")) == (0, 0, 0)
    assert places(house, ("oblio", "bus")) == set()
    digest = house.keys.digest("acme", "email", f"{NAME.lower()}@example.org")
    assert [hit.request for hit in house.queries.by_digests("acme", [digest])] == [request]
    assert house.queries.by_digests("globex", [digest]) == []


def test_a_plain_request_stands_on_the_log_and_nowhere_else(house_for: Callable[..., House]):
    house = house_for(intake=IntakeSettings(tenant="acme", plain=True))
    erase = m.Erase(
        tenant="acme",
        right=Right.ERASURE,
        ground=Ground.CONSENT_WITHDRAWN,
        received_at=datetime.fromtimestamp(house.clock() / 1_000, UTC),
        subject=m.SubjectData(identifiers=(email(NAME),)),
    )
    house.publish(codec.pack(Topic.REQUESTS, NAME, erase, "/platform", id="1"))
    house.step(3)
    assert house.count("vault") == 1
    assert places(house, ("oblio", "bus")) == {"bus.records.value", "bus.records.key", "bus.records.headers"}
    house.settle()
    assert house.ends() == ["completed"]


def test_a_rejected_record_is_sealed(house: House):
    house.publish(Message(Topic.REQUESTS.value, NAME.encode(), f"{NAME}@example.org".encode()))
    house.step(2)
    assert house.count("quarantine") == 1
    assert places(house) == set()


def resolving_house(house_for: Callable[..., House], **answer: Any) -> House:
    """tickets knows e-mail → phone, which voice needs; it answers sealed, and ``answer`` changes what it says."""
    email_kind, phone_kind = IdentifierKind.EMAIL, IdentifierKind.PHONE
    known = {
        "tickets": Product(
            "tickets",
            kinds=frozenset({email_kind}),
            links=((frozenset({email_kind}), frozenset({phone_kind})),),
        ),
        "voice": Product("voice", kinds=frozenset({phone_kind})),
    }
    house = house_for(policy_=policy(("tickets", "voice"), known=known))

    def resolve(command: m.Command, to: m.Address) -> m.Ack:
        ack = done(command, to)
        if command.phase.value != "resolve":
            return ack
        key = house.keys.product("tickets")
        found = m.SealedSubject(identifiers=(Identifier.of(IdentifierKind.PHONE, PHONE),))
        bare = replace(ack, counts={}, map=None, receipt=None, **answer)
        return replace(bare, sealed=key.seal(msgspec.json.encode(found), ack_context(bare)))

    house.products["tickets"].answer = resolve
    return house


def test_a_question_that_led_to_two_people_enriches_nothing(house_for: Callable[..., House]):
    """Waiving the question later must not erase the second person, too."""
    ambiguous = m.Failure(code=FailureCode.AMBIGUOUS_SUBJECT)
    house = resolving_house(house_for, outcome=Outcome.FAILED, failure=ambiguous, persons=2)
    house.accepted(wish(NAME))
    house.settle()
    assert house.queries.by_digests("acme", [house.keys.digest("acme", "phone", PHONE)]) == []


def test_what_a_product_finds_enriches_the_vault_and_the_index(house_for: Callable[..., House]):
    house = resolving_house(house_for)
    [request] = house.accepted(wish(NAME))
    house.settle()
    assert house.ends() == ["completed"]
    assert house.events(request)[:3] == ["Accepted", "Dispatched", "Succeeded"]
    phone = house.keys.digest("acme", "phone", PHONE)
    [hit] = house.queries.by_digests("acme", [phone])
    assert (hit.request, hit.derived) == (request, True)
    assert kinds_given(house, "voice") == {"email", "phone"}
    assert places(house, ("oblio", "bus")) == set()


def kinds_given(house: House, product: str) -> set[str]:
    """The kinds of identifiers in the last command that a product got."""
    command = house.products[product].seen[-1]
    [to] = [address for address in command.to if address.product == product]
    plain = house.keys.product(product).open(to.sealed, command_context(command, to))
    return {one.kind.value for one in msgspec.json.decode(plain, type=m.SealedSubject).identifiers}


def test_the_vault_opens_only_for_its_request_and_tenant(house: House):
    house.accepted(wish(NAME))
    with house.store.unit({}) as unit:
        [request] = [row[0] for row in house.sql("SELECT request::text FROM oblio.vault")]
        [row] = unit.vault_entries([request])
    subject = Vault(house.keys).open_row(row)
    assert [one.value for one in subject.identifiers] == [f"{NAME.lower()}@example.org"]
    assert NAME.lower() not in repr(subject)
