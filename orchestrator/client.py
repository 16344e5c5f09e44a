"""What a platform team's code, the CLI and later the API do: publish requests and operations, sealed and signed."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from orchestrator.intake import submission_key
from orchestrator.keys import KeyRing
from schemas import codec
from schemas import messages as m
from schemas.codes import Capacity, Channel, Ground, Mode, ReasonCode, Right, Role
from schemas.events import INSTALLATION
from schemas.sealing import SharedKey, erase_context, seal_to
from schemas.topics import Topic
from schemas.transport import Bus, Message, Position

SOURCE = "/oblio/cli"


@dataclass(frozen=True, slots=True)
class Wish:
    """One request as its sender means it. ``received_at``: when the subject asked (now, if not given).

    ``event_id`` makes a repeat harmless: the same id and the same content are the same request.
    """

    tenant: str
    identifiers: tuple[m.PlainIdentifier, ...] = ()
    records: m.Records | None = None
    mode: Mode = Mode.PURGE
    right: Right = Right.ERASURE
    ground: Ground | None = None
    capacity: Capacity = Capacity.CONTROLLER
    case: str | None = None
    received_at: datetime | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A request that is on the log: ``key`` finds what it led to, ``position`` its rejection."""

    key: bytes
    position: Position


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. ``id`` is random for a person; the directory that knows the name has a life of its own."""

    id: str
    role: Role


def actor_for(name: str, role: Role, keys: KeyRing) -> Actor:
    """The actor id of a login name: keyed, so that the history does not name staff."""
    digest = hashlib.blake2b(name.encode(), key=keys.index.secret, digest_size=6).hexdigest()
    return Actor(f"actor-{digest}", role)


def new_hold_id() -> str:
    """A random id for a hold; what it is about stands in the case file that quotes it."""
    return f"hold-{secrets.token_hex(6)}"


class Client:
    """Publishes; reads nothing. Errors of the log come as :class:`schemas.transport.BusError`."""

    def __init__(self, bus: Bus, keys: KeyRing, channel: Channel = Channel.CLI) -> None:
        self._bus = bus
        self._keys = keys
        self._channel = channel

    def erase(self, wishes: Sequence[Wish]) -> list[Submitted]:
        """Publish requests; returns for each where it stands and under which key its submission will be found."""
        packed = self.pack(wishes)
        positions = self._bus.publish([message for message, _ in packed])
        return [Submitted(key, position) for (_, key), position in zip(packed, positions, strict=True)]

    def pack(self, wishes: Sequence[Wish]) -> list[tuple[Message, bytes]]:
        """The records of requests, sealed and signed, each with its submission's key; for who publishes them later."""
        return [self._erase(wish) for wish in wishes]

    def _erase(self, wish: Wish) -> tuple[Message, bytes]:
        event_id = wish.event_id or str(uuid.uuid4())
        data = m.SubjectData(identifiers=wish.identifiers, records=wish.records)
        context = erase_context(wish.tenant, SOURCE, event_id)
        erase = m.Erase(
            tenant=wish.tenant,
            right=wish.right,
            received_at=wish.received_at or datetime.now(UTC),
            ground=wish.ground,
            mode=wish.mode,
            capacity=wish.capacity,
            channel=self._channel,
            case=wish.case,
            sealed=seal_to(self._keys.request_public, msgspec.json.encode(data), context),
        )
        packed = codec.pack(Topic.REQUESTS, event_id, erase, SOURCE, id=event_id, signer=self._producer(wish.tenant))
        return packed, submission_key(SOURCE, event_id)

    def _producer(self, tenant: str) -> SharedKey | None:
        """The key of a producer of that tenant; without one the message goes unsigned and is refused by name."""
        keys = [producer.key for producer in self._keys.producers.values() if producer.tenant == tenant]
        return keys[-1] if keys else None

    def operate(self, operations: Sequence[m.AnyOperation]) -> tuple[Position, ...]:
        """Publish operations on open requests; returns where each stands."""
        return self._bus.publish(
            [
                codec.pack(Topic.OPERATIONS, operation.request, operation, SOURCE, signer=self._operator())
                for operation in operations
            ]
        )

    def brake(
        self, *, stopped: bool, actor: Actor, reason: ReasonCode, tenant: str | None, product: str | None
    ) -> None:
        """Stop or resume all destructive work, of a tenant or of a product, or altogether."""
        brake = m.BrakeOperation(
            stopped=stopped, actor=actor.id, role=actor.role, reason=reason, tenant=tenant, product=product
        )
        self._bus.publish([codec.pack(Topic.OPERATIONS, INSTALLATION, brake, SOURCE, signer=self._operator())])

    def _operator(self) -> SharedKey:
        return next(iter(self._keys.operators.values()))
