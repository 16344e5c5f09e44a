"""From one identifier to the others of the same person, and the signs that it is not one person.

A row of a link is a person. Surrogate identifiers lead on; a reusable one that was *found* does not, because a phone
may be a family's: it is only looked up to see who else has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consumers.maps_model import DataMap
from consumers.stores.sql_batch import Batch
from consumers.stores.sql_members import Statement
from consumers.stores.sql_rows import Linked, Target
from schemas.identifiers import BadIdentifier, normalise

Run = Callable[[Statement, Batch], Sequence[Any]]
Identifier = tuple[str, str]
"""Kind and value."""

MAX_ROUNDS = 4
"""Rounds of following; each leads one link further. More would be a chain of people, not a person."""


@dataclass(slots=True)
class _Trail:
    """What is known of one target while following."""

    target: Target
    known: set[Identifier]
    """Given, or found in a row of the person."""
    asked: set[Identifier] = field(default_factory=set)
    people: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Persons by link, reached by what was given and by surrogates found."""
    strangers: dict[Identifier, dict[int, set[str]]] = field(default_factory=dict)
    """Persons by link, reached only by a reusable identifier that was found."""

    def given(self, identifier: Identifier) -> bool:
        return identifier[1] in self.target.identifiers.get(identifier[0], ())

    def linked(self) -> Linked:
        derived: dict[str, set[str]] = defaultdict(set)
        for kind, value in self.known:
            if not self.given((kind, value)):
                derived[kind].add(value)
        shared = {
            kind
            for (kind, _), reached in self.strangers.items()
            if any(reached[link] - self.people[link] for link in reached)
        }
        persons = max((len(found) for found in self.people.values()), default=0)
        return Linked({kind: frozenset(values) for kind, values in derived.items()}, persons, frozenset(shared))


def link(data_map: DataMap, statements: Mapping[int, Statement], batch: Batch, run: Run) -> dict[int, Linked]:
    """What the links of a map say of each whole subject of a batch. Targets with named records are left out."""
    trails = {
        target.ordinal: _Trail(target, {(kind, v) for kind, values in target.identifiers.items() for v in values})
        for target in batch.targets
        if target.records is None
    }
    for _ in range(MAX_ROUNDS if statements else 0):
        frontier = [_next(trail) for trail in trails.values() if trail.known - trail.asked]
        if not frontier:
            break
        for trail in trails.values():
            trail.asked |= trail.known
        asked = Batch(frontier)
        for index, statement in statements.items():
            _follow(data_map, trails, index, run(statement, asked))
    return {ordinal: trail.linked() for ordinal, trail in trails.items()}


def _next(trail: _Trail) -> Target:
    fresh: dict[str, set[str]] = defaultdict(set)
    for kind, value in trail.known - trail.asked:
        fresh[kind].add(value)
    identifiers = {kind: frozenset(values) for kind, values in fresh.items()}
    return Target(trail.target.ordinal, trail.target.tenant, identifiers, None, trail.target.cutoff_at)


def _follow(data_map: DataMap, trails: dict[int, _Trail], index: int, records: Sequence[Any]) -> None:
    columns = list(data_map.links[index].columns())
    for ordinal, _, kind, value, person, *texts in records:
        trail = trails[ordinal]
        identifier = (kind, value)
        if data_map.reusable(kind) and not trail.given(identifier):
            trail.strangers.setdefault(identifier, defaultdict(set))[index].add(person)
            continue
        trail.people[index].add(person)
        for (found_kind, _), text in zip(columns, texts, strict=True):
            trail.known.update(_identifiers(found_kind, text))


def _identifiers(kind: str, text: str | None) -> list[Identifier]:
    found = []
    for value in (text or "").split("\n"):
        try:
            found.append((str(kind), normalise(kind, value)))
        except BadIdentifier:
            continue  # empty, or no identifier: it can name nobody
    return found
