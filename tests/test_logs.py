"""Logs are JSON lines on stderr, the same for libraries and for us, and hold no identifier."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

import psycopg2
import pytest
import sqlalchemy as sa
import structlog
from hypothesis import given
from hypothesis import strategies as st

from schemas import logs
from schemas.logs import WITHHELD, IdentifierLoggedError, Refusal

EMAIL = "Anna.Rossi+x@mail.example.org"
PROSE = "please delete everything that you know about my neighbour who lives in the blue house at the corner"


class Colour(Enum):
    RED = "red"


@dataclass
class Person:
    name: str


@pytest.fixture
def out():
    stream = io.StringIO()
    logs.configure(json=True, stream=stream)
    return stream


def lines(out):
    return [json.loads(line) for line in out.getvalue().splitlines()]


def refused(**event):
    return Refusal()(None, "info", event)


def test_a_line_says_when_where_and_how_bad(out):
    structlog.get_logger("orchestrator.engine").info("batch committed", requests=12)
    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "batch committed",
        "level": "info",
        "logger": "orchestrator.engine",
        "requests": 12,
    }


@pytest.mark.parametrize("name", ["sqlalchemy.pool.x", "kafka.conn", "faust.worker", "aiokafka", "alembic.runtime"])
def test_libraries_come_out_the_same_way(out, name):
    with structlog.contextvars.bound_contextvars(shard=3):
        logging.getLogger(name).warning("lost %s", "connection")
    (line,) = lines(out)
    assert (line["event"], line["level"], line["logger"], line["shard"]) == ("lost connection", "warning", name, 3)


def test_libraries_cannot_put_rows_or_records_into_a_debug_log(out, database, engine_for):
    logs.configure(json=True, level="debug", stream=out)
    with engine_for(database).connect() as connection:
        connection.execute(sa.text("SELECT :who"), {"who": "Anna Rossi"})
    logging.getLogger("kafka").debug("record Anna Rossi")
    assert "Anna" not in out.getvalue()


@pytest.mark.parametrize(
    "value",
    [
        EMAIL,
        f"not delivered to <{EMAIL}>",
        "anna%40example.org",
        "anna@münchen.example",
        "+39 333 123 4567",
        "call +493012345678 now",
        "+1 (415) 555-2671",
        PROSE,
        "x" * 201,
        "ERROR: duplicate key\nDETAIL:  Key (name)=(Anna) already exists",
        "[SQL: SELECT 1]\n[parameters: {'name': 'Anna'}]",
        ["fine", {"deep": (EMAIL,)}],
    ],
)
def test_what_looks_personal_is_withheld(value):
    event = refused(event="done", step=7, what=value)
    assert event["withheld"] is True
    assert event["step"] == 7
    assert WITHHELD in str(event["what"])
    assert not any(personal in str(event) for personal in ("nna", "415", "3012", "333", "neighbour", "xxx"))


@pytest.mark.parametrize(
    "value",
    [
        "0190f3c1-7a54-7cc1-8a3e-0b9d6a1f5a10",
        "2026-03-01T10:00:00+00:00",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "erasure.acks.v1",
        "stopped after 5 of 17 chunks, next in 30 s",
        "x" * 200,
        "host-1.example.org:9092",
        -1,
        1.5,
        True,
        None,
        ["a", 1],
        {"tickets": 3},
    ],
)
def test_ids_codes_counts_and_times_pass(value):
    assert refused(event="done", what=value) == {"event": "done", "what": value}


def test_objects_are_named_not_shown():
    event = refused(
        event="done", who=Person("Anna"), raw=b"Anna", colour=Colour.RED, at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert event == {
        "event": "done",
        "who": "<Person>",
        "raw": "<bytes>",
        "colour": "red",
        "at": "2026-01-01 00:00:00+00:00",
    }


def test_keys_and_the_line_itself_are_looked_at():
    assert EMAIL not in str(refused(event=f"erasing {EMAIL}", **{EMAIL: 1}))


@given(
    local=st.from_regex(r"[A-Za-z0-9._+-]{1,20}", fullmatch=True),
    host=st.from_regex(r"[a-z0-9-]{1,10}\.[a-z]{2,4}", fullmatch=True),
)
def test_no_address_comes_through_wherever_it_stands(local, host):
    address = f"{local}@{host}"
    for text in (address, f"to {address}.", f'{{"email": "{address}"}}', f"mailto:{address}?subject=x", f"({address})"):
        assert address not in json.dumps(refused(event="e", v=text))


def test_strict_raises_and_quotes_nothing(out):
    logs.configure(json=True, strict=True, stream=out)
    with pytest.raises(IdentifierLoggedError) as caught:
        structlog.get_logger().info("erasing", who=EMAIL)
    assert "an e-mail address (in `who`)" in str(caught.value)
    assert EMAIL not in str(caught.value)
    with pytest.raises(IdentifierLoggedError):
        logging.getLogger("faust").error("cannot decode %r", EMAIL)
    assert out.getvalue() == ""


def test_tests_are_strict_without_asking():
    with pytest.raises(IdentifierLoggedError):
        structlog.get_logger().info("erasing", who=EMAIL)


def test_an_exception_is_told_without_locals_and_without_the_drivers_text(out, database, engine_for):
    secret = "Anna Rossi"
    with engine_for(database).begin() as connection:
        connection.execute(sa.text("CREATE TABLE person (name text PRIMARY KEY)"))
    insert = sa.text("INSERT INTO person VALUES (:name)")
    try:
        with engine_for(database).begin() as connection:
            connection.execute(insert, [{"name": secret}, {"name": secret}])
    except sa.exc.IntegrityError:
        structlog.get_logger().exception("failed")
    (line,) = lines(out)
    first, last = line["exception"]
    assert first["type"] == f"{psycopg2.errors.UniqueViolation.__module__}.UniqueViolation"
    assert last["type"] == "sqlalchemy.exc.IntegrityError"
    assert last["sqlstate"] == "23505"
    assert last["frames"][0]["function"] == "test_an_exception_is_told_without_locals_and_without_the_drivers_text"
    assert "Anna" not in out.getvalue()


def test_our_own_exceptions_keep_their_text(out):
    try:
        raise IdentifierLoggedError("a stable text")
    except IdentifierLoggedError:
        logging.getLogger("x").exception("failed")
    (line,) = lines(out)
    assert line["exception"][0]["text"] == "a stable text"


def test_people_get_text(out):
    logs.configure(json=False, stream=out)
    try:
        raise IdentifierLoggedError("a stable text")
    except IdentifierLoggedError:
        structlog.get_logger("x").exception("failed", step=4)
    text = out.getvalue()
    assert "failed" in text
    assert "step=4" in text
    assert "schemas.logs.IdentifierLoggedError: a stable text" in text
    assert "test_people_get_text" in text


def test_stderr_is_the_place_and_stdout_stays_clean(capsys):
    logs.configure()
    structlog.get_logger().info("hello")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert json.loads(shown.err)["event"] == "hello"


def test_a_line_that_cannot_be_written_is_not_shown_by_its_error(out):
    logger = logging.getLogger("x")
    record = logger.makeRecord("x", logging.INFO, __file__, 1, "to %s and %s", (EMAIL,), None)
    for handler in logging.getLogger().handlers:
        if handler.formatter is not None and isinstance(handler, logs._Handler):
            handler.handle(record)
    assert out.getvalue() == "log line of x lost: TypeError\n"


def test_a_second_call_replaces_the_first(out):
    logs.configure(json=True, level="error", stream=out)
    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


def test_an_unknown_level_is_an_error():
    with pytest.raises(ValueError, match="choose debug, info"):
        logs.configure(level="loud")
