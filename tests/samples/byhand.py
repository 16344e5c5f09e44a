"""Erases a sample subject the way a careful person would, in plain SQL: no data map, no kernel.

It is what the fingerprint and the search for remains are tested with.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

from consumers.samples.people import Subject
from consumers.samples.stores import SampleStores

MINE = "(tenant, requester_id) = (%(tenant)s, %(id)s)"
TICKETS = f"select id from tickets where {MINE}"
COMMENTS = f"""select id from comments where tenant = %(tenant)s and (
    (author_type = 'Contact' and author_id = %(id)s) or (author_type = 'Agent' and ticket_id in ({TICKETS})))"""
ATTACHMENTS = f"select id from attachments where comment_id in ({COMMENTS})"

STATEMENTS = {
    "tickets": f"""
        delete from attachment_previews where attachment_id in ({ATTACHMENTS});
        delete from attachments where comment_id in ({COMMENTS});
        update comments set body = regexp_replace(body, %(pattern)s, '[erased]', 'gi')
            where tenant = %(tenant)s and body ~* %(pattern)s and id not in ({COMMENTS});
        update comments set body = '', via_email = null where id in ({COMMENTS});
        update ticket_events set old_value = null, new_value = null where tenant = %(tenant)s and
            (ticket_id in ({TICKETS}) or new_value ->> 'email' = any(%(emails)s) or new_value ->> 'to' = any(%(emails)s));
        update satisfaction_ratings set remark = null where tenant = %(tenant)s and user_id = %(id)s;
        update tickets set subject = '', description = '', custom_fields = '{{}}', cc_emails = '{{}}' where {MINE};
        update tickets set cc_emails = array_remove(cc_emails, %(email)s) where tenant = %(tenant)s;
        update users set email = null, phone = null, external_id = null, name = '', profile = '{{}}',
            alternate_emails = '{{}}' where (tenant, id) = (%(tenant)s, %(id)s)""",
    "chat": """
        create temporary table v on commit drop as
            select id from visitors where tenant = %(tenant)s and (user_id = %(id)s or email = any(%(emails)s));
        create temporary table s on commit drop as select id from sessions where visitor_id in (select id from v);
        update typing_metrics set session_id = null, visitor_id = null, client_ip = null
            where session_id in (select id from s);
        delete from messages where session_id in (select id from s) or sender_id in (select id from v);
        delete from session_participants where session_id in (select id from s) or participant_id in (select id from v);
        delete from sessions where id in (select id from s);
        delete from visitors where id in (select id from v);
        update messages set body = regexp_replace(body, %(pattern)s, '[erased]', 'gi') where body ~* %(pattern)s
            and session_id in (select id from sessions where tenant = %(tenant)s)""",
    "guide": """
        create temporary table c on commit drop as select tenant, id, uid from article_comments
            where tenant = %(tenant)s and (author_id = %(id)s or lower(author_email) = any(%(emails)s));
        delete from comment_revisions where comment_uid in (select uid from c);
        update comment_revisions set body = regexp_replace(body, %(pattern)s, '[erased]', 'gi')
            where comment_uid in (select uid from article_comments where tenant = %(tenant)s);
        update article_comments set author_id = null, author_name = null, author_email = null, body = ''
            where (tenant, id) in (select tenant, id from c);
        update article_comments set body = regexp_replace(body, %(pattern)s, '[erased]', 'gi')
            where tenant = %(tenant)s;
        delete from comment_votes where (tenant, user_id) = (%(tenant)s, %(id)s);
        delete from subscriptions where (tenant, user_id) = (%(tenant)s, %(id)s);
        update article_feedback set user_id = null, email = null, remark = null
            where tenant = %(tenant)s and (user_id = %(id)s or lower(email) = any(%(emails)s))""",
    "voice": """
        create temporary table c on commit drop as select tenant, id from calls
            where tenant = %(tenant)s and (caller_phone = %(phone)s or user_id = %(id)s);
        delete from call_notes where (tenant, call_id) in (select * from c);
        delete from transcripts where recording_id in (
            select id from recordings where (tenant, call_id) in (select * from c));
        delete from recordings where (tenant, call_id) in (select * from c);
        update calls set caller_phone = null, caller_name = null, user_id = null
            where (tenant, id) in (select * from c);
        delete from callback_requests where tenant = %(tenant)s and phone = %(phone)s""",
    "logs": """
        update request_log set user_id = null, email = null, client_ip = null, message = '', context = '{}'
            where tenant = %(tenant)s and (user_id = %(id)s or email = any(%(emails)s))""",
}
FILES = {
    "tickets": f"""select object_key from attachments where comment_id in ({COMMENTS}) union all
        select object_key from attachment_previews where attachment_id in ({ATTACHMENTS})""",
    "voice": """with r as (select r.* from recordings r join calls c on (c.tenant, c.id) = (r.tenant, r.call_id)
            where c.tenant = %(tenant)s and (c.caller_phone = %(phone)s or c.user_id = %(id)s))
        select object_key from r union all
        select object_key from transcripts where recording_id in (select id from r)""",
}


def erase(stores: SampleStores, subject: Subject) -> None:
    """Erase ``subject`` from all five stores; invoices stay."""
    values = {
        "tenant": subject.tenant,
        "id": subject.user_id,
        "email": subject.email,
        "emails": list(subject.emails),
        "phone": subject.phone,
        "pattern": rf"(?<![\w.+-])({'|'.join(map(re.escape, subject.emails))})(?![\w-]|\.\w)",
    }
    for product, statement in STATEMENTS.items():
        with stores.cursor(product) as cursor:
            if product in FILES:
                cursor.execute(FILES[product], values)
                for (key,) in cursor.fetchall():
                    (path_of(stores, key)).unlink()
            cursor.execute(statement, values)
    for path in stores.log_folder.glob("app*"):
        _redact(path, subject, str(values["pattern"]))


def path_of(stores: SampleStores, key: str) -> Path:
    return Path(stores.objects.removeprefix("file://")) / key


def _redact(path: Path, subject: Subject, pattern: str) -> None:
    content = path.read_bytes()
    packed = path.suffix == ".gz"
    lines = (gzip.decompress(content) if packed else content).splitlines()
    kept = b"".join(_redacted(line, subject, pattern) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(kept) if packed else kept)


def _redacted(line: bytes, subject: Subject, pattern: str) -> bytes:
    entry: dict[str, Any] = json.loads(line)
    if entry["tenant"] != subject.tenant:
        return line
    if entry["user_id"] == subject.user_id or entry["email"] in subject.emails:
        entry |= {"user_id": None, "email": None, "ip": None, "message": "[erased]"}
    scrubbed = re.sub(pattern, "[erased]", entry["message"])
    if scrubbed == json.loads(line)["message"]:
        return line
    return json.dumps(entry | {"message": scrubbed}, ensure_ascii=False, separators=(",", ":")).encode()
