"""A request as a person reads it: one word for where it stands, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from orchestrator.domain.state import FINISHED, IN_FLIGHT, RETRYING, Stage, State, Step, StepStatus
from orchestrator.domain.story import story
from schemas.codes import End
from schemas.types import Millis

__all__ = ["Status", "Summary", "WaitsFor", "story", "summary"]


class Status(StrEnum):
    """The word that a person reads first."""

    BEHIND = "behind"
    """Another request for the same subject goes first."""
    GRACE = "grace"
    """Nothing has happened yet; a cancel leaves no trace."""
    HELD = "held"
    """A hold keeps everything that is left from going on."""
    STOPPING = "stopping"
    """A stop is out that not every product has answered."""
    PARKED = "parked"
    """At least one step waits for a person."""
    WAITING_FOR_PRODUCT = "waiting for product"
    """A product has not read its command yet."""
    RETRYING = "retrying"
    """Something failed and will be tried again by itself."""
    RUNNING = "running"
    """Products are at work, or will be as soon as the gate lets them."""
    RESTORING = "restoring"
    """What was hidden is being brought back."""
    TRASHED = "trashed"
    """Hidden everywhere; purge comes by itself."""
    SETTLING = "settling"
    """Purged everywhere; products will look once more."""
    ENDED = "ended"


class WaitsFor(StrEnum):
    """Who or what moves the request on."""

    CLOCK = "clock"
    PRODUCT = "product"
    PERSON = "person"
    REQUEST = "request"
    NOTHING = "nothing"
    """It has ended, or goes on as soon as the gate has room."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A request in one line.

    ``products`` are those that it waits for, or that wait for a person. ``until`` is when it goes on by itself, in
    milliseconds of the epoch, where it waits for the clock.
    """

    status: Status
    waits_for: WaitsFor
    text: str
    """The status in words: ``ended: completed``, ``parked: chat``."""
    products: tuple[str, ...] = ()
    until: Millis | None = None
    late: bool = False
    """Still open after the legal due date."""


def summary(state: State, now: int) -> Summary:
    """Where the request stands at ``now`` (milliseconds)."""
    if state.end is not None:
        return Summary(status=Status.ENDED, waits_for=WaitsFor.NOTHING, text=f"ended: {_plain(state.end)}")
    status, waits_for, products, until = _standing(state, now)
    text = f"{status.value}: {', '.join(products)}" if products else status.value
    if state.undo is not None and state.stage is not Stage.RESTORING:
        text += ", to be cancelled"
    late = state.due_at is not None and now > state.due_at
    return Summary(status=status, waits_for=waits_for, text=text, products=products, until=until, late=late)


_Standing = tuple[Status, WaitsFor, tuple[str, ...], int | None]


def _standing(state: State, now: int) -> _Standing:
    """The first that is true, the one a person can do most about before the others."""
    stopping = _named(state, lambda step: step.stop_at is not None)
    if stopping:
        return Status.STOPPING, WaitsFor.PRODUCT, stopping, None
    held = _held(state)
    if held is not None:
        return Status.HELD, WaitsFor.PERSON, held, None
    parked = _named(state, lambda step: step.status is StepStatus.PARKED)
    if parked:
        return Status.PARKED, WaitsFor.PERSON, parked, None
    match state.stage:
        case Stage.BEHIND:
            return Status.BEHIND, WaitsFor.REQUEST, (), None
        case Stage.GRACE:
            return Status.GRACE, WaitsFor.CLOCK, (), state.purge_from
        case Stage.TRASHED:
            return Status.TRASHED, WaitsFor.CLOCK, (), state.purge_at
        case Stage.SETTLING:
            return Status.SETTLING, WaitsFor.CLOCK, (), state.probe_at
        case _:
            return _at_work(state, now)


def _at_work(state: State, now: int) -> _Standing:
    unread = _named(state, lambda step: step.status is StepStatus.UNREAD)
    if unread:
        return Status.WAITING_FOR_PRODUCT, WaitsFor.PRODUCT, unread, None
    under_way = _named(state, lambda step: step.status is StepStatus.DISPATCHED)
    retrying = _named(state, lambda step: step.status in RETRYING)
    if retrying:
        status, products = Status.RETRYING, retrying
    else:
        status, products = _running(state), under_way
    if under_way:
        return status, WaitsFor.PRODUCT, products, None
    until = min((step.retry_at for step in state.steps.values() if step.retry_at is not None), default=None)
    ready = any(step.status is StepStatus.READY and state.dispatchable(name, now) for name, step in state.steps.items())
    if ready or until is None or until <= now:
        return status, WaitsFor.NOTHING, products, None
    return status, WaitsFor.CLOCK, products, until


def _running(state: State) -> Status:
    return Status.RESTORING if state.stage is Stage.RESTORING else Status.RUNNING


def _held(state: State) -> tuple[str, ...] | None:
    """The products that a hold keeps from going on, where nothing else can go on; empty for the whole request."""
    if state.undo is not None:
        return None
    if state.held_back:
        return ()
    next_up = {
        name: step
        for name, step in state.steps.items()
        if step.status not in FINISHED and step.status is not StepStatus.PENDING
    }
    held = tuple(sorted(name for name, step in next_up.items() if _held_up(state, name, step)))
    return held if held and len(held) == len(next_up) else None


def _held_up(state: State, name: str, step: Step) -> bool:
    return state.held(name) and step.status not in IN_FLIGHT and step.status is not StepStatus.PARKED


def _named(state: State, condition: Callable[[Step], bool]) -> tuple[str, ...]:
    return tuple(sorted(name for name, step in state.steps.items() if condition(step)))


def _plain(end: End) -> str:
    return end.value.replace("_", " ")
