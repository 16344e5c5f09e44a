"""Each of the five products over its real stores: the subject is gone, and nobody else has changed."""

from __future__ import annotations

import pytest

from consumers.samples.fingerprint import differences, fingerprint, remains
from consumers.samples.stores import PRODUCTS
from schemas.codes import Evidence, FailureCode, Outcome, Phase
from schemas.identifiers import Identifier, IdentifierKind
from schemas.messages import SealedSubject
from tests.product.support import command, named, obey, of, one, opened


def test_two_subjects_are_gone_from_all_five_and_bystanders_are_what_they_were(fresh, people):
    world = fresh()
    chosen = people.choose(4)
    before = fingerprint(world.stores, chosen)
    products = world.products()
    sent = {name: [command(name, Phase.PURGE, s.tenant, of(s)) for s in chosen] for name in PRODUCTS}
    answers = {name: obey(products[name], *sent[name]) for name in PRODUCTS}
    for name, acks in answers.items():
        assert [a.outcome for a in acks] == [Outcome.DONE] * len(chosen), (name, [a.failure for a in acks])
        assert {a.evidence for a in acks} == {Evidence.RECOUNTED}
    left = [found for found in remains(world.stores, chosen) if not found.retained]
    assert left == []
    assert not differences(before, fingerprint(world.stores, chosen, like=before))
    for name, commands in sent.items():
        again = {ack.request: ack for ack in obey(products[name], *commands)}
        assert again == {ack.request: ack for ack in answers[name]}


@pytest.mark.parametrize("name", PRODUCTS)
def test_probe_preview_and_counts_speak_of_the_same_rows(fresh, people, name):
    world = fresh(name)
    product = world.product(name)
    (subject,) = people.choose(1)
    from consumers.product import Asked

    asked = [Asked(subject.tenant, of(subject))]
    (expected,) = product.preview(asked)
    probe = command(name, Phase.PROBE, subject.tenant, of(subject))
    left = one(product, probe)
    assert (left.outcome, left.failure.code) == (Outcome.FAILED, FailureCode.REMAINS)
    done = one(product, command(name, Phase.PURGE, subject.tenant, of(subject)))
    assert {dataset: n.found for dataset, n in done.counts.items()} == expected
    probed = one(product, command(name, Phase.PROBE, subject.tenant, of(subject)))
    assert probed.evidence is Evidence.PROBED
    assert probed.failure is None
    assert all(n.found == n.retained for n in probed.counts.values())
    assert probed.outcome is (Outcome.DONE if probed.counts else Outcome.NOTHING_FOUND)
    (left_now,) = product.probe(asked)
    assert left_now == probed.counts


def test_resolve_leads_from_an_address_to_everything_the_help_desk_knows(fresh, people):
    product = fresh("tickets").product("tickets")
    (subject,) = people.choose(1)
    asked = SealedSubject(identifiers=(Identifier(IdentifierKind.EMAIL, subject.email),))
    wanted = command("tickets", Phase.RESOLVE, subject.tenant, asked)
    ack = one(product, wanted)
    assert (ack.outcome, ack.persons, ack.failure) == (Outcome.DONE, 1, None)
    found = opened(ack)
    assert found["user_id"] == {str(subject.user_id)}
    assert found["phone"] == {subject.phone}
    again = one(product, wanted)
    assert opened(again) == found
    assert again.receipt == ack.receipt


def test_purge_by_an_address_alone_follows_the_products_own_links(fresh, people):
    world = fresh("tickets")
    product = world.product("tickets")
    (subject,) = people.choose(1)
    asked = SealedSubject(identifiers=(Identifier(IdentifierKind.EMAIL, subject.email),))
    ack = one(product, command("tickets", Phase.PURGE, subject.tenant, asked))
    assert ack.outcome is Outcome.DONE
    assert ack.counts["tickets"].redacted > 0
    assert ack.counts["users"].redacted == 1


def test_a_shared_phone_is_for_a_person_to_decide(fresh, people):
    product = fresh("tickets").product("tickets")
    subject = next(s for s in people.subjects if s.phone_at_home)
    asked = SealedSubject(identifiers=(Identifier(IdentifierKind.PHONE, subject.phone),))
    ack = one(product, command("tickets", Phase.RESOLVE, subject.tenant, asked))
    assert (ack.outcome, ack.sealed) == (Outcome.FAILED, None)
    assert ack.failure.code in (FailureCode.AMBIGUOUS_SUBJECT, FailureCode.SHARED_IDENTIFIER)


def test_kinds_that_mean_nothing_here_cannot_match(fresh, people):
    product = fresh("voice").product("voice")
    subject = people.subjects[0]
    asked = SealedSubject(identifiers=(Identifier(IdentifierKind.EMAIL, subject.email),))
    assert one(product, command("voice", Phase.PURGE, subject.tenant, asked)).outcome is Outcome.CANNOT_MATCH


def test_named_records_go_and_the_subjects_other_records_stay(fresh, people):
    world = fresh("tickets")
    product = world.product("tickets")
    (subject,) = people.choose(1)
    with world.stores.cursor("tickets") as cursor:
        cursor.execute(
            "select id from tickets where tenant = %s and requester_id = %s order by id",
            (subject.tenant, subject.user_id),
        )
        first, *others = [row[0] for row in cursor]
    ack = one(product, command("tickets", Phase.PURGE, subject.tenant, named("tickets", "tickets", str(first))))
    assert ack.counts["tickets"].redacted == 1
    assert "users" not in ack.counts
    with world.stores.cursor("tickets") as cursor:
        cursor.execute(
            "select id, subject from tickets where tenant = %s and id = any(%s)", (subject.tenant, [first, *others])
        )
        subjects = dict(cursor.fetchall())
    assert subjects.pop(first) == "[erased]"
    assert "[erased]" not in subjects.values()
    bad = command("tickets", Phase.PURGE, subject.tenant, named("tickets", "comment_mentions", "1"))
    assert one(product, bad).failure.code is FailureCode.BAD_COMMAND


def test_a_stranger_who_got_the_phone_later_survives(fresh, people):
    world = fresh("voice")
    product = world.product("voice")
    (subject,) = people.choose(1)
    with world.stores.cursor("voice") as cursor:
        cursor.execute("select max(id) from calls where tenant = %s", (subject.tenant,))
        (highest,) = cursor.fetchone()
        cursor.execute(
            "insert into calls (tenant, id, caller_phone, caller_name, queue, direction, started_at, duration_s, outcome)"
            " values (%s, %s, %s, 'STRANGER', 'support', 'inbound', now() + interval '1 hour', 5, 'answered')",
            (subject.tenant, highest + 1, subject.phone),
        )
    ack = one(product, command("voice", Phase.PURGE, subject.tenant, of(subject)))
    assert ack.outcome is Outcome.DONE
    with world.stores.cursor("voice") as cursor:
        cursor.execute(
            "select id, caller_name from calls where tenant = %s and caller_phone = %s", (subject.tenant, subject.phone)
        )
        assert cursor.fetchall() == [(highest + 1, "STRANGER")]
