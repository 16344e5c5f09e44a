"""One command's part for this product, on its way from the log to an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consumers.stores.sql_rows import Target
from schemas.codes import Phase
from schemas.messages import Address, Command, Counts, SealedSubject
from schemas.sealing import SharedKey

if TYPE_CHECKING:
    from consumers.plans import Part, Plan

StepId = tuple[str, str, str, int]
"""Tenant, request, phase, epoch: what a receipt is keyed by, within the product."""


@dataclass(slots=True, eq=False)
class Step:
    """A step that this product was told to take."""

    command: Command
    to: Address
    key: SharedKey
    subject: SealedSubject
    ordinal: int = 0
    """Its number within the group that is worked on together."""
    slow: bool = False
    """Look, write the plan, then act: too large, or too intricate, to be found and done in one statement."""
    open: bool = True
    """Still ours to bring to an end in this run."""
    repeated: bool = False
    """Asks for what has a receipt already."""
    trashed: bool = True
    """The request may have something in the trash."""
    surveyed: list[Part] = field(default_factory=list)
    """Log files with lines of the subject, as read before anything was claimed."""
    undated: dict[str, Counts] = field(default_factory=dict)
    """Log lines, by dataset, that may be a later owner's of a reusable identifier: found, and left."""

    # What the plans table says of it, once it is claimed.
    fence: int = 0
    plan: Plan | None = None
    cursor: int = 0
    """Items of the plan that are done."""
    reported: float = 0.0
    """When progress was last told, by the monotonic clock."""
    _target: tuple[int, Target] | None = None

    def __repr__(self) -> str:
        return f"Step({self.command.phase.value} {self.command.request} seq {self.to.seq})"

    @property
    def id(self) -> StepId:
        """What its receipt and its plan are keyed by."""
        return (self.command.tenant, self.command.request, self.command.phase.value, self.to.epoch)

    @property
    def request(self) -> tuple[str, str]:
        """Tenant and request."""
        return (self.command.tenant, self.command.request)

    @property
    def phase(self) -> Phase:
        """The phase it is a step of."""
        return self.command.phase

    def target(self) -> Target:
        """Whom or what the stores are to look for: what the command says, and what its plan resolved."""
        derived = self.plan.derived if self.plan is not None else {}
        if self._target is None or self._target[0] != len(derived) or self._target[1].ordinal != self.ordinal:
            made = target_of(self.ordinal, self.command.tenant, self.subject, self.command.cutoff_at, derived)
            self._target = (len(derived), made)
        return self._target[1]

    def forget(self) -> None:
        """Drop what a transaction that was rolled back had said."""
        self.fence, self.plan, self.cursor = 0, None, 0


def target_of(
    ordinal: int,
    tenant: str,
    subject: SealedSubject,
    cutoff_ms: int | None,
    derived: Mapping[str, Sequence[str]] | None = None,
) -> Target:
    """The stores' view of a subject.

    Args:
        ordinal: the caller's number for it.
        tenant: the tenant it belongs to.
        subject: identifiers and named records.
        cutoff_ms: reusable identifiers reach only what was created before, in milliseconds of the epoch; none: no limit.
        derived: further identifiers, by kind.
    """
    kinds: dict[str, set[str]] = {kind: set(values) for kind, values in (derived or {}).items()}
    for identifier in subject.identifiers:
        kinds.setdefault(identifier.kind.value, set()).add(identifier.value)
    named = subject.records
    return Target(
        ordinal,
        tenant,
        {kind: frozenset(values) for kind, values in kinds.items()},
        {named.dataset: frozenset(named.keys)} if named else None,
        datetime.fromtimestamp(cutoff_ms / 1000, UTC) if cutoff_ms is not None else None,
    )
