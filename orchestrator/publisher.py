"""The outbox: what was decided goes out, again and again if need be, until the log has confirmed it.

A row holds no body. A command is rendered from the vault when it is published, so where the vault entry is gone there
is no command any more; the outbox is no second vault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from orchestrator.keys import KeyRing
from orchestrator.store.store import DueRow, Store
from orchestrator.store.unit import VaultRow
from orchestrator.subjects import Vault
from schemas import codec
from schemas import events as e
from schemas import messages as m
from schemas.codes import Phase, ReasonCode, RejectionClass, RejectionCode, Role
from schemas.sealing import brake_content, command_context, sealed_content, stop_content
from schemas.topics import Topic
from schemas.transport import Bus, Message

SOURCE = "/oblio/orchestrator"
SYSTEM_ACTOR = "actor-000000000000"
LIMIT = 1_000


class Publisher:
    """Publishes the outbox rows of the shards that this instance owns."""

    def __init__(self, store: Store, bus: Bus, keys: KeyRing, ceilings: Callable[[str], int | None]) -> None:
        self._store = store
        self._bus = bus
        self._keys = keys
        self._vault = Vault(keys)
        self._ceilings = ceilings

    def publish(self, shards: Sequence[int]) -> int:
        """Publish what is due and delete the rows once confirmed; returns how many rows went.

        A crash between the two publishes again: readers know repeats by seq and receipt.
        Raises :class:`schemas.transport.BusError`.
        """
        rows = self._store.outbox(shards, LIMIT)
        if not rows:
            return 0
        messages: list[Message] = []
        commands: list[tuple[int, str]] = []
        for row in rows:
            for message in self._render(row):
                if message.topic == Topic.COMMANDS:
                    commands.append((len(messages), row.request))
                messages.append(message)
        positions = self._bus.publish(messages) if messages else ()
        self._store.published([row.id for row in rows], [(request, positions[at]) for at, request in commands])
        return len(rows)

    # --- rendering -------------------------------------------------------------------------------------------------

    def _render(self, row: DueRow) -> Iterable[Message]:
        request, body = row.request, row.body
        match row.kind:
            case "events":
                return _event_messages(request, body, row.events)
            case "command":
                return [self._command(body, row.vault)] if row.vault is not None else []
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

    def _command(self, body: dict[str, Any], entry: VaultRow) -> Message:
        command = m.Command(
            tenant=entry.tenant,
            request=entry.request,
            phase=Phase(body["phase"]),
            cutoff_at=body["cutoff_at"],
            expires_at=body["expires_at"],
            to=(),
        )
        plain = self._vault.open_row(entry).sealed_form
        to = tuple(self._address(command, body, name, plain) for name in body["steps"])
        return codec.pack(Topic.COMMANDS, entry.request, replace(command, to=to), SOURCE)

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
        context = command_context(command, bare)
        sealed = key.seal(plain, context)
        return replace(bare, sealed=sealed, mac=key.mac(sealed_content(context, sealed)))

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


def _event_messages(stream: str, body: dict[str, Any], events: Sequence[bytes]) -> list[Message]:
    """The stored bytes as they are.

    They were checked when they were written, and are not decoded again for the envelope: it needs the tenant alone.
    """
    tenant = body["tenant"]
    return [
        codec.pack(Topic.EVENTS, stream, _any_event(stream, tenant, n), SOURCE, id=f"{stream}/{n}", data=raw)
        for n, raw in enumerate(events, body["first"])
    ]


def _any_event(stream: str, tenant: str, n: int) -> e.Recorded:
    """Of the type and tenant of a stored event, for the envelope's sake."""
    return e.Recorded(id=stream, tenant=tenant, n=n, at=0, event=_NO_EVENT)


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


_NO_EVENT = e.SettleStarted(probe_at=0)
