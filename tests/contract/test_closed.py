"""An event cannot carry personal data, not even by accident: its types have no place for it."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from re import _constants as regex  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import msgspec
import msgspec.inspect as mi
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import events
from schemas.codes import End
from schemas.events import Recorded
from tests.contract import forms

KINDS = (*events.AnyEvent.__args__, events.BrakeSet)
HARMLESS = frozenset(string.ascii_letters + string.digits + "_-")
MAX_TEXT = 64


# --- the types, looked at ------------------------------------------------------------------------------------------


def leaves(node: mi.Type, path: str) -> Iterator[tuple[str, mi.Type]]:
    """Every place in a type where a value stands, keys of mappings among them."""
    node = forms.bare(node)
    match node:
        case mi.StructType():
            for field in node.fields:
                yield from leaves(field.type, f"{node.cls.__name__}.{field.name}")
        case mi.UnionType():
            for item in node.types:
                yield from leaves(item, path)
        case mi.DictType():
            yield from leaves(node.key_type, f"{path}.key")
            yield from leaves(node.value_type, f"{path}.value")
        case mi.VarTupleType():
            yield from leaves(node.item_type, f"{path}[]")
        case mi.TupleType():
            for position, item in enumerate(node.item_types):
                yield from leaves(item, f"{path}[{position}]")
        case _:
            yield path, node


def is_closed(node: mi.Type) -> bool:
    """Whether what stands here is chosen from few values, or is a bounded number, or a text of a narrow form."""
    match node:
        case mi.EnumType() | mi.LiteralType() | mi.BoolType() | mi.NoneType():
            return True
        case mi.IntType():
            return node.ge is not None and node.lt is not None
        case mi.StrType(pattern=str(pattern)):
            return is_narrow(pattern)
    return False


def is_narrow(pattern: str) -> bool:
    """Whether all texts that match are short and made of ASCII letters, digits, ``_`` and ``-``, from end to end."""
    parsed = _parser.parse(pattern)
    first, *_, last = parsed
    whole = first == (regex.AT, regex.AT_BEGINNING) and last == (regex.AT, regex.AT_END_STRING)
    return whole and parsed.getwidth()[1] <= MAX_TEXT and _characters(parsed) <= HARMLESS


def _characters(parsed: Any) -> set[str]:
    """The characters that a parsed pattern can match. Raises on every construct that is not known to be narrow."""
    found: set[str] = set()
    for operation, argument in parsed:
        match operation:
            case regex.LITERAL:
                found.add(chr(argument))
            case regex.RANGE:
                found |= set(map(chr, range(argument[0], argument[1] + 1)))
            case regex.IN:
                found |= _characters(argument)
            case regex.BRANCH:
                found = found.union(*map(_characters, argument[1]))
            case regex.MAX_REPEAT | regex.SUBPATTERN:
                found |= _characters(argument[-1])
            case regex.AT:
                pass
            case _:
                raise AssertionError(f"{operation} in a pattern of an event: narrow enough?")
    return found


LEAVES = {f"{path} {type(node).__name__}": node for path, node in leaves(forms.form(Recorded), "")}


@pytest.mark.parametrize("path", LEAVES)
def test_every_leaf_of_every_event_is_closed(path: str) -> None:
    assert is_closed(LEAVES[path]), f"{path} could hold a sentence or an address"


@pytest.mark.parametrize(
    "open_type",
    [str, int, float, bytes, Any, dict[str, int], str | None, list[str], msgspec.Raw],
    ids=str,
)
def test_the_look_itself_finds_an_open_field(open_type: Any) -> None:
    assert not all(is_closed(node) for _, node in leaves(forms.form(open_type), ""))


@pytest.mark.parametrize("wide", [r"^[a-z]+\Z", r"^[a-z]{1,9}$", r"^[a-z@]{1,9}\Z", r"[a-z]{1,9}\Z", r"^[a-z ]{3}\Z"])
def test_the_look_itself_finds_a_wide_pattern(wide: str) -> None:
    assert not is_narrow(wide)


def test_no_event_stands_outside_of_the_union() -> None:
    assert set(events.Event.__subclasses__()) == set(KINDS)


# --- the types, tried ----------------------------------------------------------------------------------------------

DIGITS = st.text(string.digits, min_size=10, max_size=15).filter(lambda digits: digits[0] != "0")
EMAILS = st.one_of(
    st.emails(),
    st.builds(str.upper, st.emails()),
    st.builds(
        "{}@{}.example".format, st.text(st.characters(codec="utf-8"), min_size=1), st.text("abcæøå-", min_size=1)
    ),
)
PHONES = st.one_of(DIGITS.map("+{}".format), DIGITS.map("00{}".format), DIGITS, DIGITS.map("({})".format))
WORDS = st.text(st.characters(categories=["L"]), min_size=1, max_size=20)
NAMES = st.builds("{}{}{}".format, WORDS, st.sampled_from([" ", ", ", "\u00a0", "\t", "\n"]), WORDS)
TRAILED = st.sampled_from(["tickets\n", "acme\n", "2026-04-02\n", forms.REQUEST + "\n", forms.DIGEST + "\n"])
PERSONAL = st.one_of(EMAILS, PHONES, NAMES, TRAILED)

FULL = [forms.sample(forms.form(kind), full=True) for kind in KINDS]
RECORDED = [Recorded(id=forms.REQUEST, tenant="acme", n=7, at=forms.NOW, event=event) for event in FULL]


def poisoned(value: Any, personal: object) -> Iterator[Any]:
    """``value`` again and again, each time with ``personal`` in another place, keys of mappings among them."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            for changed in poisoned(getattr(value, name), personal):
                yield msgspec.structs.replace(value, **{name: changed})
    elif isinstance(value, dict):
        for key, item in value.items():
            yield {personal: item}
            yield {**value, personal: item}
            yield from ({key: changed} for changed in poisoned(item, personal))
    elif isinstance(value, tuple):
        yield (*value, personal)
        for position, item in enumerate(value):
            yield from ((*value[:position], changed, *value[position + 1 :]) for changed in poisoned(item, personal))
    yield personal


def refused(recorded: Any) -> bool:
    try:
        events.check(events.encode(recorded))
    except (msgspec.ValidationError, TypeError, UnicodeEncodeError):
        return True
    return False


@pytest.mark.parametrize("recorded", RECORDED, ids=[kind.__name__ for kind in KINDS])
@settings(max_examples=20)  # of every kind of event, and in every place of it
@given(personal=PERSONAL)
@example(personal="anna@example.org")
@example(personal="+4917012345678")
@example(personal="491701234567")
@example(personal="Anna Lindqvist")
def test_no_event_takes_an_address_a_number_or_a_name(recorded: Recorded, personal: str) -> None:
    assert not refused(recorded)
    for changed in poisoned(recorded, personal):
        assert refused(changed), changed


@pytest.mark.parametrize("recorded", RECORDED, ids=[kind.__name__ for kind in KINDS])
@settings(max_examples=10)
@given(number=st.integers(10**9, 10**12 - 1) | st.integers(4_102_444_800_000, 10**15))
def test_no_count_takes_a_telephone_number(recorded: Recorded, number: int) -> None:
    """E.164 numbers as integers. Of 13 digits, those that could be a time up to 2099 cannot be told from one."""
    for changed in poisoned(recorded, number):
        assert refused(changed), changed


def test_a_field_that_the_form_does_not_have_is_refused() -> None:
    class Leaky(events.Ended, frozen=True, tag="ended"):
        note: str = ""

    leaky = Leaky(end=End.COMPLETED, note="Anna asked twice")
    recorded = Recorded(id=forms.REQUEST, tenant="acme", n=1, at=forms.NOW, event=leaky)
    assert refused(recorded)
    assert not refused(msgspec.structs.replace(recorded, event=events.Ended(end=End.COMPLETED)))


@settings(max_examples=30)
@given(personal=PERSONAL)
def test_the_refusal_does_not_quote(personal: str) -> None:
    for changed in poisoned(RECORDED[0], personal):
        try:
            raw = events.encode(changed)
        except (TypeError, UnicodeEncodeError):
            continue
        with pytest.raises(msgspec.ValidationError) as refusal:
            events.check(raw)
        assert re.fullmatch(r"not an event(: see `[a-z_.\[\]0-9]+`)?", str(refusal.value))


# --- canonical bytes -----------------------------------------------------------------------------------------------


def canonical(value: Any) -> str:
    """RFC 8785, written independently of what the package does; integers and text only."""
    match value:
        case None | bool():
            return json.dumps(value)
        case int():
            return str(value)
        case str():
            return '"' + "".join(map(_escaped, value)) + '"'
        case list():
            return "[" + ",".join(map(canonical, value)) + "]"
        case dict():
            keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
            return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"
    raise AssertionError(f"{type(value)} has no place in an event")


def _escaped(character: str) -> str:
    short = {"\b": r"\b", "\t": r"\t", "\n": r"\n", "\f": r"\f", "\r": r"\r", '"': r"\"", "\\": r"\\"}
    return short.get(character) or (f"\\u{ord(character):04x}" if character < " " else character)


@given(recorded=forms.anything(forms.form(Recorded)))
def test_any_event_is_canonical_and_comes_back(recorded: Recorded) -> None:
    raw = events.encode(recorded)
    events.check(raw)
    assert raw.isascii()
    assert raw.decode() == canonical(json.loads(raw))
    assert events.decode(raw) == recorded


@given(
    recorded=st.sampled_from(RECORDED), spacing=st.sampled_from([" ", "\n", "\t"]), indent=st.sampled_from([None, 1])
)
def test_another_spelling_of_an_event_is_read_but_not_written(
    recorded: Recorded, spacing: str, indent: int | None
) -> None:
    other = json.dumps(json.loads(events.encode(recorded)), indent=indent, sort_keys=True).encode() + spacing.encode()
    assert events.decode(other) == recorded
    with pytest.raises(msgspec.ValidationError, match="canonical"):
        events.check(other)


def test_an_unknown_version_is_refused_by_name() -> None:
    raw = events.encode(RECORDED[0])
    for later in (raw.replace(b'"v":1', b'"v":2'), b'{"v":2,"event":{"type":"dreamt"}}'):
        with pytest.raises(msgspec.ValidationError, match="form v2 is not known"):
            events.decode(later)
