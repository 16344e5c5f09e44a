"""Treatments of columns in PostgreSQL's words: when one is still to be done, and how it is done.

Both come from one place, so that what a verification asks is what an action does. ``d`` is the alias of the row,
``w`` that of the relation with the subject's own patterns and values.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from consumers.maps_model import Elements, JsonPaths, Scrub, Treatment, Value, Word
from consumers.stores.mentions import IP_ADDRESS, SEPARATORS
from consumers.stores.sql_catalog import ColumnType, quoted
from consumers.stores.sql_errors import StoreError
from schemas.codes import FailureCode

Bind = Callable[[Any], str]
"""Registers a constant and gives its placeholder."""


class Mode(StrEnum):
    """What is needed of a subject's identifiers within a row."""

    HINT = "h"
    """What must occur in a text for any mention, as patterns of LIKE, one a line."""
    PATTERN = "p"
    """One regular expression for all mentions."""
    NUMBERS = "n"
    """The same for bare numbers in JSON text."""
    VALUES = "v"
    """Themselves, lower case, one a line."""


Mentions = Callable[[Mode, tuple[str, ...]], str]
"""Asks for a piece of the subject's identifiers and gives the name of its column in ``w``."""


class Treated:
    """One treated column: ``pending`` is true while it is not in the wanted state, ``wanted`` is its new value."""

    def __init__(self, column: ColumnType, treatment: Treatment, key: str, bind: Bind, mentions: Mentions) -> None:
        self.column = column
        self.name = f"d.{quoted(column.name)}"
        self.text = f"{self.name}::text"
        self.key, self.bind, self.mentions = key, bind, mentions
        self.pending, self.wanted = self._forms(treatment)

    def _forms(self, treatment: Treatment) -> tuple[str, str]:
        match treatment:
            case None:
                return f"{self.name} is not null", "null"
            case Value():
                return self._fixed_forms(self._fixed(treatment))
            case Word():
                return self._fixed_forms(self._empty() if treatment is Word.CLEAR else self._truncated())
            case JsonPaths():
                return self._json(treatment)
            case Elements():
                return self._elements(treatment)
            case Scrub():
                return self._scrub(treatment)

    def _fixed_forms(self, wanted: str) -> tuple[str, str]:
        """For a treatment whose outcome does not depend on what it has done already."""
        if self.column.type == "json":  # the one common type without equality
            return f"{self.text} is distinct from ({wanted})::text", wanted
        return f"{self.name} is distinct from {wanted}", wanted

    def _mismatch(self) -> StoreError:
        return StoreError(FailureCode.SCHEMA_MISMATCH, column=self.column.name)

    def _fixed(self, treatment: Value) -> str:
        value = treatment.value
        if isinstance(value, dict) or self.column.is_json:
            value = json.dumps(value, ensure_ascii=False)
        if isinstance(value, str) and "{key}" in value and self.column.is_text:
            return f"replace({self.bind(value)}, '{{key}}', {self.key})::{self.column.type}"
        return f"{self.bind(value)}::{self.column.type}"

    def _empty(self) -> str:
        if self.column.is_json or self.column.element:
            return f"'{{}}'::{self.column.type}"
        if self.column.is_text:
            return f"''::{self.column.type}"
        raise self._mismatch()

    def _truncated(self) -> str:
        if self.column.type in ("inet", "cidr"):
            return f"{_network(self.name)}::{self.column.type}"
        if self.column.is_text:
            # What is no address is emptied: a column of addresses with something else in it is not trusted.
            address = f"({self.name})::inet"
            return (
                f"case when {self.name} = '' then '' when pg_input_is_valid({self.text}, 'inet') "
                f"then ({_network(address)})::text end"
            )
        raise self._mismatch()

    def _json(self, treatment: JsonPaths) -> tuple[str, str]:
        if not self.column.is_json:
            raise self._mismatch()
        paths = ["{" + ",".join(f'"{part}"' for part in path.split(".")) + "}" for path in treatment.json]
        document = f"{self.name}::jsonb"
        pending = " or ".join(f"{document} #> '{path}' is not null" for path in paths)
        wanted = document + "".join(f" #- '{path}'" for path in paths)
        return f"({pending})", f"({wanted})::{self.column.type}"

    def _elements(self, treatment: Elements) -> tuple[str, str]:
        values = f"string_to_array({self.mentions(Mode.VALUES, treatment.elements)}, E'\\n')"
        if self.column.is_json:
            items = (
                f"jsonb_array_elements(case when jsonb_typeof({self.name}::jsonb) = 'array' "
                f"then {self.name}::jsonb else '[]' end)"
            )
            text, make, element = "x.e #>> '{}'", "coalesce(jsonb_agg({} order by x.n), '[]')", "jsonb"
        elif self.column.element:
            items, text, element = f"unnest({self.name})", "x.e::text", self.column.element
            make = f"coalesce(array_agg({{}} order by x.n), '{{{{}}}}')::{self.column.type}"
        else:
            raise self._mismatch()
        pending = f"exists (select from {items} as x(e) where lower({text}) = any ({values}))"
        replacement, rest = "x.e", f"where lower({text}) <> all ({values}) or x.e is null"
        if treatment.with_ is not None:
            new = json.dumps(treatment.with_) if self.column.is_json else str(treatment.with_)
            replacement = f"case when lower({text}) = any ({values}) then {self.bind(new)}::{element} else x.e end"
            rest = ""
        wanted = f"(select {make.format(replacement)} from {items} with ordinality as x(e, n) {rest})"
        return pending, wanted if self.column.type != "json" else f"{wanted}::json"

    def _scrub(self, treatment: Scrub) -> tuple[str, str]:
        """A look for the bare value goes before the regular expression, which costs some twenty times as much."""
        if not (self.column.is_text or self.column.is_json):
            raise self._mismatch()
        pending, wanted = [], self.text
        for kinds in _alike(treatment.scrub):
            occurs = f"{self._hay(kinds)} like any (string_to_array({self.mentions(Mode.HINT, kinds)}, E'\\n'))"
            pattern = self.mentions(Mode.PATTERN, kinds)
            pending.append(f"{occurs} and {self.text} ~* {pattern}")
            scrubbed = wanted
            if self.column.is_json and kinds != ("email",):
                scrubbed = f"regexp_replace({scrubbed}, {self.mentions(Mode.NUMBERS, kinds)}, 'null', 'g')"
            scrubbed = f"regexp_replace({scrubbed}, {pattern}, {self.bind(treatment.with_)}, 'gi')"
            wanted = f"case when {occurs} then {scrubbed} else {wanted} end"
        if treatment.ip:
            occurs = f"({self.text} like '%%.%%.%%.%%' or {self.text} like '%%:%%:%%')"
            pending.append(f"{occurs} and {self.text} ~* {self.bind(IP_ADDRESS)}")
            scrubbed = f"regexp_replace({wanted}, {self.bind(IP_ADDRESS)}, {self.bind(treatment.with_)}, 'gi')"
            wanted = f"case when {occurs} then {scrubbed} else {wanted} end"
        return " or ".join(f"({part})" for part in pending), f"({wanted})::{self.column.type}"

    def _hay(self, kinds: tuple[str, ...]) -> str:
        if kinds == ("phone",):
            return f"translate({self.text}, {self.bind(SEPARATORS)}, '')"
        return f"replace(lower({self.text}), '%%40', '@')" if kinds == ("email",) else f"lower({self.text})"


def _alike(kinds: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The kinds by the way in which they are looked for."""
    plain = [str(kind) for kind in kinds]
    others = tuple(kind for kind in plain if kind not in ("email", "phone"))
    return [(kind,) for kind in plain if kind in ("email", "phone")] + ([others] if others else [])


def _network(address: str) -> str:
    """The address with its host part taken away; a network that is wider already stays."""
    width = f"least(masklen({address}), case family({address}) when 4 then 24 else 48 end)"
    return f"network(set_masklen({address}, {width}))"
