"""What a person reads of a request: one word, what it waits for, and its history in sentences."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from orchestrator.domain import story as words
from orchestrator.domain.calendar import moment
from orchestrator.domain.view import Status, WaitsFor, story, summary
from schemas import events as e
from schemas.codes import (
    Channel,
    End,
    Evidence,
    FailureCode,
    HoldCode,
    Outcome,
    Phase,
    ReasonCode,
    Role,
)
from schemas.messages import Counts, Failure
from tests.domain.script import ID, LINKED, START, TENANT, Told, hold_id, other

CLOCK, PRODUCT, PERSON, REQUEST, NOTHING = WaitsFor
TRASHED = ["accept trash", "go", "tickets done", "chat done"]
PURGED = ["accept received 0d", "due", "go", "tickets done", "chat done"]

CASES = [
    # told so far                                       in words                           waits for
    (["accept"],                                        "grace",                           CLOCK),
    (["accept behind 1"],                               "behind",                          REQUEST),
    (["accept behind 1", "cancel"],                     "behind, to be cancelled",         REQUEST),
    (["accept", "hold"],                                "held",                            PERSON),
    (["accept behind 1", "hold"],                       "held",                            PERSON),
    (["accept", "hold tickets"],                        "grace",                           CLOCK),
    (["accept", "due"],                                 "running",                         NOTHING),
    (["accept", "due", "go"],                           "running: chat, tickets",          PRODUCT),
    (["accept", "due", "go chat"],                      "running: chat",                   PRODUCT),
    (["accept", "due", "hold tickets", "hold chat"],    "held: chat, tickets",             PERSON),
    (["accept", "due", "hold tickets", "go"],           "running: chat",                   PRODUCT),
    (["accept", "due", "hold tickets", "go", "chat done"], "held: tickets",                PERSON),
    (["accept", "due", "go", "hold"],                   "stopping: chat, tickets",         PRODUCT),
    (["accept", "due", "go", "hold chat"],              "stopping: chat",                  PRODUCT),
    (["accept", "due", "go", "chat failed contention"], "retrying: chat",                  PRODUCT),
    (["accept", "due", "go", "tickets done", "chat failed contention"], "retrying: chat",  CLOCK),
    (["accept", "due", "go", "tickets done", "chat failed contention", "wait 1h"], "retrying: chat", NOTHING),
    (["accept", "due", "go", "tickets done", "due"],    "retrying: chat",                  CLOCK),
    (["accept", "due", "go", "wait 5m", "tick unread chat tickets"], "waiting for product: chat, tickets", PRODUCT),
    (["accept", "due", "go", "wait 5m", "tick unread chat"], "waiting for product: chat",  PRODUCT),
    (["accept", "due", "go", "chat failed denied"],     "parked: chat",                    PERSON),
    (["accept trash"],                                  "running",                         NOTHING),
    (TRASHED,                                           "trashed",                         CLOCK),
    ([*TRASHED, "hold"],                                "held",                            PERSON),
    ([*TRASHED, "hold chat"],                           "trashed",                         CLOCK),
    ([*TRASHED, "restore"],                             "restoring",                       NOTHING),
    ([*TRASHED, "restore", "go"],                       "restoring: chat, tickets",        PRODUCT),
    ([*TRASHED, "hold", "restore", "go"],               "restoring: chat, tickets",        PRODUCT),
    ([*TRASHED, "restore", "go", "chat failed restore_conflict"], "parked: chat",          PERSON),
    (["accept trash", "go", "cancel"],                  "stopping: chat, tickets, to be cancelled", PRODUCT),
    (PURGED,                                            "settling",                        CLOCK),
    ([*PURGED, "due", "go"],                            "running: chat, tickets",          PRODUCT),
    ([*PURGED, "due", "go", "chat failed remains"],     "parked: chat",                    PERSON),
    ([*PURGED, "due", "go", "chat nothing", "tickets nothing"], "ended: completed",        NOTHING),
    (["accept", "withdraw"],                            "ended: withdrawn",                NOTHING),
]  # fmt: skip


@pytest.mark.parametrize("history,text,waits_for", [pytest.param(*case, id=", ".join(case[0])) for case in CASES])
def test_summary(history, text, waits_for):
    told = Told().tell(*history)
    shown = summary(told.state, told.now)
    assert (shown.text, shown.waits_for) == (text, waits_for)
    assert shown.text.startswith(shown.status.value)
    if waits_for is CLOCK:
        assert shown.until is not None
        assert shown.until >= told.now
    else:
        assert shown.until is None


def test_every_status_is_shown_above():
    assert {text.split(":")[0].split(",")[0] for _, text, _ in CASES} == {status.value for status in Status}


def test_late_is_shown_while_open():
    told = Told().tell("accept received -40d")
    assert summary(told.state, told.now).late
    told.tell("cancel")
    assert not summary(told.state, told.now).late


def test_resolving_reads_as_running():
    told = Told(LINKED).tell("accept kinds email", "go")
    assert summary(told.state, told.now).text == "running: tickets"


# --- the story -----------------------------------------------------------------------------------------------------

WHO: dict[str, Any] = {"actor": "actor-0123456789ab", "role": Role.COMPLIANCE}
STEP: dict[str, Any] = {"step": "chat", "phase": Phase.PURGE, "epoch": 1, "attempt": 1}
COUNTS = {"messages": Counts(found=16, erased=3, redacted=13), "files": Counts()}
AT = START + 3_600_000

TOLD: list[tuple[e.AnyEvent | e.BrakeSet, str]] = [
    (
        e.TurnCame(ended=other("1")),
        "A request for the same person that went first has ended.",
    ),
    (e.PhaseStarted(phase=Phase.PURGE), "Erasing begins."),
    (
        e.PhaseStarted(phase=Phase.RESTORE, steps=("chat", "tickets")),
        "Bringing back begins in chat and tickets.",
    ),
    (
        e.Dispatched(
            phase=Phase.PURGE, epoch=1, steps={"chat": (1, 1), "tickets": (5, 2)}, timeout_at=AT, expires_at=AT
        ),
        "chat and tickets (try 2) were told to erase the data.",
    ),
    (
        e.Dispatched(phase=Phase.PROBE, epoch=1, steps={"chat": (1, 1)}, timeout_at=AT, expires_at=AT),
        "chat was told to look whether anything is left.",
    ),
    (
        e.Succeeded(**STEP, outcome=Outcome.DONE, evidence=Evidence.RECOUNTED, counts=COUNTS),
        "chat erased 3 rows, redacted 13; checked again in a new snapshot.",
    ),
    (
        e.Succeeded(**STEP, outcome=Outcome.DONE, counts={"m": Counts(found=1_204, anonymised=1_200, retained=4)}),
        "chat anonymised 1,200 rows, kept 4 because the law asks for it.",
    ),
    (
        e.Succeeded(**STEP, outcome=Outcome.DONE, counts={"m": Counts(found=1, skipped=1)}),
        "chat left 1 row as found.",
    ),
    (e.Succeeded(**STEP, outcome=Outcome.NOTHING_FOUND), "chat found nothing to erase."),
    (e.Succeeded(**STEP, outcome=Outcome.DONE), "chat did what it was told."),
    (
        e.Succeeded(**STEP | {"phase": Phase.RESOLVE}, outcome=Outcome.DONE, kinds=2),
        "chat found 2 further identifiers of the person.",
    ),
    (
        e.Succeeded(**STEP | {"phase": Phase.PROBE}, outcome=Outcome.DONE, counts={"m": Counts(found=2, retained=2)}),
        "chat looked again and found nothing left but 2 rows that the law keeps.",
    ),
    (
        e.Failed(
            **STEP,
            failure=Failure(code=FailureCode.STORE_TIMEOUT, dataset="messages", sqlstate="57014"),
            retry_at=AT,
        ),
        (
            "chat could not do it: its store took too long (in messages, SQLSTATE 57014); "
            "next try on 31 January 2025 at 10:30 UTC."
        ),
    ),
    (
        e.Failed(**STEP, failure=Failure(code=FailureCode.CONTENTION), retry_at=AT, counted=False),
        (
            "chat could not do it: others were at work on the same rows; "
            "next try on 31 January 2025 at 10:30 UTC (this try does not count)."
        ),
    ),
    (
        e.TimedOut(**STEP, retry_at=AT),
        "chat did not answer in time; it is told again on 31 January 2025 at 10:30 UTC.",
    ),
    (
        e.Parked(**STEP, failure=Failure(code=FailureCode.CEILING_EXCEEDED)),
        "chat waits for a person: more rows are concerned than its limit allows, so it touched none.",
    ),
    (
        e.Progressed(step="chat", phase=Phase.PURGE, epoch=1, done=500, total=70_000, timeout_at=AT),
        "chat is at work: 500 of 70,000 done.",
    ),
    (
        e.StillUnread(steps=("chat", "tickets"), phase=Phase.PURGE, look_again_at=AT),
        (
            "chat and tickets have not read what they were told; we look again on 31 January 2025 at 10:30 UTC, "
            "and no try is used up."
        ),
    ),
    (
        e.SeenRead(steps=("chat",), phase=Phase.PURGE, timeout_at=AT),
        "chat has read it by now; an answer is expected by 31 January 2025 at 10:30 UTC.",
    ),
    (
        e.Replayed(step="chat", phase=Phase.PURGE, epoch=1, reason=ReasonCode.CAUSE_MENDED, ceiling=5_000, **WHO),
        (
            "Compliance (actor-0123456789ab) had chat erase the data once more (reason: cause mended); "
            "up to 5,000 rows are allowed now."
        ),
    ),
    (
        e.Replayed(step="chat", phase=Phase.PURGE, epoch=2, reason=ReasonCode.INCIDENT, **WHO),
        (
            "Compliance (actor-0123456789ab) had chat erase the data once more, whatever was done before "
            "(reason: incident)."
        ),
    ),
    (
        e.Waived(step="chat", phase=Phase.PURGE, reason=ReasonCode.SYSTEM_RETIRED, **WHO),
        "Compliance (actor-0123456789ab) decided to do without chat (reason: system retired).",
    ),
    (
        e.EvidenceNoted(step="chat", phase=Phase.PURGE, epoch=1, seq=1, outcome=Outcome.DONE, counts=COUNTS),
        "chat, which we had decided to do without, answered after all: erased 3 rows, redacted 13.",
    ),
    (
        e.HoldPlaced(hold=hold_id(None), code=HoldCode.LEGAL_CLAIM, review_on="2025-06-30", **WHO),
        (
            "Compliance (actor-0123456789ab) placed a hold on the whole request (legal claim, hold-000000616c6c), "
            "to be reviewed on 30 June 2025."
        ),
    ),
    (
        e.HoldReleased(hold=hold_id(None), reason=ReasonCode.COUNSEL_ASKED, **WHO),
        "Compliance (actor-0123456789ab) released a hold (hold-000000616c6c, reason: counsel asked).",
    ),
    (e.StopSent(steps={"chat": 2, "tickets": 2}, look_again_at=AT), "chat and tickets were told to stop."),
    (e.Stopped(step="chat", seq=2), "chat has stopped; before that it had done nothing."),
    (
        e.Stopped(step="chat", seq=2, counts={"m": Counts(found=1, erased=1)}),
        "chat has stopped; before that it had erased 1 row.",
    ),
    (
        e.Trashed(purge_at=AT),
        "Hiding is done; what is hidden will be erased by itself on 31 January 2025 at 10:30 UTC.",
    ),
    (
        e.CancelAsked(reason=ReasonCode.OPERATOR_ERROR, **WHO),
        "Compliance (actor-0123456789ab) cancelled the request (reason: operator error).",
    ),
    (
        e.CancelAsked(reason=ReasonCode.SUBJECT_ASKED, withdrawn=True, actor=WHO["actor"], role=Role.PLATFORM),
        "The platform team (actor-0123456789ab) took the request back for the person (reason: subject asked).",
    ),
    (
        e.RestoreAsked(reason=ReasonCode.SUBJECT_ASKED, **WHO),
        "Compliance (actor-0123456789ab) asked to bring back what was hidden (reason: subject asked).",
    ),
    (
        e.SettleStarted(probe_at=AT),
        "Every product has answered; they will look once more on 31 January 2025 at 10:30 UTC.",
    ),
    (
        e.DeadlineMissed(due_at=AT),
        "The legal due date has passed (31 January 2025 at 10:30 UTC) and the request is still open.",
    ),
    (e.Ended(end=End.COMPLETED), "Ended: everything is erased."),
    (e.Ended(end=End.CANCELLED, restored=True), "Ended: the request was cancelled; what was hidden is back."),
    (
        e.VaultDestroyed(limit_at=AT),
        (
            "The identifiers were destroyed at the limit of their time (31 January 2025 at 10:30 UTC); "
            "what is not done yet can only be waived."
        ),
    ),
    (
        e.BrakeSet(stopped=True, reason=ReasonCode.INCIDENT, seq=1, product="chat", tenant="acme", **WHO),
        "Compliance (actor-0123456789ab) stopped all erasing in chat of tenant acme (reason: incident).",
    ),
    (
        e.BrakeSet(stopped=False, reason=ReasonCode.INCIDENT_OVER, seq=2, **WHO),
        "Compliance (actor-0123456789ab) let erasing go on in every product (reason: incident over).",
    ),
]


def sentence(event: e.AnyEvent | e.BrakeSet) -> str:
    return story(e.Recorded(id=ID, tenant=TENANT, n=1, at=START, event=event))


@pytest.mark.parametrize("event,expected", [pytest.param(*pair, id=type(pair[0]).__name__) for pair in TOLD])
def test_story(event, expected):
    assert sentence(event) == expected


ACCEPTED = {
    "accept": "Accepted by the API: erase one person's data in chat and tickets; asked on 31 January 2025 at 09:30 UTC; "
    "due by 28 February 2025 at 23:59 UTC; nothing is erased before 1 February 2025 at 09:30 UTC.",
    "accept trash housekeeping": "Accepted by the API: hide one person's data, and erase it later, in chat and tickets; "
    "asked on 31 January 2025 at 09:30 UTC; with no legal due date.",
    "accept trash records chat behind 1": "Accepted by the API: hide named records, and erase it later, in chat; "
    "asked on 31 January 2025 at 09:30 UTC; due by 28 February 2025 at 23:59 UTC; "
    "another request for the same person goes first.",
}


@pytest.mark.parametrize("line", ACCEPTED)
def test_story_of_the_beginning(line):
    assert story(Told().tell(line).history[0]) == ACCEPTED[line]


def test_every_event_has_its_sentence():
    told = {type(event) for event, _ in TOLD} | {e.Accepted}
    assert told == {*get_args(e.AnyEvent), e.BrakeSet}


@pytest.mark.parametrize(
    "members,table",
    [
        (FailureCode, words.WHY),
        (Phase, words.TOLD),
        (Phase, words.NOTHING),
        (Phase, words.BEGINS),
        (Evidence, words.CHECKED),
        (End, words.ENDS),
        (Role, words.WHO),
        (Channel, words.CAME_BY),
    ],
)
def test_every_code_has_its_words(members, table):
    assert set(table) == set(members)


def test_a_sentence_is_one_sentence_and_uses_no_jargon():
    jargon = re.compile(
        r"\b(epoch|seq|ack|wave|phase|parked|probe|purge|dispatch\w*|idempot\w*|projection)\b|_", re.IGNORECASE
    )
    for _, text in TOLD:
        assert text.endswith(".")
        assert ". " not in text
        assert not jargon.search(text), text


def test_times_are_told_to_the_minute_in_utc():
    assert moment(AT).isoformat() == "2025-01-31T10:30:00+00:00"
    assert "31 January 2025 at 10:30 UTC" in sentence(e.Trashed(purge_at=AT))
