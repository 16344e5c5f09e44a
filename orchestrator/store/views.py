"""What the read models are made of: frozen, typed, ready to be shown. All times are milliseconds of the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.state import Hold, Stage, State, StepStatus
from orchestrator.store.registry import ProductEntry
from schemas.codes import End, FailureCode, Mode, Phase, RejectionClass, RejectionCode
from schemas.transport import Position


@dataclass(frozen=True, slots=True)
class Filters:
    """Which requests to list; what is ``None`` or ``False`` does not restrict.

    Args:
        product: requests that have a step of this product.
        failing: requests with a step that failed or timed out and will be tried again.
        late: requests that are not ended and were due before ``now``.
        since: accepted at this time or later.
        open: requests that have not ended.
    """

    tenant: str | None = None
    stage: Stage | None = None
    product: str | None = None
    parked: bool = False
    held: bool = False
    failing: bool = False
    late: bool = False
    open: bool = False
    since: int | None = None


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A request in a list; ``steps`` says where each product's part stands."""

    id: str
    tenant: str
    stage: Stage
    mode: Mode
    end: End | None
    parked: bool
    held: bool
    stopping: bool
    accepted_at: int
    due_at: int | None
    ended_at: int | None
    steps: Mapping[str, StepStatus]


@dataclass(frozen=True, slots=True)
class RequestPage:
    """``next`` is the cursor of the following page; ``None``: there is none."""

    lines: tuple[RequestLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class RequestView:
    """One request whole. ``next_at``: when time alone makes it go on. ``vault``: its identifiers are still there."""

    state: State
    shard: int
    next_at: int | None
    vault: bool
    behind: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailingGroup:
    """Steps that stand for the same cause.

    ``first`` and ``last`` are the times of the latest event of the requests concerned; ``samples`` some of their ids.
    """

    product: str
    failure: FailureCode
    dataset: str | None
    phase: Phase | None
    status: StepStatus
    count: int
    first: int
    last: int
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageCount:
    """Open requests of a tenant in a stage, and how many of them wait for a person or are held."""

    tenant: str
    stage: Stage
    count: int
    parked: int
    held: int


@dataclass(frozen=True, slots=True)
class BrakeLine:
    """A brake that is set; ``None`` means every tenant, every product."""

    tenant: str | None
    product: str | None
    seq: int
    since: int


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A rejected record: why, and where it stands in the log."""

    id: str
    at: int
    rejection_class: RejectionClass
    code: RejectionCode
    field: str | None
    position: Position
    producer: str | None
    destroy_at: int
    resubmitted_at: int | None


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A rejected record with its bytes, sealed under the vault key ``key`` (:func:`orchestrator.quarantine.open_record`)."""

    line: RejectedLine
    key: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class HoldLine:
    """An open hold on a request that has not ended."""

    request: str
    tenant: str
    hold: Hold


@dataclass(frozen=True, slots=True)
class IndexHit:
    """A request that an identifier belongs to. ``derived``: a product found that identifier."""

    request: str
    derived: bool


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    """The products as registered at ``at``."""

    version: int
    at: int
    products: tuple[ProductEntry, ...]


@dataclass(frozen=True, slots=True)
class ProductLoad:
    """A product's open steps: ready to go out, in flight, waiting for a person."""

    product: str
    ready: int
    in_flight: int
    parked: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for the engine: unpublished rows by kind, timers that are due, and the next one to be."""

    outbox: Mapping[str, int]
    timers_due: int
    next_timer: int | None
    products: tuple[ProductLoad, ...]


@dataclass(frozen=True, slots=True)
class VaultLine:
    """A request whose identifiers will be destroyed at ``destroy_at`` whether it is done or not."""

    request: str
    tenant: str
    destroy_at: int
