from __future__ import annotations

import gzip
import io
import json
import struct
import wave
import zlib
from collections import Counter
from pathlib import Path

import psycopg2.errors
import pytest

from consumers.samples.chat_rows import chat_rows
from consumers.samples.guide_rows import guide_rows
from consumers.samples.log_rows import ACTIVE, log_rows, write_log_files
from consumers.samples.people import people
from consumers.samples.seed import grow, seed
from consumers.samples.stores import PRODUCTS
from consumers.samples.ticket_rows import ticket_rows
from consumers.samples.voice_rows import voice_rows


def query(stores, product: str, statement: str, *values):
    with stores.cursor(product) as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


@pytest.mark.parametrize("make", [chat_rows, guide_rows, log_rows, ticket_rows, voice_rows])
def test_the_same_seed_makes_the_same_rows_and_files(make):
    everybody = people(60, seed=3)
    one, two, other = make(everybody, 3), make(people(60, seed=3), 3), make(everybody, 4)
    assert (one.tables, one.objects, one.counts) == (two.tables, two.objects, two.counts)
    assert one.tables != other.tables


def test_the_same_seed_writes_the_same_log_files(tmp_path: Path):
    for name in ("one", "two"):
        write_log_files(people(60, seed=3), tmp_path / name, 3)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_a_store_that_is_not_empty_is_refused_and_left_as_it_is(sample, world):
    with pytest.raises(psycopg2.errors.UniqueViolation):
        seed(sample, 40)
    assert query(sample, "tickets", "select count(*) from users") == [(len(world.subjects),)]


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_foreign_key_has_an_index_on_its_child(sample, product: str):
    """Deleting a parent looks its children up: without an index each delete reads the whole child table."""
    missing = query(
        sample,
        product,
        """
        select c.conrelid::regclass::text, c.conname from pg_constraint c
        where c.contype = 'f' and not exists (
            select from pg_index i where i.indrelid = c.conrelid and i.indpred is null
            and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
        """,
    )
    # Articles are the tenant's own and are never deleted for a subject; all the same they have one.
    assert missing == []


@pytest.mark.parametrize("product", PRODUCTS)
def test_tables_hold_what_the_world_says(sample, world, product: str):
    for table, count in world.totals[product].items():
        if table not in {"files", "lines"}:
            assert query(sample, product, f"select count(*) from {table}") == [(count,)], table


@pytest.mark.parametrize(
    "product, table, statement",
    [
        ("logs", "request_log", "(tenant, level, service, message) values ('acme', 'info', 'x', 'y')"),
        ("tickets", "comments", "(tenant, ticket_id, author_type, body) values ('acme', 1, 'Agent', 'x')"),
        ("chat", "messages", "(session_id, sender_type, body) select id, 'Bot', 'x' from sessions limit 1"),
    ],
)
def test_ids_that_the_database_gives_go_on_after_the_samples(sample, product: str, table: str, statement: str):
    with sample.cursor(product) as cursor:
        cursor.execute(f"select max(id) from {table}")
        (before,) = cursor.fetchone()
        cursor.execute(f"insert into {table} {statement} returning id")
        assert cursor.fetchone()[0] > before
        cursor.connection.rollback()


def test_agents_and_users_have_the_same_numbers(sample):
    both = query(sample, "tickets", "select count(*) from agents join users using (tenant, id)")
    assert both[0][0] == 12
    types = query(sample, "tickets", "select count(distinct author_type) from comments where author_id = 1001")
    assert types == [(2,)]


@pytest.mark.parametrize(
    "product, table",
    [
        ("tickets", "attachment_previews"),
        ("chat", "messages"),
        ("guide", "comment_revisions"),
        ("voice", "transcripts"),
    ],
)
def test_some_tables_reach_their_tenant_by_joins_alone(sample, product: str, table: str):
    columns = query(sample, product, "select column_name from information_schema.columns where table_name = %s", table)
    assert columns
    assert ("tenant",) not in columns


def test_other_peoples_words_quote_subjects(sample):
    in_tickets = query(
        sample,
        "tickets",
        """
        select count(*) from comments c join tickets t on (t.tenant, t.id) = (c.tenant, c.ticket_id)
        join users u on (u.tenant, u.id) = (t.tenant, t.requester_id)
        where c.author_type = 'Contact' and c.author_id <> u.id and strpos(c.body, u.email) > 0
        """,
    )
    in_guide = query(
        sample,
        "guide",
        """
        select count(*) filter (where strpos(lower(r.body), lower(c.author_email)) > 0),
               count(*) filter (where strpos(r.body, c.author_email) > 0)
        from article_comments c join article_comments r on (r.tenant, r.parent_id) = (c.tenant, c.id)
        where r.author_id is distinct from c.author_id
        """,
    )
    assert in_tickets[0][0] >= 5
    assert in_guide[0][0] > in_guide[0][1] >= 5  # some as typed, in another case


def test_some_people_are_in_copy_and_some_are_guests(sample):
    assert query(sample, "tickets", "select count(*) from tickets where cardinality(cc_emails) > 0")[0][0] >= 10
    guests = "select count(*) from (select session_id from session_participants group by 1 having count(*) > 2) s"
    assert query(sample, "chat", guests)[0][0] >= 5


def test_every_object_has_its_row_and_every_row_its_object(sample):
    rows: Counter[str] = Counter()
    for product, tables in (
        ("tickets", ("attachments", "attachment_previews")),
        ("voice", ("recordings", "transcripts")),
    ):
        for table in tables:
            rows.update(key for (key,) in query(sample, product, f"select object_key from {table}"))
    assert sorted(rows) == sample.object_store.list()
    assert set(rows.values()) == {1}
    for key, size in query(sample, "tickets", "select object_key, size from attachments"):
        assert len(sample.object_store.read(key)) == size


def test_recordings_are_sound(sample):
    keys = [key for key in sample.object_store.list() if key.endswith(".wav")]
    assert len(keys) > 50
    for key in keys:
        content = sample.object_store.read(key)
        with wave.open(io.BytesIO(content)) as sound:
            assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 8000)
            frames = sound.readframes(sound.getnframes())
            assert len(frames) == 2 * sound.getnframes() >= 4000
            assert max(struct.unpack("<100h", frames[:200])) > 1000
        assert struct.unpack("<I", content[4:8])[0] == len(content) - 8


def test_transcripts_hold_the_callers_words(sample):
    statement = """
        select t.object_key, c.caller_phone from transcripts t join recordings r on r.id = t.recording_id
        join calls c on (c.tenant, c.id) = (r.tenant, r.call_id)
    """
    phones = dict(query(sample, "voice", statement))
    assert {Path(key).suffix for key in phones} == {".json", ".txt"}
    for key, phone in phones.items():
        text = sample.object_store.read(key).decode()
        if key.endswith(".json"):
            words = json.loads(text)
            assert words["caller"] == phone
            text = " ".join(turn["text"] for turn in words["turns"])
        assert phone in text


def test_attachments_are_what_they_say(sample):
    kinds: Counter[str] = Counter()
    for key, kind in query(sample, "tickets", "select object_key, content_type from attachments"):
        content = sample.object_store.read(key)
        kinds[kind] += 1
        if kind == "image/png":
            assert content.startswith(b"\x89PNG\r\n\x1a\n")
            pixels = content.index(b"IDAT")
            size = struct.unpack(">I", content[pixels - 4 : pixels])[0]
            assert len(zlib.decompress(content[pixels + 4 : pixels + 4 + size])) == 8 * 9
        elif kind == "application/pdf":
            start = int(content.rpartition(b"startxref\n")[2].split()[0])
            assert content[start:].startswith(b"xref")
            first = int(content[start:].splitlines()[3].split()[0])
            assert content[first:].startswith(b"1 0 obj")
        else:
            content.decode()
    assert set(kinds) == {"text/plain", "image/png", "application/pdf"}


def test_log_files_are_gzip_then_plain_then_active(sample, world):
    names = sorted(path.name for path in sample.log_folder.iterdir())
    assert names[-1] == ACTIVE
    assert sum(name.endswith(".jsonl.gz") for name in names) >= 3
    assert sum(name.endswith(".jsonl") for name in names) == 5
    times, ids = [], []
    for name in names:
        path = sample.log_folder / name
        content = path.read_bytes()
        for line in (gzip.decompress(content) if name.endswith(".gz") else content).splitlines():
            entry = json.loads(line)
            assert list(entry) == [
                "ts",
                "level",
                "service",
                "tenant",
                "user_id",
                "email",
                "ip",
                "message",
                "request_id",
            ]
            assert name == ACTIVE or entry["ts"][:10] in name
            times.append(entry["ts"])
            ids.append(entry["request_id"])
    assert len(times) == len(set(ids)) == world.totals["logs"]["lines"]
    assert times == sorted(times)


def test_some_log_lines_name_a_subject_in_the_message_alone(sample):
    content = b"".join(path.read_bytes() for path in sample.log_folder.glob("*.jsonl"))
    entries = [json.loads(line) for line in content.splitlines()]
    bare = [entry for entry in entries if entry["user_id"] is None and entry["email"] is None]
    quoting = [entry for entry in entries if entry["email"] and "added <" in entry["message"]]
    assert bare
    assert all("@" in entry["message"] for entry in bare)
    assert any(entry["email"] not in entry["message"] for entry in quoting)


def test_the_world_offers_subjects_to_erase(world):
    chosen = world.choose(5)
    assert [subject.tenant for subject in chosen[:4]] in (["acme", "globex"] * 2, ["globex", "acme"] * 2)
    assert chosen[0] == world.twins()[0]
    assert chosen[:3] == world.choose(3)
    for subject in chosen:
        assert world.counts[subject.key]["voice"]["transcripts"] > 0
    assert world.subject("acme", 1001) == world.subjects[0]
    with pytest.raises(ValueError, match="not so many"):
        world.choose(10_000)
    with pytest.raises(KeyError):
        world.subject("acme", 1)


def test_one_subject_can_be_made_very_large(sample, world):
    subject = world.choose(1)[0]
    grow(sample, subject, tickets=3000, comments=2)
    of_them = "from tickets where tenant = %s and requester_id = %s and id > 10000000"
    tickets = query(sample, "tickets", f"select count(*), min(id) {of_them}", *subject.key)
    comments = f"from comments where ticket_id in (select id {of_them})"
    said = query(sample, "tickets", f"select count(*), count(distinct author_id) {comments}", *subject.key)
    with sample.cursor("tickets") as cursor:  # the stores are everybody's
        cursor.execute(f"delete {comments}", subject.key)
        cursor.execute(f"delete {of_them}", subject.key)
    assert tickets == [(3000, 10_000_001)]
    assert said == [(6000, 1)]
