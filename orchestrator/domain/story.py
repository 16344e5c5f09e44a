"""A history told in plain English, one sentence per event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

from orchestrator.domain.calendar import moment
from schemas import events as e
from schemas.codes import Channel, End, Evidence, FailureCode, Mode, Outcome, Phase, ReasonCode, Role, Scope
from schemas.messages import Counts, Failure


def story(recorded: e.Recorded) -> str:
    """The event as a sentence that needs no glossary. Times are UTC."""
    event = recorded.event
    sentence = _SENTENCES[type(event)](event)
    return (sentence if _begins_with_a_name(sentence, event) else sentence[0].upper() + sentence[1:]) + "."


def _begins_with_a_name(sentence: str, event: e.AnyEvent | e.BrakeSet) -> bool:
    """Names of products are written as the registry writes them."""
    names = {getattr(event, "step", None), *(getattr(event, "steps", None) or ())}
    return sentence.split(maxsplit=1)[0].rstrip(",") in names


# --- words ---------------------------------------------------------------------------------------------------------

TOLD: Mapping[Phase, str] = {
    Phase.RESOLVE: "look for further identifiers of the person",
    Phase.TRASH: "hide the data",
    Phase.RESTORE: "bring back what was hidden",
    Phase.PURGE: "erase the data",
    Phase.PROBE: "look whether anything is left",
}

NOTHING: Mapping[Phase, str] = {
    Phase.RESOLVE: "knows nothing further of the person",
    Phase.TRASH: "found nothing to hide",
    Phase.RESTORE: "had nothing to bring back",
    Phase.PURGE: "found nothing to erase",
    Phase.PROBE: "looked again and found nothing left",
}

WHY: Mapping[FailureCode, str] = {
    FailureCode.STORE_UNAVAILABLE: "its store cannot be reached",
    FailureCode.STORE_TIMEOUT: "its store took too long",
    FailureCode.CONTENTION: "others were at work on the same rows",
    FailureCode.DENIED: "its store does not allow it the access",
    FailureCode.CONFLICT: "what it was told does not fit what it did before",
    FailureCode.RESTORE_CONFLICT: "what is to come back clashes with newer data",
    FailureCode.SCHEMA_MISMATCH: "its store is not laid out as its data map says",
    FailureCode.VERIFICATION_FAILED: "its own check found the work incomplete",
    FailureCode.CEILING_EXCEEDED: "more rows are concerned than its limit allows, so it touched none",
    FailureCode.AMBIGUOUS_SUBJECT: "the identifiers lead to more than one person",
    FailureCode.SHARED_IDENTIFIER: "an identifier belongs to several people",
    FailureCode.CANNOT_MATCH: "it knows none of the kinds of identifier given",
    FailureCode.REMAINS: "something is left that should be gone",
    FailureCode.OBJECT_CHANGED: "a file changed while it was being erased",
    FailureCode.FILE_BUSY: "a file is in use",
    FailureCode.LEASE_LOST: "another worker of the product took the work over",
    FailureCode.UNDECRYPTABLE: "it cannot open the identifiers",
    FailureCode.BAD_COMMAND: "it does not understand the command",
    FailureCode.INVALID_ACK: "its answer contradicts itself",
    FailureCode.TIMED_OUT: "it does not answer",
    FailureCode.STOPPED: "its work is stopped",
    FailureCode.EXPIRED: "it read the command too late",
    FailureCode.INTERNAL_ERROR: "it met an error of its own",
}

CHECKED: Mapping[Evidence, str] = {
    Evidence.ASSERTED: "",
    Evidence.RECOUNTED: "; checked again in a new snapshot",
    Evidence.PROBED: "; looked for again afterwards",
    Evidence.CONFIRMED: "; confirmed by a person",
}

ENDS: Mapping[End, str] = {
    End.COMPLETED: "everything is erased",
    End.COMPLETED_RETAINED: "everything is erased but what the law keeps",
    End.COMPLETED_WAIVED: "erased, except in the products that somebody decided to do without",
    End.NO_DATA_FOUND: "no product held any data of the person",
    End.REFUSED: "the request was refused",
    End.WITHDRAWN: "the person took the request back",
    End.CANCELLED: "the request was cancelled",
}

WHO: Mapping[Role, str] = {
    Role.SUBJECT: "the person concerned",
    Role.PLATFORM: "the platform team",
    Role.COMPLIANCE: "compliance",
    Role.SRE: "operations",
    Role.SYSTEM: "Oblio",
}

CAME_BY: Mapping[Channel, str] = {
    Channel.EVENT: "by event",
    Channel.API: "by the API",
    Channel.CLI: "by the command line",
    Channel.BULK: "from a list",
    Channel.CONSOLE: "by the console",
    Channel.SELF_SERVICE: "from the person's own settings",
}

BEGINS: Mapping[Phase, str] = {
    Phase.RESOLVE: "further identifiers of the person are looked for first",
    Phase.TRASH: "hiding begins; until the erasure it can be undone",
    Phase.RESTORE: "bringing back begins",
    Phase.PURGE: "erasing begins",
    Phase.PROBE: "the last look begins",
}

DID = {
    "erased": "erased",
    "redacted": "redacted",
    "anonymised": "anonymised",
    "hidden": "hid",
    "restored": "brought back",
}


# --- parts of a sentence -------------------------------------------------------------------------------------------


def _listed(names: Iterable[str]) -> str:
    *others, last = sorted(names)
    return f"{', '.join(others)} and {last}" if others else last


def _when(millis: int) -> str:
    at = moment(millis)
    return f"{_day(at.date())} at {at:%H:%M} UTC"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _rows(number: int) -> str:
    return f"{number:,} row" + "s" * (number != 1)


def _total(counts: Mapping[str, Counts]) -> Counts:
    total = Counts()
    for one in counts.values():
        total = total.plus(one)
    return total


def _done(counts: Mapping[str, Counts]) -> str:
    """``erased 3 rows, redacted 13, kept 1 because the law asks for it``; empty where nothing was counted."""
    total = _total(counts)
    parts = [(verb, getattr(total, name), "") for name, verb in DID.items()]
    parts += [("kept", total.retained, " because the law asks for it"), ("left", total.skipped, " as found")]
    return ", ".join(
        f"{verb} {f'{number:,}' if position else _rows(number)}{rest}"
        for position, (verb, number, rest) in enumerate(part for part in parts if part[1])
    )


def _why(failure: Failure) -> str:
    places = [
        f"{label} {value}"
        for label, value in (("in", failure.dataset), ("column", failure.column), ("SQLSTATE", failure.sqlstate))
        if value is not None
    ]
    return WHY[failure.code] + (f" ({', '.join(places)})" if places else "")


def _actor(event: Any) -> str:
    return f"{WHO[event.role]} ({event.actor})"


def _reason(reason: ReasonCode) -> str:
    return f"reason: {reason.value.replace('_', ' ')}"


# --- sentences -----------------------------------------------------------------------------------------------------


def _accepted(event: e.Accepted) -> str:
    whose = "one person's data" if event.scope is Scope.SUBJECT else "named records"
    what = f"erase {whose}" if event.mode is Mode.PURGE else f"hide {whose}, and erase it later,"
    parts = [f"accepted {CAME_BY[event.channel]}: {what} in {_listed(event.steps)}"]
    parts.append(f"asked on {_when(event.received_at)}")
    parts.append(f"due by {_when(event.due_at)}" if event.due_at is not None else "with no legal due date")
    if event.purge_from is not None:
        parts.append(f"nothing is erased before {_when(event.purge_from)}")
    if event.behind:
        parts.append("another request for the same person goes first")
    return "; ".join(parts)


def _phase_started(event: e.PhaseStarted) -> str:
    return BEGINS[event.phase] + (f" in {_listed(event.steps)}" if event.steps else "")


def _dispatched(event: e.Dispatched) -> str:
    tries = {name: f"{name} (try {attempt})" if attempt > 1 else name for name, (_, attempt) in event.steps.items()}
    verb = "was" if len(tries) == 1 else "were"
    return f"{_listed(tries.values())} {verb} told to {TOLD[event.phase]}"


def _succeeded(event: e.Succeeded) -> str:
    checked = CHECKED[event.evidence]
    done = _done(event.counts)
    if event.phase is Phase.RESOLVE:
        further = "identifier" + "s" * (event.kinds != 1)
        return f"{event.step} found {event.kinds or 'no'} further {further} of the person"
    if event.phase is Phase.PROBE:
        kept = _total(event.counts).retained
        but = f" but {_rows(kept)} that the law keeps" if kept else ""
        return f"{event.step} {NOTHING[Phase.PROBE]}{but}{checked}"
    if event.outcome is Outcome.NOTHING_FOUND:
        return f"{event.step} {NOTHING[event.phase]}{checked}"
    return f"{event.step} {done or 'did what it was told'}{checked}"


def _failed(event: e.Failed) -> str:
    uncounted = "" if event.counted else " (this try does not count)"
    return f"{event.step} could not do it: {_why(event.failure)}; next try on {_when(event.retry_at)}{uncounted}"


def _still_unread(event: e.StillUnread) -> str:
    has, it_was = ("has", "it was") if len(event.steps) == 1 else ("have", "they were")
    again = _when(event.look_again_at)
    return f"{_listed(event.steps)} {has} not read what {it_was} told; we look again on {again}, and no try is used up"


def _seen_read(event: e.SeenRead) -> str:
    has = "has" if len(event.steps) == 1 else "have"
    return f"{_listed(event.steps)} {has} read it by now; an answer is expected by {_when(event.timeout_at)}"


def _replayed(event: e.Replayed) -> str:
    anew = ", whatever was done before" if event.epoch > 1 else ""
    limit = f"; up to {event.ceiling:,} rows are allowed now" if event.ceiling is not None else ""
    return f"{_actor(event)} had {event.step} {TOLD[event.phase]} once more{anew} ({_reason(event.reason)}){limit}"


def _noted(event: e.EvidenceNoted) -> str:
    said = _done(event.counts) or event.outcome.value.replace("_", " ")
    return f"{event.step}, which we had decided to do without, answered after all: {said}"


def _hold_placed(event: e.HoldPlaced) -> str:
    what = event.product or "the whole request"
    code = event.code.value.replace("_", " ")
    review = _day(date.fromisoformat(event.review_on))
    return f"{_actor(event)} placed a hold on {what} ({code}, {event.hold}), to be reviewed on {review}"


def _stop_sent(event: e.StopSent) -> str:
    return f"{_listed(event.steps)} {'was' if len(event.steps) == 1 else 'were'} told to stop"


def _stopped(event: e.Stopped) -> str:
    done = _done(event.counts)
    return f"{event.step} has stopped; before that it had {done or 'done nothing'}"


def _cancelled(event: e.CancelAsked) -> str:
    what = "took the request back for the person" if event.withdrawn else "cancelled the request"
    return f"{_actor(event)} {what} ({_reason(event.reason)})"


def _ended(event: e.Ended) -> str:
    return f"ended: {ENDS[event.end]}" + ("; what was hidden is back" if event.restored else "")


def _brake(event: e.BrakeSet) -> str:
    where = " of ".join(
        part for part in (event.product, f"tenant {event.tenant}" if event.tenant is not None else None) if part
    )
    what = "stopped all erasing" if event.stopped else "let erasing go on"
    return f"{_actor(event)} {what} in {where or 'every product'} ({_reason(event.reason)})"


_SENTENCES: Mapping[type, Callable[[Any], str]] = {
    e.Accepted: _accepted,
    e.TurnCame: lambda _: "a request for the same person that went first has ended",
    e.PhaseStarted: _phase_started,
    e.Dispatched: _dispatched,
    e.Succeeded: _succeeded,
    e.Failed: _failed,
    e.TimedOut: lambda v: f"{v.step} did not answer in time; it is told again on {_when(v.retry_at)}",
    e.Parked: lambda v: f"{v.step} waits for a person: {_why(v.failure)}",
    e.Progressed: lambda v: f"{v.step} is at work: {v.done:,} of {v.total:,} done",
    e.StillUnread: _still_unread,
    e.SeenRead: _seen_read,
    e.Replayed: _replayed,
    e.Waived: lambda v: f"{_actor(v)} decided to do without {v.step} ({_reason(v.reason)})",
    e.EvidenceNoted: _noted,
    e.HoldPlaced: _hold_placed,
    e.HoldReleased: lambda v: f"{_actor(v)} released a hold ({v.hold}, {_reason(v.reason)})",
    e.StopSent: _stop_sent,
    e.Stopped: _stopped,
    e.Trashed: lambda v: f"hiding is done; what is hidden will be erased by itself on {_when(v.purge_at)}",
    e.CancelAsked: _cancelled,
    e.RestoreAsked: lambda v: f"{_actor(v)} asked to bring back what was hidden ({_reason(v.reason)})",
    e.SettleStarted: lambda v: f"every product has answered; they will look once more on {_when(v.probe_at)}",
    e.DeadlineMissed: lambda v: f"the legal due date has passed ({_when(v.due_at)}) and the request is still open",
    e.Ended: _ended,
    e.VaultDestroyed: lambda v: (
        f"the identifiers were destroyed at the limit of their time ({_when(v.limit_at)}); "
        "what is not done yet can only be waived"
    ),
    e.BrakeSet: _brake,
}
