"""What a simulated product is and what it keeps: the part of it that survives a crash."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas import messages as m
from schemas.codes import Phase
from schemas.identifiers import Identifier, IdentifierKind
from schemas.transport import TopicPartition

SURROGATES = frozenset({IdentifierKind.USER_ID})
"""Never given to another person, so that no cut-off is needed."""

DATASET = "rows"

StepId = tuple[str, str, Phase, int]
"""Tenant, request, phase, epoch."""


@dataclass(slots=True)
class Row:
    """One row of a product's store. ``erased_by`` and ``hidden_by`` say which request did it."""

    tenant: str
    owners: frozenset[Identifier]
    created: int
    retained: bool = False
    profile: bool = False
    """Says which identifiers are one person's."""
    hidden_by: str | None = None
    erased_by: str | None = None

    def matches(self, tenant: str, ids: frozenset[Identifier], cutoff: int) -> bool:
        """Surrogates reach whatever they own; reusable identifiers only what is older than the cut-off."""
        named = self.owners & ids
        if self.tenant != tenant or not named:
            return False
        return self.created < cutoff or any(identifier.kind in SURROGATES for identifier in named)


@dataclass(slots=True)
class Plan:
    """Rows to be worked, and how many of them are done."""

    keys: list[str]
    cursor: int = 0


@dataclass(slots=True)
class Disk:
    """All that is durable in a product."""

    rows: dict[str, Row] = field(default_factory=dict)
    receipts: dict[StepId, m.Ack] = field(default_factory=dict)
    plans: dict[StepId, Plan] = field(default_factory=dict)
    trash: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    steps: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    """Per request the highest seq obeyed, and whether it was a stop."""
    brakes: dict[str | None, tuple[int, bool]] = field(default_factory=dict)
    owed: dict[TopicPartition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """What sort of product it is. ``native``: its trash hides rows; else nothing happens until the purge."""

    name: str
    kinds: frozenset[IdentifierKind]
    native: bool = True
    links: bool = False
    """Knows which e-mail address belongs to which user and telephone."""
