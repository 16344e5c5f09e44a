"""What became of the rows, compared with what was promised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from schemas import events as e
from schemas.codes import End, Phase
from schemas.identifiers import Identifier
from tests.simulation.disk import DATASET, SURROGATES, Disk, Kind, Row
from tests.simulation.store import Tables

if TYPE_CHECKING:
    from orchestrator.domain.state import State
    from tests.simulation.people import Asking

UNDONE = frozenset({End.CANCELLED, End.WITHDRAWN})


class Broken(Exception):
    """A promise was not kept."""

    def __init__(self, promise: str, details: str = "") -> None:
        super().__init__(f"{promise}{': ' if details else ''}{details}")
        self.promise = promise


class RowChecks:
    """Looks at every product's rows when all is over."""

    def __init__(self, disks: Mapping[str, Disk], kinds: Sequence[Kind], tables: Tables) -> None:
        self._disks = disks
        self._kinds = kinds
        self._tables = tables

    def check(
        self,
        askings: Mapping[str, Asking],
        histories: Mapping[str, Sequence[e.Recorded]],
        cutoffs: Mapping[tuple[str, str], int],
    ) -> None:
        """Raise :class:`Broken` unless every subject's rows, and everybody else's, are as they should be."""
        for request, asking in askings.items():
            # Two requests that name one person by different identifiers do not know of each other. Both may find the
            # same row before either has erased it, and each then counts it.
            others = [other for other in askings.values() if other is not asking and other.person == asking.person]
            self._rows_of(request, asking, histories[request], shared=any(not overlap(asking, one) for one in others))
        self._rows(askings, cutoffs)

    # --- rows ------------------------------------------------------------------------------------------------------

    def _rows_of(self, request: str, asking: Asking, history: Sequence[e.Recorded], *, shared: bool) -> None:
        """What became of the subject's rows in each product."""
        state = self._tables.requests[request]
        for name, step in state.steps.items():
            rows = self._disks[name].rows
            erased = [key for key, row in rows.items() if row.erased_by == request]
            if state.end in UNDONE:
                hidden = [key for key, row in rows.items() if row.hidden_by == request and not row.erased_by]
                if erased or (hidden and not _waived(history, name)):
                    raise Broken("what was cancelled is as it was", f"{name} {request[-4:]}")
            elif not step.waived:
                if left := list(self._remaining(state, name, asking, history)):
                    raise Broken("what is completed is gone", f"{name} {request[-4:]} {left}")
                if not shared:
                    self._counts(name, len(erased), request, history)

    def _remaining(self, state: State, name: str, asking: Asking, history: Sequence[e.Recorded]) -> Iterator[str]:
        kind = next(kind for kind in self._kinds if kind.name == name)
        cutoff = state.steps[name].cutoff_at or 0
        ids = frozenset(each for each in self._known(asking, history) if each.kind in kind.kinds)
        for key, row in self._disks[name].rows.items():
            mine = asking.records is not None and asking.records.product == name and key in asking.records.keys
            named = mine or row.matches(state.tenant, ids, cutoff)
            if named and not row.retained and not row.erased_by:
                yield key

    def _known(self, asking: Asking, history: Sequence[e.Recorded]) -> frozenset[Identifier]:
        """The identifiers given, and those found, where the finding was waited for."""
        found = any(
            isinstance(x.event, e.Succeeded) and x.event.phase is Phase.RESOLVE and x.event.kinds for x in history
        )
        return asking.given | (asking.person.all if found else frozenset())

    def _counts(self, name: str, erased: int, request: str, history: Sequence[e.Recorded]) -> None:
        """The numbers certified are the numbers of rows, whatever happened on the way."""
        told, again = 0, False
        for entry in history:
            event = entry.event
            if isinstance(event, e.Succeeded) and event.step == name and event.phase is Phase.PURGE:
                told += event.counts[DATASET].erased if event.counts else 0
            again = again or (isinstance(event, e.Replayed) and event.step == name and event.epoch > 1)
        if told > erased or (told < erased and not again):
            raise Broken(
                "counts are those of an undisturbed run", f"{name} {request[-4:]}: {told} told, {erased} erased"
            )

    def _rows(self, askings: Mapping[str, Asking], cutoffs: Mapping[tuple[str, str], int]) -> None:
        """Nobody else's rows were touched."""
        for name, disk in self._disks.items():
            for key, row in disk.rows.items():
                for request in filter(None, (row.erased_by, row.hidden_by)):
                    if not _touchable(key, row, askings[request], cutoffs.get((request, name), 0)):
                        raise Broken("the others' rows are what they were", f"{name} {key}")


def _touchable(key: str, row: Row, asking: Asking, cutoff: int) -> bool:
    """Whether the request may have reached a row, given that it is not retained."""
    if row.retained or row.tenant != asking.person.tenant:
        return False
    if asking.records is not None:
        return key in asking.records.keys
    named = row.owners & asking.person.all
    return any(each.kind in SURROGATES for each in named) or bool(named and row.created < cutoff)


def _waived(history: Sequence[e.Recorded], name: str) -> bool:
    return any(isinstance(entry.event, e.Waived) and entry.event.step == name for entry in history)


def overlap(one: Asking, other: Asking) -> bool:
    """Whether two requests name a subject, or records, in common."""
    if one.person.tenant != other.person.tenant:
        return False
    if one.records is not None and other.records is not None:
        same = one.records.product == other.records.product
        return same and bool(set(one.records.keys) & set(other.records.keys))
    return bool(one.given & other.given)
