"""What an operator may set, as plain values that ``decide`` is given. Durations are in milliseconds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, date, tzinfo

from orchestrator.domain.calendar import DAY_MS
from schemas.codes import FailureCode
from schemas.identifiers import IdentifierKind

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

UNCOUNTED = frozenset(
    {FailureCode.STOPPED, FailureCode.EXPIRED, FailureCode.LEASE_LOST, FailureCode.CONTENTION, FailureCode.FILE_BUSY}
)
"""Failures that say nothing of the step itself: they are retried and use up no attempt."""

FOR_A_PERSON = frozenset(
    {
        FailureCode.CANNOT_MATCH,
        FailureCode.AMBIGUOUS_SUBJECT,
        FailureCode.SHARED_IDENTIFIER,
        FailureCode.RESTORE_CONFLICT,
        FailureCode.CEILING_EXCEEDED,
        FailureCode.DENIED,
        FailureCode.SCHEMA_MISMATCH,
        FailureCode.INVALID_ACK,
        FailureCode.REMAINS,
        FailureCode.BAD_COMMAND,
        FailureCode.UNDECRYPTABLE,
        FailureCode.OBJECT_CHANGED,
    }
)
"""Failures that another try cannot mend: the step is parked at once."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential back-off: ``first`` · ``factor``^(attempt − 1), at most ``longest``, times a jitter in [0.5, 1.5)."""

    attempts: int = 6
    first: int = 10 * SECOND
    factor: int = 3
    longest: int = HOUR

    def delay(self, request: str, step: str, attempt: int) -> int:
        """Milliseconds to wait after ``attempt`` failed.

        The jitter is taken from the ids, so that the same history always takes the same decisions.
        """
        plain: int = min(self.longest, self.first * self.factor ** min(attempt - 1, 30))
        seed = hashlib.sha256(f"{request}/{step}/{attempt}".encode()).digest()
        return plain // 2 + plain * int.from_bytes(seed[:4], "big") // 2**32


@dataclass(frozen=True, slots=True)
class Product:
    """How the orchestrator treats one registered product.

    Args:
        wave: its steps go out when those of the waves before are done.
        datasets: the names that its acknowledgements may use.
        nameable: those of them whose records a request may name one by one.
        kinds: the identifier kinds that its data map matches on.
        links: kinds that it can find further identifiers from, and the kinds it finds.
        timeout: how long an acknowledgement may take once the command was read.
        lifetime: how long a command may wait to be read before it has no effect any more.
        ceiling: rows of one step above which a person must release it.
        window: how many of its steps are in flight at a time.
    """

    name: str
    wave: int = 1
    datasets: frozenset[str] = frozenset()
    nameable: frozenset[str] = frozenset()
    kinds: frozenset[IdentifierKind] = frozenset()
    links: tuple[tuple[frozenset[IdentifierKind], frozenset[IdentifierKind]], ...] = ()
    retry: Retry = field(default_factory=Retry)
    timeout: int = 5 * MINUTE
    lifetime: int = 24 * HOUR
    ceiling: int | None = 200_000
    window: int = 1_000

    def finds(self, given: frozenset[IdentifierKind]) -> frozenset[IdentifierKind]:
        """The kinds this product can find from the ``given`` ones, themselves included."""
        known = given
        while True:
            more = known.union(*(found for source, found in self.links if source & known))
            if more == known:
                return known
            known = more


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """Where a tenant's days begin, and which of them are holidays: the legal clock counts by both."""

    zone: tzinfo = UTC
    holidays: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """``products`` is the registry at version ``registry``.

    Args:
        grace: runs from acceptance to the first purge, in either mode.
        settle: runs from the last purge to the probe; 0 leaves the probe out.
        trash: how long the trash is kept where no due date comes first.
        margin: purge out of the trash comes at the latest this long before the legal due date.
        vault_limit: when the identifiers of a request that is still open are destroyed.
    """

    registry: int
    products: dict[str, Product]
    tenants: dict[str, TenantPolicy]
    grace: int = 24 * HOUR
    settle: int = 24 * HOUR
    trash: int = 30 * DAY_MS
    margin: int = 5 * DAY_MS
    vault_limit: int = 100 * DAY_MS

    def product(self, name: str) -> Product:
        """The product, or defaults for one that has left the registry while its step is open."""
        return self.products.get(name) or Product(name)

    def resolvers(self, given: frozenset[IdentifierKind]) -> tuple[str, ...]:
        """The products to ask for identifier kinds that another product's map needs and the request lacks."""
        missing: set[IdentifierKind] = set()
        for product in self.products.values():
            missing |= product.kinds - product.finds(given)
        return tuple(
            sorted(name for name, product in self.products.items() if (product.finds(given) - given) & missing)
        )
