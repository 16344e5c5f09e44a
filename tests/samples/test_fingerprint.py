from __future__ import annotations

import gzip
import json
import re

import pytest

from consumers.samples.catalogue import CATALOGUE
from consumers.samples.fingerprint import differences, fingerprint
from consumers.samples.logwriter import LogWriter
from consumers.samples.people import people
from consumers.samples.seed import SampleWorld
from consumers.samples.stores import SampleStores
from tests.samples.byhand import erase, path_of

# One row each, of a bystander: (product, table) -> what a careless erasure might do to it.
DAMAGE = {
    ("tickets", "agents"): "update agents set name = name || ' ' where (tenant, id) = ('acme', 1001)",
    ("tickets", "users"): "update users set profile = profile || '{\"x\": 1}' where {user}",
    ("tickets", "tickets"): "update tickets set updated_at = updated_at + interval '1 us' where (tenant, requester_id) = {key}",
    ("tickets", "comments"): "update comments set body = body || '.' where author_type = 'Contact' and (tenant, author_id) = {key}",
    ("tickets", "attachments"): "update attachments set size = size + 1 where {attachment}",
    ("tickets", "attachment_previews"): "delete from attachment_previews where attachment_id = (select max(attachment_id::text)"
    "::uuid from attachment_previews)",
    ("tickets", "ticket_events"): "update ticket_events set new_value = null where actor_type = 'Contact' and (tenant, actor_id) = {key}",
    ("tickets", "satisfaction_ratings"): "update satisfaction_ratings set score = score % 5 + 1",
    ("tickets", "invoices"): "update invoices set amount = amount + 0.01",
    ("chat", "agents"): "delete from agents where id not in (select agent_id from sessions where agent_id is not null)"
    " or id = (select max(id::text)::uuid from agents)",
    ("chat", "visitors"): "update visitors set ip = null where {user_of}",
    ("chat", "sessions"): "update sessions set topic = 'x' where tenant = 'globex'",
    ("chat", "messages"): "update messages set payload = '{\"a\": null}' where sender_type = 'Bot'",
    ("chat", "session_participants"): "update session_participants set joined_at = now() where participant_type = 'Agent'",
    ("chat", "typing_metrics"): "update typing_metrics set characters = characters + 1",
    ("guide", "articles"): "update articles set body = upper(body) where id = 1",
    ("guide", "article_comments"): "update article_comments set hidden_at = now()",
    ("guide", "comment_revisions"): "update comment_revisions set revision = revision + 1",
    ("guide", "comment_votes"): "update comment_votes set value = -value",
    ("guide", "subscriptions"): "delete from subscriptions",
    ("guide", "article_feedback"): "update article_feedback set remark = 'x' where remark is null",
    ("voice", "agents"): "update agents set name = lower(name) where tenant = 'globex'",
    ("voice", "calls"): "update calls set duration_s = duration_s + 1",
    ("voice", "recordings"): "update recordings set bytes = bytes + 1",
    ("voice", "transcripts"): "update transcripts set words = words + 1",
    ("voice", "call_notes"): "update call_notes set note = note || ' '",
    ("voice", "callback_requests"): "update callback_requests set done_at = now()",
    ("logs", "request_log"): "update request_log set level = 'debug' where (tenant, user_id) = {key}",
}  # fmt: skip


def run(stores: SampleStores, product: str, statement: str, *values: object) -> list:
    with stores.cursor(product) as cursor:
        cursor.execute(statement, values or None)
        assert cursor.rowcount > 0, statement
        return cursor.fetchall() if cursor.description else []


def test_nothing_done_is_no_difference(sample: SampleStores, world: SampleWorld):
    subjects = world.choose(3)
    before = fingerprint(sample, subjects)
    after = fingerprint(sample, subjects, like=before)
    assert differences(before, after) == ()
    assert before.digest() == after.digest()
    assert all(count > 50 for count in before.size().values())
    assert sum(len(table.owned) for table in before.tables.values()) > 30
    assert sum(len(table.mentions) for table in before.tables.values()) >= 1
    assert before.owned_objects


def test_the_catalogue_knows_every_table(sample: SampleStores):
    for product, tables in CATALOGUE.items():
        found = run(sample, product, "select tablename from pg_tables where schemaname = 'public'")
        assert sorted(name for (name,) in found) == sorted(table.name for table in tables)
    assert {(product, table.name) for product, tables in CATALOGUE.items() for table in tables} == set(DAMAGE)


def test_a_careful_erasure_is_no_difference(own: SampleStores, world: SampleWorld):
    subjects = world.choose(2)
    before = fingerprint(own, subjects)
    for subject in subjects:
        erase(own, subject)
    after = fingerprint(own, subjects, like=before)
    assert differences(before, after) == ()


def test_damage_to_a_bystander_is_seen_in_every_table(own: SampleStores, world: SampleWorld):
    subject, bystander = world.choose(4)[2:]
    before = fingerprint(own, [subject])
    names = {
        "user": f"(tenant, id) = ('{bystander.tenant}', {bystander.user_id})",
        "user_of": f"(tenant, user_id) = ('{bystander.tenant}', {bystander.user_id})",
        "key": f"('{bystander.tenant}', {bystander.user_id})",
        "attachment": "comment_id in (select id from comments where author_type = 'Contact' and (tenant, author_id) ="
        f" ('{bystander.tenant}', {bystander.user_id}))",
    }
    for (product, _), damage in DAMAGE.items():
        statement = re.sub(r"\{(user|user_of|key|attachment)\}", lambda match: names[match[1]], damage)
        with own.cursor(product) as cursor:
            cursor.execute("set session_replication_role = replica")  # no foreign key hinders this damage
            cursor.execute(statement)
            assert cursor.rowcount > 0, statement
            cursor.execute("set session_replication_role = origin")
    after = fingerprint(own, [subject], like=before)
    assert {(one.product, one.place) for one in differences(before, after)} == set(DAMAGE)


def test_files_of_bystanders_are_compared_byte_for_byte(own: SampleStores, world: SampleWorld):
    before = fingerprint(own, world.choose(1))
    changed, gone, *_ = (key for key in before.objects if key.startswith("voice/"))
    content = bytearray(own.object_store.read(changed))
    content[-1] ^= 1
    path_of(own, changed).write_bytes(content)
    path_of(own, gone).unlink()
    own.object_store.put({"tickets/acme/new.txt": b"new"})
    found = differences(before, fingerprint(own, world.choose(1), like=before))
    assert [(one.product, one.what) for one in found] == [
        ("tickets", "a new file"), ("voice", "a file changed"), ("voice", "a file is gone"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name, damage",
    [
        ("app-*.jsonl.gz", "change"),
        ("app-*.jsonl", "change"),
        ("app.jsonl", "change"),
        ("app-*.jsonl.gz", "drop"),
        ("app-*.jsonl", "swap"),
        ("app.jsonl", "break"),
    ],
)
def test_log_lines_of_bystanders_are_compared_in_their_order(
    own: SampleStores, world: SampleWorld, name: str, damage: str
):
    nobody = people(40, seed=99)[:1]  # everybody in the files is a bystander
    before = fingerprint(own, nobody)
    path = min(own.log_folder.glob(name))
    content = path.read_bytes()
    lines = (gzip.decompress(content) if name.endswith("gz") else content).splitlines(keepends=True)
    match damage:
        case "change":
            lines[2] = lines[2].replace(b'"level":"', b'"level":"x', 1)
        case "drop":
            del lines[2]
        case "swap":
            lines[2], lines[3] = lines[3], lines[2]
        case _:
            lines[2] = lines[2][: len(lines[2]) // 2] + b"\n"
    path.write_bytes(gzip.compress(b"".join(lines)) if name.endswith("gz") else b"".join(lines))
    found = differences(before, fingerprint(own, nobody, like=before))
    path.write_bytes(content)
    assert [(one.product, one.place) for one in found] == [("logs", "files")]


def test_a_bystanders_words_may_lose_the_address_and_nothing_else(own: SampleStores, world: SampleWorld):
    subject = world.choose(1)[0]
    other = next(one for one in world.subjects if one.tenant == subject.tenant and one is not subject)
    stranger = next(one for one in world.subjects if one.tenant != subject.tenant)
    nested = f"x.{subject.email}"
    texts = {
        101: (other, f"write to {subject.email}, please", "write to [erased], please", True),
        102: (other, f"write to {subject.email.title()}", "write to ***", True),
        103: (other, f"{subject.email} and {subject.email}!", " and !", True),
        104: (other, f"write to {subject.email}, please", "[erased]", False),
        105: (other, f"write to {subject.email}, please", "write to [erased], please!", False),
        106: (other, f"write to {nested}", "write to x.[erased]", False),
        107: (stranger, f"write to {subject.email}", "write to [erased]", False),
    }
    for number, (author, text, _, _) in texts.items():
        run(own, "guide", "insert into article_comments (tenant, id, uid, article_id, author_id, body)"
            " values (%s, %s, gen_random_uuid(), 1, %s, %s)", author.tenant, 10_000 + number, author.user_id, text)  # fmt: skip
    before = fingerprint(own, [subject])
    update = "update article_comments set body = %s where (tenant, id) = (%s, %s)"
    for number, (author, _, scrubbed, allowed) in texts.items():
        if allowed:
            run(own, "guide", update, scrubbed, author.tenant, 10_000 + number)
    assert differences(before, fingerprint(own, [subject], like=before)) == ()
    for number, (author, text, scrubbed, allowed) in texts.items():
        if not allowed:
            run(own, "guide", update, scrubbed, author.tenant, 10_000 + number)
            found = differences(before, fingerprint(own, [subject], like=before))
            assert [one.place for one in found] == ["article_comments"], number
            run(own, "guide", update, text, author.tenant, 10_000 + number)


def test_an_array_may_lose_the_address_and_json_its_text(own: SampleStores, world: SampleWorld):
    subject = world.choose(1)[0]
    other = next(one for one in world.subjects if one.tenant == subject.tenant and one is not subject)
    set_ = "update tickets set cc_emails = %s, custom_fields = %s where (tenant, id) = (select tenant, min(id) from tickets"
    whose = " where (tenant, requester_id) = (%s, %s) group by tenant)"
    before_json = json.dumps({"order": 7, "note": f"ask {subject.email}", "also": [subject.email, "b@example.com"]})
    run(own, "tickets", set_ + whose, ["a@example.com", subject.email, "b@example.com"], before_json, *other.key)
    before = fingerprint(own, [subject])
    trials = [
        (["a@example.com", "b@example.com"], {"order": 7, "note": "ask ", "also": ["b@example.com"]}, True),
        (["a@example.com", "-", "b@example.com"], {"order": 7, "note": "ask x", "also": [None, "b@example.com"]}, True),
        (["b@example.com"], {"order": 7, "note": "ask ", "also": ["b@example.com"]}, False),
        (["a@example.com", "b@example.com"], {"order": 8, "note": "ask ", "also": ["b@example.com"]}, False),
        (["a@example.com", "b@example.com"], {"note": "ask ", "also": ["b@example.com"]}, False),
        (["a@example.com", "b@example.com"], {}, False),
    ]
    for emails, fields, allowed in trials:
        run(own, "tickets", set_ + whose, emails, json.dumps(fields), *other.key)
        found = differences(before, fingerprint(own, [subject], like=before))
        assert [one.place for one in found] == ([] if allowed else ["tickets"]), (emails, fields)


def test_a_quoting_log_line_may_lose_the_address_and_nothing_else(own: SampleStores, world: SampleWorld):
    subject = world.choose(1)[0]
    other = next(one for one in world.subjects if one.tenant == subject.tenant and one is not subject)
    entry = {
        "ts": "x",
        "tenant": other.tenant,
        "user_id": other.user_id,
        "email": other.email,
        "request_id": "req-quoting",
    }
    entry["message"] = f"user {other.user_id} added <{subject.email}>"
    active = own.log_folder / "app.jsonl"
    content = active.read_bytes()
    active.write_bytes(content + json.dumps(entry).encode() + b"\n")
    before = fingerprint(own, [subject])
    outcomes = []
    for message, email in (
        (f"user {other.user_id} added <***>", other.email),
        ("", other.email),
        (entry["message"], None),
    ):
        line = json.dumps(entry | {"message": message, "email": email}).encode()
        active.write_bytes(content + line + b"\n")
        outcomes.append(differences(before, fingerprint(own, [subject], like=before)))
    active.write_bytes(content)
    gone = differences(before, fingerprint(own, [subject], like=before))
    assert [bool(found) for found in [*outcomes, gone]] == [False, True, True, True]


def test_rotation_and_new_lines_of_a_live_writer_are_no_difference(own: SampleStores, world: SampleWorld):
    with LogWriter(own.log_folder) as writer:
        before = fingerprint(own, world.choose(1))
        writer.rotate()
        writer.write()
        after = fingerprint(own, world.choose(1), like=before)
    assert differences(before, after) == ()


def test_a_report_of_differences_quotes_no_data(own: SampleStores, world: SampleWorld):
    subject, bystander = world.choose(2)
    before = fingerprint(own, [subject])
    run(own, "tickets", "update users set name = 'x' where (tenant, id) = (%s, %s)", *bystander.key)
    text = str(differences(before, fingerprint(own, [subject], like=before)))
    assert "users" in text
    assert not any(value in text for value in (bystander.name, bystander.email, str(bystander.user_id)))
