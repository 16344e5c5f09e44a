"""The store as the engine sees it; ``tests/simulation`` has a second one, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from orchestrator.store.database import array, execute_rows
from orchestrator.store.unit import Unit, VaultRow
from orchestrator.store.upkeep import UpkeepReport, upkeep
from schemas.transport import Position


@dataclass(frozen=True, slots=True)
class DueRow:
    """An outbox row with what is needed to render it: the vault entry of a command, the stored bytes of events."""

    id: int
    kind: str
    request: str
    body: dict[str, Any]
    vault: VaultRow | None = None
    events: tuple[bytes, ...] = field(default=())


class Store:
    """Everything the engine asks of PostgreSQL.

    Args:
        shards: how many there are, fixed at installation.
    """

    def __init__(self, database: Engine, shards: int) -> None:
        self.database = database
        self.shards = shards

    @contextmanager
    def unit(self, owned: Mapping[int, int]) -> Iterator[Unit]:
        """One transaction, which holds only while ``owned`` (shard to epoch) is true.

        Raises :class:`orchestrator.store.unit.LostShard`.
        """
        with self.database.begin() as connection:
            unit = Unit(connection, self.shards)
            unit.fence(owned)
            yield unit

    def take_shards(self, shards: Sequence[int], owner: str) -> dict[int, int]:
        """Own ``shards`` under a new epoch each; whoever had them before can commit nothing more. Returns the epochs."""
        with self.database.begin() as connection:
            found = connection.execute(
                sa.text(
                    """INSERT INTO oblio.shards (shard, epoch, owner)
                       SELECT s, 1, :owner FROM unnest(CAST(:shards AS integer[])) s ORDER BY s
                       ON CONFLICT (shard) DO UPDATE SET epoch = shards.epoch + 1, owner = excluded.owner
                       RETURNING shard, epoch"""
                ),
                {"shards": sorted(shards), "owner": owner},
            )
            return dict(found.all())

    def offsets_owed(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The next offset to be read of each (log, partition); 0 for one that was never read."""
        if not places:
            return {}
        with self.database.begin() as connection:
            types = (("log", "text"), ("partition", "integer"))
            execute_rows(
                connection,
                """INSERT INTO oblio.offsets (log, partition, next) SELECT log, partition, 0 FROM {rows}
                   ORDER BY log, partition ON CONFLICT DO NOTHING""",
                types,
                places,
            )
            found = execute_rows(
                connection,
                """SELECT o.log, o.partition, o.next FROM oblio.offsets o
                   JOIN {rows} ON r.log = o.log AND r.partition = o.partition""",
                types,
                places,
            )
            return {(log, partition): offset for log, partition, offset in found}

    def upkeep(self, now: int) -> UpkeepReport:
        """Delete what has reached its date, and find what was forgotten. See :mod:`orchestrator.store.upkeep`."""
        return upkeep(self, now)

    # --- the outbox ------------------------------------------------------------------------------------------------

    def outbox(self, shards: Sequence[int], limit: int) -> list[DueRow]:
        """The oldest rows of ``shards`` that are not published yet, each with what it needs."""
        with self.database.connect() as connection:
            found = connection.execute(
                sa.text(
                    """SELECT id, kind, request::text, body::text FROM oblio.outbox
                       WHERE shard = ANY(:shards) ORDER BY id LIMIT :limit"""
                ),
                {"shards": list(shards), "limit": limit},
            ).all()
            if not found:
                return []
            rows = [(row, kind, request, _decode(body)) for row, kind, request, body in found]
            vault = _vault(connection, sorted({request for _, kind, request, _ in rows if kind == "command"}))
            bodies = _bodies(
                connection, [(row, q, b["first"], b["last"]) for row, kind, q, b in rows if kind == "events"]
            )
        return [
            DueRow(
                row,
                kind,
                request,
                body,
                vault.get(request) if kind == "command" else None,
                tuple(bodies.get(row, ())),
            )
            for row, kind, request, body in rows
        ]

    def published(self, ids: Sequence[int], sent: Sequence[tuple[str, Position]]) -> None:
        """The rows went out and were confirmed; ``sent`` says where each request's last command stands.

        Never back to an earlier one: an instance that was frozen after publishing may confirm what another has long
        published again, with newer commands behind it. A request's commands are all in one partition.
        """
        last = dict(sent)
        with self.database.begin() as connection:
            if last:
                execute_rows(
                    connection,
                    """INSERT INTO oblio.sent (request, partition, "offset")
                       SELECT r.request, r.partition, r."offset" FROM {rows}
                       JOIN oblio.requests q ON q.id = r.request AND q.ended_at IS NULL
                       ON CONFLICT (request)
                       DO UPDATE SET partition = excluded.partition, "offset" = excluded."offset"
                       WHERE excluded."offset" > sent."offset" """,
                    (("request", "uuid"), ("partition", "integer"), ("offset", "bigint")),
                    sorted((request, position.partition, position.offset) for request, position in last.items()),
                )
            connection.execute(
                sa.text("DELETE FROM oblio.outbox WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": array(ids)}
            )


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def _vault(connection: Connection, requests: Sequence[str]) -> dict[str, VaultRow]:
    if not requests:
        return {}
    found = connection.execute(
        sa.text(
            """SELECT request::text, tenant, key, sealed, destroy_at FROM oblio.vault
               WHERE request = ANY(CAST(:ids AS uuid[]))"""
        ),
        {"ids": array(requests)},
    )
    return {row[0]: VaultRow(row[0], row[1], row[2], bytes(row[3]), row[4]) for row in found}


def _bodies(connection: Connection, wanted: Sequence[tuple[int, str, int, int]]) -> dict[int, list[bytes]]:
    """The stored bytes of the events that each outbox row names, in order; never serialised anew."""
    if not wanted:
        return {}
    found = execute_rows(
        connection,
        """SELECT r.row, v.body FROM {rows} JOIN oblio.events v
           ON v.id = r.request AND v.n BETWEEN r.first AND r.last ORDER BY r.row, v.n""",
        (("row", "bigint"), ("request", "uuid"), ("first", "integer"), ("last", "integer")),
        wanted,
    )
    bodies: dict[int, list[bytes]] = {}
    for row, body in found:
        bodies.setdefault(row, []).append(bytes(body))
    return bodies
