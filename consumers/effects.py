"""Phases that change something: trash, restore, purge, from the gate to the receipt."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import structlog

from consumers import brakes
from consumers.beginning import Beginning
from consumers.closing import Closing
from consumers.kernel import Answer, Kernel
from consumers.plans import Holder
from consumers.steps import Step, StepId
from consumers.stores.sql_errors import StoreError
from consumers.work import Work
from schemas.codes import Outcome

log = structlog.get_logger(__name__)


class Effects:
    """Runs the steps of one phase, at most one of each request."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._beginning = Beginning(kernel)
        self._work = Work(kernel)
        self._closing = Closing(kernel, self._work)

    def run(self, steps: Sequence[Step]) -> list[Answer]:
        """The answers of the steps that this worker brought to an end, and of those that failed."""
        left: list[Step] = []
        answers = self._once(steps, left)
        return answers + self._after_others(left)

    def _once(self, steps: Sequence[Step], left: list[Step]) -> list[Answer]:
        begun: list[Step] = []
        answers = self._beginning.begin(steps, begun, left)
        answers += self._work.do(begun)
        answers += self._closing.close(begun)
        self._let_go(begun, answers)
        return answers

    # --- others at the same steps -------------------------------------------------------------------------------

    def _after_others(self, left: list[Step]) -> list[Answer]:
        """Steps that another worker held: done once its lease lapses, left alone if it proves alive.

        Without the wait, a step of a worker that was killed would be found again only by its time-out.
        """
        answers: list[Answer] = []
        until = time.monotonic() + self._kernel.settings.lease_s + 1
        try:
            seen = self._holders(left)
            while left and time.monotonic() < until:
                now = self._holders(left)
                free = [step for step in left if step.id not in now or now[step.id].lapsed]
                left = [step for step in left if step not in free and now[step.id] == seen.get(step.id)]
                if free:
                    answers += self._once(free, left)
                    seen = self._holders(left)
                elif left:
                    time.sleep(min(0.25, self._kernel.settings.lease_s / 4))
        except StoreError as error:
            log.warning("steps left to others", product=self._kernel.name, steps=len(left), code=error.code.value)
        return answers

    def _holders(self, steps: Sequence[Step]) -> Mapping[StepId, Holder]:
        if not steps:
            return {}
        with self._kernel.holdings.session() as session:
            return self._kernel.plans.holders(session.home, steps)

    def _let_go(self, begun: Sequence[Step], answers: Sequence[Answer]) -> None:
        """Give up the leases of what did not come to an end, and keep in mind which commands were obeyed.

        A failure here is no matter: leases lapse, and the next command says its seq itself.
        """
        finished = {step for step, ack in answers if ack.receipt is not None}
        failed = [step for step, ack in answers if ack.outcome is Outcome.FAILED and not step.fence]
        held = [step for step in begun if step not in finished]
        if not failed and not held:
            return
        try:
            with self._kernel.holdings.session() as session:
                brakes.obey(session.home, self._kernel.name, failed)
                self._kernel.plans.release(session.home, held)
        except StoreError as error:
            log.warning("leases not released", product=self._kernel.name, code=error.code.value)
