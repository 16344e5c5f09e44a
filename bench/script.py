"""The other side of W1: the same set-based statements, run bare from one psycopg2 script in batches.

No orchestrator, no log, no receipts, no verification: what a good engineer's one-off clean-up does at best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg2

from consumers.samples.people import Subject
from consumers.samples.stores import SampleStores

_WHO = (
    "unnest(%(tenants)s::text[], %(ids)s::bigint[], %(emails)s::text[], %(phones)s::text[]) w(tenant, id, email, phone)"
)

STATEMENTS: dict[str, tuple[str, ...]] = {
    "tickets": (
        f"""UPDATE comments c SET body = '[erased]', via_email = NULL FROM {_WHO}
            JOIN tickets t ON t.tenant = w.tenant AND t.requester_id = w.id
            WHERE c.tenant = t.tenant AND c.ticket_id = t.id""",
        f"""UPDATE tickets t SET subject = '[erased]', description = '[erased]', cc_emails = '{{}}',
            custom_fields = t.custom_fields - 'contact' FROM {_WHO}
            WHERE t.tenant = w.tenant AND t.requester_id = w.id""",
        f"""UPDATE users u SET external_id = NULL, email = NULL, phone = NULL, name = '[erased]',
            alternate_emails = '{{}}', profile = u.profile - 'address' - 'birthday' - 'company' FROM {_WHO}
            WHERE u.tenant = w.tenant AND u.id = w.id""",
    ),
    "chat": (
        f"""DELETE FROM messages m USING {_WHO} JOIN visitors v ON v.tenant = w.tenant AND v.user_id = w.id
            JOIN sessions s ON s.visitor_id = v.id WHERE m.session_id = s.id""",
        f"""DELETE FROM sessions s USING {_WHO} JOIN visitors v ON v.tenant = w.tenant AND v.user_id = w.id
            WHERE s.visitor_id = v.id""",
        f"DELETE FROM visitors v USING {_WHO} WHERE v.tenant = w.tenant AND v.user_id = w.id",
    ),
    "guide": (
        f"""UPDATE article_comments c SET author_id = NULL, author_name = '[erased]', author_email = NULL,
            body = '[erased]' FROM {_WHO} WHERE c.tenant = w.tenant AND c.author_id = w.id""",
    ),
    "voice": (
        f"""UPDATE calls c SET caller_phone = NULL, caller_name = NULL, user_id = NULL FROM {_WHO}
            WHERE c.tenant = w.tenant AND c.caller_phone = w.phone AND c.user_id IS NULL""",
    ),
    "logs": (
        f"""UPDATE request_log l SET user_id = NULL, email = NULL, client_ip = set_masklen(l.client_ip, 24),
            message = replace(l.message, w.email, '[erased]'), context = l.context - 'params' FROM {_WHO}
            WHERE l.tenant = w.tenant AND l.user_id = w.id""",
    ),
}


Connections = dict[str, Any]
"""One of psycopg2 for each product."""


@contextmanager
def connected(stores: SampleStores) -> Iterator[Connections]:
    """A connection to each of the five databases."""
    with ExitStack() as stack:
        connections = {}
        for product in STATEMENTS:
            url = stores.url(product).set(drivername="postgresql")
            connections[product] = psycopg2.connect(url.render_as_string(hide_password=False))
            stack.callback(connections[product].close)
        yield connections


def erase(connections: Connections, subjects: Sequence[Subject], batch: int) -> None:
    """Erase ``subjects`` from the five databases, ``batch`` of them per transaction and database."""
    for start in range(0, len(subjects), batch):
        part = subjects[start : start + batch]
        values = {
            "tenants": [subject.tenant for subject in part],
            "ids": [subject.user_id for subject in part],
            "emails": [subject.email for subject in part],
            "phones": [subject.phone for subject in part],
        }
        for product, statements in STATEMENTS.items():
            with connections[product] as connection, connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement, values)
