"""The gate before any work: what must not run, what was done already, and what somebody else is doing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from consumers import arrays, brakes, receipts
from consumers.failures import StepFailed
from consumers.holdings import Session
from consumers.kernel import Answer, Kernel
from consumers.plans import Part
from consumers.steps import Step, StepId
from consumers.stores.sql_errors import store_errors
from schemas.codes import FailureCode, Outcome, Phase
from schemas.messages import Failure

# One statement, so one snapshot: a step whose plan turns into its receipt is seen in one of the two places.
_LOOK = sa.text(f"""
    with w as materialized (select * from {arrays.table(**arrays.KEY)})
    select 'receipt', r.tenant, r.request::text, r.phase, r.epoch, r.body, 0 as cursor, false as free
      from oblio.receipts r
      join w on (r.tenant, r.request, r.phase, r.epoch) = (w.tenant, w.request, w.phase, w.epoch)
     where r.product = :product
     union all
    select 'plan', p.tenant, p.request::text, p.phase, p.epoch, p.sealed, p.cursor, p.lease_until < clock_timestamp()
      from oblio.plans p join w on (p.tenant, p.request) = (w.tenant, w.request)
     where p.product = :product
     union all
    select 'trash', t.tenant, t.request::text, 'trash', t.epoch, t.sealed, 0, false
      from oblio.trash t join w on (t.tenant, t.request) = (w.tenant, w.request)
     where t.product = :product
     union all
    select 'brake', b.tenant, '', '', 0, '', 0, false from oblio.brakes b where b.product = :product and b.stopped
""")


@dataclass(slots=True)
class Admitted:
    """What may be worked on in this transaction, and what need not be.

    ``run``: ours now. ``left``: in the hands of another worker that seems alive. ``trashed``: what the steps' requests
    have in the trash.
    """

    run: list[Step] = field(default_factory=list)
    left: list[Step] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    trashed: dict[tuple[str, str], list[Part]] = field(default_factory=dict)


@dataclass(slots=True)
class _Seen:
    """What is known of some steps."""

    receipts: dict[StepId, bytes] = field(default_factory=dict)
    plans: dict[StepId, bool] = field(default_factory=dict)
    """Whether the lease has lapsed."""
    trash: list[tuple[StepId, bytes, int | None]] = field(default_factory=list)
    """Sealed plans of trash phases; with a cursor where one was left half-way."""
    brakes: set[str] = field(default_factory=set)


def admit(kernel: Kernel, session: Session, steps: Sequence[Step], *, effect: bool) -> Admitted:
    """Obey the newest commands, and answer what needs no work.

    The steps' rows stay locked until the transaction ends: a stop, and another worker at the same requests, wait.

    Args:
        kernel: the product.
        session: the transaction.
        steps: at most one of each request.
        effect: whether the phase has one; looking needs no lease and no leave.
    """
    newest = brakes.obey(session.home, kernel.name, steps)
    found = Admitted(answers=[kernel.answer(s, Outcome.SUPERSEDED) for s in steps if s.request not in newest])
    going = [step for step in steps if step.request in newest]
    if not going:
        return found
    seen = _look(kernel, session, going)
    for step in going:
        if step.id in seen.receipts:
            step.repeated = True
            found.answers.append((step, receipts.repeated(seen.receipts[step.id], step)))
        elif effect and brakes.holds_back(seen.brakes, step):
            found.answers.append(stopped_by_brake(kernel, step))
        elif effect and seen.plans.get(step.id) is False:
            found.left.append(step)
        else:
            found.run.append(step)
    if effect:
        _resume(kernel, session, [step for step in found.run if step.id in seen.plans])
        found.trashed = _opened(kernel, seen)
    return found


def _resume(kernel: Kernel, session: Session, steps: Sequence[Step]) -> None:
    """Take over what others began. What they did by another map is done again by this one: every item may be repeated."""
    kernel.plans.take_over(session.home, steps)
    for step in steps:
        if step.plan is not None and step.plan.map != kernel.map_digest:
            step.plan.map, step.cursor = kernel.map_digest, 0
            _known(kernel, step.plan.parts)


def _known(kernel: Kernel, parts: Iterable[Part]) -> None:
    """Raise StepFailed where a plan, made by another map, speaks of a dataset that this one does not have."""
    for part in parts:
        if part.dataset not in kernel.map.datasets:
            raise StepFailed(FailureCode.SCHEMA_MISMATCH, part.dataset)


def _look(kernel: Kernel, session: Session, steps: Sequence[Step]) -> _Seen:
    with store_errors():
        rows = session.home.execute(_LOOK, {"product": kernel.name, **arrays.keys(steps)}).all()
    seen = _Seen()
    for what, tenant, request, phase, epoch, body, cursor, free in rows:
        step_id = (tenant, request, phase, epoch)
        if what == "receipt":
            seen.receipts[step_id] = bytes(body)
        elif what == "brake":
            seen.brakes.add(tenant)
        elif what == "trash":
            seen.trash.append((step_id, bytes(body), None))
        else:
            seen.plans[step_id] = free
            if phase == Phase.TRASH.value:
                seen.trash.append((step_id, bytes(body), cursor))
    return seen


def _opened(kernel: Kernel, seen: _Seen) -> dict[tuple[str, str], list[Part]]:
    """What is in the trash; of a trash phase that was stopped half-way, what it had hidden."""
    found: dict[tuple[str, str], list[Part]] = {}
    for step_id, sealed, cursor in sorted(seen.trash, key=lambda entry: entry[0]):
        plan = kernel.plans.opened(step_id, sealed)
        _known(kernel, plan.parts)
        found.setdefault(step_id[:2], []).extend(plan.done(plan.total if cursor is None else cursor))
    return found


def stopped_by_brake(kernel: Kernel, step: Step) -> Answer:
    """The answer of a step that a brake of its tenant or of the product forbids."""
    return kernel.failed(step, Failure(code=FailureCode.STOPPED))
