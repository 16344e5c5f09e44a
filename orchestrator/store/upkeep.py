"""What has reached its date goes, and what was forgotten is found: chores that any instance may do, about once a minute.

Each piece of work is one short transaction over a bounded number of rows. What is not done this time is done the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from orchestrator.store.changes import OutboxRow, insert_outbox
from orchestrator.store.rows import shard_of

if TYPE_CHECKING:
    from orchestrator.store.store import Store

CHUNK = 1_000
"""Rows per transaction."""

CHUNKS = 10
"""Transactions per table and turn."""

STRANDED_MS = 5 * 60 * 1000
"""So long after its predecessor's end a request should have heard of it, in milliseconds."""

UPKEEP_LOCK = 0x0B110540
"""Advisory lock: one instance at a time does the chores, the others go on."""


@dataclass(frozen=True, slots=True)
class UpkeepReport:
    """How many rows went, and how many waiting requests are told again that their turn has come.

    ``leftovers``: identifiers of requests that have ended, which should have gone with their end.
    """

    index: int = 0
    submissions: int = 0
    quarantine: int = 0
    leftovers: int = 0
    stranded: int = 0


def upkeep(store: Store, now: int) -> UpkeepReport:
    """Do the chores that are due at ``now`` (milliseconds of the epoch)."""
    return UpkeepReport(
        index=_chunked(store, _expired("index"), now),
        submissions=_chunked(store, _expired("submissions"), now),
        quarantine=_chunked(store, _expired("quarantine"), now),
        leftovers=_chunked(store, _leftovers("vault"), now) + _chunked(store, _leftovers("open_subjects"), now),
        stranded=_stranded(store, now),
    )


def _expired(table: str) -> str:
    return f"""DELETE FROM oblio.{table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM oblio.{table} WHERE destroy_at <= :now ORDER BY destroy_at LIMIT :chunk))"""


def _leftovers(table: str) -> str:
    """Rows of requests that have ended: their end takes them away, so there is one only where that went wrong."""
    return f"""DELETE FROM oblio.{table} WHERE ctid = ANY(ARRAY(
        SELECT t.ctid FROM oblio.{table} t JOIN oblio.requests q ON q.id = t.request AND q.ended_at <= :now
        LIMIT :chunk))"""


def _chunked(store: Store, statement: str, now: int) -> int:
    """Run a deletion until it finds less than a chunk; how many rows went."""
    gone = 0
    for _ in range(CHUNKS):
        with store.database.begin() as connection:
            if not _alone(connection):
                break
            found = connection.execute(sa.text(statement), {"now": now, "chunk": CHUNK}).rowcount
        gone += found
        if found < CHUNK:
            break
    return gone


def _stranded(store: Store, now: int) -> int:
    """Tell requests again whose predecessor ended a while ago, should the word have been lost on its way."""
    with store.database.begin() as connection:
        if not _alone(connection):
            return 0
        found = connection.execute(
            sa.text(
                """SELECT w.request::text, w.behind::text, q.tenant FROM oblio.waits w
                   JOIN oblio.requests p ON p.id = w.behind AND p.ended_at <= :before
                   JOIN oblio.requests q ON q.id = w.request
                   WHERE NOT EXISTS (SELECT FROM oblio.outbox o WHERE o.request = w.request AND o.kind = 'turn')
                   ORDER BY w.request LIMIT :chunk"""
            ),
            {"before": now - STRANDED_MS, "chunk": CHUNK},
        ).all()
        rows = [
            OutboxRow(shard_of(behind, store.shards), "turn", waiter, {"ended": behind, "tenant": tenant})
            for waiter, behind, tenant in found
        ]
        insert_outbox(connection, rows)
        return len(rows)


def _alone(connection: Connection) -> bool:
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(UPKEEP_LOCK))))
