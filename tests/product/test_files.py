"""Recordings and log files: what is found is planned, what is planned goes, what came in between is not lost."""

from __future__ import annotations

import time

import msgspec
import pytest

from consumers.samples.fingerprint import differences, fingerprint, remains
from consumers.samples.logwriter import LogWriter
from schemas.codes import FailureCode, Outcome, Phase
from tests.product.support import Crash, command, data_map, left_over, of, one, request_id


@pytest.fixture
def subject(people):
    return next(s for s in people.choose(4) if people.counts[s.key]["voice"]["recordings"] > 0)


def purge(name, subject, request=None, seq=1):
    return command(name, Phase.PURGE, subject.tenant, of(subject), request=request or request_id(), seq=seq)


def keys_of(world, subject):
    with world.stores.cursor("voice") as cursor:
        cursor.execute(
            "select r.object_key from recordings r join calls c on (c.tenant, c.id) = (r.tenant, r.call_id)"
            " where c.tenant = %s and (c.user_id = %s or c.caller_phone = %s) order by 1",
            (subject.tenant, subject.user_id, subject.phone),
        )
        return [key for (key,) in cursor]


def test_recordings_go_before_the_rows_that_lead_to_them(fresh, subject):
    world = fresh("voice")
    seen = []

    def boundary(word):
        if word == "object":
            with world.stores.cursor("voice") as cursor:
                cursor.execute("select count(*) from recordings")
                seen.append((len(world.stores.object_store.list()), cursor.fetchone()[0]))

    ack = one(world.product("voice", boundary=boundary), purge("voice", subject))
    assert ack.counts["recording_files"].erased == ack.counts["recordings"].erased > 0
    assert ack.counts["transcript_files"].erased == ack.counts["transcripts"].erased
    assert len({rows for _, rows in seen}) == 1
    assert len({files for files, _ in seen}) == len(seen)


def test_a_recording_written_anew_meanwhile_is_looked_at_again(fresh, subject):
    world = fresh("voice")
    (key, *_) = keys_of(world, subject)
    words = []

    def boundary(word):
        words.append(word)
        if words == ["begin", "committed", "committed"]:  # planned with versions, not yet deleted
            world.stores.object_store.put({key: b"another take"})

    request = request_id()
    changed = one(world.product("voice", boundary=boundary), purge("voice", subject, request))
    assert (changed.outcome, changed.failure.code) == (Outcome.FAILED, FailureCode.OBJECT_CHANGED)
    assert key in world.stores.object_store.list()
    expected = len(keys_of(world, subject))
    ack = one(world.product("voice"), purge("voice", subject, request, seq=2))
    assert ack.counts["recording_files"].erased == expected
    assert key not in world.stores.object_store.list()


def test_a_file_outside_the_tenants_place_stops_the_step(fresh, subject):
    world = fresh("voice")
    (key, *_) = keys_of(world, subject)
    elsewhere = key.replace(f"voice/{subject.tenant}/", "voice/other/")
    with world.stores.cursor("voice") as cursor:
        cursor.execute("update recordings set object_key = %s where object_key = %s", (elsewhere, key))
    before = world.stores.object_store.list()
    ack = one(world.product("voice"), purge("voice", subject))
    assert (ack.outcome, ack.failure.code, ack.failure.dataset) == (
        Outcome.FAILED,
        FailureCode.SCHEMA_MISMATCH,
        "recordings",
    )
    assert world.stores.object_store.list() == before


def test_a_missing_store_certifies_nothing(fresh, subject):
    world = fresh("voice")
    lost = {
        "files": "file:///nowhere/at/all",
        "database": world.stores.url("voice").render_as_string(hide_password=False),
    }
    world.product("voice")
    request = request_id()
    ack = one(world.product("voice", more={"addresses": lost}), purge("voice", subject, request))
    assert (ack.outcome, ack.failure.code) == (Outcome.FAILED, FailureCode.STORE_UNAVAILABLE)
    assert keys_of(world, subject)
    again = one(world.product("voice"), purge("voice", subject, request, seq=2))
    assert again.counts["recording_files"].erased > 0


def test_a_plan_is_sealed_and_gone_with_the_receipt(fresh, subject):
    world = fresh("voice")

    def boundary(word):
        if word == "object":
            raise Crash

    wanted = purge("voice", subject)
    with pytest.raises(Crash):
        one(world.product("voice", boundary=boundary), wanted)
    product = world.product("voice")
    with product.holdings.home.connect() as connection:
        (sealed,) = connection.exec_driver_sql("select sealed from oblio.plans").scalars()
    assert subject.phone.encode() not in bytes(sealed)
    assert b"voice/" not in bytes(sealed)
    one(product, wanted)
    assert left_over(product)["plans"] == 0


# --- log files ------------------------------------------------------------------------------------------------------


def test_a_service_that_keeps_logging_loses_no_line(fresh, people):
    world = fresh()
    chosen = people.choose(3)
    before = fingerprint(world.stores, chosen)
    product = world.product("logs")
    with LogWriter(world.stores.log_folder, pause=0.002) as writer:
        for subject in chosen:
            ack = one(product, purge("logs", subject))
            assert (ack.outcome, ack.failure) == (Outcome.DONE, None)
        time.sleep(0.02)
    assert writer.written > 10
    assert writer.missing() == []
    assert [f for f in remains(world.stores, chosen) if f.product == "logs" and not f.retained] == []
    assert [d for d in differences(before, fingerprint(world.stores, chosen, like=before)) if d.product == "logs"] == []


def test_lines_about_the_subject_that_come_meanwhile_are_worked_off_too(fresh, people):
    calm, world = fresh("logs"), fresh("logs")
    (subject,) = people.choose(1)
    calm_words: list[str] = []
    words: list[str] = []
    expected = one(calm.product("logs", boundary=calm_words.append), purge("logs", subject))
    about = {"user_id": subject.user_id, "email": subject.email, "message": f"hello {subject.email}"}
    writer = LogWriter(world.stores.log_folder, subject.tenant, about=lambda _: about)

    def boundary(word):
        words.append(word)
        if words[-2:] == ["file", "committed"] and words.count("file") == calm_words.count("file"):
            writer.write()  # all that was planned is done

    ack = one(world.product("logs", boundary=boundary), purge("logs", subject))
    writer.stop()
    assert (ack.outcome, ack.failure) == (Outcome.DONE, None)
    assert ack.counts["lines"].redacted == expected.counts["lines"].redacted + 1
    assert subject.email not in (world.stores.log_folder / "app.jsonl").read_text()


def test_a_service_that_goes_on_about_the_subject_is_not_certified(fresh, people):
    world = fresh("logs")
    (subject,) = people.choose(1)
    writer = LogWriter(world.stores.log_folder, subject.tenant, about=lambda _: {"user_id": subject.user_id})
    product = world.product("logs", boundary=lambda word: writer.write() if word == "committed" else None)
    ack = one(product, purge("logs", subject))
    writer.stop()
    assert (ack.outcome, ack.failure.code, ack.failure.dataset) == (
        Outcome.FAILED,
        FailureCode.VERIFICATION_FAILED,
        "lines",
    )


def asked(subject):
    from consumers.product import Asked

    return [Asked(subject.tenant, of(subject))]


def test_a_file_that_has_not_settled_is_tried_again_later(fresh, people):
    world = fresh("logs")
    (subject,) = people.choose(1)
    shipped = data_map("logs")
    patient = msgspec.structs.replace(shipped.datasets["lines"], settle_s=3600)
    slow = msgspec.structs.replace(shipped, datasets=shipped.datasets | {"lines": patient})
    request = request_id()
    (expected,) = world.product("logs").preview(asked(subject))
    recent = next(
        p for p in sorted(world.stores.log_folder.glob("app-*.jsonl")) if str(subject.user_id) in p.read_text()
    )
    recent.touch()
    busy = one(world.product("logs", map_=slow), purge("logs", subject, request))
    assert (busy.outcome, busy.failure.code, busy.failure.dataset) == (Outcome.FAILED, FailureCode.FILE_BUSY, "lines")
    ack = one(world.product("logs"), purge("logs", subject, request, seq=2))
    assert ack.outcome is Outcome.DONE
    assert {name: n.found for name, n in ack.counts.items()} == expected


def test_a_broken_file_certifies_nothing(fresh, people):
    world = fresh("logs")
    (subject,) = people.choose(1)
    broken = next(iter(sorted(world.stores.log_folder.glob("*.gz"))))
    broken.write_bytes(broken.read_bytes()[:-9])
    ack = one(world.product("logs"), purge("logs", subject))
    assert (ack.outcome, ack.failure.code, ack.failure.dataset) == (
        Outcome.FAILED,
        FailureCode.SCHEMA_MISMATCH,
        "lines",
    )
