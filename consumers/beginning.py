"""The first transaction of a phase that changes something: from the gate to committed plans.

The usual step is found and done in one statement per dataset, many steps at once, and its plan is committed with the
effect. Where that cannot be (files, several databases, something in the trash, too many rows) the plan is committed
first, and then carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from consumers import planning
from consumers.failures import StepFailed
from consumers.gate import admit
from consumers.holdings import Session
from consumers.kernel import EFFECTS, Answer, Kernel
from consumers.plans import Part, Plan
from consumers.steps import Step
from consumers.stores.sql_errors import StoreError
from consumers.stores.sql_rows import Effect, Rows
from consumers.work import joined, moment
from schemas.codes import FailureCode, Phase
from schemas.messages import Counts

Trashed = Mapping[tuple[str, str], Sequence[Part]]
"""What requests have in the trash."""

_SMALLEST_GROUP = 8


class TooMuch(Exception):
    """Some steps are not for the fast way; everything was undone. ``steps``: which; none: they are too many together."""

    def __init__(self, steps: Sequence[Step] = ()) -> None:
        super().__init__(f"{len(steps)} steps")
        self.steps = steps


class Beginning:
    """Admits steps and gives them their plans."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._together = kernel.settings.group
        """So many steps have lately been few enough rows for one transaction."""

    def begin(self, steps: Sequence[Step], begun: list[Step], left: list[Step]) -> list[Answer]:
        """Answers of what need not or must not be worked on.

        Args:
            steps: at most one of each request.
            begun: gets the steps that have a committed plan now, carried out or not.
            left: gets those that another worker holds.
        """
        answers = self._kernel.isolate(steps, self._survey)
        unread = {step for step, _ in answers}
        going = [step for step in steps if step not in unread]
        while going:
            together, going = going[: self._together], going[self._together :]
            answers += self._kernel.isolate(together, lambda group: self._begin(group, begun, left))
        return answers

    def _survey(self, steps: list[Step]) -> list[Answer]:
        """Read the log files, one pass for all: outside any transaction, because it may take long."""
        for step in steps:
            step.surveyed, step.undated = [], {}
        if steps[0].phase is Phase.PURGE:
            targets = [step.target() for step in steps]
            by_ordinal = {step.ordinal: step for step in steps}
            for name, lines in self._kernel.holdings.lines.items():
                seen = lines.look(targets)
                for ordinal, part in seen.parts.items():
                    by_ordinal[ordinal].surveyed.append(part)
                for ordinal, n in seen.undated.items():
                    by_ordinal[ordinal].undated[name] = Counts(found=n, skipped=n)
        return []

    def _begin(self, steps: list[Step], begun: list[Step], left: list[Step]) -> list[Answer]:
        while True:
            try:
                return self._try_to_begin(steps, begun, left)
            except TooMuch as much:
                if not much.steps:
                    self._together = max(_SMALLEST_GROUP, len(steps) // 2)
                    raise
                for step in much.steps:
                    step.slow = True

    def _try_to_begin(self, steps: list[Step], begun: list[Step], left: list[Step]) -> list[Answer]:
        kernel = self._kernel
        try:
            with kernel.holdings.session() as session:
                gate = admit(kernel, session, steps, effect=True)
                fresh = [step for step in gate.run if step.plan is None]
                refused = self._plan(session, fresh, gate.trashed) if fresh else []
                kernel.plans.begin(session.home, [step for step in fresh if step.plan is not None])
                kernel.boundary("begin")
        except BaseException as error:
            for step in steps:
                step.forget()
                # What takes too long together may still be done in chunks.
                step.slow = step.slow or (isinstance(error, StoreError) and error.code is FailureCode.STORE_TIMEOUT)
            raise
        kernel.boundary("committed")
        begun += [step for step in gate.run if step.plan is not None]
        left += gate.left
        return gate.answers + refused

    def _plan(self, session: Session, fresh: list[Step], trashed: Trashed) -> list[Answer]:
        """Give each step its plan, and have it carried out already where that can be; answers of those refused."""
        kernel = self._kernel
        effect = EFFECTS[fresh[0].phase]
        for step in fresh:
            step.plan = Plan(kernel.map_digest, [])
            step.trashed = step.request in trashed
        if effect is Effect.UNHIDE:
            self._bring_back(session, fresh, trashed)
            return []
        self._resolve(session, fresh)
        if effect is not Effect.APPLY:
            trashed = {}
        swift = [s for s in fresh if kernel.holdings.single and not s.slow and s.request not in trashed]
        empty: set[str] = set()
        if effect is Effect.APPLY:
            swift, empty = self._without_files(session, swift)
        slow = [step for step in fresh if step not in set(swift)]
        refused = self._look(session, slow, effect, trashed)
        self._sweep(session, swift, effect, empty)
        self._extra(session, [step for step in fresh if step.plan is not None], effect)
        return refused

    def _resolve(self, session: Session, steps: Sequence[Step]) -> None:
        """Follow the product's own links where only reusable identifiers were given: most rows hang on a surrogate."""
        kernel = self._kernel
        surrogates = {kind.value for kind in kernel.map.identifiers if not kernel.map.reusable(kind)}
        poor = [s for s in steps if s.subject.records is None and not surrogates & s.target().identifiers.keys()]
        if not kernel.map.links or not poor:
            return
        for ordinal, linked in kernel.holdings.link(session, kernel.batches.of(poor)).items():
            step = next(step for step in poor if step.ordinal == ordinal)
            if linked.ambiguous:
                raise StepFailed(FailureCode.AMBIGUOUS_SUBJECT)
            assert step.plan is not None
            step.plan.derived = {kind: sorted(values) for kind, values in linked.derived.items()}

    def _without_files(self, session: Session, steps: list[Step]) -> tuple[list[Step], set[str]]:
        """The steps whose rows lead to no file; and the datasets that could lead to one and have no row of theirs."""
        kernel = self._kernel
        if not kernel.holdings.leading or not steps:
            return steps, set()
        batch = kernel.batches.of(steps)
        filed: set[int] = set()
        empty: set[str] = set()
        for name in kernel.holdings.leading:
            found = kernel.holdings.store(name).find(session.home, name, batch)
            filed |= planning.with_files(kernel, name, found)
            if not found:
                empty.add(name)
        return [step for step in steps if step.ordinal not in filed], empty

    # --- the two ways -------------------------------------------------------------------------------------------

    def _look(
        self,
        session: Session,
        steps: list[Step],
        effect: Effect,
        trashed: Trashed,
    ) -> list[Answer]:
        """Plans of steps that are carried out later. Those above a ceiling are refused: nothing of theirs is touched."""
        if not steps:
            return []
        kernel = self._kernel
        limit = sum(planning.ceiling(kernel, step) for step in steps) + 1
        found = kernel.holdings.find(session, kernel.batches.of(steps), effect, limit)
        if len(steps) > 1 and any(len(rows) >= limit for rows in found.values()):
            raise TooMuch
        for step in steps:
            for part in trashed.get(step.request, ()):
                found[part.dataset] = found[part.dataset].union(part.rows(step.ordinal))
        parts = planning.parts_of(kernel, found, steps, files=effect is Effect.APPLY, at=self._at(effect))
        refused = []
        for step in steps:
            mine = parts[step.ordinal] + step.surveyed
            if name := planning.above(kernel, session, step, mine):
                step.forget()
                refused.append(kernel.failed(step, StepFailed(FailureCode.CEILING_EXCEEDED, name).failure))
            else:
                assert step.plan is not None
                step.plan.parts = mine
        return refused

    def _sweep(self, session: Session, steps: list[Step], effect: Effect, empty: set[str]) -> None:
        """Find and act, one statement per dataset for all the steps, save those just seen to be ``empty``.

        Raises:
            TooMuch: after the fact, but before the commit: nothing was done.
        """
        if not steps:
            return
        kernel = self._kernel
        at = self._at(effect)
        most = kernel.map.limits.chunk_rows
        batch = kernel.batches.of(steps)
        by_ordinal = {step.ordinal: step for step in steps}
        plans = {step.ordinal: step.plan for step in steps if step.plan is not None}
        total = 0
        for name in kernel.holdings.rows:
            if name in empty:
                continue
            rows = kernel.holdings.store(name).sweep(session.home, name, batch, effect=effect, at=moment(at))
            if not rows:
                continue
            total += len(rows)
            for ordinal, part in planning.split(name, rows, at).items():
                plans[ordinal].parts.append(part)
            large = {ordinal for ordinal, plan in plans.items() if plan.total > most} if total > most else set()
            if effect is Effect.APPLY:
                large |= planning.with_files(kernel, name, rows)
            if large or (total > most and len(steps) > 1):
                raise TooMuch([by_ordinal[ordinal] for ordinal in large])
        if total < most // 2 and len(steps) >= self._together:
            self._together = min(kernel.settings.group, self._together * 2)
        for step in steps:
            plan = plans[step.ordinal]
            step.cursor = plan.total
            plan.parts += step.surveyed
        above = [step for step in steps if planning.above(kernel, session, step, plans[step.ordinal].parts)]
        if above:
            raise TooMuch(above)

    def _extra(self, session: Session, steps: Sequence[Step], effect: Effect) -> None:
        """What the product's own code does, in the transaction of the plan; and what is found and left."""
        if not steps:
            return
        batch = self._kernel.batches.of(steps)
        extra = self._kernel.code.extra_effects(session.home, batch, effect)
        for step in steps:
            assert step.plan is not None
            step.plan.extra = {**step.undated, **extra.get(step.ordinal, {})}

    def _at(self, effect: Effect) -> int:
        """The time that marks what goes into the trash now."""
        return self._kernel.clock() if effect is Effect.HIDE else 0

    # --- restore ------------------------------------------------------------------------------------------------

    def _bring_back(self, session: Session, steps: Sequence[Step], trashed: Trashed) -> None:
        """Show again what the trash phases hid, all of it or (by a violated constraint) nothing.

        Rows that are no longer there, or were hidden anew by somebody else, are counted as skipped.
        """
        kernel = self._kernel
        batch = kernel.batches.of(steps)
        pieces: dict[tuple[int, str, int], list[Rows]] = {}
        for step in steps:
            for part in trashed.get(step.request, ()):
                place = -kernel.order[part.dataset]
                pieces.setdefault((place, part.dataset, part.at), []).append(part.rows(step.ordinal))
        plans = {step.ordinal: step.plan for step in steps if step.plan is not None}
        for (_, name, at), rows in sorted(pieces.items(), key=lambda item: item[0]):
            connection = session.on(kernel.holdings.rows[name].store)
            given = joined(rows)
            back = kernel.holdings.store(name).act(
                connection, name, given, batch, effect=Effect.UNHIDE, at=datetime.fromtimestamp(at / 1000, UTC)
            )
            for ordinal, part in planning.split(name, back, at).items():
                plans[ordinal].parts.append(part)
            for ordinal, n in given.minus(back).counts().items():
                was = plans[ordinal].extra.get(name, Counts())
                plans[ordinal].extra[name] = was.plus(Counts(found=n, skipped=n))
        for step in steps:
            step.cursor = plans[step.ordinal].total
