"""Whatever bytes come, reading gives a message or a Rejection: nothing else stops a batch."""

from __future__ import annotations

import json
import string
import unicodedata
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec, events, messages
from schemas.generate import short
from schemas.identifiers import BadIdentifier, Identifier, IdentifierKind
from schemas.paths import path_of
from schemas.sealing import SharedKey, Undecryptable, open_sealed
from schemas.topics import Topic
from schemas.transport import Headers, Record
from tests.contract import forms
from tests.contract.samples import GOLDEN, KEY

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

TOPICS = st.sampled_from([*(topic.value for topic in Topic), "orders"])
TYPES = st.sampled_from([*codec.TYPES, "org.oblio.erasure.erase.v9", "x"])
GOLDEN_DATA = [
    (name, path.read_bytes()) for name in codec.TYPES for path in sorted((GOLDEN / short(name)).glob("*.json"))
]
STRUCTURED = [path.read_bytes() for path in sorted((GOLDEN / "structured").glob("*.json"))]
HEADER_NAMES = st.sampled_from(
    [
        "content-type",
        "traceparent",
        *(f"ce_{name}" for name in ("specversion", "type", "source", "id", "tenant", "oblkeyid", "oblmac", "time")),
    ]
)


def attempt(call: Callable[..., T], *arguments: Any, refusal: type[E]) -> T | E:
    """What ``call`` returns, or its refusal. Any other exception fails the test."""
    try:
        return call(*arguments)
    except refusal as error:
        return error


def read(value: bytes, headers: Headers, topic: str) -> codec.AnyMessage | None:
    """The message, or ``None`` for a rejection."""
    record = Record(topic, 0, 0, b"", value, headers)
    result = attempt(codec.message_of, record, refusal=codec.Rejection)
    if isinstance(result, codec.Rejection):
        assert result.field is None or result.field.isascii()
        return None
    return result[1]


@given(st.binary(max_size=400), st.lists(st.tuples(HEADER_NAMES | st.text(max_size=9), st.binary(max_size=40))), TOPICS)
def test_any_bytes_and_headers(value: bytes, headers: list[tuple[str, bytes]], topic: str) -> None:
    read(value, tuple(headers), topic)


@st.composite
def mutations(draw: st.DrawFn, raw: bytes) -> bytes:
    """``raw`` with a piece cut out, replaced or put in, in a few places."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 12)))
        piece = draw(st.binary(max_size=3) | st.sampled_from([b"null", b"{}", b'"', b",", b"1e999", b"-", b"\\u0000"]))
        raw = raw[:start] + piece + raw[end:]
    return raw


def headers_for(type_name: str) -> Headers:
    names = {"ce_specversion": "1.0", "ce_type": type_name, "ce_source": "/fuzz", "ce_id": "1"}
    return tuple((name, value.encode()) for name, value in names.items())


@settings(max_examples=300)
@given(st.data())
def test_damaged_golden_messages(data: st.DataObject) -> None:
    type_name, golden = data.draw(st.sampled_from(GOLDEN_DATA))
    topic = next(topic for topic, names in codec.TYPES_OF_TOPIC.items() if type_name in names)
    read(data.draw(mutations(golden)), headers_for(type_name), topic.value)


@settings(max_examples=100)
@given(st.data())
def test_damaged_structured_events(data: st.DataObject) -> None:
    read(data.draw(mutations(data.draw(st.sampled_from(STRUCTURED)))), (), Topic.REQUESTS.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deep for key, item in items for deep in places(item, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """``value`` with what stands at ``path`` replaced."""
    if not path:
        return other
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = put(value[path[0]], path[1:], other)
    return copied


@settings(max_examples=300)
@given(st.data())
def test_golden_messages_with_any_json_in_any_place(data: st.DataObject) -> None:
    type_name, golden = data.draw(st.sampled_from(GOLDEN_DATA))
    plain = json.loads(golden)
    changed = put(plain, data.draw(st.sampled_from(places(plain))), data.draw(JSON))
    topic = next(topic for topic, names in codec.TYPES_OF_TOPIC.items() if type_name in names)
    read(json.dumps(changed).encode(), headers_for(type_name), topic.value)


@given(st.data(), st.sampled_from(sorted(codec.TYPES)))
def test_any_message_that_fits_its_type_is_read_back(data: st.DataObject, type_name: str) -> None:
    message = data.draw(forms.anything(forms.form(codec.TYPES[type_name])))
    topic = next(topic for topic, names in codec.TYPES_OF_TOPIC.items() if type_name in names)
    packed = codec.pack(topic, "key", message, "/fuzz")
    assert read(packed.value, packed.headers, packed.topic) == message


@given(st.binary(max_size=200) | st.sampled_from([golden for _, golden in GOLDEN_DATA]).flatmap(mutations))
def test_decoding_events_raises_one_error(raw: bytes) -> None:
    for read_event in (events.decode, events.check):
        result = attempt(read_event, raw, refusal=msgspec.ValidationError)
        assert "anna" not in repr(result).lower()


@given(st.binary(max_size=200))
def test_sealed_content_is_parsed_like_a_message(raw: bytes) -> None:
    attempt(codec.parse, msgspec.json.Decoder(messages.SubjectData), raw, refusal=codec.Rejection)


@given(st.text() | st.text(string.ascii_letters + string.digits + "-_", max_size=200), st.binary())
def test_opening_anything_raises_one_error(sealed: str, associated: bytes) -> None:
    for opener in (KEY.open, SharedKey("other", bytes(32)).open, lambda text, ad: open_sealed(bytes(32), text, ad)):
        result = attempt(opener, sealed, associated, refusal=Undecryptable)
        assert isinstance(result, Undecryptable)
        assert str(result) in {KEY.id, "other", "sealed box"}


@given(st.sampled_from(IdentifierKind), st.text(st.characters(), max_size=300))
def test_normalising_anything_raises_one_error(kind: IdentifierKind, text: str) -> None:
    result = attempt(Identifier.of, kind, text, refusal=BadIdentifier)
    if isinstance(result, BadIdentifier):
        assert len(text) < 12 or text.strip() not in str(result)
    else:
        result.value.encode()  # no lone surrogate gets through
        assert not any(unicodedata.category(character) == "Cc" for character in result.value)


def test_a_path_is_taken_from_the_end_of_an_error_and_nothing_else() -> None:
    assert path_of(msgspec.ValidationError("Invalid enum value 'x` - at `$.anna`' - at `$.right`")) == "right"
    assert path_of(msgspec.ValidationError("Invalid enum value 'x - at `$.anna`'")) is None
    assert path_of(msgspec.ValidationError("Expected `str` - at `key` in `$.counts`")) == "counts"
    assert path_of(msgspec.ValidationError("Expected `object`, got `str`")) is None
