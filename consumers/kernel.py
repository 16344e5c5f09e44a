"""What every part of a product's work needs at hand, and how a group of steps is worked on without one failing all."""

from __future__ import annotations

import operator
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from consumers import receipts
from consumers.failures import contended, failure_of, hopeless
from consumers.holdings import Holdings
from consumers.hooks import ProductCode
from consumers.maps import Action, DataMap
from consumers.plans import Plan, Plans
from consumers.settings import ProductSettings
from consumers.steps import Step
from consumers.stores.sql_batch import Batch
from consumers.stores.sql_rows import Effect
from schemas.codes import Evidence, Outcome, Phase
from schemas.messages import Ack, Counts, Failure

log = structlog.get_logger(__name__)

Answer = tuple[Step, Ack]
T = TypeVar("T")

EFFECTS = {Phase.PURGE: Effect.APPLY, Phase.TRASH: Effect.HIDE, Phase.RESTORE: Effect.UNHIDE}
_COUNTED = {
    Action.DELETE: "erased",
    Action.REDACT: "redacted",
    Action.ANONYMISE: "anonymised",
    Action.RETAIN: "retained",
}


def _nothing(_: str) -> None:
    return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Batches:
    """The stores' view of a group of steps: the last one is kept, because its array parameters cost something."""

    def __init__(self) -> None:
        self._last: Batch | None = None

    def of(self, steps: Sequence[Step]) -> Batch:
        """The batch of these steps' targets."""
        targets = tuple(step.target() for step in steps)
        last = self._last
        if last is None or len(last) != len(targets) or any(map(operator.is_not, last.targets, targets)):
            last = self._last = Batch(targets)
        return last


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One product as one worker sees it.

    ``clock`` gives milliseconds of the epoch. ``boundary`` is called with a word at every point between two durable
    writes: a test that raises there is a crash. ``progress`` takes acks that go out before the batch is done.
    """

    name: str
    map: DataMap
    map_digest: str
    settings: ProductSettings
    holdings: Holdings
    plans: Plans
    code: ProductCode = field(default_factory=ProductCode)
    batches: Batches = field(default_factory=Batches)
    clock: Callable[[], int] = _now_ms
    boundary: Callable[[str], None] = _nothing
    progress: Callable[[Answer], None] = lambda _: None

    @property
    def order(self) -> dict[str, int]:
        """The place of each dataset in the working order."""
        return {name: place for place, name in enumerate(self.map.datasets)}

    # --- answers ------------------------------------------------------------------------------------------------

    def answer(
        self,
        step: Step,
        outcome: Outcome,
        *,
        failure: Failure | None = None,
        counts: dict[str, Counts] | None = None,
        done: int = 0,
        total: int = 0,
    ) -> Answer:
        """An ack that no receipt stands behind."""
        ack = Ack(
            tenant=step.command.tenant,
            request=step.command.request,
            product=self.name,
            phase=step.phase,
            epoch=step.to.epoch,
            seq=step.to.seq,
            attempt=step.to.attempt,
            outcome=outcome,
            at=self.clock(),
            counts=counts or {},
            failure=failure,
            map=self.map_digest,
            done=done,
            total=total,
        )
        return step, ack

    def failed(self, step: Step, failure: Failure, *, partly: bool = True) -> Answer:
        """A failure; with the counts of what had been done before it."""
        counts = self.counts(step.plan, step.phase, step.cursor) if partly and step.plan else {}
        return self.answer(step, Outcome.FAILED, failure=failure, counts=counts)

    def receipt(
        self, step: Step, counts: dict[str, Counts], evidence: Evidence, *, persons: int = 0
    ) -> tuple[bytes, Answer]:
        """The receipt's bytes of a step that succeeded, and the ack that goes with it."""
        receipt = receipts.receipt_of(
            step, counts, at=self.clock(), map_digest=self.map_digest, evidence=evidence, persons=persons
        )
        body = receipts.encode(receipt)
        return body, (step, receipts.ack_of(receipt, body, step))

    # --- counts -------------------------------------------------------------------------------------------------

    def counts(self, plan: Plan, phase: Phase, cursor: int | None = None) -> dict[str, Counts]:
        """What a plan has done, up to ``cursor``; all of it where none is given."""
        found = dict(plan.extra)
        for part in plan.parts:
            done = len(part) if cursor is None else min(len(part), cursor)
            cursor = None if cursor is None else cursor - done
            n = part.amount(done)
            if n:
                counts = Counts(**{"found": n, self.counted(part.dataset, phase): n})
                found[part.dataset] = found[part.dataset].plus(counts) if part.dataset in found else counts
        return found

    def counted(self, dataset: str, phase: Phase) -> str:
        """The field of :class:`Counts` in which rows of a dataset are told."""
        if phase is Phase.TRASH:
            return "hidden"
        if phase is Phase.RESTORE:
            return "restored"
        return _COUNTED[self.map.datasets[dataset].action]

    def retained(self, dataset: str) -> bool:
        return self.map.datasets[dataset].action is Action.RETAIN

    # --- groups -------------------------------------------------------------------------------------------------

    def isolate(
        self, steps: Sequence[Step], work: Callable[[list[Step]], list[Answer]], *, tries: int | None = None
    ) -> list[Answer]:
        """Do ``work`` on all the steps at once; where that fails, on halves of them, down to the one that cannot.

        ``work`` undoes everything when it raises. Contended work is tried again as it is; what is left of it after
        that is taken apart like any other, so that only the steps that are really blocked fail.
        """
        group = list(steps)
        if not group:
            return []
        try:
            return self.patiently(lambda: work(group), tries)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a failed ack, with a code
            if len(group) == 1 or hopeless(error):
                failure = failure_of(error)
                log.warning("steps failed", product=self.name, steps=len(group), code=failure.code.value)
                return [self.failed(step, failure) for step in group]
        half = len(group) // 2
        return self.isolate(group[:half], work, tries=1) + self.isolate(group[half:], work, tries=1)

    def patiently(self, work: Callable[[], T], tries: int | None = None) -> T:
        """Do ``work``; if it meets contention, again, after a pause that doubles. Raises what the last try raised."""
        tries = self.settings.retries if tries is None else tries
        for n in range(tries):
            try:
                return work()
            except Exception as error:
                if not contended(error):
                    raise
                time.sleep(self.settings.backoff_s * 2**n * (0.5 + random.random()))
        return work()
