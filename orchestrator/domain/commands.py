"""What can happen to a request, as ``decide`` sees it: messages already authenticated, and facts looked up for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.codes import Capacity, Channel, Ground, Mode, Right
from schemas.identifiers import IdentifierKind
from schemas.messages import Ack, AnyOperation


@dataclass(frozen=True, slots=True)
class Accept:
    """A valid request for erasure.

    Args:
        received_at: when the subject asked, in milliseconds.
        kinds: identifier kinds given.
        records_of: the one product whose named records are to go; ``None`` for a whole subject.
        behind: open requests of the same subject.
    """

    request: str
    tenant: str
    right: Right
    mode: Mode
    capacity: Capacity
    channel: Channel
    ground: Ground | None
    received_at: int
    commitment: str
    kinds: frozenset[IdentifierKind] = frozenset()
    records_of: str | None = None
    behind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgement. ``kinds``: how many identifiers it gave that were not known before."""

    ack: Ack
    kinds: int = 0


@dataclass(frozen=True, slots=True)
class Operate:
    """A person, or the orchestrator itself, asks something of the request."""

    operation: AnyOperation


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. ``unread``: steps whose last command their product has not read."""

    unread: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The gate lets these steps go out now."""

    products: tuple[str, ...]


DomainCommand = Accept | Answer | Operate | Tick | Dispatch


class NotPossible(Exception):
    """The operation makes no sense in the request's present state. ``advice`` says why and what is possible."""

    def __init__(self, advice: str) -> None:
        super().__init__(advice)
        self.advice = advice
