"""The kernel of a product: a batch of commands in, acknowledgements out.

Plain Python that knows no message broker: the faust shell and the embedded runner both call :meth:`Product.handle`
and :meth:`Product.stop`, publish what comes back, and only then move the offset owed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from consumers import brakes, offsets, receipts
from consumers.effects import Effects
from consumers.failures import failure_of
from consumers.holdings import Holdings
from consumers.hooks import ProductCode
from consumers.inbox import authentic, read, rejection
from consumers.kernel import Answer, Kernel
from consumers.looks import Looks
from consumers.maps import DataMap, Trash
from consumers.plans import Plans
from consumers.settings import ProductSettings
from consumers.steps import Step, target_of
from consumers.stores.sql_batch import Batch
from schemas import codec
from schemas.codes import FailureCode, Outcome, Phase
from schemas.identifiers import IdentifierKind
from schemas.messages import Ack, Brake, Counts, Failure, SealedSubject, Stop
from schemas.sealing import SharedKey, brake_content, stop_content
from schemas.topics import Topic
from schemas.transport import Message, Record, TopicPartition

log = structlog.get_logger(__name__)

PLAN_LIFE = timedelta(days=100)
"""Plans are vault data, and nothing of the vault outlives this."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom somebody asks about, outside any request: for a dry run, or a look afterwards.

    ``cutoff_at``: milliseconds of the epoch; reusable identifiers reach only what was created before it.
    """

    tenant: str
    subject: SealedSubject
    cutoff_at: int | None = None


class Product:
    """One product, as one worker runs it.

    Args:
        data_map: what it holds of people.
        settings: addresses and keys.
        code: what the map cannot say.
        clock: milliseconds of the epoch.
        boundary: called with a word between any two durable writes; a test that raises there is a crash.
    """

    def __init__(
        self,
        data_map: DataMap,
        settings: ProductSettings,
        *,
        code: ProductCode | None = None,
        clock: Callable[[], int] | None = None,
        boundary: Callable[[str], None] | None = None,
    ) -> None:
        self.name = data_map.product
        self.map = data_map
        self.settings = settings
        self.source = f"/products/{self.name}"
        self.on_progress: Callable[[Sequence[Message]], object] | None = None
        """Takes acks that go out before their batch is done; what it raises is logged and forgotten."""
        self.holdings = Holdings(data_map, settings)
        more = {"clock": clock, "boundary": boundary, "code": code}
        self._kernel = Kernel(
            name=self.name,
            map=data_map,
            map_digest=data_map.digest(),
            settings=settings,
            holdings=self.holdings,
            plans=Plans(self.name, settings.local, settings.lease_s),
            progress=self._tell,
            **{name: value for name, value in more.items() if value is not None},  # type: ignore[arg-type]
        )
        self._matching = frozenset(kind for kind in IdentifierKind if data_map.matches({kind}))
        self._effects = Effects(self._kernel)
        self._looks = Looks(self._kernel)

    def install(self) -> None:
        """Create the tables for receipts and plans in the product's own database, where they are missing."""
        receipts.install(self.holdings.home)

    def close(self) -> None:
        """Give the connections back."""
        self.holdings.dispose()

    # --- commands -----------------------------------------------------------------------------------------------

    def handle(self, records: Sequence[Record]) -> list[Message]:
        """Obey a batch of :data:`Topic.COMMANDS`; the acks (and refusals) to publish, in no promised order.

        Raises nothing for what is wrong with a record, a store or a step: each outcome stands alone, as an ack.
        """
        inbox = read(records, self.name, self.settings, self.source)
        undecryptable = Failure(code=FailureCode.UNDECRYPTABLE)
        answers = [self._kernel.failed(step, undecryptable) for step in inbox.unopened]
        for steps in _rounds(inbox.steps, self.settings.group):
            answers += self._phase(steps)
        return inbox.rejected + [self._message(ack, step.key) for step, ack in answers]

    def _phase(self, steps: Sequence[Step]) -> list[Answer]:
        """One phase of several requests."""
        going: list[Step] = []
        answers: list[Answer] = []
        for step in steps:
            refusal = self._refusal(step)
            if refusal is None:
                step.ordinal = len(going)
                going.append(step)
            else:
                answers.append(refusal)
        return answers + self._work(steps[0].phase, going)

    def _work(self, phase: Phase, steps: list[Step]) -> list[Answer]:
        if not steps:
            return []
        try:
            match phase:
                case Phase.RESOLVE:
                    return self._looks.resolve(steps)
                case Phase.PROBE:
                    return self._looks.probe(steps)
                case Phase.TRASH if self.map.trash is Trash.DEFERRED:
                    return self._looks.deferred(steps)
                case _:
                    return self._effects.run(steps)
        except Exception as error:  # noqa: BLE001 - an agent must never raise; what this is becomes a code
            failure = failure_of(error)
            log.warning("batch failed", product=self.name, steps=len(steps), code=failure.code.value)
            return [self._kernel.failed(step, failure, partly=False) for step in steps]

    def _refusal(self, step: Step) -> Answer | None:
        """The answer of a command that needs no look at any store."""
        if self._kernel.clock() > step.command.expires_at:
            return self._kernel.answer(step, Outcome.EXPIRED)
        named = step.subject.records
        if named is not None:
            known = named.product == self.name and named.dataset in self.map.nameable
            return None if known else self._kernel.failed(step, Failure(code=FailureCode.BAD_COMMAND))
        if step.phase in (Phase.RESOLVE, Phase.RESTORE):
            return None
        if any(identifier.kind in self._matching for identifier in step.subject.identifiers):
            return None
        return self._kernel.answer(step, Outcome.CANNOT_MATCH)

    def _message(self, ack: Ack, key: SharedKey) -> Message:
        return codec.pack(Topic.ACKS, ack.request, ack, self.source, signer=key)

    def _tell(self, answer: Answer) -> None:
        if self.on_progress is not None:
            step, ack = answer
            try:
                self.on_progress([self._message(ack, step.key)])
            except Exception as error:  # noqa: BLE001 - progress is a courtesy: the work goes on without it
                log.warning("progress not told", product=self.name, error=type(error).__name__)

    # --- stops --------------------------------------------------------------------------------------------------

    def stop(self, records: Sequence[Record]) -> list[Message]:
        """Obey a batch of :data:`Topic.STOPS`; the acks (and refusals) to publish.

        Called by a thread of its own, so that a stop need not wait for the batch it stops. A stop waits for the
        chunk that is being written, and none is begun after it.

        Raises:
            StoreError: the database did not answer; the same records are to be given again.
        """
        messages: list[Message] = []
        for record in records:
            try:
                _, message = codec.message_of(record)
                if isinstance(message, Stop) and message.product == self.name:
                    key = authentic(self.settings, message.key, stop_content(message), message.mac)
                    messages.append(self._message(self._kernel.patiently(lambda m=message: self._stop(m)), key))  # type: ignore[misc]
                elif isinstance(message, Brake) and message.product == self.name:
                    authentic(self.settings, message.key, brake_content(message), message.mac)
                    self._brake(message)
            except codec.Rejection as refusal:
                messages.append(rejection(record, refusal, self.source))
        return messages

    def _stop(self, stop: Stop) -> Ack:
        kernel = self._kernel
        with self.holdings.session() as session:
            obeyed = brakes.stop(session.home, self.name, stop.tenant, stop.request, stop.seq)
            working = kernel.plans.working(session.home, [(stop.tenant, stop.request)]) if obeyed else []
        phase, counts = Phase.PURGE, {}
        for (_, _, name, epoch), cursor, plan in working:
            if epoch == stop.epoch:
                phase = Phase(name)
                counts = kernel.counts(plan, phase, cursor)
        return Ack(
            tenant=stop.tenant,
            request=stop.request,
            product=self.name,
            phase=phase,
            epoch=stop.epoch,
            seq=stop.seq,
            attempt=1,
            outcome=Outcome.STOPPED if obeyed else Outcome.SUPERSEDED,
            at=kernel.clock(),
            counts=counts,
            map=kernel.map_digest,
        )

    def _brake(self, brake: Brake) -> None:
        with self.holdings.session() as session:
            brakes.set_brake(session.home, self.name, brake.tenant, brake.seq, stopped=brake.stopped)

    # --- looking ------------------------------------------------------------------------------------------------

    def preview(self, asked: Sequence[Asked]) -> list[dict[str, int]]:
        """How many rows, objects and lines an erasure would reach, per dataset, for each asked about. Touches nothing.

        Raises:
            StoreError: a store did not answer (also :class:`consumers.stores.objects.StoreError`).
        """
        targets = [target_of(i, one.tenant, one.subject, one.cutoff_at) for i, one in enumerate(asked)]
        lines = self._looks.lines(targets)
        with self.holdings.session() as session:
            seen = self._looks.counts(session, targets, lines)
            found = [{name: counts.found for name, counts in seen[target.ordinal].items()} for target in targets]
            for name, ordinal, n in self._files(session.on, Batch(targets)):
                found[ordinal][name] = n
        return found

    def _files(self, on: Callable[[str], object], batch: Batch) -> Iterator[tuple[str, int, int]]:
        """Dataset, ordinal and number of the objects that rows lead to."""
        for leading, files in self.holdings.leading.items():
            rows = self.holdings.store(leading).find(on(self.holdings.rows[leading].store), leading, batch)  # type: ignore[arg-type]
            for name, column in files.items():
                per: dict[int, set[str]] = {}
                for ordinal, key in zip(rows.ordinals, rows.extras[column] if rows else (), strict=True):
                    if key:
                        per.setdefault(ordinal, set()).add(key)
                yield from ((name, ordinal, len(keys)) for ordinal, keys in per.items())

    def probe(self, asked: Sequence[Asked]) -> list[dict[str, Counts]]:
        """What is there of each asked about, per dataset: what the map retains, and (``skipped``) what should be gone.

        Raises as :meth:`preview`.
        """
        targets = [target_of(i, one.tenant, one.subject, one.cutoff_at) for i, one in enumerate(asked)]
        lines = self._looks.lines(targets)
        with self.holdings.session() as session:
            counts = self._looks.counts(session, targets, lines)
        return [counts[target.ordinal] for target in targets]

    # --- offsets and housekeeping -------------------------------------------------------------------------------

    def owed(self, at: Sequence[TopicPartition], identity: str = "") -> Mapping[TopicPartition, int]:
        """The next offset owed of each partition; one never read before is missing.

        Args:
            at: the partitions asked about.
            identity: of the log that they are in, as cluster and topic; offsets of another one mean nothing.

        Raises:
            StoreError: the database did not answer.
        """
        with self.holdings.session() as session:
            return offsets.owed(session.home, self.name, identity, at)

    def moved(self, records: Sequence[Record], identity: str = "") -> None:
        """These records are done with, and their acks are on the log. Raises :class:`StoreError`."""
        with self.holdings.session() as session:
            offsets.move(session.home, self.name, identity, records)

    def tidy(self) -> int:
        """Destroy plans at the end of their life; how many. Raises :class:`StoreError`."""
        before = datetime.fromtimestamp(self._kernel.clock() / 1000, UTC) - PLAN_LIFE
        with self.holdings.session() as session:
            return self._kernel.plans.tidy(session.home, before)


def _rounds(steps: Sequence[Step], most: int) -> Iterator[list[Step]]:
    """Groups of one phase and of different requests, at most ``most`` each; what comes later of a request stays later."""
    waiting = list(steps)
    while waiting:
        groups: dict[Phase, list[Step]] = {}
        seen: set[tuple[str, str]] = set()
        later = []
        for step in waiting:
            if step.request in seen:
                later.append(step)
            else:
                seen.add(step.request)
                groups.setdefault(step.phase, []).append(step)
        for group in groups.values():
            for start in range(0, len(group), most):
                yield group[start : start + most]
        waiting = later
