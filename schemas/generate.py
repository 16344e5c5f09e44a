"""Writes the documents that follow from the types: JSON Schemas, the AsyncAPI document, the tables of docs/events.md.

    python -m schemas.generate [--check] [--shards N]

``--check`` writes nothing and fails if a document is not in step.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from schemas import codec, codes, events, identifiers, messages
from schemas.glosses import glosses_of
from schemas.rejections import ADVICE, CLASS_OF
from schemas.topics import TOPICS, Topic, TopicSpec

HERE = Path(__file__).parent
GUIDE = HERE.parent / "docs" / "events.md"
SHARDS = 16  # only what the committed document shows; an installation chooses its own
COMMAND = "python -m schemas.generate"

GLOSSES = glosses_of(messages, events, codes, identifiers)
EXACTLY_ONE = {
    "Erase": ("subject", "sealed"),
    "SubjectData": ("identifiers", "records"),
    "Cancel": ("request", "event_id"),
}
SIGNED = {Topic.OPERATIONS, Topic.ACKS}  # topics whose every record is authenticated as a whole
KEY_IS_CALLERS = {Topic.REQUESTS, Topic.REJECTED}


# --- JSON Schema ---------------------------------------------------------------------------------------------------


def short(type_name: str) -> str:
    """``erase.v1`` for ``org.oblio.erasure.erase.v1``."""
    return type_name.removeprefix("org.oblio.erasure.")


def json_schema(type_name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one message type as its producers should see it: closed."""
    name = short(type_name)
    schema = msgspec.json.schema(codec.TYPES[type_name])
    parts = schema.pop("$defs")
    definitions = {title: _definition(title, parts[title]) for title in sorted(parts)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:oblio:schema:" + name.replace(".", ":"),
        "title": name,
        "description": f"Data of a CloudEvent of type {type_name}.",
        **_portable(schema),
        "$defs": definitions,
    }


def _definition(title: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Closed, with the texts of the sources, and the rules of ``__post_init__`` that a schema can say."""
    schema = _portable(schema)
    texts = GLOSSES[title]
    if "enum" in schema:
        schema = {"title": title, "description": _members(texts), "type": "string", "enum": schema["enum"]}
    for field, text in texts.items():
        if field in schema.get("properties", {}):
            schema["properties"][field]["description"] = text
    if texts[""]:
        schema["description"] = _members(texts)
    if "properties" in schema:
        schema["additionalProperties"] = False
    if title in EXACTLY_ONE:
        schema["oneOf"] = [{"required": [field]} for field in EXACTLY_ONE[title]]
    return schema


def _members(texts: dict[str, str]) -> str:
    glosses = [f"`{member.lower()}`: {text}" for member, text in texts.items() if member.isupper()]
    return "\n\n".join([texts[""], *glosses])


def _portable(schema: Any) -> Any:
    r"""The same for every validator: ``$`` is the end outside of Python (ours says ``\Z``), unions need no hint."""
    if isinstance(schema, list):
        return [_portable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _portable(value) for key, value in schema.items() if key != "discriminator"}
    if isinstance(out.get("pattern"), str):
        out["pattern"] = re.sub(r"\\Z$", "$", out["pattern"])
    return out


# --- AsyncAPI ------------------------------------------------------------------------------------------------------


def asyncapi(shards: int = SHARDS) -> dict[str, Any]:
    """The AsyncAPI 3 document of all topics, for an installation with ``shards`` shards."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Oblio",
            "version": "1.0.0",
            "description": (
                "Erasure of a subject's data across many products. Operations are named from the orchestrator's side: "
                "what it sends, others receive.\n\nMessages are CloudEvents 1.0 in the binary mode of the Kafka "
                "protocol binding; structured mode (application/cloudevents+json) is read as well. Readers ignore "
                "fields they do not know; a new version of a message is a new type."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {spec.topic.name.lower(): _channel(spec, shards) for spec in TOPICS},
        "operations": dict(_operation(spec) for spec in TOPICS),
        "components": {
            "messages": {
                short(name): _message(name, topic)
                for topic in (spec.topic for spec in TOPICS)
                for name in _types_of(topic)
            },
            "schemas": {"attributes": _attributes()},
        },
    }


def _types_of(topic: Topic) -> list[str]:
    return [name for name in codec.TYPES if name in codec.TYPES_OF_TOPIC[topic]]


def _channel(spec: TopicSpec, shards: int) -> dict[str, Any]:
    kafka: dict[str, Any] = {
        "topic": spec.topic.value,
        "topicConfiguration": {
            "cleanup.policy": ["delete"],
            "retention.ms": spec.retention_ms,
            "segment.ms": spec.segment_ms,
        },
        "bindingVersion": "0.5.0",
    }
    if spec.sharded:
        kafka |= {"partitions": shards, "x-partitions": "shards"}
    return {
        "address": spec.topic.value,
        "description": spec.description
        + (" As many partitions as the installation has shards." if spec.sharded else ""),
        "messages": {short(name): {"$ref": f"#/components/messages/{short(name)}"} for name in _types_of(spec.topic)},
        "bindings": {"kafka": kafka},
    }


def _operation(spec: TopicSpec) -> tuple[str, dict[str, Any]]:
    received = spec.topic in {Topic.REQUESTS, Topic.OPERATIONS, Topic.ACKS}
    channel = spec.topic.name.lower()
    action = "receive" if received else "send"
    return f"{action}{channel.capitalize()}", {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": spec.description,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{short(name)}"} for name in _types_of(spec.topic)],
    }


def _message(type_name: str, topic: Topic) -> dict[str, Any]:
    required = ["ce_type", *(["ce_oblkeyid", "ce_oblmac"] if topic in SIGNED else [])]
    key = "The caller's choice." if topic in KEY_IS_CALLERS else "The request's id; for a brake the product's name."
    return {
        "name": type_name,
        "title": short(type_name),
        "summary": summary(type_name),
        "contentType": "application/json",
        "headers": {
            "allOf": [
                {"$ref": "#/components/schemas/attributes"},
                {"type": "object", "required": required, "properties": {"ce_type": {"const": type_name}}},
            ]
        },
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./json/{short(type_name)}.json"},
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}},
    }


def summary(type_name: str) -> str:
    """What a message type says, in its first sentence."""
    form = codec.TYPES[type_name]
    title = form.__name__ if isinstance(form, type) else "Operation"
    return GLOSSES[title][""].split("\n\n")[0]


def _attributes() -> dict[str, Any]:
    attribute = {"type": "string", "minLength": 1, "maxLength": 200}
    described = {
        "ce_source": "Who sends, as a URI reference. Together with ce_id it names the message once and for ever.",
        "ce_id": "Unique for this source.",
        "ce_time": "When it was sent, RFC 3339.",
        "ce_tenant": "The tenant, if the message is about one: the same as in its data.",
        "ce_partitionkey": "The record's key.",
        "ce_oblkeyid": "Names the key that authenticates the message.",
        "ce_oblmac": "HMAC-SHA-256 of type, source, id and data under that key, base64url without padding.",
        "traceparent": "W3C trace context.",
    }
    return {
        "type": "object",
        "description": "Attributes of a CloudEvent, as Kafka headers.",
        "required": ["ce_specversion", "ce_type", "ce_source", "ce_id"],
        "properties": {
            "content-type": {"const": "application/json"},
            "ce_specversion": {"const": "1.0"},
            "ce_type": {"enum": list(codec.TYPES)},
            **{name: {**attribute, "description": text} for name, text in described.items()},
        },
    }


# --- tables for people ---------------------------------------------------------------------------------------------


def message_table() -> str:
    """Which message goes where, in Markdown."""
    rows = [
        f"| `{name}` | `{spec.topic}` | {summary(name)} | [schema](../schemas/json/{short(name)}.json) |"
        for spec in TOPICS
        for name in _types_of(spec.topic)
    ]
    return "\n".join(["| type | topic | says | |", "|---|---|---|---|", *rows])


def rejection_table() -> str:
    """What each rejection means, in Markdown."""
    rows = [f"| `{CLASS_OF[code]}` | `{code}` | {ADVICE[code]} |" for code in codes.RejectionCode]
    return "\n".join(["| class | code | what to do |", "|---|---|---|", *rows])


def fill(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between the two comments that bear ``name``."""
    begin, end = f"<!-- {name}: written by {COMMAND} -->\n", f"\n<!-- end of {name} -->"
    head, begun, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"{GUIDE.name} lacks the comments around {name!r}")
    return head + begin + content + end + tail


# --- files ---------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class calls it so
        return True


def documents(shards: int = SHARDS) -> dict[Path, str]:
    """Every generated file and its text."""
    files = {
        HERE / "json" / f"{short(name)}.json": json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"
        for name in codec.TYPES
    }
    body = yaml.dump(asyncapi(shards), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    files[HERE / "asyncapi.yaml"] = f"# Written by {COMMAND}.\n{body}"
    guide = fill(GUIDE.read_text(encoding="utf-8"), "messages", message_table())
    files[GUIDE] = fill(guide, "rejections", rejection_table())
    return files


def stale(files: dict[Path, str]) -> list[Path]:
    """The files that are not in step, and schemas that belong to no type."""
    old = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    return old + [path for path in sorted((HERE / "json").glob("*.json")) if path not in files]


def main(arguments: list[str] | None = None) -> int:
    """Write, or with ``--check`` compare; 1 if something is not in step."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write the documents that follow from the types.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a document is not in step")
    parser.add_argument("--shards", type=int, default=SHARDS, help="partitions of sharded topics (default %(default)s)")
    options = parser.parse_args(arguments)
    files = documents(options.shards)
    old = stale(files)
    if options.check:
        for path in old:
            print(f"{path.relative_to(HERE.parent)} is not in step: run {COMMAND}", file=sys.stderr)
        return 1 if old else 0
    for path in old:
        if path in files:
            path.parent.mkdir(exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        else:
            path.unlink()
        print(path.relative_to(HERE.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
