"""Messages of version 1 as they stand in somebody's log: they must stay readable, and mean the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from schemas import codec, events
from schemas.generate import HERE, short
from schemas.topics import Topic
from schemas.transport import Record
from tests.contract.samples import GOLDEN, all_samples, data_of

TYPE_OF = {short(name): name for name in codec.TYPES}
DATA = sorted(path for path in GOLDEN.glob("*/*.json") if path.parent.name in TYPE_OF)
STRUCTURED = sorted((GOLDEN / "structured").glob("*.json"))


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def data_in(path: Path) -> bytes:
    return path.read_bytes().removesuffix(b"\n")


def topic_of(type_name: str) -> Topic:
    return next(topic for topic, names in codec.TYPES_OF_TOPIC.items() if type_name in names)


def binary(path: Path) -> Record:
    type_name = TYPE_OF[path.parent.name]
    headers = {"ce_specversion": "1.0", "ce_type": type_name, "ce_source": "/test", "ce_id": path.stem}
    pairs = tuple((name, value.encode()) for name, value in headers.items())
    return Record(topic_of(type_name).value, 0, 0, b"", data_in(path), pairs)


@pytest.mark.parametrize("path", DATA, ids=name_of)
def test_golden_data_parses_and_encodes_to_the_same_bytes(path: Path) -> None:
    _, message = codec.message_of(binary(path))
    assert data_of(message) == data_in(path)


@pytest.mark.parametrize("path", sorted((GOLDEN / "recorded.v1").glob("*.json")), ids=name_of)
def test_golden_events_are_canonical(path: Path) -> None:
    events.check(data_in(path))


@pytest.mark.parametrize("path", DATA, ids=name_of)
def test_golden_data_fits_the_schema(path: Path) -> None:
    VALIDATORS[path.parent.name].validate(json.loads(data_in(path)))


@pytest.mark.parametrize("path", STRUCTURED, ids=name_of)
def test_golden_structured_events_parse(path: Path) -> None:
    raw = path.read_bytes()
    headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    envelope, message = codec.message_of(Record(Topic.REQUESTS.value, 0, 0, b"", raw, headers))
    assert envelope.source == "/accounts"
    assert json.loads(raw)["data"] == json.loads(msgspec.json.encode(message))


@pytest.mark.parametrize("path", DATA, ids=name_of)
def test_unknown_fields_are_passed_over_everywhere(path: Path) -> None:
    """Tolerant reading: a later writer may add fields to any object."""
    decoder = msgspec.json.Decoder(codec.TYPES[TYPE_OF[path.parent.name]])
    crowded = json.dumps(_crowded(json.loads(data_in(path)))).encode()
    assert decoder.decode(crowded) == decoder.decode(data_in(path))


def _crowded(value: Any, *, struct: bool = True) -> Any:
    """``value`` with an unknown field in every object, save in mappings whose keys are names."""
    if isinstance(value, list):
        return [_crowded(item) for item in value]
    if not isinstance(value, dict):
        return value
    inside = {name: _crowded(item, struct=name not in {"counts", "steps"}) for name, item in value.items()}
    return {"new_in_v1_7": {"a": [None, 1.5, "x"]}, **inside} if struct else inside


def test_every_type_event_and_operation_has_its_golden_files() -> None:
    wanted = {f"{short(type_name)}/{name}" for type_name, name, _ in all_samples()}
    assert wanted <= {name_of(path) for path in DATA}
    assert {path.parent.name for path in DATA} == set(TYPE_OF)
    assert len(STRUCTURED) >= 3


VALIDATORS = {
    name: jsonschema.Draft202012Validator(
        json.loads((HERE / "json" / f"{name}.json").read_text(encoding="utf-8")),
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )
    for name in TYPE_OF
}
