"""The end of a phase: what was done is read again, by row key and by identifier, and the plan becomes the receipt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consumers import planning, trash
from consumers.failures import StepFailed
from consumers.holdings import Session
from consumers.kernel import EFFECTS, Answer, Kernel
from consumers.maps import ObjectDataset
from consumers.plans import Part
from consumers.steps import Step
from consumers.stores.sql_batch import Batch
from consumers.stores.sql_rows import Effect, Rows
from consumers.work import Work, joined
from schemas.codes import Evidence, FailureCode, Phase

ROUNDS = 3
"""How often what came in between is worked off before a step fails: a product that keeps writing never settles."""


class Closing:
    """Turns plans that were carried out into receipts."""

    def __init__(self, kernel: Kernel, work: Work) -> None:
        self._kernel = kernel
        self._work = work

    def close(self, steps: Sequence[Step]) -> list[Answer]:
        """Verify the steps and write their receipts; what is found in addition joins the plan and is worked off first."""
        answers: list[Answer] = []
        going = [step for step in steps if step.open]
        more: dict[Step, str] = {}
        for _ in range(ROUNDS):
            more = {}
            answers += self._kernel.isolate(going, lambda group, more=more: self._verify(group, more))  # type: ignore[misc]
            going = [step for step in going if step in more and step.open]
            if not going:
                return answers
            refused = self._kernel.isolate(going, self._extend)
            for step, _ in refused:
                step.open = False
            answers += refused + self._work.do(going)
            going = [step for step in going if step.open]
        return answers + [self._unverified(step, _incomplete(more.get(step))) for step in going]

    def _unverified(self, step: Step, found: StepFailed) -> Answer:
        # The next try works the whole plan again; nothing of it may count as done before.
        step.cursor = 0
        return self._kernel.failed(step, found.failure, partly=False)

    # --- looking again ------------------------------------------------------------------------------------------

    def _verify(self, steps: list[Step], more: dict[Step, str]) -> list[Answer]:
        """Receipts for the steps that hold; those with something left are put into ``more``, with a dataset."""
        kernel = self._kernel
        effect = EFFECTS[steps[0].phase]
        self._objects_gone(steps)
        batch = kernel.batches.of(steps)
        found: dict[int, StepFailed] = {}
        bad = {} if effect is Effect.UNHIDE else self._lines_left(steps, found)
        *slices, last = list(self._slices(steps)) or [{}]
        for pieces in slices:
            with kernel.holdings.session() as session:
                self._rows_unmet(session, batch, effect, pieces, found)
        # Every statement sees what is committed when it begins, so this transaction verifies what an earlier one did.
        with kernel.holdings.session() as session:
            self._rows_unmet(session, batch, effect, last, found)
            if effect is not Effect.UNHIDE:
                for dataset, per in kernel.holdings.remains(session, batch, effect).items():
                    bad |= dict.fromkeys(per, dataset)
            good = [step for step in steps if step.ordinal not in bad and step.ordinal not in found]
            closed = self._write(session, good)
            kernel.boundary("receipt")
        kernel.boundary("committed")
        for step in good:
            step.open = False
        more.update({s: bad[s.ordinal] for s in steps if s.ordinal in bad and s.ordinal not in found})
        return closed + [self._unverified(s, found[s.ordinal]) for s in steps if s.ordinal in found]

    def _slices(self, steps: Sequence[Step]) -> Iterator[dict[str, Rows]]:
        """The plans' rows by dataset, at most about a chunk at a time, so that no transaction grows with a subject."""
        pieces: dict[str, list[Rows]] = {}
        size, most = 0, self._kernel.map.limits.chunk_rows
        for step in steps:
            assert step.plan is not None
            for part in step.plan.parts:
                if part.dataset not in self._kernel.holdings.rows:
                    continue
                for start in range(0, len(part), most):
                    rows = part.rows(step.ordinal, start, start + most if len(part) > start + most else None)
                    if size and size + len(rows) > most:
                        yield {name: joined(several) for name, several in pieces.items()}
                        pieces, size = {}, 0
                    pieces.setdefault(part.dataset, []).append(rows)
                    size += len(rows)
        if pieces:
            yield {name: joined(several) for name, several in pieces.items()}

    def _rows_unmet(
        self,
        session: Session,
        batch: Batch,
        effect: Effect,
        pieces: dict[str, Rows],
        found: dict[int, StepFailed],
    ) -> None:
        """Rows that are not as they should be; the first finding of each step is kept."""
        for name, rows in pieces.items():
            connection = session.on(self._kernel.holdings.rows[name].store)
            for unmet in self._kernel.holdings.store(name).verify_rows(connection, name, rows, batch, effect=effect):
                found.setdefault(unmet.ordinal, _incomplete(unmet.dataset, unmet.column))

    def _objects_gone(self, steps: Sequence[Step]) -> None:
        """Raise where an object of a plan is there again, or still."""
        for step in steps:
            assert step.plan is not None
            for part in step.plan.parts:
                if isinstance(self._kernel.map.datasets.get(part.dataset), ObjectDataset):
                    store = self._kernel.holdings.object_store(part.dataset)
                    if any(store.exists(key) for key in part.columns[0]):
                        step.cursor = 0
                        raise StepFailed(FailureCode.VERIFICATION_FAILED, part.dataset)

    def _lines_left(self, steps: Sequence[Step], found: dict[int, StepFailed]) -> dict[int, str]:
        """Ordinals with lines that were written since, or left.

        Lines that no rule reaches go into ``found``, once nothing else is left: only a person can say what to do.
        """
        bad: dict[int, str] = {}
        if steps[0].phase is Phase.PURGE:
            targets = [step.target() for step in steps]
            for name, lines in self._kernel.holdings.lines.items():
                seen = lines.look(targets)
                bad |= dict.fromkeys(seen.parts, name)
                for ordinal in seen.stuck.keys() - seen.parts.keys():
                    found.setdefault(ordinal, StepFailed(FailureCode.REMAINS, name))
        return bad

    def _write(self, session: Session, steps: Sequence[Step]) -> list[Answer]:
        """The plans that still are ours become receipts."""
        kernel = self._kernel
        if not steps:
            return []
        bodies: dict[Step, bytes] = {}
        answers: dict[Step, Answer] = {}
        for step in steps:
            assert step.plan is not None
            counts = kernel.counts(step.plan, step.phase)
            bodies[step], answers[step] = kernel.receipt(step, counts, Evidence.RECOUNTED)
        if steps[0].phase is Phase.TRASH:
            trash.put(session.home, kernel.name, steps)
        ours = kernel.plans.close(session.home, bodies)
        if steps[0].phase is not Phase.TRASH:
            trash.empty(session.home, kernel.name, [step for step in ours if step.trashed])
        return [answers[step] for step in ours]

    # --- more to do ---------------------------------------------------------------------------------------------

    def _extend(self, steps: list[Step]) -> list[Answer]:
        """Add what the identifiers find now to the plans, and commit them before it is worked off."""
        kernel = self._kernel
        effect = EFFECTS[steps[0].phase]
        batch = kernel.batches.of(steps)
        lines = self._survey(steps)
        before = {step: (step.cursor, len(step.plan.parts)) for step in steps if step.plan is not None}
        try:
            with kernel.holdings.session() as session:
                held, answers = self._work.hold(session, {step: step.cursor for step in steps})
                found = kernel.holdings.find(session, batch, effect)
                found = {name: rows for name, rows in found.items() if rows and not kernel.retained(name)}
                parts = planning.parts_of(kernel, found, held, files=effect is Effect.APPLY, at=kernel.clock())
                for step in held:
                    assert step.plan is not None
                    fresh = _unknown(step.plan.parts, parts[step.ordinal], effect)
                    step.plan.parts += fresh + lines.get(step.ordinal, [])
                kernel.plans.save(session.home, held)
        except BaseException:
            for step, (cursor, parts_before) in before.items():
                assert step.plan is not None
                step.cursor = cursor
                del step.plan.parts[parts_before:]
            raise
        kernel.boundary("committed")
        return answers

    def _survey(self, steps: Sequence[Step]) -> dict[int, list[Part]]:
        found: dict[int, list[Part]] = {}
        if steps[0].phase is Phase.PURGE:
            for lines in self._kernel.holdings.lines.values():
                for ordinal, part in lines.look([step.target() for step in steps]).parts.items():
                    found.setdefault(ordinal, []).append(part)
        return found


def _incomplete(dataset: str | None, column: str | None = None) -> StepFailed:
    return StepFailed(FailureCode.VERIFICATION_FAILED, dataset, column)


def _unknown(known: Sequence[Part], found: Sequence[Part], effect: Effect) -> list[Part]:
    """What of ``found`` is not in the plan yet; a row counts once, however often it has to be worked."""
    fresh = []
    for part in found:
        mine = [other for other in known if other.dataset == part.dataset]
        seen = {key for other in mine for key in zip(*other.columns[: _width(part)], strict=True)}
        keep = [i for i, key in enumerate(zip(*part.columns, strict=True)) if key not in seen]
        if keep:
            fresh.append(
                Part(
                    part.dataset,
                    [[column[i] for i in keep] for column in part.columns],
                    [[column[i] for i in keep] for column in part.extras],
                    at=part.at if effect is Effect.HIDE else 0,
                )
            )
    return fresh


def _width(part: Part) -> int:
    return len(part.columns)
