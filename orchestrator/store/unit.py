"""The unit of work: everything one batch changes, written in one transaction.

The order of statements is fixed (shards, offsets, heads, events, then the rest), so that two instances that wrongly
believe they own the same shard meet at the first statement, and one of them loses there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from orchestrator.domain.state import State
from orchestrator.store import rows as r
from orchestrator.store.changes import (
    Changes,
    IndexRow,
    OutboxRow,
    QuarantineRow,
    VaultRow,
    insert_outbox,
    put_index,
    put_quarantine,
    put_vault,
)
from orchestrator.store.database import array, execute_rows
from orchestrator.store.derived import (
    delete_rows,
    fold_brake,
    insert_requests,
    insert_steps,
    insert_waits,
    put_timers,
    update_requests,
    update_steps,
)
from schemas.events import INSTALLATION, Recorded, check, encode

__all__ = [
    "READY_HORIZON",
    "Changes",
    "IndexRow",
    "LostOffsets",
    "LostShard",
    "OutboxRow",
    "QuarantineRow",
    "Unit",
    "VaultRow",
]


class LostShard(Exception):
    """Another instance has taken the shard over: drop what was decided and read the assignment anew."""


class LostOffsets(Exception):
    """The offsets in the store are not those this reader began with: another reader moved them."""


READY_HORIZON = 5_000
"""How many ready steps per product are looked at for taking tenants in turn."""

_READY = sa.text(
    """
SELECT g.product, s.request::text
FROM unnest(CAST(:products AS text[]), CAST(:free AS integer[])) AS g(product, free)
CROSS JOIN LATERAL (
    SELECT request, due_at,
           row_number() OVER (PARTITION BY due_at / 86400000, tenant ORDER BY ready_from, request) AS turn
    FROM (
        SELECT request, tenant, due_at, ready_from FROM oblio.steps t
        WHERE t.product = g.product AND t.ready_from <= :now AND t.shard = ANY(:shards)
          AND (t.phase NOT IN ('trash', 'purge') OR NOT EXISTS (
              SELECT FROM oblio.brakes b WHERE b.tenant IN ('', t.tenant) AND b.product IN ('', t.product)))
        ORDER BY due_at LIMIT :horizon
    ) nearest
    ORDER BY due_at / 86400000 NULLS LAST, turn, request LIMIT g.free
) s
"""
)


class Unit:
    """One open transaction of the engine."""

    def __init__(self, connection: Connection, shards: int) -> None:
        self.connection = connection
        self.shards = shards

    # --- before deciding -------------------------------------------------------------------------------------------

    def fence(self, owned: Mapping[int, int]) -> None:
        """Hold the shards' rows for the time of this transaction. Raises :class:`LostShard`."""
        found = self.connection.execute(
            sa.text("SELECT shard, epoch FROM oblio.shards WHERE shard = ANY(:shards) ORDER BY shard FOR SHARE"),
            {"shards": sorted(owned)},
        )
        if dict(found.all()) != dict(owned):
            raise LostShard

    def move_offsets(self, moves: Mapping[tuple[str, int], tuple[int, int]]) -> None:
        """Move each (log, partition) from the offset it was read at to the next owed. Raises :class:`LostOffsets`."""
        if not moves:
            return
        rows = [(log, partition, old, new) for (log, partition), (old, new) in sorted(moves.items())]
        moved = execute_rows(
            self.connection,
            """UPDATE oblio.offsets o SET next = r."new" FROM {rows}
               WHERE o.log = r.log AND o.partition = r.partition AND o.next = r."old" """,
            (("log", "text"), ("partition", "integer"), ("old", "bigint"), ("new", "bigint")),
            rows,
        )
        if moved.rowcount != len(rows):
            raise LostOffsets

    def versions(self, ids: Sequence[str]) -> dict[str, int]:
        """Lock the heads of the streams and return their versions."""
        if not ids:
            return {}
        found = self.connection.execute(
            sa.text(
                "SELECT id::text, version FROM oblio.streams WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE"
            ),
            {"ids": array(sorted(ids))},
        )
        return dict(found.all())

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        if not ids:
            return {}
        found = self.connection.execute(
            sa.text("SELECT state FROM oblio.requests WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": array(ids)}
        ).all()
        return {state.id: state for state in (r.thaw(raw) for (raw,) in found)}

    def submit(self, rows: Sequence[tuple[bytes, str, bytes, str | None, int]]) -> dict[bytes, tuple[str, bytes]]:
        """Claim submissions by (key, request, body digest, case, destroy at).

        Returns those that were there before, with the request and body they had.
        """
        if not rows:
            return {}
        types = (("key", "bytea"), ("request", "uuid"), ("body", "bytea"), ("case", "text"), ("destroy_at", "bigint"))
        fresh = execute_rows(
            self.connection,
            """INSERT INTO oblio.submissions (key, request, body, "case", destroy_at)
               SELECT key, request, body, "case", destroy_at FROM {rows} ORDER BY key
               ON CONFLICT (key) DO NOTHING RETURNING key""",
            types,
            rows,
        )
        new = {bytes(key) for (key,) in fresh.all()}
        old = [row[0] for row in rows if row[0] not in new]
        if not old:
            return {}
        found = self.connection.execute(
            sa.text("SELECT key, request::text, body FROM oblio.submissions WHERE key = ANY(:keys)"), {"keys": old}
        ).all()
        return {bytes(key): (request, bytes(body)) for key, request, body in found}

    def claim_subjects(self, rows: Sequence[tuple[str, bytes, str]]) -> dict[bytes, str]:
        """Make each (tenant, digest) that of the given request; returns which open request had it before.

        The row is locked until this transaction ends, which settles the race of two requests for one subject.
        """
        if not rows:
            return {}
        found = execute_rows(
            self.connection,
            """INSERT INTO oblio.open_subjects (tenant, digest, request)
               SELECT tenant, digest, request FROM {rows} ORDER BY tenant, digest
               ON CONFLICT (tenant, digest) DO UPDATE SET request = excluded.request
               RETURNING new.digest, old.request::text""",
            (("tenant", "text"), ("digest", "bytea"), ("request", "uuid")),
            rows,
        )
        return {bytes(digest): request for digest, request in found.all() if request is not None}

    def submission(self, key: bytes) -> str | None:
        """The request that a submission led to."""
        found = self.connection.execute(
            sa.text("SELECT request::text FROM oblio.submissions WHERE key = :key"), {"key": key}
        )
        request: str | None = found.scalar()
        return request

    def tenant_of(self, request: str) -> str | None:
        found = self.connection.execute(
            sa.text("SELECT tenant FROM oblio.requests WHERE id = CAST(:id AS uuid)"), {"id": request}
        )
        tenant: str | None = found.scalar()
        return tenant

    def vault_entries(self, requests: Sequence[str]) -> list[VaultRow]:
        """The vault entries of ``requests``, locked."""
        if not requests:
            return []
        found = self.connection.execute(
            sa.text(
                """SELECT request::text, tenant, key, sealed, destroy_at FROM oblio.vault
                   WHERE request = ANY(CAST(:ids AS uuid[])) ORDER BY request FOR UPDATE"""
            ),
            {"ids": array(requests)},
        )
        return [VaultRow(request, tenant, key, bytes(sealed), at) for request, tenant, key, sealed, at in found]

    def due(self, shards: Sequence[int], now: int, limit: int) -> list[str]:
        """Open requests of ``shards`` for which time alone changes something now, the longest overdue first."""
        found = self.connection.execute(
            sa.text(
                """SELECT request::text FROM oblio.timers WHERE shard = ANY(:shards) AND fire_at <= :now
                   ORDER BY fire_at LIMIT :limit"""
            ),
            {"shards": list(shards), "now": now, "limit": limit},
        )
        return list(found.scalars())

    def unpublished(self, requests: Sequence[str]) -> set[str]:
        """Those of ``requests`` whose command is still in the outbox."""
        found = self.connection.execute(
            sa.text(
                """SELECT DISTINCT request::text FROM oblio.outbox
                   WHERE kind = 'command' AND request = ANY(CAST(:ids AS uuid[]))"""
            ),
            {"ids": array(requests)},
        )
        return set(found.scalars())

    def sent(self, requests: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Partition and offset of the last command of each of ``requests``."""
        found = self.connection.execute(
            sa.text(
                """SELECT request::text, partition, "offset" FROM oblio.sent WHERE request = ANY(CAST(:ids AS uuid[]))"""
            ),
            {"ids": array(requests)},
        )
        return {request: (partition, offset) for request, partition, offset in found}

    def in_flight(self, products: Sequence[str]) -> dict[str, int]:
        """How many steps each of ``products`` has in flight."""
        found = self.connection.execute(
            sa.text(
                "SELECT product, count(*) FROM oblio.steps WHERE in_flight AND product = ANY(:products) GROUP BY product"
            ),
            {"products": list(products)},
        )
        return dict(found.all())

    def ready(self, free: Mapping[str, int], shards: Sequence[int], now: int) -> list[tuple[str, str]]:
        """(product, request) of the steps that may go out, at most ``free`` of each product.

        Nearest due date first (by day), then tenants in turn; what a brake stops is left out.
        """
        found = self.connection.execute(
            _READY,
            {
                "products": list(free),
                "free": list(free.values()),
                "now": now,
                "shards": list(shards),
                "horizon": READY_HORIZON,
            },
        )
        return [(product, request) for product, request in found]

    def brakes(self) -> frozenset[tuple[str, str]]:
        """The (tenant, product) of each brake that is set; '' stands for all of them."""
        found = self.connection.execute(sa.text("SELECT tenant, product FROM oblio.brakes"))
        return frozenset((tenant, product) for tenant, product in found)

    def append_brake(self, event: Callable[[int], Recorded]) -> Recorded:
        """Append the event that ``event`` makes of its position to the installation's stream, and fold it.

        Written at once and not with the batch: the next brake of the same batch counts on from here.
        """
        self.connection.execute(
            sa.text("INSERT INTO oblio.streams (id, version) VALUES (CAST(:id AS uuid), 0) ON CONFLICT DO NOTHING"),
            {"id": INSTALLATION},
        )
        recorded = event(self.versions([INSTALLATION])[INSTALLATION] + 1)
        raw = encode(recorded)
        check(raw)
        self._events([(recorded, raw)])
        self.connection.execute(
            sa.text("UPDATE oblio.streams SET version = :n WHERE id = CAST(:id AS uuid)"),
            {"n": recorded.n, "id": INSTALLATION},
        )
        fold_brake(self.connection, recorded)
        return recorded

    # --- after deciding --------------------------------------------------------------------------------------------

    def write(self, changes: Changes) -> None:
        """Everything that ``changes`` holds, save offsets (moved at the start)."""
        if changes.recorded:
            self._heads(changes)
            self._events(changes.recorded)
            self._derived(changes)
        self._kept(changes)
        insert_outbox(self.connection, changes.outbox)

    def _heads(self, changes: Changes) -> None:
        new = [(key, state.n) for key, state in changes.states.items() if changes.before[key] is None]
        moved = [
            (key, before.n, state.n)
            for key, state in changes.states.items()
            if (before := changes.before[key]) is not None
        ]
        if new:
            execute_rows(
                self.connection,
                "INSERT INTO oblio.streams (id, version) SELECT id, version FROM {rows}",
                (("id", "uuid"), ("version", "integer")),
                new,
            )
        if moved:
            done = execute_rows(
                self.connection,
                """UPDATE oblio.streams s SET version = r."new" FROM {rows} WHERE s.id = r.id AND s.version = r."old" """,
                (("id", "uuid"), ("old", "integer"), ("new", "integer")),
                moved,
            )
            if done.rowcount != len(moved):
                raise LostShard

    def _events(self, recorded: Iterable[tuple[Recorded, bytes]]) -> None:
        execute_rows(
            self.connection,
            "INSERT INTO oblio.events (id, n, at, body) SELECT id, n, at, body FROM {rows}",
            (("id", "uuid"), ("n", "integer"), ("at", "bigint"), ("body", "bytea")),
            [(event.id, event.n, event.at, raw) for event, raw in recorded],
        )

    def _derived(self, changes: Changes) -> None:
        fresh = [state for key, state in changes.states.items() if changes.before[key] is None]
        known = [state for key, state in changes.states.items() if changes.before[key] is not None]
        insert_requests(self.connection, fresh, self.shards)
        update_requests(self.connection, known, self.shards)
        insert_steps(self.connection, [(state, name) for state in fresh for name in state.steps], self.shards)
        update_steps(self.connection, _changed_steps(known, changes.before), self.shards)
        self._timers(changes)
        insert_waits(self.connection, fresh)
        self._waits(changes)

    def _timers(self, changes: Changes) -> None:
        put, gone = [], []
        for key, state in changes.states.items():
            before = changes.before[key]
            row = r.timer_row(state, self.shards)
            if before is not None and row == r.timer_row(before, self.shards):
                continue
            if row is not None:
                put.append(row)
            elif before is not None:
                gone.append(key)
        put_timers(self.connection, put)
        delete_rows(self.connection, "timers", "request", gone)

    def _waits(self, changes: Changes) -> None:
        gone: list[tuple[str, str]] = []
        for key, state in changes.states.items():
            before = changes.before[key]
            if before is not None and before.behind:
                gone.extend((key, other) for other in before.behind if other not in state.behind or state.ended)
        if gone:
            execute_rows(
                self.connection,
                "DELETE FROM oblio.waits w USING {rows} WHERE w.request = r.request AND w.behind = r.behind",
                (("request", "uuid"), ("behind", "uuid")),
                gone,
            )

    def _kept(self, changes: Changes) -> None:
        put_vault(self.connection, changes.vault)
        put_index(self.connection, changes.index)
        delete_rows(self.connection, "vault", "request", changes.vault_gone)
        delete_rows(self.connection, "sent", "request", changes.ended)
        delete_rows(self.connection, "open_subjects", "request", changes.ended)
        changes.outbox.extend(self._turns(changes.ended))
        put_quarantine(self.connection, changes.quarantine)

    def _turns(self, ended: Sequence[str]) -> list[OutboxRow]:
        """Who waits behind the requests that ended.

        Read after their open-subject rows went: whoever held those rows to get in line has then committed, and is
        seen here; whoever comes later finds no row, and does not wait.
        """
        if not ended:
            return []
        found = self.connection.execute(
            sa.text(
                """SELECT w.request::text, w.behind::text, q.tenant FROM oblio.waits w
                   JOIN oblio.requests q ON q.id = w.request WHERE w.behind = ANY(CAST(:ids AS uuid[]))
                   ORDER BY w.request, w.behind"""
            ),
            {"ids": array(ended)},
        ).all()
        return [
            OutboxRow(r.shard_of(behind, self.shards), "turn", waiter, {"ended": behind, "tenant": tenant})
            for waiter, behind, tenant in found
        ]


def _changed_steps(states: Sequence[State], before: Mapping[str, State | None]) -> list[tuple[State, str]]:
    """Only steps whose row changes; a hold or an end changes rows of steps that did not move themselves."""
    pairs: list[tuple[State, str]] = []
    for state in states:
        old = before[state.id]
        assert old is not None  # the caller passes known requests only
        same_gate = (old.holds, old.undo, old.ended, old.vault_gone) == (
            state.holds,
            state.undo,
            state.ended,
            state.vault_gone,
        )
        pairs.extend(
            (state, name)
            for name, step in state.steps.items()
            if step is not old.steps[name] or not (same_gate or r.gate(state, name) == r.gate(old, name))
        )
    return pairs
