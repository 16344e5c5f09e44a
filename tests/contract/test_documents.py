"""The documents made from the types: in step, valid, and complete."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml

from schemas import codec, generate, messages
from schemas.codes import RejectionClass, RejectionCode
from schemas.glosses import plain
from schemas.rejections import ADVICE, CLASS_OF
from schemas.topics import TOPICS, Topic
from schemas.transport import Record

ASYNCAPI: dict[str, Any] = yaml.safe_load((generate.HERE / "asyncapi.yaml").read_text(encoding="utf-8"))
GUIDE = generate.GUIDE.read_text(encoding="utf-8")


def schema_of(type_name: str) -> dict[str, Any]:
    path = generate.HERE / "json" / f"{generate.short(type_name)}.json"
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_committed_documents_are_in_step_with_the_types(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_a_document_that_is_not_in_step_is_named() -> None:
    files = generate.documents()
    changed = dict.fromkeys(files, "")
    assert generate.stale(changed) == list(files)
    some = list(files)[:3]
    assert set(generate.stale({path: files[path] for path in files if path not in some})) == set(some)


# --- JSON Schema ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_name", codec.TYPES)
def test_schemas_are_valid_and_closed(type_name: str) -> None:
    schema = schema_of(type_name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"].endswith(generate.short(type_name).replace(".", ":"))
    for definition in schema["$defs"].values():
        assert definition.get("description"), definition["title"]
        if "properties" in definition:
            assert definition["additionalProperties"] is False


def test_ids_are_unique() -> None:
    assert len({schema_of(name)["$id"] for name in codec.TYPES}) == len(codec.TYPES)


@pytest.mark.parametrize("type_name", codec.TYPES)
def test_schemas_mean_the_same_to_every_validator(type_name: str) -> None:
    """No pattern that only Python understands, no text in the markup of our sources."""
    text = json.dumps(schema_of(type_name))
    assert r"\\Z" not in text
    assert not re.search(r"``|:(class|func|attr|data|mod):", text)
    assert "discriminator" not in text


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"subject": {"identifiers": [{"kind": "email", "value": "a@b"}]}, "sealed": "AAAA"},
        {"subject": {}},
        {"sealed": "not base64url!"},
        {"sealed": "AAAA", "note": "unknown to producers"},
        {"sealed": "AAAA", "tenant": "Anna Lindqvist"},
        {"sealed": "AAAA", "right": "unknown"},
    ],
    ids=str,
)
def test_the_schema_refuses_what_a_producer_should_not_send(wrong: dict[str, Any]) -> None:
    good = {"tenant": "acme", "right": "erasure", "received_at": "2026-03-02T08:30:00Z"}
    validator = jsonschema.Draft202012Validator(schema_of("org.oblio.erasure.erase.v1"))
    assert validator.is_valid(good | {"sealed": "AAAA"})
    assert not validator.is_valid(good | wrong)


def test_descriptions_are_plain() -> None:
    assert plain("See :func:`a.b` and\n    ``c``.\n\n    More\n    of it.") == "See `a.b` and `c`.\n\nMore of it."


def test_members_and_fields_have_their_glosses() -> None:
    definitions = schema_of("org.oblio.erasure.acknowledged.v1")["$defs"]
    assert "`cannot_match`: None of the identifier kinds" in definitions["Outcome"]["description"]
    assert "rightly" in definitions["Counts"]["properties"]["skipped"]["description"]


# --- AsyncAPI ------------------------------------------------------------------------------------------------------


def test_every_topic_and_every_type_is_listed() -> None:
    channels = ASYNCAPI["channels"]
    assert {channel["address"] for channel in channels.values()} == {topic.value for topic in Topic}
    assert {message["name"] for message in ASYNCAPI["components"]["messages"].values()} == set(codec.TYPES)
    for channel in channels.values():
        names = {message(ref)["name"] for ref in channel["messages"].values()}
        assert names == codec.TYPES_OF_TOPIC[Topic(channel["address"])]
    channels_used = {operation["channel"]["$ref"].rpartition("/")[2] for operation in ASYNCAPI["operations"].values()}
    assert channels_used == set(channels)


def message(ref: dict[str, str]) -> dict[str, Any]:
    return ASYNCAPI["components"]["messages"][ref["$ref"].removeprefix("#/components/messages/")]  # type: ignore[no-any-return]


def test_references_lead_somewhere() -> None:
    for ref in re.findall(r"\$ref: '?([^'\n]+)'?", yaml.safe_dump(ASYNCAPI, width=10_000)):
        path, _, pointer = ref.partition("#")
        assert path or pointer
        assert (generate.HERE / path).exists()
        node: Any = ASYNCAPI
        for part in pointer.split("/")[1:]:
            node = node[part]


def test_operations_say_who_sends() -> None:
    actions = {name: operation["action"] for name, operation in ASYNCAPI["operations"].items()}
    assert actions == {
        "receiveRequests": "receive",
        "receiveOperations": "receive",
        "sendCommands": "send",
        "sendStops": "send",
        "receiveAcks": "receive",
        "sendEvents": "send",
        "sendRejected": "send",
    }


@pytest.mark.parametrize("spec", TOPICS, ids=lambda spec: spec.topic.value)
def test_topics_are_deleted_in_time_and_never_compacted(spec: Any) -> None:
    kafka = ASYNCAPI["channels"][spec.topic.name.lower()]["bindings"]["kafka"]
    settings = kafka["topicConfiguration"]
    assert settings["cleanup.policy"] == ["delete"]
    assert settings["retention.ms"] == spec.retention_ms
    assert 0 < settings["segment.ms"] <= spec.retention_ms / 4
    assert ("partitions" in kafka) is spec.sharded


def test_shards_are_a_parameter() -> None:
    sharded = generate.asyncapi(shards=64)["channels"]["acks"]["bindings"]["kafka"]
    assert (sharded["partitions"], sharded["x-partitions"]) == (64, "shards")


@pytest.mark.parametrize("type_name", codec.TYPES)
def test_packed_headers_fit_the_document(type_name: str) -> None:
    from tests.contract.samples import KEY, all_samples

    topic = next(topic for topic, names in codec.TYPES_OF_TOPIC.items() if type_name in names)
    sample = next(item for name, _, item in all_samples() if name == type_name)
    packed = codec.pack(topic, "key", sample, "/oblio", signer=KEY)
    headers = {name: value.decode() for name, value in packed.headers}
    described = message({"$ref": f"#/components/messages/{generate.short(type_name)}"})["headers"]["allOf"]
    for part in (ASYNCAPI["components"]["schemas"]["attributes"], described[1]):
        jsonschema.Draft202012Validator(part).validate(headers)
    assert set(headers) <= set(ASYNCAPI["components"]["schemas"]["attributes"]["properties"])


# --- rejections and the guide --------------------------------------------------------------------------------------


def test_every_code_has_a_class_and_an_advice() -> None:
    assert set(ADVICE) == set(CLASS_OF) == set(RejectionCode)
    assert set(CLASS_OF.values()) == set(RejectionClass)
    assert len(set(ADVICE.values())) == len(ADVICE)


@pytest.mark.parametrize("code", RejectionCode)
def test_advice_is_one_plain_sentence(code: RejectionCode) -> None:
    advice = ADVICE[code]
    assert advice[0].isupper()
    assert advice.endswith(".")
    assert 30 < len(advice) < 250
    assert advice.count(". ") == 0


def test_the_guides_examples_are_accepted() -> None:
    data, event = (block.encode() for block in re.findall(r"```json\n(.*?)```", GUIDE, flags=re.DOTALL))
    headers = tuple(
        (name, value.encode())
        for name, value in re.findall(r"^\| `(content-type|ce_\w+)` \|[^`]*`([^`]+)`", GUIDE, re.MULTILINE)
    )
    assert len(headers) == 5
    envelope, plain_request = codec.message_of(Record(Topic.REQUESTS.value, 0, 0, b"", data, headers))
    assert envelope.id == "deletion-7d1f0c52"
    assert isinstance(plain_request, messages.Erase)
    structured = (("content-type", b"application/cloudevents+json"),)
    _, records_request = codec.message_of(Record(Topic.REQUESTS.value, 0, 0, b"", event, structured))
    assert isinstance(records_request, messages.Erase)
    cancel = re.search(r'`(\{"tenant".*?\})`', GUIDE)
    assert cancel
    jsonschema.Draft202012Validator(schema_of("org.oblio.erasure.cancel.v1")).validate(json.loads(cancel[1]))
    for example in (json.loads(data), json.loads(event)["data"]):
        jsonschema.Draft202012Validator(schema_of("org.oblio.erasure.erase.v1")).validate(example)


def test_the_guides_recipe_seals_what_the_orchestrator_opens() -> None:
    """Written anew from the guide's text alone, without the package's own sealing."""
    from cryptography.hazmat.primitives import hashes, hmac, serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    from schemas import sealing

    def framed(*parts: bytes) -> bytes:
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    def derived(secret: bytes, info: bytes) -> bytes:
        return HKDF(hashes.SHA256(), 32, None, info).derive(secret)

    raw, raw_format = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    orchestrator, ephemeral = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    public, point = (key.public_key().public_bytes(raw, raw_format) for key in (orchestrator, ephemeral))
    key = derived(ephemeral.exchange(orchestrator.public_key()), b"oblio request v1" + point + public)
    place = b"oblio erase v1" + framed(b"acme", b"/accounts", b"deletion-1")
    sealed = sealing.b64(point + AESGCM(key).encrypt(bytes(12), b'{"identifiers":[]}', place))
    associated = sealing.erase_context("acme", "/accounts", "deletion-1")
    assert sealing.open_sealed(orchestrator.private_bytes_raw(), sealed, associated) == b'{"identifiers":[]}'

    signer = hmac.HMAC(derived(bytes(32), b"oblio mac v1"), hashes.SHA256())
    signer.update(b"oblio message v1" + framed(b"some.type", b"/accounts", b"deletion-1", b"{}"))
    mac = sealing.b64(signer.finalize())
    codec.Envelope("some.type", "/accounts", "deletion-1", b"{}", mac=mac).verify(sealing.SharedKey("k", bytes(32)))
