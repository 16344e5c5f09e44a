"""What is asked twice is one request, and what cannot be taken goes to quarantine with a reason, alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from orchestrator.client import Client
from orchestrator.intake import IntakeSettings
from orchestrator.keys import KeyText
from orchestrator.quarantine import open_record
from schemas import codec
from schemas import messages as m
from schemas.codes import Ground, Mode, ReasonCode, Right, Role
from schemas.identifiers import IdentifierKind
from schemas.rejections import CLASS_OF
from schemas.sealing import SharedKey, erase_context, event_content, seal_to
from schemas.topics import Topic
from schemas.transport import Message
from tests.engine.house import ACTOR, House, email, policy, wish
from tests.engine.products import done

SOURCE = "/platform"


# --- doubled submissions -------------------------------------------------------------------------------------------


def test_the_same_again_is_the_same_request(house: House):
    asked = wish("ada", event_id="e1", received_at=datetime(2026, 3, 1, tzinfo=UTC))
    first, second = house.ask(asked, asked)
    house.settle()
    [third] = house.ask(asked)
    house.settle()
    assert first.key == second.key == third.key
    assert (house.count("requests"), house.count("quarantine")) == (1, 0)


def test_the_same_person_written_otherwise_is_the_same_body(house: House):
    at = datetime(2026, 3, 1, tzinfo=UTC)
    house.ask(wish("ada", event_id="e1", received_at=at), wish(" ADA", event_id="e1", received_at=at))
    house.settle()
    assert (house.count("requests"), house.count("quarantine")) == (1, 0)


@pytest.mark.parametrize("together", [True, False])
def test_another_body_under_the_same_id_is_refused(house: House, together: bool):
    at = datetime(2026, 3, 1, tzinfo=UTC)
    one, other = wish("ada", event_id="e1", received_at=at), wish("eve", event_id="e1", received_at=at)
    if together:
        sent = house.ask(one, other)
    else:
        sent = house.ask(one)
        house.settle()
        sent += house.ask(other)
    house.settle()
    assert house.count("requests") == 1
    [line] = house.queries.rejected_at([submitted.position for submitted in sent])
    assert (line.position, line.code.value, line.rejection_class.value) == (
        sent[1].position,
        "idempotency_conflict",
        "conflict",
    )


def test_a_cancel_by_the_id_of_the_event_that_asked(house_for: Callable[..., House]):
    house = house_for(policy_=policy(grace=3_600_000))
    erase = build_erase(house, id="e9")
    [request] = accept(house, erase)
    producer = house.keys.producers["producer.acme.1"].key
    cancel = m.Cancel(tenant="acme", event_id="e9")
    house.publish(codec.pack(Topic.REQUESTS, "k", cancel, SOURCE, signer=producer))
    house.settle()
    assert house.ends() == ["withdrawn"]
    assert house.events(request) == ["Accepted", "CancelAsked", "Ended"]
    house.publish(codec.pack(Topic.REQUESTS, "k", m.Cancel(tenant="acme", event_id="e8"), SOURCE, signer=producer))
    house.settle()
    assert [line.code.value for line in house.queries.rejected()] == ["unknown_request"]


def accept(house: House, *messages: Message) -> list[str]:
    house.publish(*messages)
    house.step(3)
    return [request for (request,) in house.sql("SELECT id::text FROM oblio.requests ORDER BY accepted_at, id")]


# --- bad input -----------------------------------------------------------------------------------------------------


def build_erase(
    house: House,
    *,
    id: str = "e1",  # noqa: A002
    tenant: str = "acme",
    signer: SharedKey | None = None,
    subject: m.SubjectData | None = None,
    unsigned: bool = False,
    **more: object,
) -> Message:
    """A good request, save for what the test says."""
    subject = subject or m.SubjectData(identifiers=(email("ada"),))
    sealed = seal_to(house.keys.request_public, msgspec.json.encode(subject), erase_context(tenant, SOURCE, id))
    fields: dict[str, object] = {
        "tenant": tenant,
        "right": Right.ERASURE,
        "ground": Ground.CONSENT_WITHDRAWN,
        "received_at": datetime.fromtimestamp(house.clock() / 1_000, UTC),
        "sealed": sealed,
    }
    erase = m.Erase(**(fields | more))  # type: ignore[arg-type]
    signer = None if unsigned else signer or house.keys.producers["producer.acme.1"].key
    return codec.pack(Topic.REQUESTS, "key", erase, SOURCE, id=id, signer=signer)


def with_data(house: House, data: bytes) -> Message:
    """These bytes, correctly signed: only their content is at fault."""
    message = build_erase(house)
    headers = dict(message.headers)
    key = house.keys.producers["producer.acme.1"].key
    content = event_content(headers["ce_type"].decode(), SOURCE, "e1", data)
    headers["ce_oblmac"] = key.mac(content).encode()
    return replace(message, value=data, headers=tuple(headers.items()))


def edited(house: House, **changes: object) -> Message:
    data = msgspec.json.decode(build_erase(house).value)
    data = {name: value for name, value in (data | changes).items() if value is not ...}
    return with_data(house, msgspec.json.encode(data))


def stranger() -> SharedKey:
    return KeyText.new("stranger.1").key


def forged(house: House) -> Message:
    """Somebody who knows the name of a key, and not the key."""
    secret = KeyText.new("producer.acme.1").key
    return build_erase(house, signer=secret)


def foreign_ack(house: House) -> Message:
    """One product attests for another, with a key of its own."""
    [request] = [row[0] for row in house.sql("SELECT id::text FROM oblio.requests LIMIT 1")]
    to = m.Address(product="tickets", epoch=1, seq=1, attempt=1, key="k", sealed="", mac="")
    command = m.Command(tenant="acme", request=request, phase="purge", cutoff_at=house.clock(), expires_at=1, to=())  # type: ignore[arg-type]
    ack = done(command, to)
    return codec.pack(Topic.ACKS, request, ack, "/products/chat", signer=house.keys.product("chat"))


def operation(house: House, request: str, signer: SharedKey | None) -> Message:
    cancel = m.CancelOperation(
        tenant="acme", request=request, actor=ACTOR, role=Role.SRE, reason=ReasonCode.OPERATOR_ERROR
    )
    return codec.pack(Topic.OPERATIONS, request, cancel, "/cli", signer=signer)


NOBODY = "01890000-0000-7000-8000-000000000000"


def tomorrow(house: House) -> datetime:
    return datetime.fromtimestamp(house.clock() / 1_000, UTC) + timedelta(days=1)


BAD: dict[str, tuple[Callable[[House], Message], str, str | None]] = {
    "not JSON": (lambda h: with_data(h, b"{"), "not_json", None),
    "not UTF-8": (lambda h: with_data(h, b'{"tenant": "\xff"}'), "not_json", None),
    "no CloudEvent": (lambda h: Message(Topic.REQUESTS.value, b"k", b'{"a": 1}'), "not_a_cloudevent", "specversion"),
    "five megabytes": (lambda h: with_data(h, b" " * 5_000_000), "too_large", None),
    "a wrong type": (lambda h: edited(h, tenant=7), "wrong_type", "tenant"),
    "a missing field": (lambda h: edited(h, received_at=...), "missing_field", "received_at"),
    "an unknown right": (lambda h: edited(h, right="oblivion"), "bad_field", "right"),
    "a right that is not built": (lambda h: build_erase(h, right=Right.ACCESS), "right_not_supported", "right"),
    "a field twice": (lambda h: with_data(h, b'{"tenant":"acme",' + build_erase(h).value[1:]), "duplicate_field", None),
    "neither subject nor seal": (lambda h: build_erase(h, sealed=None), "no_identifiers", "subject"),
    "no identifiers": (
        lambda h: build_erase(h, subject=m.SubjectData()),
        "no_identifiers",
        "subject.identifiers",
    ),
    "an empty identifier": (
        lambda h: build_erase(h, subject=m.SubjectData(identifiers=(replace_value(""),))),
        "bad_identifier",
        "subject.identifiers[0].email",
    ),
    "an address that is none": (
        lambda h: build_erase(h, subject=m.SubjectData(identifiers=(replace_value("ada at example"),))),
        "bad_identifier",
        "subject.identifiers[0].email",
    ),
    "plain identifiers where they must be sealed": (
        lambda h: edited(h, sealed=..., subject={"identifiers": [{"kind": "email", "value": "ada@example.org"}]}),
        "plain_identifiers",
        "subject",
    ),
    "sealed for another event": (
        lambda h: edited(h, sealed=msgspec.json.decode(build_erase(h, id="e2").value)["sealed"]),
        "undecryptable",
        "sealed",
    ),
    "records of an unknown product": (
        lambda h: build_erase(h, subject=records("crm", "rows")),
        "unknown_product",
        "subject.records.product",
    ),
    "records of an unknown dataset": (
        lambda h: build_erase(h, subject=records("chat", "invoices")),
        "unknown_dataset",
        "subject.records.dataset",
    ),
    "a time in the future": (
        lambda h: build_erase(h, received_at=tomorrow(h)),
        "time_in_future",
        "received_at",
    ),
    "a case that names the person": (
        lambda h: build_erase(h, case="c-4711", subject=m.SubjectData(identifiers=(user("c-4711"),))),
        "case_is_personal",
        "case",
    ),
    "an unknown tenant": (lambda h: build_erase(h, tenant="initech"), "unknown_tenant", "tenant"),
    "no signature": (lambda h: build_erase(h, unsigned=True), "unsigned", None),
    "an unknown key": (lambda h: build_erase(h, signer=stranger()), "unknown_key", None),
    "a forged signature": (forged, "bad_signature", None),
    "another tenant's key": (
        lambda h: build_erase(h, signer=h.keys.producers["producer.globex.1"].key),
        "not_this_sender",
        "tenant",
    ),
    "an unknown version": (
        lambda h: renamed(build_erase(h), b"org.oblio.erasure.erase.v9"),
        "unsupported_version",
        "type",
    ),
    "an unknown type": (lambda h: renamed(build_erase(h), b"com.example.hello"), "unknown_type", "type"),
    "the wrong topic": (
        lambda h: replace(operation(h, NOBODY, h.keys.orchestrator), topic=Topic.REQUESTS.value),
        "wrong_topic",
        "type",
    ),
    "a cancel of nobody's": (
        lambda h: codec.pack(
            Topic.REQUESTS,
            "k",
            m.Cancel(tenant="acme", request=NOBODY),
            SOURCE,
            signer=h.keys.producers["producer.acme.1"].key,
        ),
        "unknown_request",
        "request",
    ),
    "an operation by a stranger": (lambda h: operation(h, NOBODY, stranger()), "unknown_key", None),
    "an operation nobody signed": (lambda h: operation(h, NOBODY, None), "unsigned", None),
    "an operation on nobody's request": (
        lambda h: operation(h, NOBODY, h.keys.orchestrator),
        "unknown_request",
        "request",
    ),
    "one product for another": (foreign_ack, "unknown_key", None),
}


def replace_value(value: str) -> m.PlainIdentifier:
    return m.PlainIdentifier(kind=email("x").kind, value=value)


def user(value: str) -> m.PlainIdentifier:
    return m.PlainIdentifier(kind=IdentifierKind.USER_ID, value=value)


def records(product: str, dataset: str) -> m.SubjectData:
    return m.SubjectData(records=m.Records(product=product, dataset=dataset, keys=("1",)))


def renamed(message: Message, type_name: bytes) -> Message:
    headers = tuple((name, type_name if name == "ce_type" else value) for name, value in message.headers)
    return replace(message, headers=headers)


def test_every_bad_input_is_refused_by_name_and_its_neighbours_go_on(house: House):
    """All of them in one batch, a good request before and one after each."""
    house.accepted(wish("first"))
    sent: dict[str, int] = {}
    batch: list[Message] = []
    for name, (make, _, _) in BAD.items():
        batch += [good(house, f"before {name}"), make(house)]
        sent[name] = len(batch) - 1
    batch.append(good(house, "last"))
    positions = house.bus.publish(batch)
    house.settle(turns=100)
    assert house.ends() == ["completed"] * (len(BAD) + 2), "the neighbours went on"
    found = {line.position: line for line in house.queries.rejected(limit=1_000)}
    assert len(found) == len(BAD)
    told: dict[str, tuple[str, str | None]] = {}
    for name in BAD:
        line = found[positions[sent[name]]]
        told[name] = (line.code.value, line.field)
        assert line.rejection_class is CLASS_OF[line.code]
        rejected = house.queries.rejected_record(line.id)
        assert rejected is not None
        kept = open_record(house.keys, rejected)
        message = batch[sent[name]]
        assert (kept.key, kept.value, kept.headers) == (message.key, message.value, message.headers)
        assert kept.timestamp_ms > 0
    assert told == {name: (code, field) for name, (_, code, field) in BAD.items()}
    assert_told(house, len(BAD))


def good(house: House, name: str) -> Message:
    return build_erase(house, id=name, subject=m.SubjectData(identifiers=(email(name.replace(" ", ".")),)))


def assert_told(house: House, count: int) -> None:
    """The topic says class, code, place and producer, and nothing of the content."""
    reader = house.bus.reader("people", [Topic.REJECTED.value], "me")
    reader.poll(1, 0)
    records = reader.poll(1_000, 1).records
    assert len(records) == count
    for record in records:
        _, message = codec.message_of(record)
        assert isinstance(message, m.Rejected)
        assert b"ada" not in record.value
        assert b"sealed" not in record.value.replace(b'"field":"sealed"', b"")


def test_an_operation_for_another_tenants_request_finds_nothing(house: House):
    [request] = house.accepted(wish("ada"))
    house.operate(m.CancelOperation, request, tenant="globex", reason=ReasonCode.OPERATOR_ERROR)
    house.settle()
    assert [line.code.value for line in house.queries.rejected()] == ["unknown_request"]
    assert house.ends() == ["completed"]


def test_an_operation_that_the_state_does_not_allow_is_refused(house: House):
    [request] = house.accepted(wish("ada"))
    house.settle()
    house.operate(m.CancelOperation, request, reason=ReasonCode.OPERATOR_ERROR)
    house.settle()
    assert [line.code.value for line in house.queries.rejected()] == ["not_possible_now"]


def test_a_producer_may_ask_only_in_its_modes(house: House):
    producer = house.keys.producers["producer.acme.1"]
    house.keys.producers["producer.acme.1"] = replace(producer, modes=frozenset({Mode.TRASH}))
    house.ask(wish("ada"))
    house.settle()
    assert [(line.code.value, line.field) for line in house.queries.rejected()] == [("not_this_sender", "mode")]


def test_a_topic_bound_to_a_tenant_needs_no_signature_and_takes_no_other_tenant(house_for: Callable[..., House]):
    house = house_for(intake=IntakeSettings(tenant="acme"))
    house.publish(build_erase(house, unsigned=True), build_erase(house, unsigned=True, id="e2", tenant="globex"))
    house.settle()
    assert house.ends() == ["completed"]
    assert [(line.code.value, line.field) for line in house.queries.rejected()] == [("not_this_sender", "tenant")]


def test_from_quarantine_a_record_can_be_submitted_again(house: House):
    """The producer's key was registered too late; then the very bytes are taken."""
    late = KeyText.new("producer.late.1")
    house.publish(build_erase(house, signer=late.key))
    house.settle()
    [line] = house.queries.rejected(waiting=True)
    assert (line.code.value, line.producer) == ("unknown_key", None)
    house.keys.producers["producer.late.1"] = replace(house.keys.producers["producer.acme.1"], key=late.key)
    rejected = house.queries.rejected_record(line.id)
    assert rejected is not None
    kept = open_record(house.keys, rejected)
    house.publish(Message(line.position.topic, kept.key, kept.value, kept.headers))
    assert house.queries.resubmitted(line.id, house.clock())
    house.settle()
    assert house.ends() == ["completed"]
    assert house.queries.rejected(waiting=True) == []
    assert house.queries.rejected()[0].resubmitted_at == house.clock()
    assert house.queries.discard(line.id)
    assert not house.queries.discard(line.id)


def test_a_client_without_a_key_for_its_tenant_is_refused_by_name(house: House):
    Client(house.bus, house.keys).erase([wish("ada", tenant="initech")])
    house.settle()
    assert [line.code.value for line in house.queries.rejected()] == ["unknown_tenant"]
