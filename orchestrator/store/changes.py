"""What one transaction changes, row by row, and the statements that write what is not derived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from orchestrator.domain.state import State
from orchestrator.store.database import execute_rows
from schemas.events import Recorded


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """What is to be published. ``body`` names steps, phase and seq; an identifier is never in it."""

    shard: int
    kind: str
    request: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class VaultRow:
    """A vault entry: the identifiers of one request, sealed under the vault key ``key``."""

    request: str
    tenant: str
    key: str
    sealed: bytes
    destroy_at: int


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A digest of an identifier. ``derived``: a product found it, the request did not name it."""

    tenant: str
    digest: bytes
    request: str
    derived: bool
    destroy_at: int


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A record that was rejected: why, where it stood, and its bytes, sealed under the vault key ``key``."""

    id: str
    at: int
    rejection_class: str
    code: str
    field: str | None
    topic: str
    partition: int
    offset: int
    producer: str | None
    key: str
    sealed: bytes
    destroy_at: int


@dataclass(slots=True)
class Changes:
    """What a batch decided. ``states`` holds the last state of each request touched; ``before`` its version at the start."""

    recorded: list[tuple[Recorded, bytes]] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    before: dict[str, State | None] = field(default_factory=dict)
    outbox: list[OutboxRow] = field(default_factory=list)
    vault: list[VaultRow] = field(default_factory=list)
    vault_gone: list[str] = field(default_factory=list)
    index: list[IndexRow] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    quarantine: list[QuarantineRow] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Nothing is to be written."""
        return not (self.recorded or self.outbox or self.vault or self.vault_gone or self.index or self.quarantine)


def _json(body: Mapping[str, Any]) -> str:
    return msgspec.json.encode(body).decode()


def insert_outbox(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Add what is to be published."""
    if rows:
        execute_rows(
            connection,
            "INSERT INTO oblio.outbox (shard, kind, request, body) SELECT shard, kind, request, body FROM {rows}",
            (("shard", "integer"), ("kind", "text"), ("request", "uuid"), ("body", "jsonb")),
            [(row.shard, row.kind, row.request, _json(row.body)) for row in rows],
        )


def put_vault(connection: Connection, rows: Sequence[VaultRow]) -> None:
    """Put identifiers in the vault. An entry that a product's answer enriched takes the old one's place, and its date."""
    if rows:
        execute_rows(
            connection,
            """INSERT INTO oblio.vault (request, tenant, key, sealed, destroy_at)
               SELECT request, tenant, key, sealed, destroy_at FROM {rows}
               ON CONFLICT (request) DO UPDATE SET sealed = excluded.sealed, key = excluded.key""",
            (("request", "uuid"), ("tenant", "text"), ("key", "text"), ("sealed", "bytea"), ("destroy_at", "bigint")),
            [(row.request, row.tenant, row.key, row.sealed, row.destroy_at) for row in rows],
        )


def put_index(connection: Connection, rows: Sequence[IndexRow]) -> None:
    """Put digests in the index."""
    if rows:
        execute_rows(
            connection,
            """INSERT INTO oblio.index (tenant, digest, request, derived, destroy_at)
               SELECT tenant, digest, request, derived, destroy_at FROM {rows} ON CONFLICT DO NOTHING""",
            (
                ("tenant", "text"),
                ("digest", "bytea"),
                ("request", "uuid"),
                ("derived", "boolean"),
                ("destroy_at", "bigint"),
            ),
            [(row.tenant, row.digest, row.request, row.derived, row.destroy_at) for row in rows],
        )


def put_quarantine(connection: Connection, rows: Sequence[QuarantineRow]) -> None:
    """Put rejected records in quarantine."""
    if not rows:
        return
    names = QuarantineRow.__slots__
    types = {"id": "uuid", "at": "bigint", "partition": "integer", "offset": "bigint", "sealed": "bytea"}
    listed = ", ".join(f'"{name}"' for name in names)
    execute_rows(
        connection,
        f"INSERT INTO oblio.quarantine ({listed}) SELECT {listed} FROM {{rows}} ON CONFLICT DO NOTHING",
        [(name, types.get(name, "bigint" if name.endswith("_at") else "text")) for name in names],
        [tuple(getattr(row, name) for name in names) for row in rows],
    )
