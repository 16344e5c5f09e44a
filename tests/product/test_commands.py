"""What a product refuses, answers from a receipt, or has no part in."""

from __future__ import annotations

import time

import msgspec
import pytest

from consumers.hooks import ProductCode
from consumers.samples.stores import PRODUCTS
from schemas import codec
from schemas.codes import FailureCode, Outcome, Phase, RejectionCode
from schemas.identifiers import Identifier, IdentifierKind
from schemas.messages import Counts, Rejected, SealedSubject
from schemas.sealing import SharedKey
from schemas.topics import Topic
from schemas.transport import Record
from tests.product.support import KEY, NOW, brake, command, obey, of, one, records, request_id


def refusals(messages):
    found = []
    for message in messages:
        assert message.topic == Topic.REJECTED.value
        _, rejected = codec.message_of(Record(message.topic, 0, 0, message.key, message.value, message.headers, NOW))
        assert isinstance(rejected, Rejected)
        found.append(rejected)
    return found


def test_one_record_addresses_several_products(fresh, people):
    (subject,) = people.choose(1)
    world = fresh()
    wanted = command(PRODUCTS, Phase.PURGE, subject.tenant, of(subject))
    for name, product in world.products().items():
        ack = one(product, wanted)
        assert (ack.product, ack.outcome) == (name, Outcome.DONE)


def test_a_second_delivery_gives_the_first_receipt_to_whoever_asks(guide, someone):
    first = one(guide, command("guide", Phase.PURGE, someone.tenant, of(someone), request=(request := request_id())))
    again = one(guide, command("guide", Phase.PURGE, someone.tenant, of(someone), request=request, seq=4, attempt=3))
    assert (again.seq, again.attempt) == (4, 3)
    same = msgspec.structs.replace(again, seq=1, attempt=1)
    assert same == first
    assert first.receipt


def test_a_receipt_serves_its_own_phase_and_epoch_alone(guide, someone):
    request = request_id()
    trashed = one(guide, command("guide", Phase.TRASH, someone.tenant, of(someone), request=request))
    purged = one(guide, command("guide", Phase.PURGE, someone.tenant, of(someone), request=request, seq=2))
    forced = one(guide, command("guide", Phase.PURGE, someone.tenant, of(someone), request=request, seq=3, epoch=2))
    assert len({trashed.receipt, purged.receipt, forced.receipt}) == 3
    assert purged.outcome is Outcome.DONE
    assert forced.outcome is Outcome.NOTHING_FOUND


def test_an_older_command_is_superseded(guide, someone):
    request = request_id()
    assert (
        one(guide, command("guide", Phase.TRASH, someone.tenant, of(someone), request=request, seq=5)).failure is None
    )
    late = one(guide, command("guide", Phase.PURGE, someone.tenant, of(someone), request=request, seq=4))
    assert (late.outcome, late.counts) == (Outcome.SUPERSEDED, {})


def test_a_command_that_failed_was_obeyed_all_the_same(guide, someone):
    request = request_id()
    failed = one(guide, command("guide", Phase.PURGE, someone.tenant, of(someone), request=request, seq=5, ceiling=0))
    assert failed.failure.code is FailureCode.CEILING_EXCEEDED
    late = one(guide, command("guide", Phase.PURGE, someone.tenant, of(someone), request=request, seq=4))
    assert late.outcome is Outcome.SUPERSEDED


def test_an_expired_command_has_no_effect(guide, someone):
    past = time.time_ns() // 1_000_000 - 1
    ack = one(guide, command("guide", Phase.PURGE, someone.tenant, of(someone), expires_at=past))
    assert (ack.outcome, ack.counts) == (Outcome.EXPIRED, {})
    assert one(guide, command("guide", Phase.PURGE, someone.tenant, of(someone))).outcome is Outcome.DONE


def test_what_is_not_authentic_is_refused_without_an_ack(guide, someone):
    good = command("guide", Phase.PURGE, someone.tenant, of(someone))
    stranger = SharedKey(KEY.id, b"x" * 32)
    forged = command("guide", Phase.PURGE, someone.tenant, of(someone), key=stranger)
    unknown = command("guide", Phase.PURGE, someone.tenant, of(someone), key=SharedKey("nobody.1", b"y" * 32))
    moved = msgspec.structs.replace(good, request=request_id())  # the block and its mac, in another request
    later = msgspec.structs.replace(good, cutoff_at=good.cutoff_at + 1)
    messages = guide.handle(records(forged, unknown, moved, later))
    assert [r.code for r in refusals(messages)] == [
        RejectionCode.BAD_SIGNATURE,
        RejectionCode.UNKNOWN_KEY,
        RejectionCode.BAD_SIGNATURE,
        RejectionCode.BAD_SIGNATURE,
    ]
    assert [r.offset for r in refusals(messages)] == [0, 1, 2, 3]


def test_a_sealed_block_from_another_request_does_not_open(guide, someone):
    from schemas.sealing import command_content

    good = command("guide", Phase.PURGE, someone.tenant, of(someone))
    other = command("guide", Phase.PURGE, someone.tenant, of(someone))
    moved = msgspec.structs.replace(other.to[0], sealed=good.to[0].sealed)
    signed = msgspec.structs.replace(moved, mac=KEY.mac(command_content(other, moved)))
    ack = one(guide, msgspec.structs.replace(other, to=(signed,)))
    assert (ack.outcome, ack.failure.code) == (Outcome.FAILED, FailureCode.UNDECRYPTABLE)


def test_old_keys_open_and_answer(fresh, people):
    (subject,) = people.choose(1)
    world = fresh("guide")
    new = SharedKey("orchestrator.test.2", b"n" * 32)
    product = world.product("guide", more={"keys": (new, KEY)})
    assert one(product, command("guide", Phase.PURGE, subject.tenant, of(subject))).outcome is Outcome.DONE


def test_unreadable_records_are_refused_and_their_neighbours_go_on(guide, someone):
    good = records(command("guide", Phase.PURGE, someone.tenant, of(someone)), first=7)
    broken = [Record(r.topic, 0, 1, r.key, b"{nonsense", r.headers, NOW) for r in good]
    messages = guide.handle([*broken, *good])
    assert sorted(m.topic for m in messages) == [Topic.ACKS.value, Topic.REJECTED.value]


def test_commands_for_others_are_none_of_ours(guide, someone):
    assert guide.handle(records(command("chat", Phase.PURGE, someone.tenant, of(someone)))) == []


def test_two_commands_of_one_request_in_a_batch_keep_their_order(fresh, people):
    (subject,) = people.choose(1)
    product = fresh("tickets").product("tickets")
    request = request_id()
    phases = [Phase.TRASH, Phase.RESTORE, Phase.TRASH, Phase.PURGE]
    epochs = [1, 1, 2, 2]
    commands = [
        command("tickets", phase, subject.tenant, of(subject), request=request, seq=seq, epoch=epoch)
        for seq, (phase, epoch) in enumerate(zip(phases, epochs, strict=True), 1)
    ]
    acks = obey(product, *commands)
    assert [(ack.phase, ack.outcome) for ack in acks] == [(phase, Outcome.DONE) for phase in phases]


# --- brakes and ceilings ------------------------------------------------------------------------------------------


def test_a_brake_stops_effects_of_the_product_or_of_one_tenant(fresh, people):
    guide = fresh("guide").product("guide")
    mine, other = people.choose(2)
    assert mine.tenant != other.tenant
    guide.stop(records(brake("guide", 2, stopped=True, tenant=mine.tenant), topic=Topic.STOPS))
    guide.stop(records(brake("guide", 1, stopped=False, tenant=mine.tenant), topic=Topic.STOPS))  # late: ignored
    stopped, done = obey(guide, *(command("guide", Phase.PURGE, s.tenant, of(s)) for s in (mine, other)))
    assert (stopped.outcome, stopped.failure.code) == (Outcome.FAILED, FailureCode.STOPPED)
    assert stopped.counts == {}
    assert done.outcome is Outcome.DONE
    guide.stop(records(brake("guide", 3, stopped=False, tenant=mine.tenant), topic=Topic.STOPS))
    assert one(guide, command("guide", Phase.PURGE, mine.tenant, of(mine))).outcome is Outcome.DONE
    guide.stop(records(brake("guide", 4, stopped=True), topic=Topic.STOPS))
    looked = one(guide, command("guide", Phase.PROBE, other.tenant, of(other)))
    assert looked.failure is None


def test_a_forged_brake_is_refused(guide):
    forged = msgspec.structs.replace(brake("guide", 2, stopped=True), seq=3)
    assert [r.code for r in refusals(guide.stop(records(forged, topic=Topic.STOPS)))] == [RejectionCode.BAD_SIGNATURE]


@pytest.mark.parametrize("name", ["guide", "voice"])
def test_above_the_ceiling_nothing_is_touched(fresh, people, name):
    (subject,) = people.choose(1)
    from tests.product.support import state

    world = fresh(name)
    product = world.product(name)
    before = state(world, name)
    request = request_id()
    refused = one(product, command(name, Phase.PURGE, subject.tenant, of(subject), request=request, ceiling=1))
    assert (refused.outcome, refused.failure.code) == (Outcome.FAILED, FailureCode.CEILING_EXCEEDED)
    assert state(world, name) == before
    raised = one(product, command(name, Phase.PURGE, subject.tenant, of(subject), request=request, seq=2, ceiling=999))
    assert raised.outcome is Outcome.DONE


def test_the_maps_own_ceilings_hold_where_the_command_names_none(fresh, people):
    (subject,) = people.choose(1)
    from tests.product.support import data_map

    shipped = data_map("guide")
    narrow = msgspec.structs.replace(shipped, limits=msgspec.structs.replace(shipped.limits, max_rows=1))
    product = fresh("guide").product("guide", map_=narrow)
    ack = one(product, command("guide", Phase.PURGE, subject.tenant, of(subject)))
    assert ack.failure.code is FailureCode.CEILING_EXCEEDED
    share = msgspec.structs.replace(shipped.limits, max_share=0.0001, max_share_from=1)
    product = fresh("guide").product("guide", map_=msgspec.structs.replace(shipped, limits=share))
    ack = one(product, command("guide", Phase.PURGE, subject.tenant, of(subject)))
    assert ack.failure.code is FailureCode.CEILING_EXCEEDED


# --- a product's own code -----------------------------------------------------------------------------------------


class Loyal(ProductCode):
    """Counts what it is asked for, and cannot bear one person."""

    def __init__(self, unbearable: str) -> None:
        self.unbearable = unbearable

    def extra_effects(self, connection, batch, effect):
        for target in batch.targets:
            if self.unbearable in target.identifiers["email"]:
                raise RuntimeError(self.unbearable)
        return {target.ordinal: {"loyalty_cards": Counts(found=1, erased=1)} for target in batch.targets}


def test_one_bad_request_never_fails_its_neighbours(fresh, people, caplog, capsys):
    chosen = people.everywhere()[:7]
    bad = chosen[3]
    product = fresh("guide").product("guide", code=Loyal(bad.email))
    acks = obey(product, *(command("guide", Phase.PURGE, s.tenant, of(s)) for s in chosen))
    assert [ack.outcome for ack in acks].count(Outcome.DONE) == 6
    (failed,) = (ack for ack in acks if ack.outcome is Outcome.FAILED)
    assert failed.failure.code is FailureCode.INTERNAL_ERROR
    assert all(ack.counts["loyalty_cards"].erased == 1 for ack in acks if ack is not failed)
    assert bad.email not in msgspec.json.encode(failed).decode() + caplog.text + capsys.readouterr().out


def test_an_identifier_that_no_column_can_hold_harms_nobody(guide, someone):
    odd = SealedSubject(identifiers=(Identifier(IdentifierKind.USER_ID, "not-a-number"),))
    acks = obey(
        guide,
        command("guide", Phase.PURGE, someone.tenant, odd),
        command("guide", Phase.PURGE, someone.tenant, of(someone)),
    )
    assert [ack.outcome for ack in acks] == [Outcome.NOTHING_FOUND, Outcome.DONE]


def test_a_missing_column_is_a_schema_mismatch_by_name(fresh, people):
    (subject,) = people.choose(1)
    world = fresh("guide")
    product = world.product("guide")
    with world.stores.cursor("guide") as cursor:
        cursor.execute("alter table article_comments drop column author_name")
    ack = one(product, command("guide", Phase.PURGE, subject.tenant, of(subject)))
    assert (ack.outcome, ack.failure.code) == (Outcome.FAILED, FailureCode.SCHEMA_MISMATCH)
