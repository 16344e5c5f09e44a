"""Values of any message type, from the type itself: for samples (fixed) and for Hypothesis (any)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import msgspec.inspect as mi
from hypothesis import reject
from hypothesis import strategies as st

from schemas import types

REQUEST = "0196f3a2-6c5e-7b1d-9a40-5d2c8e7f1b03"
NOW = 1_772_440_200_000  # 2026-03-02T08:30:00Z
_FIRST_S, _LAST_S = 1_020_000_000, 4_000_000_000  # 2002 to 2096

_TEXTS: dict[Any, str] = {
    types.RequestId: REQUEST,
    types.Tenant: "acme",
    types.Name: "tickets",
    types.Column: "requester_email",
    types.ActorId: "actor-5d2c8e7f1b03",
    types.HoldId: "hold-9a405d2c8e7f",
    types.Digest: "FPyBgz0ZRJRFlTTbWNcqyuXXn3-dpf3hJN4f8x1YgDo",
    types.DateText: "2026-04-02",
    types.SqlState: "40P01",
    types.KeyId: "tickets-2026a",
    types.Sealed: "c2VhbGVkIGJ5IHRoZSB0ZXN0cw",
    types.CaseReference: "DSR-2026/0117",
    types.MessageId: "deletion-7d1f0c52",
    types.RecordKey: "5021",
}
TEXT_OF = {get_args(annotated)[1].pattern: value for annotated, value in _TEXTS.items()} | {
    r"^[a-z0-9.]{1,60}\Z": "erasure.requests.v1",
    r"^[a-z0-9_.\[\]]{1,80}\Z": "subject.identifiers[0].kind",
}
DIGEST = _TEXTS[types.Digest]


def form(of: Any) -> mi.Type:
    """The structure of a type, without its descriptions."""
    return bare(mi.type_info(of))


def fields_of(struct: type) -> tuple[mi.Field, ...]:
    """The fields of a message type."""
    node = form(struct)
    assert isinstance(node, mi.StructType)
    return node.fields


def bare(node: mi.Type) -> mi.Type:
    """``node`` without the wrapper that only holds a description."""
    return bare(node.type) if isinstance(node, mi.Metadata) else node


def sample(node: mi.Type, *, full: bool) -> Any:
    """A believable value: ``full`` fills every optional field, else only what is required."""
    node = bare(node)
    match node:
        case mi.StructType():
            return node.cls(**{f.name: sample(f.type, full=full) for f in node.fields if full or f.required})
        case mi.UnionType():
            return sample(next(item for item in node.types if not isinstance(item, mi.NoneType)), full=full)
        case mi.StrType():
            return TEXT_OF[node.pattern] if node.pattern else "anna.lindqvist@example.org"
        case mi.IntType():
            return NOW if (node.ge or 0) >= 10**12 else 3
        case mi.EnumType():
            return next(iter(node.cls))
        case mi.LiteralType():
            return node.values[0]
        case mi.BoolType():
            return True
        case mi.DictType():
            return {sample(node.key_type, full=full): sample(node.value_type, full=full)}
        case mi.TupleType():
            return tuple(sample(item, full=full) for item in node.item_types)
        case mi.VarTupleType():
            return (sample(node.item_type, full=full),)
        case mi.DateTimeType():
            return datetime.fromtimestamp(NOW / 1000, UTC)
    raise AssertionError(f"no sample for {node}")


def _made(cls: Any, fields: dict[str, Any]) -> Any:
    try:
        return cls(**fields)
    except ValueError:  # a rule between fields, or a date that no calendar has
        reject()


def anything(node: mi.Type) -> st.SearchStrategy[Any]:  # noqa: PLR0912 - one case per kind of type
    """Every value that the type allows."""
    node = bare(node)
    match node:
        case mi.StructType():
            return st.fixed_dictionaries(
                {f.name: anything(f.type) for f in node.fields if f.required},
                optional={f.name: anything(f.type) for f in node.fields if not f.required},
            ).map(lambda fields: _made(node.cls, fields))
        case mi.UnionType():
            return st.one_of(*map(anything, node.types))
        case mi.StrType(pattern=str(pattern)):
            return st.from_regex(pattern, fullmatch=True)
        case mi.StrType():
            return st.text(st.characters(codec="utf-8"), max_size=30)
        case mi.IntType():
            return st.integers(node.ge, None if node.lt is None else node.lt - 1)
        case mi.EnumType():
            return st.sampled_from(list(node.cls))
        case mi.LiteralType():
            return st.sampled_from(node.values)
        case mi.BoolType():
            return st.booleans()
        case mi.NoneType():
            return st.none()
        case mi.DictType():
            return st.dictionaries(anything(node.key_type), anything(node.value_type), max_size=3)
        case mi.TupleType():
            return st.tuples(*map(anything, node.item_types))
        case mi.VarTupleType():
            return st.lists(anything(node.item_type), min_size=node.min_length or 0, max_size=3).map(tuple)
        case mi.DateTimeType():
            return st.integers(_FIRST_S, _LAST_S).map(lambda s: datetime.fromtimestamp(s, UTC))
    raise AssertionError(f"no values for {node}")
