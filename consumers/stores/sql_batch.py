"""The targets of a batch as array parameters, each built once however many statements use it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

from consumers.stores.mentions import hints, number_pattern, subject_pattern
from consumers.stores.sql_members import Mention, Source, Statement
from consumers.stores.sql_rows import Rows, Target
from consumers.stores.sql_treatments import Mode

_INTEGERS = {"int2": 15, "int4": 31, "int8": 63}
_UUID = re.compile(r"\{?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?")
_LIKE = re.compile(r"[%_\\]")
_NUMBER = re.compile(r"-?[0-9]{1,19}")


class Batch:
    """Many targets of one call. Give the same object to every call about them.

    Args:
        targets: each with an ordinal of its own.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = tuple(targets)
        self.by_ordinal = {target.ordinal: target for target in self.targets}
        self._sources: dict[Source, dict[str, str]] = {}
        self._mentions: dict[Mention, str] = {}
        self._ordinals = array(str(target.ordinal) for target in self.targets)
        self.datasets = frozenset(name for target in self.targets for name in target.records or ())

    def __len__(self) -> int:
        return len(self.targets)

    def parameters(self, statement: Statement) -> dict[str, Any]:
        """All parameters of a statement but those of given rows."""
        bound: dict[str, Any] = dict(statement.constants)
        for source in statement.sources:
            bound.update(self._source(source))
        if statement.mentions:
            bound["w_o"] = self._ordinals
            for mention in statement.mentions:
                bound[mention.name] = self._mention(mention)
        return bound

    def _source(self, source: Source) -> dict[str, str]:
        if source not in self._sources:
            self._sources[source] = self._arrays(source)
        return self._sources[source]

    def _arrays(self, source: Source) -> dict[str, str]:
        ordinals, tenants, values, cutoffs = [], [], [], []
        for target in self.targets:
            cutoff = target.cutoff_at.astimezone(UTC).isoformat() if target.cutoff_at else "infinity"
            for value in sorted(_values(target, source)):
                if fits(value, source.type):
                    ordinals.append(str(target.ordinal))
                    tenants.append(target.tenant)
                    values.append(value)
                    cutoffs.append(cutoff)
        made = {f"{source.name}_o": array(ordinals), f"{source.name}_t": text_array(tenants)}
        made[f"{source.name}_v"] = text_array(values)
        if source.cutoff:
            made[f"{source.name}_c"] = text_array(cutoffs)
        return made

    def _mention(self, mention: Mention) -> str:
        if mention not in self._mentions:
            self._mentions[mention] = text_array(_mentioned(target, mention) for target in self.targets)
        return self._mentions[mention]


def _values(target: Target, source: Source) -> Iterable[str]:
    if source.record is not None:
        return (target.records or {}).get(source.record, ())
    # Named records are reached by their names alone: a request for one ticket must not become one for its author.
    return target.identifiers.get(source.kind, ()) if target.records is None else ()


def _mentioned(target: Target, mention: Mention) -> str:
    match mention.mode:
        case Mode.HINT:
            return "\n".join(map(_like, hints(target.identifiers, mention.kinds)))
        case Mode.VALUES:
            return "\n".join(sorted(v.lower() for kind in mention.kinds for v in target.identifiers.get(kind, ())))
        case Mode.PATTERN:
            return subject_pattern(target.identifiers, mention.kinds)
        case Mode.NUMBERS:
            return number_pattern(target.identifiers, mention.kinds)


def _like(text: str) -> str:
    return "%" + _LIKE.sub(r"\\\g<0>", text) + "%"


def fits(value: str, type_: str) -> bool:
    """Whether ``value`` can be of the column's type; one that cannot names no row there, and must not stop the batch."""
    if type_ in _INTEGERS:
        return bool(_NUMBER.fullmatch(value)) and abs(int(value)) < 2 ** _INTEGERS[type_]
    if type_ == "uuid":
        return bool(_UUID.fullmatch(value))
    return "\x00" not in value


def row_parameters(rows: Rows) -> dict[str, str]:
    """Given rows as parameters: ordinals, and each key column."""
    bound = {"r_o": array(map(str, rows.ordinals))}
    for i, column in enumerate(rows.keys):
        bound[f"r_k{i}"] = text_array(column)
    return bound


def array(items: Iterable[str]) -> str:
    """A PostgreSQL array literal of numbers. One string costs the driver far less than a list of them."""
    return "{" + ",".join(items) + "}"


def text_array(items: Iterable[str]) -> str:
    """A PostgreSQL array literal of texts, each quoted."""
    return "{" + ",".join(['"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items]) + "}"
