"""The gate before any work: what must not run, what was done already, and what somebody else is doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from consumers import brakes, receipts
from consumers.holdings import Session
from consumers.kernel import Answer, Kernel
from consumers.steps import Step
from schemas.codes import FailureCode, Outcome
from schemas.messages import Failure


@dataclass(slots=True)
class Admitted:
    """``run``: to be worked on in this transaction. ``left``: in the hands of another worker that seems alive."""

    run: list[Step] = field(default_factory=list)
    left: list[Step] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)


def admit(kernel: Kernel, session: Session, steps: Sequence[Step], *, effect: bool) -> Admitted:
    """Obey the newest commands, claim what has an effect, and answer what needs no work.

    The receipts are looked up *after* the claim: before it, another worker could write one unseen.

    Args:
        kernel: the product.
        session: the transaction; it keeps the steps' rows locked, so that a stop waits for its end.
        steps: at most one of each request.
        effect: whether the phase has one; looking needs no lease and no leave.
    """
    found = Admitted()
    newest = brakes.obey(session.home, kernel.name, steps)
    found.answers = [kernel.answer(step, Outcome.SUPERSEDED) for step in steps if step.request not in newest]
    going = [step for step in steps if step.request in newest]
    if effect and going:
        stopped = brakes.braked(session.home, kernel.name)
        found.answers += [stopped_by_brake(kernel, step) for step in going if brakes.holds_back(stopped, step)]
        going = [step for step in going if not brakes.holds_back(stopped, step)]
        ours = set(kernel.plans.claim(session.home, going)) if going else set()
        found.left = [step for step in going if step not in ours]
        going = [step for step in going if step in ours]
    done = receipts.find(session.home, kernel.name, going)
    repeated = [step for step in going if step.id in done]
    if effect:
        kernel.plans.destroy(session.home, repeated)
    found.answers += [(step, receipts.repeated(done[step.id], step)) for step in repeated]
    found.run = [step for step in going if step.id not in done]
    return found


def stopped_by_brake(kernel: Kernel, step: Step) -> Answer:
    """The answer of a step that a brake of its tenant or of the product forbids."""
    return kernel.failed(step, Failure(code=FailureCode.STOPPED))
