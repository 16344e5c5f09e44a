"""Plans: what a phase in progress has found, and who is working on it.

A plan's row is the lease of its step. ``fence`` rises with every holder, and every commit of work compares it, so
that a worker that was frozen and taken over from cannot write any more. The content (row keys, object keys with
versions, counts of log lines) is vault data: sealed under the product's own secret, gone with the receipt.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import sqlalchemy as sa

from consumers import arrays
from consumers.steps import Step, StepId
from consumers.stores.sql_errors import store_errors
from consumers.stores.sql_rows import Rows
from schemas.messages import Counts
from schemas.sealing import SharedKey


class Part(msgspec.Struct, array_like=True):
    """What a plan has of one dataset, column by column.

    ``columns``: of rows, their key columns; of objects, key, size and tag (the key alone, as long as no version was
    looked up); of log files, name and version. ``amounts``: lines per log file. ``at`` (milliseconds of the epoch):
    the time that marks rows in the trash; 0 elsewhere.
    """

    dataset: str
    columns: list[list[str]]
    extras: list[list[str | None]] = []
    amounts: list[int] = []
    at: int = 0

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def amount(self, items: int) -> int:
        """What the first ``items`` of it count for."""
        return sum(self.amounts[:items]) if self.amounts else items

    def cut(self, items: int) -> Part:
        """The first ``items`` of it."""
        columns, extras = ([column[:items] for column in table] for table in (self.columns, self.extras))
        return Part(self.dataset, columns, extras, self.amounts[:items], self.at)  # type: ignore[arg-type]

    def rows(self, ordinal: int, start: int = 0, stop: int | None = None) -> Rows:
        """This part as rows of one subject, from item ``start`` to ``stop``."""
        if start == 0 and stop is None:
            return Rows([ordinal] * len(self), tuple(self.columns), tuple(self.extras)) if self.columns else Rows()
        columns = tuple(column[start:stop] for column in self.columns)
        extras = tuple(column[start:stop] for column in self.extras)
        return Rows([ordinal] * len(columns[0]), columns, extras) if columns else Rows()


class Plan(msgspec.Struct, array_like=True):
    """One step's work, in the order in which it is done.

    ``derived``: identifiers that were resolved for it, by kind. ``extra``: counts that no part stands for.
    """

    map: str
    parts: list[Part] = []
    derived: dict[str, list[str]] = {}
    extra: dict[str, Counts] = {}

    @property
    def total(self) -> int:
        """Items in all."""
        return sum(map(len, self.parts))

    def left(self, cursor: int) -> Iterator[tuple[Part, int]]:
        """Each part that is not done at ``cursor``, with its first item still to do."""
        for part in self.parts:
            if cursor < len(part):
                yield part, cursor
            cursor = max(0, cursor - len(part))

    def done(self, cursor: int) -> Iterator[Part]:
        """The parts up to ``cursor``, the last one cut."""
        for part in self.parts:
            if cursor <= 0:
                return
            yield part if cursor >= len(part) else part.cut(cursor)
            cursor -= len(part)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Plan)

_RENEWED = "clock_timestamp() + make_interval(secs => :lease)"
_SAME = """p.product = :product
       and (p.tenant, p.request, p.phase, p.epoch) = (w.tenant, w.request, w.phase, w.epoch)"""
_OURS = f"{_SAME} and p.fence = w.fence"

_TAKE_OVER = sa.text(f"""
    update oblio.plans p set fence = p.fence + 1, worker = :worker, lease_until = {_RENEWED}
      from {arrays.table(**arrays.KEY)}
     where {_SAME} and p.lease_until < clock_timestamp()
    returning p.tenant, p.request::text, p.phase, p.epoch, p.fence, p.cursor, p.sealed
""")

_BEGIN = sa.text(f"""
    insert into oblio.plans (product, tenant, request, phase, epoch, fence, worker, lease_until, cursor, sealed)
    select :product, tenant, request, phase, epoch, 1, :worker, {_RENEWED}, cursor, sealed
      from {arrays.table(**arrays.KEY, cursor="bigint", sealed="bytea")}
""")

_SAVE = sa.text(f"""
    update oblio.plans p set sealed = w.sealed, cursor = w.cursor, lease_until = {_RENEWED}
      from {arrays.table(**arrays.KEY, fence="bigint", cursor="bigint", sealed="bytea")}
     where {_OURS}
    returning p.tenant, p.request::text, p.phase, p.epoch
""")

_ADVANCE = sa.text(f"""
    update oblio.plans p set cursor = w.cursor, lease_until = {_RENEWED}
      from {arrays.table(**arrays.KEY, fence="bigint", cursor="bigint")}
     where {_OURS}
    returning p.tenant, p.request::text, p.phase, p.epoch
""")

_CLOSE = sa.text(f"""
    with gone as (
        delete from oblio.plans p
         using {arrays.table(**arrays.KEY, fence="bigint")}
         where {_OURS}
        returning p.tenant, p.request, p.phase, p.epoch
    )
    insert into oblio.receipts (product, tenant, request, phase, epoch, body)
    select :product, w.tenant, w.request, w.phase, w.epoch, w.body
      from {arrays.table(**arrays.KEY, body="bytea")}
      join gone on (gone.tenant, gone.request, gone.phase, gone.epoch) = (w.tenant, w.request, w.phase, w.epoch)
    returning tenant, request::text, phase, epoch
""")

_KEEP = sa.text(f"""
    update oblio.plans set lease_until = {_RENEWED}
     where product = :product and worker = :worker and lease_until > clock_timestamp()
""")

_HOLDERS = sa.text(f"""
    select p.tenant, p.request::text, p.phase, p.epoch, p.fence, p.lease_until, p.lease_until < clock_timestamp()
      from oblio.plans p
      join {arrays.table(**arrays.KEY)} on {_SAME}
""")

_WORKING = sa.text(f"""
    select p.tenant, p.request::text, p.phase, p.epoch, p.cursor, p.sealed
      from oblio.plans p
      join {arrays.table(tenant="text", request="uuid")} on (p.tenant, p.request) = (w.tenant, w.request)
     where p.product = :product and p.sealed is not null
     order by p.created_at
""")

_TIDY = sa.text("delete from oblio.plans where product = :product and created_at < :before")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a step: whether another worker still is at it shows by comparing two looks."""

    fence: int
    lease_until: datetime
    lapsed: bool = field(compare=False)


class Plans:
    """The plans of one product, as one worker sees them."""

    def __init__(self, product: str, local: SharedKey, lease_s: float) -> None:
        self._product = product
        self._local = local
        self._worker = uuid.uuid4().hex
        self._lease_s = lease_s

    def take_over(self, connection: sa.Connection, steps: Sequence[Step]) -> None:
        """Take the leases of steps that nobody holds any more; fills in fence, plan and cursor.

        The caller has the steps' rows of ``oblio.steps`` locked, so nobody else can do the same at this moment.

        Raises:
            Undecryptable: a plan was sealed under another secret.
        """
        if not steps:
            return
        parameters = self._parameters(steps, worker=self._worker, lease=self._lease_s)
        with store_errors():
            rows = connection.execute(_TAKE_OVER, parameters).all()
        by_id = {step.id: step for step in steps}
        for tenant, request, phase, epoch, fence, cursor, sealed in rows:
            step = by_id[(tenant, request, phase, epoch)]
            step.fence, step.cursor = fence, cursor
            step.plan = self.opened(step.id, sealed)

    def begin(self, connection: sa.Connection, steps: Sequence[Step]) -> None:
        """Write the plans of steps that have none yet: their rows are the leases."""
        if not steps:
            return
        more = {"w_sealed": arrays.binary(map(self.seal, steps)), "w_cursor": arrays.plain(s.cursor for s in steps)}
        with store_errors():
            connection.execute(_BEGIN, self._parameters(steps, worker=self._worker, lease=self._lease_s, **more))
        for step in steps:
            step.fence = 1

    def save(self, connection: sa.Connection, steps: Sequence[Step]) -> list[Step]:
        """Write plans and cursors; the steps that still are ours."""
        more = {"w_sealed": arrays.binary(map(self.seal, steps)), "w_cursor": arrays.plain(s.cursor for s in steps)}
        return self._held(connection, _SAVE, steps, lease=self._lease_s, **more)

    def advance(self, connection: sa.Connection, cursors: Mapping[Step, int]) -> list[Step]:
        """Write how far steps are and renew their leases; the steps that still are ours, locked from here on."""
        return self._held(
            connection, _ADVANCE, list(cursors), lease=self._lease_s, w_cursor=arrays.plain(cursors.values())
        )

    def close(self, connection: sa.Connection, bodies: Mapping[Step, bytes]) -> list[Step]:
        """Turn plans into receipts, given by their bytes; the steps that were ours, and so have one now."""
        steps = list(bodies)
        return self._held(connection, _CLOSE, steps, w_body=arrays.binary(bodies.values()))

    def release(self, connection: sa.Connection, steps: Sequence[Step]) -> None:
        """Let others take the steps at once; what the plans say stays."""
        self._held(connection, _ADVANCE, steps, lease=-1.0, w_cursor=arrays.plain(s.cursor for s in steps))

    def keep(self, connection: sa.Connection) -> None:
        """Renew all leases of this worker that have not lapsed."""
        with store_errors():
            connection.execute(_KEEP, {"product": self._product, "worker": self._worker, "lease": self._lease_s})

    def holders(self, connection: sa.Connection, steps: Sequence[Step]) -> dict[StepId, Holder]:
        """Who holds these steps now; one that nobody holds is missing."""
        with store_errors():
            rows = connection.execute(_HOLDERS, self._parameters(steps)).all()
        return {(r[0], r[1], r[2], r[3]): Holder(r[4], r[5], r[6]) for r in rows}

    def working(self, connection: sa.Connection, requests: Sequence[tuple[str, str]]) -> list[tuple[StepId, int, Plan]]:
        """Everything in progress for these (tenant, request), with its cursor, the newest last.

        Raises:
            Undecryptable: a plan was sealed under another secret.
        """
        tenants, ids_of_requests = (arrays.plain(column) for column in zip(*requests, strict=True))
        parameters = {"product": self._product, "w_tenant": tenants, "w_request": ids_of_requests}
        with store_errors():
            rows = connection.execute(_WORKING, parameters).all()
        ids: list[StepId] = [(row[0], row[1], row[2], row[3]) for row in rows]
        return [(step_id, row[4], self.opened(step_id, row[5])) for step_id, row in zip(ids, rows, strict=True)]

    def tidy(self, connection: sa.Connection, before: datetime) -> int:
        """Destroy plans made before ``before``: vault data has an end even where a step never had one."""
        with store_errors():
            return connection.execute(_TIDY, {"product": self._product, "before": before}).rowcount

    def seal(self, step: Step) -> bytes:
        """A step's plan under the product's own secret, bound to the step."""
        assert step.plan is not None
        return self._local.seal_bytes(_encoder.encode(step.plan), self._context(step.id))

    def opened(self, step_id: StepId, sealed: bytes) -> Plan:
        """The opposite of :meth:`seal`. Raises :class:`schemas.sealing.Undecryptable`."""
        return _decoder.decode(self._local.open_bytes(bytes(sealed), self._context(step_id)))

    def _context(self, step_id: StepId) -> bytes:
        return "\x1f".join(("oblio plan v1", self._product, *map(str, step_id))).encode()

    def _parameters(self, steps: Sequence[Step], **more: object) -> dict[str, object]:
        return {"product": self._product, **arrays.keys(steps), **more}

    def _held(
        self, connection: sa.Connection, statement: sa.TextClause, steps: Sequence[Step], **more: object
    ) -> list[Step]:
        if not steps:
            return []
        fences = arrays.plain(s.fence for s in steps)
        with store_errors():
            rows = connection.execute(statement, self._parameters(steps, w_fence=fences, **more)).all()
        held = {(row[0], row[1], row[2], row[3]) for row in rows}
        return [step for step in steps if step.id in held]
