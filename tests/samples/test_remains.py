from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest

from consumers.samples.fingerprint import Finding, counterparts, links, remains
from consumers.samples.needles import Finder, Needle
from consumers.samples.people import Subject, people
from consumers.samples.seed import SampleWorld
from consumers.samples.stores import SampleStores
from tests.samples.byhand import erase, path_of


def run(stores: SampleStores, product: str, statement: str, *values: object) -> None:
    with stores.cursor(product) as cursor:
        cursor.execute(statement, values)


def places(findings: tuple[Finding, ...], kind: str | None = None) -> set[str]:
    return {finding.place for finding in findings if kind in {None, finding.kind}}


@pytest.fixture
def newcomer() -> Subject:
    """Somebody who is in no store."""
    return replace(
        people(40, seed=77)[-1], ip="203.0.113.7", phone_at_home=False
    )  # addresses go by number, whatever the seed


def test_a_subject_is_found_in_every_kind_of_place(sample: SampleStores, world: SampleWorld):
    found = remains(sample, world.subjects)
    assert places(found, "email") >= {
        "users.email", "users.alternate_emails", "tickets.cc_emails", "tickets.custom_fields", "comments.body",
        "comments.via_email", "ticket_events.new_value", "attachment_previews.ocr_text", "visitors.attributes",
        "messages.body", "messages.payload", "article_comments.author_email", "article_comments.body",
        "comment_revisions.body", "subscriptions.email", "article_feedback.email", "call_notes.note",
        "request_log.email", "request_log.message", "request_log.context", "app.jsonl",
    }  # fmt: skip
    assert places(found, "phone") >= {"users.phone", "calls.caller_phone", "callback_requests.phone"}
    assert places(found, "name") >= {"users.name", "attachments.file_name", "session_participants.display_name"}
    assert places(found, "visitor_id") >= {"visitors.id", "messages.sender_id", "typing_metrics.visitor_id"}
    assert places(found, "ip") >= {"visitors.ip", "typing_metrics.client_ip", "request_log.client_ip"}
    assert places(found, "street") >= {"users.profile"}
    assert places(found, "external_id") == {"users.external_id"}
    suffixes = {place.rpartition(".")[2] for place in places(found)}
    assert suffixes >= {"wav", "json", "txt", "pdf", "png", "gz", "jsonl"}
    assert {finding.place.partition(".")[0] for finding in found if finding.retained} == {"invoices"}
    assert {finding.tenant for finding in found} == {"acme", "globex"}


def test_nothing_is_found_of_somebody_who_is_not_there(sample: SampleStores, newcomer: Subject):
    assert remains(sample, [newcomer]) == ()
    assert links(sample, [newcomer])  # the number is somebody's, who is not erased


def test_after_a_careful_erasure_only_what_the_law_keeps_remains(own: SampleStores, world: SampleWorld):
    subjects = [*world.choose(2), *(one for one in world.subjects if world.counts[one.key]["tickets"]["invoices"])][:4]
    elsewhere = counterparts(own, subjects)
    assert places(elsewhere) >= {"users.email", "users.phone"}
    for subject in subjects:
        erase(own, subject)
    left = remains(own, subjects)
    assert all(finding.retained for finding in left)
    assert places(left) == {"invoices.billing_name", "invoices.billing_email", "invoices.billing_address"}
    assert counterparts(own, subjects) == elsewhere  # the same address at the other tenant is another person's
    linked = links(own, subjects)
    assert {finding.product for finding in linked} == {"tickets"}
    assert all(finding.retained == finding.place.startswith("invoices") for finding in linked)


def test_what_the_law_kept_is_no_longer_retained_when_its_time_is_over(own: SampleStores, world: SampleWorld):
    subject = next(one for one in world.subjects[10:] if world.counts[one.key]["tickets"]["invoices"])
    run(
        own,
        "tickets",
        "update invoices set issued_at = now() - interval '10 years 1 day' where (tenant, user_id) = (%s, %s)",
        *subject.key,
    )
    invoices = [finding for finding in remains(own, [subject]) if finding.place.startswith("invoices")]
    assert invoices
    assert not any(finding.retained for finding in invoices)


def test_each_place_where_one_could_hide(own: SampleStores, newcomer: Subject):
    email = newcomer.email
    run(own, "logs", "create schema kernel")
    run(own, "logs", "create table kernel.plans (id int, body bytea, keys text[], note json)")
    run(
        own,
        "logs",
        "insert into kernel.plans values (1, %s, %s, %s)",
        email.encode(),
        [["a", email]],
        json.dumps({email: 1}),
    )
    run(own, "logs", "insert into request_log (tenant, level, service, message, context) values (%s, 'info', 'x', %s, %s)",
        newcomer.tenant, f"to\n{email.upper()}\t", json.dumps({"deep": [{"er": f"a\n{email}\n"}]}))  # fmt: skip
    own.object_store.put({
        f"voice/{newcomer.tenant}/x.wav": b"\xff\x00RIFF" + newcomer.phone.encode() + b"\x00\xff",
        f"voice/{newcomer.tenant}/{newcomer.name.replace(' ', '_')}.txt": b"",
        f"voice/{newcomer.tenant}/x.json": json.dumps({"name": newcomer.name}).encode(),
        "loose": email.encode(),
    })  # fmt: skip
    (own.log_folder / ".tmp").write_bytes(f'{{"tenant":"x","message":"{email}'.encode())
    line = json.dumps({"tenant": newcomer.tenant, "message": newcomer.name}).encode()
    (own.log_folder / "old.gz").write_bytes(gzip.compress(line))
    (own.log_folder / "torn.gz").write_bytes(gzip.compress(line * 999, 1)[:-9])
    found = remains(own, [newcomer])
    assert places(found) == {
        "kernel.plans.body", "kernel.plans.keys", "kernel.plans.note", "request_log.message", "request_log.context",
        f"voice/{newcomer.tenant}/x.wav", "a file whose name tells", f"voice/{newcomer.tenant}/x.json", "loose",
        ".tmp", "old.gz", "torn.gz",
    }  # fmt: skip
    text = str(found)
    assert not any(value in text for value in (email, newcomer.name, newcomer.phone, newcomer.name.replace(" ", "_")))


def test_the_other_tenants_rows_and_files_are_not_the_subjects(own: SampleStores, newcomer: Subject):
    other = "acme" if newcomer.tenant == "globex" else "globex"
    before = remains(own, [newcomer])
    run(
        own,
        "logs",
        "insert into request_log (tenant, level, service, message) values (%s, 'info', 'x', %s)",
        other,
        newcomer.email,
    )
    own.object_store.put({f"voice/{other}/y.txt": newcomer.email.encode()})
    line = json.dumps({"tenant": other, "message": newcomer.email}).encode()
    (own.log_folder / "other.jsonl").write_bytes(line + b"\n")
    assert remains(own, [newcomer]) == before
    assert places(counterparts(own, [newcomer])) >= {"request_log.message", f"voice/{other}/y.txt", "other.jsonl"}


def test_what_a_subject_wrote_of_somebody_elses_counterpart_goes_with_the_subject(
    own: SampleStores, world: SampleWorld
):
    one, other = world.choose(6)[4:]
    assert one.tenant != other.tenant
    before = counterparts(own, [one, other])
    run(own, "guide", "insert into article_comments (tenant, id, uid, article_id, author_id, body)"
        " values (%s, 99999, gen_random_uuid(), 1, %s, %s)", *other.key, f"ask {one.email}")  # fmt: skip
    assert counterparts(own, [one, other]) == before
    assert counterparts(own, [one]) != before


def test_a_recording_left_behind_is_found(own: SampleStores, world: SampleWorld):
    subject = world.choose(3)[2]
    key = next(finding.place for finding in remains(own, [subject]) if finding.place.endswith(".wav"))
    content = own.object_store.read(key)
    erase(own, subject)
    assert [finding for finding in remains(own, [subject]) if not finding.retained] == []
    path_of(own, key).write_bytes(content)
    assert [(one.place, one.kind) for one in remains(own, [subject]) if not one.retained] == [(key, "phone")]


@pytest.mark.parametrize(
    "kind, needle, text, found",
    [
        ("email", "rossi@example.com", "to rossi@example.com.", True),
        ("email", "rossi@example.com", "<ROSSI@Example.com>", True),
        ("email", "rossi@example.com", "@rossi@example.com hello", True),
        ("email", "rossi@example.com", "a.rossi@example.com", False),
        ("email", "rossi@example.com", "arossi@example.com", False),
        ("email", "rossi@example.com", "x-rossi@example.com", False),
        ("email", "rossi@example.com", "rossi@example.com.au", False),
        ("email", "rossi@example.com", "rossi@example.community", False),
        ("email", "rossi@example.com", "宛先は rossi@example.com です", True),
        ("email", "a+b@example.com", "x=a+b@example.com", True),
        ("phone", "+39310123", "tel:+39310123", True),
        ("phone", "+39310123", "+393101234", False),
        ("phone", "+39310123", "39310123", False),
        ("phone", "+39310123", "ICMT+39310123", True),
        ("ip", "100.64.0.1", "from 100.64.0.1.", True),
        ("ip", "100.64.0.1", "100.64.0.12", False),
        ("ip", "100.64.0.1", "1100.64.0.1", False),
        ("name", "anna rossi", "Anna Rossi's", True),
        ("name", "anna rossi", "Joanna Rossi", False),
        ("name", "anna rossi", "Anna Rossini", False),
        ("name", "anna_rossi", "doc_Anna_Rossi_1.pdf", True),
        ("name", "anna_rossi", "anna_rossi@example.net", False),
        ("name", "佐藤 誠", "です。佐藤 誠と申します", True),
        ("street", "45 mill lane", "145 Mill Lane", False),
        ("external_id", "ac-00001-00002", '{"id": "AC-00001-00002"}', True),
        ("name", "ömer böhm", "Grüße, Ömer Böhm", True),
        ("name", "istanbul kaya", "İ Istanbul Kaya", True),
    ],
)
def test_an_identifier_is_found_whole_or_not_at_all(kind: str, needle: str, text: str, found: bool):
    assert bool(Finder([Needle("acme", kind, needle)]).found_in(text)) is found
