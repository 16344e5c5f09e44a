"""What the fingerprint knows of the sample tables: their keys, their tenant, and whose rows are whose.

Written from the schemas alone and never from the data maps: it is there to catch a map that is wrong. In the SQL
below ``t`` is the table's row, and ``erased`` a temporary table (tenant, user_id, phone, email) with a row for every
e-mail address of every subject in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consumers.samples.harvest import copy_rows
from consumers.samples.people import Subject

_PERSON = "(t.tenant, {column}) in (select tenant, user_id from erased)"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: ``key`` are its key columns, ``tenant`` and ``owned`` are SQL over ``t``."""

    name: str
    key: tuple[str, ...]
    owned: str = "false"
    tenant: str = "t.tenant"
    object_key: str | None = None  # the column that names a file


def name_erased(cursor: Any, subjects: Sequence[Subject]) -> None:
    """Make the temporary table ``erased`` of the SQL below, in the cursor's transaction."""
    cursor.execute("create temporary table erased (tenant text, user_id bigint, phone text, email text) on commit drop")
    rows = [
        (one.tenant, one.user_id, None if one.phone_at_home else one.phone, email)
        for one in subjects
        for email in one.emails
    ]
    copy_rows(cursor, "erased", "tenant, user_id, phone, email", rows)
    cursor.execute("analyze erased")


def _person(column: str) -> str:
    return _PERSON.format(column=column)


_OWN_TICKET = (
    "exists (select from tickets p join erased e on e.tenant = p.tenant and e.user_id = p.requester_id"
    " where p.tenant = t.tenant and p.id = t.ticket_id)"
)
# A customer's words are theirs, wherever they stand; an agent's are part of the requester's ticket.
_OWN_COMMENT = f"case t.author_type when 'Contact' then {_person('t.author_id')} else {_OWN_TICKET} end"  # fmt: skip
_COMMENT_OF_ATTACHMENT = f"exists (select from comments t where t.id = {{comment}} and {_OWN_COMMENT})"
_OWN_ATTACHMENT = _COMMENT_OF_ATTACHMENT.format(comment="a.comment_id")

_VISITOR = (
    "select v.id from visitors v join erased e on e.tenant = v.tenant and (e.user_id = v.user_id or e.email = v.email)"
)
_SESSION = f"select s.id from sessions s where s.visitor_id in ({_VISITOR})"
_SESSION_TENANT = "(select s.tenant from sessions s where s.id = t.session_id)"

_WRITER = f"({_person('{id}')} or (t.tenant, lower({{email}})) in (select tenant, email from erased))"
_OWN_GUIDE_COMMENT = _WRITER.format(id="t.author_id", email="t.author_email")

_CALLER = (
    "(({of}.tenant, {of}.caller_phone) in (select tenant, phone from erased)"
    " or ({of}.tenant, {of}.user_id) in (select tenant, user_id from erased))"
)
_CALL = (
    "exists (select from calls c where c.tenant = {of}.tenant and c.id = {of}.call_id and "
    + _CALLER.format(of="c")
    + ")"
)
_RECORDING = f"select r.id from recordings r where {_CALL.format(of='r')}"

CATALOGUE: dict[str, tuple[Table, ...]] = {
    "tickets": (
        Table("agents", ("tenant", "id")),
        Table("users", ("tenant", "id"), _person("t.id")),
        Table("tickets", ("tenant", "id"), _person("t.requester_id")),
        Table("comments", ("id",), _OWN_COMMENT),
        Table(
            "attachments",
            ("id",),
            f"exists (select from attachments a where a.id = t.id and {_OWN_ATTACHMENT})",
            "(select c.tenant from comments c where c.id = t.comment_id)",
            "object_key",
        ),
        Table(
            "attachment_previews",
            ("attachment_id", "page"),
            f"exists (select from attachments a where a.id = t.attachment_id and {_OWN_ATTACHMENT})",
            "(select c.tenant from attachments a join comments c on c.id = a.comment_id where a.id = t.attachment_id)",
            "object_key",
        ),
        Table(
            "ticket_events",
            ("tenant", "ticket_id", "seq"),
            f"({_OWN_TICKET} or (t.actor_type = 'Contact' and {_person('t.actor_id')}))",
        ),
        Table("satisfaction_ratings", ("tenant", "id"), _person("t.user_id")),
        Table("invoices", ("tenant", "id"), _person("t.user_id")),
    ),
    "chat": (
        Table("agents", ("id",)),
        Table("visitors", ("id",), f"t.id in ({_VISITOR})"),
        Table("sessions", ("id",), f"t.id in ({_SESSION})"),
        Table(
            "messages",
            ("id",),
            # A deleted session takes its guests' lines along.
            f"(t.session_id in ({_SESSION}) or (t.sender_type = 'Contact' and t.sender_id in ({_VISITOR})))",
            _SESSION_TENANT,
        ),
        Table(
            "session_participants",
            ("session_id", "participant_type", "participant_id"),
            f"(t.session_id in ({_SESSION}) or (t.participant_type = 'Contact' and t.participant_id in ({_VISITOR})))",
            _SESSION_TENANT,
        ),
        Table("typing_metrics", ("id",), f"(t.session_id in ({_SESSION}) or t.visitor_id in ({_VISITOR}))"),
    ),
    "guide": (
        Table("articles", ("tenant", "id")),
        Table("article_comments", ("tenant", "id"), _OWN_GUIDE_COMMENT),
        Table(
            "comment_revisions",
            ("comment_uid", "revision"),
            f"t.comment_uid in (select t.uid from article_comments t where {_OWN_GUIDE_COMMENT})",
            "(select c.tenant from article_comments c where c.uid = t.comment_uid)",
        ),
        Table("comment_votes", ("tenant", "comment_id", "user_id"), _person("t.user_id")),
        Table("subscriptions", ("tenant", "user_id", "article_id"), _WRITER.format(id="t.user_id", email="t.email")),
        Table("article_feedback", ("tenant", "id"), _WRITER.format(id="t.user_id", email="t.email")),
    ),
    "voice": (
        Table("agents", ("tenant", "id")),
        Table("calls", ("tenant", "id"), _CALLER.format(of="t")),
        Table("recordings", ("id",), _CALL.format(of="t"), object_key="object_key"),
        Table(
            "transcripts",
            ("id",),
            f"t.recording_id in ({_RECORDING})",
            "(select r.tenant from recordings r where r.id = t.recording_id)",
            "object_key",
        ),
        Table("call_notes", ("tenant", "call_id", "seq"), _CALL.format(of="t")),
        Table("callback_requests", ("tenant", "id"), "(t.tenant, t.phone) in (select tenant, phone from erased)"),
    ),
    "logs": (
        Table(
            "request_log",
            ("tenant", "id"),
            f"({_person('t.user_id')} or (t.tenant, t.email) in (select tenant, email from erased))",
        ),
    ),
}

# Kept by law although it names a subject: (product, table) -> its date's column, and how many years from then.
RETAINED = {("tickets", "invoices"): ("issued_at", 10)}

# Columns that hold a person's user id: (table, column, further condition).
LINKS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "tickets": (
        ("users", "id", "true"),
        ("tickets", "requester_id", "true"),
        ("comments", "author_id", "author_type = 'Contact'"),
        ("ticket_events", "actor_id", "actor_type = 'Contact'"),
        ("satisfaction_ratings", "user_id", "true"),
        ("invoices", "user_id", "true"),
    ),
    "chat": (("visitors", "user_id", "true"),),
    "guide": (
        ("article_comments", "author_id", "true"),
        ("comment_votes", "user_id", "true"),
        ("subscriptions", "user_id", "true"),
        ("article_feedback", "user_id", "true"),
    ),
    "voice": (("calls", "user_id", "true"),),
    "logs": (("request_log", "user_id", "true"),),
}
