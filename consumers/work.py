"""Plans carried out, item by item: objects, chunks of rows, log files.

Every commit of work compares the fence, renews the lease, and sees stops and brakes; a crash between any two of them
loses nothing, because each item may be done again and the counts are the plan's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from consumers import brakes
from consumers.failures import StepFailed
from consumers.gate import stopped_by_brake
from consumers.holdings import Session
from consumers.kernel import EFFECTS, Answer, Kernel
from consumers.maps import LogDataset, ObjectDataset
from consumers.plans import Part
from consumers.steps import Step
from consumers.stores.objects import DeleteOutcome, ObjectVersion
from consumers.stores.sql_errors import StoreError
from consumers.stores.sql_rows import Rows
from schemas.codes import FailureCode, Outcome

OBJECTS_A_COMMIT = 20
_LEAST_CHUNK = 100


def moment(ms: int) -> datetime | None:
    """The time of a trash phase; 0 is none."""
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None


class Work:
    """Brings plans to their last item."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._kept = time.monotonic()

    def do(self, steps: Sequence[Step]) -> list[Answer]:
        """Carry out what is left of the steps' plans.

        A step that cannot go on is closed, and answered unless somebody else will: a newer command, a stop, or the
        worker that took it over.
        """
        answers: list[Answer] = []
        while going := [step for step in steps if step.open and step.plan and step.cursor < step.plan.total]:
            kinds = {step: self._kind(step) for step in going}
            for kind, stage in ((ObjectDataset, self._objects), (LogDataset, self._lines), (None, self._rows)):
                mine = [step for step in going if kinds[step] is kind]
                if mine:
                    failed = stage(mine)
                    for step, _ in failed:
                        step.open = False
                    answers += failed
                    break
        return answers

    def _kind(self, step: Step) -> type[ObjectDataset] | type[LogDataset] | None:
        """What the next item is: an object, a log file, or (None) a row."""
        part, _ = self._next(step)
        dataset = self._kernel.map.datasets[part.dataset]
        if isinstance(dataset, ObjectDataset):
            return ObjectDataset
        return LogDataset if isinstance(dataset, LogDataset) else None

    @staticmethod
    def _next(step: Step) -> tuple[Part, int]:
        assert step.plan is not None
        return next(step.plan.left(step.cursor))

    # --- leave to go on -----------------------------------------------------------------------------------------

    def hold(self, session: Session, cursors: Mapping[Step, int]) -> tuple[list[Step], list[Answer]]:
        """The steps that may go on, their new cursors written; and answers of those that a brake stopped.

        What may not go on is closed. Both locks (step, then plan) are held until the transaction ends.
        """
        kernel = self._kernel
        wanted = brakes.wanted(session.home, kernel.name, list(cursors))
        stopped = brakes.braked(session.home, kernel.name)
        going = [s for s in cursors if s.request in wanted and not brakes.holds_back(stopped, s)]
        answers = [
            stopped_by_brake(kernel, s) for s in cursors if s.request in wanted and brakes.holds_back(stopped, s)
        ]
        held = kernel.plans.advance(session.home, {step: cursors[step] for step in going})
        for step in cursors:
            step.open = step in held
        self._keep(session)
        return held, answers

    def _keep(self, session: Session) -> None:
        """Renew the leases of steps that wait for their turn in this worker."""
        if time.monotonic() - self._kept > self._kernel.settings.lease_s / 3:
            self._kernel.plans.keep(session.home)
            self._kept = time.monotonic()

    def _tell(self, step: Step) -> None:
        """Tell progress, at a bounded rate."""
        now = time.monotonic()
        if step.plan is not None and now - step.reported >= self._kernel.settings.progress_s:
            step.reported = now
            done = self._kernel.answer(step, Outcome.PROGRESS, done=step.cursor, total=step.plan.total)
            self._kernel.progress(done)

    # --- objects ------------------------------------------------------------------------------------------------

    def _objects(self, steps: Sequence[Step]) -> list[Answer]:
        answers: list[Answer] = []
        for step in steps:
            answers += self._kernel.isolate([step], lambda group: self._objects_of(group[0]))
        return answers

    def _objects_of(self, step: Step) -> list[Answer]:
        part, start = self._next(step)
        if len(part.columns) == 1:
            return self._look_up(step)
        stop = min(len(part), start + OBJECTS_A_COMMIT)
        with self._kernel.holdings.session() as session:
            held, answers = self.hold(session, {step: step.cursor})
            if not held:
                return answers
            until = time.monotonic() + self._kernel.settings.chunk_ms / 1000
            item = start
            changed = False
            while not changed and item < stop and (item == start or time.monotonic() < until):
                changed = self._delete(part, item) is DeleteOutcome.CHANGED
                item += not changed
                self._kernel.boundary("object")
            cursor = step.cursor + item - start
            self._kernel.plans.advance(session.home, {step: cursor})
        step.cursor = cursor
        self._kernel.boundary("committed")
        if changed:
            self._unversion(step, part)
            raise StepFailed(FailureCode.OBJECT_CHANGED, part.dataset)
        self._tell(step)
        return []

    def _delete(self, part: Part, item: int) -> DeleteOutcome:
        key, size, tag = (column[item] for column in part.columns)
        return self._kernel.holdings.object_store(part.dataset).delete(ObjectVersion(key, int(size), tag))

    def _unversion(self, step: Step, part: Part) -> None:
        """An object was written anew under the same key: this try ends, and the next one looks its versions up again."""
        part.columns[:] = part.columns[:1]
        with self._kernel.holdings.session() as session:
            self._kernel.plans.save(session.home, [step])

    def _look_up(self, step: Step) -> list[Answer]:
        """Add the objects' present versions to the plan, and commit it before the first of them goes."""
        assert step.plan is not None
        done = step.cursor
        for place, part in enumerate(step.plan.parts):
            if part.dataset in self._kernel.holdings.files and len(part.columns) == 1:
                step.plan.parts[place] = self._versions(part, keep=min(len(part), done))
            done = max(0, done - len(part))
        with self._kernel.holdings.session() as session:
            held, answers = self.hold(session, {step: step.cursor})
            self._kernel.plans.save(session.home, held)
        self._kernel.boundary("committed")
        return answers

    def _versions(self, part: Part, keep: int) -> Part:
        """The part with versions; what is not there is left out, but for the first ``keep``, which we deleted."""
        store = self._kernel.holdings.object_store(part.dataset)
        columns: list[list[str]] = [[], [], []]
        for item, key in enumerate(part.columns[0]):
            version = ObjectVersion(key, 0, "") if item < keep else store.stat(key)
            if version is not None:
                for column, value in zip(columns, (key, str(version.size), version.tag), strict=True):
                    column.append(value)
        return Part(part.dataset, columns)

    # --- rows ---------------------------------------------------------------------------------------------------

    def _rows(self, steps: Sequence[Step]) -> list[Answer]:
        most = self._kernel.map.limits.chunk_rows
        left = {step: sum(len(part) - start for part, start in self._row_parts(step)) for step in steps}
        answers: list[Answer] = []
        for pack in _packs(left, most):
            answers += self._kernel.isolate(pack, self._pack)
        for step in steps:
            if left[step] > most:
                answers += self._kernel.isolate([step], self._chunks, tries=0)
        return answers

    def _row_parts(self, step: Step) -> list[tuple[Part, int]]:
        """The parts with rows that come next, up to the first that has something else."""
        assert step.plan is not None
        found = []
        for part, start in step.plan.left(step.cursor):
            if part.dataset not in self._kernel.holdings.rows:
                break
            found.append((part, start))
        return found

    def _pack(self, steps: Sequence[Step]) -> list[Answer]:
        """All that is left of several steps' rows, in one transaction."""
        parts = {step: self._row_parts(step) for step in steps}
        cursors = {step: step.cursor + sum(len(part) - start for part, start in parts[step]) for step in steps}
        with self._kernel.holdings.session() as session:
            held, answers = self.hold(session, cursors)
            self._act(session, held, [(s, part, start, len(part)) for s in held for part, start in parts[s]])
            self._kernel.boundary("chunk")
        for step in held:
            step.cursor = cursors[step]
        self._kernel.boundary("committed")
        return answers

    def _chunks(self, steps: Sequence[Step]) -> list[Answer]:
        """The rows of one large step, a bounded chunk a transaction; its size follows the time it takes."""
        (step,) = steps
        size = most = self._kernel.map.limits.chunk_rows
        while step.open and self._row_parts(step):
            begun = time.monotonic()
            try:
                answers = self._kernel.patiently(lambda size=size: self._chunk(step, size))  # type: ignore[misc]
            except StoreError as error:
                if error.code is not FailureCode.STORE_TIMEOUT or size <= _LEAST_CHUNK:
                    raise
                size = max(_LEAST_CHUNK, size // 4)
                continue
            if answers:
                return answers
            took_ms = (time.monotonic() - begun) * 1000
            if took_ms > self._kernel.settings.chunk_ms:
                size = max(_LEAST_CHUNK, size // 2)
            elif took_ms < self._kernel.settings.chunk_ms / 3:
                size = min(most, size * 2)
            self._tell(step)
        return []

    def _chunk(self, step: Step, size: int) -> list[Answer]:
        part, start = self._row_parts(step)[0]
        stop = min(len(part), start + size)
        cursor = step.cursor + stop - start
        with self._kernel.holdings.session() as session:
            held, answers = self.hold(session, {step: cursor})
            self._act(session, held, [(s, part, start, stop) for s in held])
            self._kernel.boundary("chunk")
        if held:
            step.cursor = cursor
        self._kernel.boundary("committed")
        return answers

    def _act(self, session: Session, steps: Sequence[Step], work: Iterable[tuple[Step, Part, int, int]]) -> None:
        """Act on slices of parts, one statement per dataset (and time of trash)."""
        together: dict[tuple[str, int], list[Rows]] = {}
        for step, part, start, stop in work:
            together.setdefault((part.dataset, part.at), []).append(part.rows(step.ordinal, start, stop))
        if not together:
            return
        effect = EFFECTS[steps[0].phase]
        batch = self._kernel.batches.of(steps)
        order = self._kernel.order
        for (name, at), pieces in sorted(together.items(), key=lambda item: order[item[0][0]]):
            store = self._kernel.holdings.store(name)
            connection = session.on(self._kernel.holdings.rows[name].store)
            store.act(connection, name, joined(pieces), batch, effect=effect, at=moment(at))

    # --- log files ----------------------------------------------------------------------------------------------

    def _lines(self, steps: Sequence[Step]) -> list[Answer]:
        """The first log file that any of the steps has before it, for all that have."""
        where = {step: self._place(step) for step in steps}
        first = min(where.values())
        return self._kernel.isolate([step for step in steps if where[step] == first], self._file)

    def _place(self, step: Step) -> tuple[str, str, str]:
        part, item = self._next(step)
        return (part.dataset, part.columns[0][item], part.columns[1][item])

    def _file(self, steps: Sequence[Step]) -> list[Answer]:
        """One pass over one file for all these steps."""
        going, answers = self._leave(steps)
        if going:
            dataset, name, version = self._place(going[0])
            lines = self._kernel.holdings.lines[dataset]
            if not lines.rewrite(name, version, [step.target() for step in going], self._asking(going, answers)):
                return answers  # the steps that were stopped or lost are closed, the others take another turn
            self._kernel.boundary("file")
            self._past_file(going)
        return answers

    def _leave(self, steps: Sequence[Step]) -> tuple[list[Step], list[Answer]]:
        with self._kernel.holdings.session() as session:
            return self.hold(session, {step: step.cursor for step in steps})

    def _asking(self, steps: Sequence[Step], answers: list[Answer]) -> Callable[[], bool]:
        """Whether all the steps may go on: none is stopped, and all leases are ours. Who may not is closed."""

        def ask() -> bool:
            held, stopped = self._leave(steps)
            answers.extend(stopped)
            return len(held) == len(steps)

        return ask

    def _past_file(self, steps: Sequence[Step]) -> None:
        with self._kernel.holdings.session() as session:
            held = self._kernel.plans.advance(session.home, {step: step.cursor + 1 for step in steps})
        for step in steps:
            step.open = step in held
            step.cursor += step in held
            self._tell(step)
        self._kernel.boundary("committed")


def joined(pieces: Sequence[Rows]) -> Rows:
    """Rows of several subjects as one."""
    if len(pieces) == 1:
        return pieces[0]
    ordinals = [ordinal for piece in pieces for ordinal in piece.ordinals]
    columns = tuple([key for piece in pieces for key in piece.keys[i]] for i in range(len(pieces[0].keys)))
    return Rows(ordinals, columns)


def _packs(sizes: Mapping[Step, int], most: int) -> Iterable[list[Step]]:
    """Groups of steps that together have at most ``most`` rows; a step with more is in none."""
    pack: list[Step] = []
    rows = 0
    for step, size in sizes.items():
        if size > most:
            continue
        if pack and rows + size > most:
            yield pack
            pack, rows = [], 0
        pack.append(step)
        rows += size
    if pack:
        yield pack
