"""The outbox: what was decided goes out, again and again if need be, until the log has confirmed it.

A row holds no body. A command is rendered from the vault when it is published, so where the vault entry is gone there
is no command any more; the outbox is no second vault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.engine import Connection, Engine

from orchestrator.keys import KeyRing
from orchestrator.store.database import execute_rows
from orchestrator.subjects import Subject, Vault
from schemas import codec
from schemas import events as e
from schemas import messages as m
from schemas.codes import Phase, ReasonCode, RejectionClass, RejectionCode, Role
from schemas.sealing import brake_content, command_content, command_context, stop_content
from schemas.topics import Topic
from schemas.transport import Bus, Message, Position

SOURCE = "/oblio/orchestrator"
SYSTEM_ACTOR = "actor-000000000000"
LIMIT = 1_000

_Row = tuple[int, str, str, dict[str, Any]]


class Publisher:
    """Publishes the outbox rows of the shards that this instance owns."""

    def __init__(self, database: Engine, bus: Bus, keys: KeyRing, ceilings: Callable[[str], int | None]) -> None:
        self._database = database
        self._bus = bus
        self._keys = keys
        self._vault = Vault(keys)
        self._ceilings = ceilings

    def publish(self, shards: Sequence[int]) -> int:
        """Publish what is due and delete the rows once confirmed; returns how many rows went.

        A crash between the two publishes again: readers know repeats by seq and receipt.
        Raises :class:`schemas.transport.BusError`.
        """
        with self._database.connect() as connection:
            rows = self._rows(connection, shards)
            if not rows:
                return 0
            subjects = self._subjects(connection, rows)
            bodies = self._bodies(connection, rows)
        messages: list[Message] = []
        commands: list[tuple[int, str]] = []
        for row in rows:
            for message in self._render(row, subjects, bodies):
                if message.topic == Topic.COMMANDS:
                    commands.append((len(messages), row[2]))
                messages.append(message)
        positions = self._bus.publish(messages) if messages else ()
        self._done(rows, [(request, positions[at]) for at, request in commands])
        return len(rows)

    # --- reading ---------------------------------------------------------------------------------------------------

    def _rows(self, connection: Connection, shards: Sequence[int]) -> list[_Row]:
        found = connection.execute(
            sa.text(
                "SELECT id, kind, request::text, body FROM oblio.outbox WHERE shard = ANY(:shards) ORDER BY id LIMIT :limit"
            ),
            {"shards": list(shards), "limit": LIMIT},
        )
        return [(id, kind, request, body) for id, kind, request, body in found]

    def _subjects(self, connection: Connection, rows: Iterable[_Row]) -> dict[str, Subject]:
        ids = sorted({request for _, kind, request, _ in rows if kind == "command"})
        if not ids:
            return {}
        found = connection.execute(
            sa.text(
                "SELECT request::text, tenant, key, sealed FROM oblio.vault WHERE request = ANY(CAST(:ids AS uuid[]))"
            ),
            {"ids": ids},
        )
        return {
            request: self._vault.open(request, tenant, key, bytes(sealed)) for request, tenant, key, sealed in found
        }

    def _bodies(self, connection: Connection, rows: Iterable[_Row]) -> dict[int, list[bytes]]:
        """The stored bytes of the events that each row names, in order; never serialised anew."""
        wanted = [(id, request, body["first"], body["last"]) for id, kind, request, body in rows if kind == "events"]
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

    # --- rendering -------------------------------------------------------------------------------------------------

    def _render(self, row: _Row, subjects: dict[str, Subject], bodies: dict[int, list[bytes]]) -> Iterable[Message]:
        id, kind, request, body = row
        match kind:
            case "events":
                return [_event_message(request, raw) for raw in bodies.get(id, ())]
            case "command":
                subject = subjects.get(request)
                return [self._command(request, body, subject)] if subject is not None else []
            case "stop":
                return [self._stop(request, body, name) for name in body["steps"]]
            case "turn":
                return [self._turn(request, body)]
            case "brake":
                return [self._brake(name, body) for name in body["products"]]
            case "cancel":
                return [self._forwarded(request, body)]
            case _:
                return [_rejected(body)]

    def _command(self, request: str, body: dict[str, Any], subject: Subject) -> Message:
        command = m.Command(
            tenant=body["tenant"],
            request=request,
            phase=Phase(body["phase"]),
            cutoff_at=body["cutoff_at"],
            expires_at=body["expires_at"],
            to=(),
        )
        plain = subject.sealed_form
        to = tuple(self._address(command, body, name, plain) for name in body["steps"])
        return codec.pack(Topic.COMMANDS, request, replace(command, to=to), SOURCE)

    def _address(self, command: m.Command, body: dict[str, Any], name: str, plain: bytes) -> m.Address:
        seq, attempt = body["steps"][name]
        key = self._keys.product(name)
        ceiling = body["ceilings"].get(name, self._ceilings(name))
        bare = m.Address(
            product=name,
            epoch=body["epoch"],
            seq=seq,
            attempt=attempt,
            key=key.id,
            sealed="",
            mac="",
            ceiling=ceiling,
        )
        sealed = key.seal(plain, command_context(command, bare))
        whole = replace(bare, sealed=sealed)
        return replace(whole, mac=key.mac(command_content(command, whole)))

    def _stop(self, request: str, body: dict[str, Any], name: str) -> Message:
        epoch, seq = body["steps"][name]
        key = self._keys.product(name)
        bare = m.Stop(tenant=body["tenant"], request=request, product=name, epoch=epoch, seq=seq, key=key.id, mac="")
        return codec.pack(Topic.STOPS, request, replace(bare, mac=key.mac(stop_content(bare))), SOURCE)

    def _brake(self, name: str, body: dict[str, Any]) -> Message:
        key = self._keys.product(name)
        bare = m.Brake(
            product=name, stopped=body["stopped"], seq=body["seq"], tenant=body["tenant"], key=key.id, mac=""
        )
        return codec.pack(Topic.STOPS, name, replace(bare, mac=key.mac(brake_content(bare))), SOURCE)

    def _turn(self, request: str, body: dict[str, Any]) -> Message:
        turn = m.TurnOperation(
            tenant=body["tenant"], request=request, actor=SYSTEM_ACTOR, role=Role.SYSTEM, ended=body["ended"]
        )
        return codec.pack(Topic.OPERATIONS, request, turn, SOURCE, signer=self._keys.orchestrator)

    def _forwarded(self, request: str, body: dict[str, Any]) -> Message:
        """A cancel that came by the requests topic goes to the owner of the stream."""
        cancel = m.CancelOperation(
            tenant=body["tenant"],
            request=request,
            actor=SYSTEM_ACTOR,
            role=Role.PLATFORM,
            reason=ReasonCode.SUBJECT_ASKED,
            withdrawn=True,
        )
        return codec.pack(Topic.OPERATIONS, request, cancel, SOURCE, signer=self._keys.orchestrator)

    # --- afterwards ------------------------------------------------------------------------------------------------

    def _done(self, rows: Sequence[_Row], sent: Sequence[tuple[str, Position]]) -> None:
        last = {request: position for request, position in sent}
        with self._database.begin() as connection:
            if last:
                execute_rows(
                    connection,
                    """INSERT INTO oblio.sent (request, partition, "offset")
                       SELECT r.request, r.partition, r."offset" FROM {rows}
                       JOIN oblio.requests q ON q.id = r.request AND q.ended_at IS NULL
                       ON CONFLICT (request) DO UPDATE SET partition = excluded.partition, "offset" = excluded."offset" """,
                    (("request", "uuid"), ("partition", "integer"), ("offset", "bigint")),
                    sorted((request, position.partition, position.offset) for request, position in last.items()),
                )
            connection.execute(
                sa.text("DELETE FROM oblio.outbox WHERE id = ANY(:ids)"), {"ids": [row[0] for row in rows]}
            )


def _event_message(request: str, raw: bytes) -> Message:
    recorded = e.decode(raw)
    return codec.pack(Topic.EVENTS, request, recorded, SOURCE, id=f"{request}/{recorded.n}", data=raw)


def _rejected(body: dict[str, Any]) -> Message:
    rejected = m.Rejected(
        rejection_class=RejectionClass(body["rejection_class"]),
        code=RejectionCode(body["code"]),
        topic=body["topic"],
        partition=body["partition"],
        offset=body["offset"],
        at=body["at"],
        field=body["field"],
        producer=body["producer"],
    )
    return codec.pack(Topic.REJECTED, body["id"], rejected, SOURCE, id=body["id"])
