"""The derived rows of a request: a pure function of its folded state, for the running system and for a rebuild alike."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from orchestrator.domain.state import IN_FLIGHT, RETRYING, State, Step, StepStatus
from schemas.codes import Phase
from schemas.events import BrakeSet, Recorded
from schemas.transport import partition_of

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(State)

Row = tuple[Any, ...]


@lru_cache(maxsize=50_000)
def shard_of(request: str, shards: int) -> int:
    """The shard that owns a request's stream; the same function as the partition of its topics."""
    return partition_of(request, shards)


def freeze(state: State) -> bytes:
    """The folded state as it is stored; equal states give equal bytes."""
    return _encoder.encode(state)


def thaw(raw: bytes | memoryview) -> State:
    """The state in stored bytes."""
    return _decoder.decode(raw)


REQUEST_COLUMNS = (
    ("id", "uuid"),
    ("tenant", "text"),
    ("shard", "integer"),
    ("stage", "text"),
    ("mode", "text"),
    ("end", "text"),
    ("parked", "boolean"),
    ("held", "boolean"),
    ("stopping", "boolean"),
    ("accepted_at", "bigint"),
    ("due_at", "bigint"),
    ("ended_at", "bigint"),
    ("n", "integer"),
    ("state", "bytea"),
)

STEP_COLUMNS = (
    ("request", "uuid"),
    ("product", "text"),
    ("tenant", "text"),
    ("shard", "integer"),
    ("status", "text"),
    ("phase", "text"),
    ("epoch", "integer"),
    ("attempt", "integer"),
    ("ready_from", "bigint"),
    ("due_at", "bigint"),
    ("in_flight", "boolean"),
    ("failure", "text"),
    ("dataset", "text"),
)

TIMER_COLUMNS = (("request", "uuid"), ("shard", "integer"), ("fire_at", "bigint"))

WAIT_COLUMNS = (("request", "uuid"), ("behind", "uuid"))


def request_row(state: State, shards: int) -> Row:
    """The row of ``requests``."""
    return (
        state.id,
        state.tenant,
        shard_of(state.id, shards),
        state.stage.value,
        state.mode.value,
        state.end.value if state.end else None,
        state.parked and not state.ended,
        bool(state.holds),
        state.stopping,
        state.accepted_at,
        state.due_at,
        state.ended_at,
        state.n,
        freeze(state),
    )


def step_row(state: State, name: str, shards: int) -> Row:
    """The row of ``steps`` for one product."""
    step = state.steps[name]
    return (
        state.id,
        name,
        state.tenant,
        shard_of(state.id, shards),
        step.status.value,
        step.phase.value if step.phase else None,
        step.epoch,
        step.attempt,
        ready_from(state, name),
        state.due_at,
        in_flight(state, name),
        step.failure.code.value if step.failure else None,
        step.failure.dataset if step.failure else None,
    )


def in_flight(state: State, name: str) -> bool:
    """Whether the step takes room in its product's window."""
    return state.steps[name].status in IN_FLIGHT and not state.ended


def gate(state: State, name: str) -> tuple[int | None, bool]:
    """What of a step's row depends on more than the step itself: on holds, on a cancel, on the end."""
    return ready_from(state, name), in_flight(state, name)


def ready_from(state: State, name: str) -> int | None:
    """From when on the gate may take the step; ``None`` while the request itself forbids it."""
    step = state.steps[name]
    if step.status in RETRYING:
        moment = step.retry_at
    elif step.status is StepStatus.READY:
        moment = 0
    else:
        return None
    return moment if moment is not None and state.dispatchable(name, moment) else None


def destructive(step: Step) -> bool:
    """Whether the brakes apply: what only looks, or brings back, may go on."""
    return step.phase in (Phase.TRASH, Phase.PURGE)


def timer_row(state: State, shards: int) -> Row | None:
    """The row of ``timers``: when the request must be looked at again; ``None`` where only a message changes it."""
    due = state.next_due()
    return None if due is None else (state.id, shard_of(state.id, shards), due)


def wait_rows(state: State) -> list[Row]:
    """The rows of ``waits``: whose end an open request waits for."""
    return [] if state.ended else [(state.id, other) for other in state.behind]


def brakes(history: Iterable[Recorded]) -> dict[tuple[str, str], tuple[int, int]]:
    """The rows of ``brakes``: (tenant, product) to (seq, since)."""
    rows: dict[tuple[str, str], tuple[int, int]] = {}
    for recorded in history:
        event = recorded.event
        if not isinstance(event, BrakeSet):
            raise TypeError(f"the installation's stream has brakes only, not {type(event).__name__}")
        scope = (event.tenant or "", event.product or "")
        if event.stopped:
            rows.setdefault(scope, (event.seq, recorded.at))
        else:
            rows.pop(scope, None)
    return rows
