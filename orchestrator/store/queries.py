"""What people ask of the store: the read models behind the CLI and the API. All times are milliseconds of the epoch."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine, Row

from orchestrator.domain.state import Stage, StepStatus
from orchestrator.store.registry import entries
from orchestrator.store.rows import thaw
from orchestrator.store.views import (
    Backlog,
    BrakeLine,
    FailingGroup,
    Filters,
    HoldLine,
    IndexHit,
    ProductLoad,
    RegistryVersion,
    RejectedLine,
    RejectedRecord,
    RequestLine,
    RequestPage,
    RequestView,
    StageCount,
    VaultLine,
)
from schemas.codes import End, FailureCode, Mode, Phase, RejectionClass, RejectionCode
from schemas.events import Recorded, decode
from schemas.transport import Position

__all__ = [
    "Backlog",
    "BrakeLine",
    "FailingGroup",
    "Filters",
    "HoldLine",
    "IndexHit",
    "ProductLoad",
    "Queries",
    "RegistryVersion",
    "RejectedLine",
    "RejectedRecord",
    "RequestLine",
    "RequestPage",
    "RequestView",
    "StageCount",
    "VaultLine",
]


class Queries:
    """Reads; only :meth:`resubmitted` and :meth:`discard` change a row, of the quarantine."""

    def __init__(self, database: Engine) -> None:
        self._database = database

    # --- requests --------------------------------------------------------------------------------------------------

    def requests(
        self, filters: Filters | None = None, *, now: int = 0, limit: int = 50, after: str | None = None
    ) -> RequestPage:
        """Requests, the newest first.

        Args:
            filters: which ones.
            now: decides what is late.
            limit: how many at most.
            after: the cursor that the page before gave.

        Raises:
            ValueError: ``after`` is no cursor.
        """
        conditions, values = _conditions(filters or Filters(), now)
        if after is not None:
            conditions.append("(q.accepted_at, q.id) < (:after_at, CAST(:after_id AS uuid))")
            values |= _cursor(after)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = self._rows(_REQUESTS.replace("{where}", where), values | {"limit": limit + 1})
        lines = tuple(_request_line(row) for row in rows[:limit])
        more = len(rows) > limit
        return RequestPage(lines, f"{lines[-1].accepted_at}.{lines[-1].id}" if more else None)

    def request(self, request: str) -> RequestView | None:
        """One request with its steps; ``None`` if there is none of this id."""
        if not _is_id(request):
            return None
        rows = self._rows(
            """SELECT q.state, q.shard, t.fire_at, v.request IS NOT NULL,
                      ARRAY(SELECT w.behind::text FROM oblio.waits w WHERE w.request = q.id ORDER BY w.behind)
               FROM oblio.requests q
               LEFT JOIN oblio.timers t ON t.request = q.id
               LEFT JOIN oblio.vault v ON v.request = q.id
               WHERE q.id = CAST(:id AS uuid)""",
            {"id": request},
        )
        if not rows:
            return None
        state, shard, fire_at, vault, behind = rows[0]
        return RequestView(thaw(state), shard, fire_at, vault, tuple(behind))

    def request_of(self, submission: bytes) -> str | None:
        """The request that a submission led to (its key: :func:`orchestrator.intake.submission_key`)."""
        found = self.requests_of([submission])
        return found.get(submission)

    def requests_of(self, submissions: Sequence[bytes]) -> dict[bytes, str]:
        """The requests that these submissions led to; those that led to none are left out."""
        rows = self._rows(
            "SELECT key, request::text FROM oblio.submissions WHERE key = ANY(:keys)", {"keys": list(submissions)}
        )
        return {bytes(key): request for key, request in rows}

    def history(self, stream: str, *, after: int = 0, limit: int = 1_000) -> list[Recorded]:
        """The events of a stream from position ``after`` + 1 on, as they were written."""
        return [decode(raw) for raw in self.history_bytes(stream, after=after, limit=limit)]

    def history_bytes(self, stream: str, *, after: int = 0, limit: int = 1_000) -> list[bytes]:
        """The stored bytes of these events."""
        if not _is_id(stream):
            return []
        rows = self._rows(
            "SELECT body FROM oblio.events WHERE id = CAST(:id AS uuid) AND n > :after ORDER BY n LIMIT :limit",
            {"id": stream, "after": after, "limit": limit},
        )
        return [bytes(body) for (body,) in rows]

    def by_digests(self, tenant: str, digests: Iterable[bytes]) -> list[IndexHit]:
        """The requests of ``tenant`` that any of these identifiers belongs to, the newest first."""
        rows = self._rows(
            """SELECT request::text, bool_and(derived) FROM oblio.index
               WHERE tenant = :tenant AND digest = ANY(:digests) GROUP BY request ORDER BY request DESC""",
            {"tenant": tenant, "digests": list(digests)},
        )
        return [IndexHit(request, derived) for request, derived in rows]

    # --- what is stuck, and why ------------------------------------------------------------------------------------

    def failing(self, *, tenant: str | None = None, product: str | None = None, samples: int = 3) -> list[FailingGroup]:
        """Open steps that failed, by cause, the largest group first."""
        rows = self._rows(_FAILING, {"tenant": tenant, "product": product, "samples": samples})
        return [
            FailingGroup(
                product=row.product,
                failure=FailureCode(row.failure),
                dataset=row.dataset,
                phase=Phase(row.phase) if row.phase else None,
                status=StepStatus(row.status),
                count=row.steps,
                first=row.first,
                last=row.last,
                samples=tuple(row.samples),
            )
            for row in rows
        ]

    def stages(self) -> list[StageCount]:
        """How many open requests stand where."""
        rows = self._rows(
            """SELECT tenant, stage, count(*), count(*) FILTER (WHERE parked), count(*) FILTER (WHERE held)
               FROM oblio.requests WHERE ended_at IS NULL GROUP BY tenant, stage ORDER BY tenant, stage"""
        )
        return [StageCount(tenant, Stage(stage), count, parked, held) for tenant, stage, count, parked, held in rows]

    def holds(self, *, tenant: str | None = None) -> list[HoldLine]:
        """Open holds on requests that have not ended, the oldest request first."""
        rows = self._rows(
            """SELECT id::text, tenant, state FROM oblio.requests
               WHERE ended_at IS NULL AND held AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
               ORDER BY accepted_at, id""",
            {"tenant": tenant},
        )
        return [HoldLine(request, owner, hold) for request, owner, state in rows for hold in thaw(state).holds]

    def brakes(self) -> list[BrakeLine]:
        """The brakes that are set."""
        rows = self._rows("SELECT tenant, product, seq, since FROM oblio.brakes ORDER BY tenant, product")
        return [BrakeLine(tenant or None, product or None, seq, since) for tenant, product, seq, since in rows]

    def backlog(self, now: int) -> Backlog:
        """What waits for the engine at ``now``."""
        outbox = self._rows("SELECT kind, count(*) FROM oblio.outbox GROUP BY kind ORDER BY kind")
        due, following = self._rows(
            """SELECT count(*) FILTER (WHERE fire_at <= :now), min(fire_at) FILTER (WHERE fire_at > :now)
               FROM oblio.timers""",
            {"now": now},
        )[0]
        loads = self._rows(
            """SELECT product, count(*) FILTER (WHERE ready_from <= :now), count(*) FILTER (WHERE in_flight),
                      count(*) FILTER (WHERE status = 'parked')
               FROM oblio.steps WHERE ready_from IS NOT NULL OR in_flight OR status = 'parked'
               GROUP BY product ORDER BY product""",
            {"now": now},
        )
        products = tuple(ProductLoad(product, ready, flying, parked) for product, ready, flying, parked in loads)
        return Backlog({kind: count for kind, count in outbox}, due, following, products)  # noqa: C416  rows, no pairs

    def vault_near_limit(self, before: int, *, limit: int = 100) -> list[VaultLine]:
        """Requests whose identifiers are destroyed before ``before``, the nearest first."""
        rows = self._rows(
            """SELECT request::text, tenant, destroy_at FROM oblio.vault WHERE destroy_at < :before
               ORDER BY destroy_at, request LIMIT :limit""",
            {"before": before, "limit": limit},
        )
        return [VaultLine(request, tenant, destroy_at) for request, tenant, destroy_at in rows]

    def registry(self) -> list[RegistryVersion]:
        """Every version of the registry, the newest first."""
        rows = self._rows("SELECT version, at, products FROM oblio.registry ORDER BY version DESC")
        return [RegistryVersion(version, at, entries(products)) for version, at, products in rows]

    # --- rejections ------------------------------------------------------------------------------------------------

    def rejected(
        self,
        *,
        code: RejectionCode | None = None,
        since: int | None = None,
        waiting: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> list[RejectedLine]:
        """Rejected records, the newest first.

        Args:
            code: only these.
            since: rejected at this time or later.
            waiting: only those that nobody has submitted again.
            limit: how many at most.
            after: the id of the last one seen.
        """
        rows = self._rows(
            f"""SELECT {_REJECTED} FROM oblio.quarantine z
               WHERE (CAST(:code AS text) IS NULL OR code = :code) AND (CAST(:since AS bigint) IS NULL OR at >= :since)
                 AND (NOT :waiting OR resubmitted_at IS NULL)
                 AND (CAST(:after AS text) IS NULL OR (at, id) < (
                     SELECT at, id FROM oblio.quarantine WHERE id = CAST(:after AS uuid)))
               ORDER BY at DESC, id DESC LIMIT :limit""",
            {
                "code": code.value if code else None,
                "since": since,
                "waiting": waiting,
                "limit": limit,
                "after": after if after is None or _is_id(after) else str(uuid.UUID(int=0)),
            },
        )
        return [_rejected_line(row) for row in rows]

    def rejected_at(self, positions: Sequence[Position]) -> list[RejectedLine]:
        """Which of the records at these positions were rejected."""
        rows = self._rows(
            f"""SELECT {_REJECTED} FROM oblio.quarantine z
               JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]))
                    AS p(topic, partition, "offset")
               ON p.topic = z.topic AND p.partition = z.partition AND p."offset" = z."offset"
               ORDER BY z.at, z.id""",
            {
                "topics": [str(position.topic) for position in positions],
                "partitions": [position.partition for position in positions],
                "offsets": [position.offset for position in positions],
            },
        )
        return [_rejected_line(row) for row in rows]

    def rejected_record(self, rejection: str) -> RejectedRecord | None:
        """One rejected record with its sealed bytes; ``None`` if it is not there, or not any more."""
        if not _is_id(rejection):
            return None
        rows = self._rows(
            f"SELECT {_REJECTED}, z.key, z.sealed FROM oblio.quarantine z WHERE z.id = CAST(:id AS uuid)",
            {"id": rejection},
        )
        return RejectedRecord(_rejected_line(rows[0]), rows[0].key, bytes(rows[0].sealed)) if rows else None

    def resubmitted(self, rejection: str, now: int) -> bool:
        """Note that a rejected record was submitted again; whether it is there."""
        return self._change(
            "UPDATE oblio.quarantine SET resubmitted_at = :now WHERE id = CAST(:id AS uuid)",
            {"id": rejection, "now": now},
        )

    def discard(self, rejection: str) -> bool:
        """Take a rejected record out of the quarantine; whether it was there."""
        return self._change("DELETE FROM oblio.quarantine WHERE id = CAST(:id AS uuid)", {"id": rejection})

    # --- the connection --------------------------------------------------------------------------------------------

    def _rows(self, statement: str, values: Mapping[str, Any] | None = None) -> list[Row[*tuple[Any, ...]]]:
        with self._database.connect() as connection:
            return list(connection.execute(sa.text(statement), values or {}).all())

    def _change(self, statement: str, values: Mapping[str, Any]) -> bool:
        if not _is_id(values["id"]):
            return False
        with self._database.begin() as connection:
            return connection.execute(sa.text(statement), values).rowcount > 0


_REQUESTS = """
SELECT q.id::text, q.tenant, q.stage, q.mode, q."end", q.parked, q.held, q.stopping, q.accepted_at, q.due_at, q.ended_at,
       (SELECT jsonb_object_agg(s.product, s.status) FROM oblio.steps s WHERE s.request = q.id) AS steps
FROM oblio.requests q
{where}
ORDER BY q.accepted_at DESC, q.id DESC LIMIT :limit
"""

# From the open requests to their steps: of the finished ones there may be millions.
_FAILING = """
SELECT s.product, CASE s.status WHEN 'timed_out' THEN 'timed_out' ELSE s.failure END AS failure, s.dataset, s.phase,
       s.status, count(*) AS steps, min(v.at) AS first, max(v.at) AS last,
       (array_agg(q.id::text ORDER BY v.at, q.id))[1:CAST(:samples AS integer)] AS samples
FROM oblio.requests q
JOIN oblio.steps s ON s.request = q.id AND s.status IN ('waiting', 'timed_out', 'parked')
JOIN oblio.events v ON v.id = q.id AND v.n = q.n
WHERE q.ended_at IS NULL AND (s.failure IS NOT NULL OR s.status = 'timed_out')
  AND (CAST(:tenant AS text) IS NULL OR q.tenant = :tenant)
  AND (CAST(:product AS text) IS NULL OR s.product = :product)
GROUP BY 1, 2, 3, 4, 5
ORDER BY count(*) DESC, 1, 2, 3
"""

_REJECTED = """z.id::text AS id, z.at, z.rejection_class, z.code, z.field, z.topic, z.partition, z."offset" AS place,
z.producer, z.destroy_at, z.resubmitted_at"""


def _conditions(filters: Filters, now: int) -> tuple[list[str], dict[str, Any]]:
    """The filters as SQL; values go as parameters."""
    step = "EXISTS (SELECT FROM oblio.steps s WHERE s.request = q.id AND {})"
    found = {
        "q.tenant = :tenant": filters.tenant is not None,
        "q.stage = :stage": filters.stage is not None,
        step.format("s.product = :product"): filters.product is not None,
        "q.parked": filters.parked,
        "q.held": filters.held,
        step.format("s.status IN ('waiting', 'timed_out')"): filters.failing,
        "q.due_at < :now": filters.late,
        "q.ended_at IS NULL": filters.open or filters.late or filters.parked or filters.held or filters.failing,
        "q.accepted_at >= :since": filters.since is not None,
    }
    stage = filters.stage.value if filters.stage else None
    values = {"tenant": filters.tenant, "stage": stage, "product": filters.product, "since": filters.since, "now": now}
    return [condition for condition, wanted in found.items() if wanted], values


def _cursor(text: str) -> dict[str, Any]:
    at, _, request = text.partition(".")
    if not at.isdigit() or not _is_id(request):
        raise ValueError("no cursor of a page of requests")
    return {"after_at": int(at), "after_id": request}


def _request_line(row: Row[*tuple[Any, ...]]) -> RequestLine:
    return RequestLine(
        id=row.id,
        tenant=row.tenant,
        stage=Stage(row.stage),
        mode=Mode(row.mode),
        end=End(row.end) if row.end else None,
        parked=row.parked,
        held=row.held,
        stopping=row.stopping,
        accepted_at=row.accepted_at,
        due_at=row.due_at,
        ended_at=row.ended_at,
        steps={name: StepStatus(status) for name, status in sorted((row.steps or {}).items())},
    )


def _rejected_line(row: Row[*tuple[Any, ...]]) -> RejectedLine:
    return RejectedLine(
        id=row.id,
        at=row.at,
        rejection_class=RejectionClass(row.rejection_class),
        code=RejectionCode(row.code),
        field=row.field,
        position=Position(row.topic, row.partition, row.place),
        producer=row.producer,
        destroy_at=row.destroy_at,
        resubmitted_at=row.resubmitted_at,
    )


def _is_id(text: str) -> bool:
    """Whether ``text`` can be an id at all: anything else would be an error of the database's."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
