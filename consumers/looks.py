"""Phases without an effect: resolve, probe, and trash where a product defers it to the purge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from consumers import receipts
from consumers.failures import StepFailed
from consumers.gate import admit
from consumers.holdings import Session
from consumers.kernel import Answer, Kernel
from consumers.steps import Step
from consumers.stores.sql_batch import Batch
from consumers.stores.sql_rows import Linked, Target
from schemas.codes import Evidence, FailureCode
from schemas.identifiers import Identifier, IdentifierKind
from schemas.messages import Ack, Counts, Failure, SealedSubject
from schemas.sealing import ack_context

_encoder = msgspec.json.Encoder()
Seen = tuple[bytes | None, Answer]
"""A receipt's bytes, none where there is no success to keep, and the answer."""


class Looks:
    """Answers that need no lease: nothing is touched, so looking twice is harmless."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def resolve(self, steps: Sequence[Step]) -> list[Answer]:
        """Further identifiers of the same person, sealed for the orchestrator."""
        return self._kernel.isolate(steps, lambda group: self._resealed(self._receipted(group, self._resolved)))

    def probe(self, steps: Sequence[Step]) -> list[Answer]:
        """Whether anything is left that should be gone."""
        return self._kernel.isolate(steps, self._probe)

    def deferred(self, steps: Sequence[Step]) -> list[Answer]:
        """Trash of a product that does nothing until the purge: how much there will be."""
        return self._kernel.isolate(steps, self._defer)

    def _receipted(self, steps: list[Step], look: Callable[[Session, list[Step]], list[Seen]]) -> list[Answer]:
        kernel = self._kernel
        with kernel.holdings.session() as session:
            gate = admit(kernel, session, steps, effect=False)
            seen = look(session, gate.run) if gate.run else []
            kept = [(step, body) for body, (step, _) in seen if body is not None]
            receipts.write(session.home, kernel.name, kept)
            kernel.boundary("receipt")
        kernel.boundary("committed")
        return gate.answers + [answer for _, answer in seen]

    # --- resolve ------------------------------------------------------------------------------------------------

    def _resolved(self, session: Session, steps: list[Step]) -> list[Seen]:
        kernel = self._kernel
        batch = kernel.batches.of(steps)
        linked = kernel.code.after_resolve(session.home, batch, kernel.holdings.link(session, batch))
        return [self._one_resolved(step, linked.get(step.ordinal)) for step in steps]

    def _one_resolved(self, step: Step, linked: Linked | None) -> Seen:
        if linked is not None and linked.ambiguous:
            code = FailureCode.AMBIGUOUS_SUBJECT if linked.persons > 1 else FailureCode.SHARED_IDENTIFIER
            return None, self._kernel.failed(step, Failure(code=code))
        persons = linked.persons if linked is not None else 0
        body, (_, ack) = self._kernel.receipt(step, {}, Evidence.ASSERTED, persons=persons)
        return body, (step, sealed(ack, step, linked.derived if linked is not None else {}))

    def _resealed(self, answers: list[Answer]) -> list[Answer]:
        """Give repeated acks of resolve their identifiers again: a receipt keeps none."""
        bare = [step for step, ack in answers if ack.persons and ack.sealed is None and step.repeated]
        if not bare:
            return answers
        with self._kernel.holdings.session() as session:
            batch = self._kernel.batches.of(bare)
            found = self._kernel.holdings.link(session, batch)
            linked = self._kernel.code.after_resolve(session.home, batch, found)
        return [
            (step, sealed(ack, step, linked[step.ordinal].derived))
            if step in bare and step.ordinal in linked
            else (step, ack)
            for step, ack in answers
        ]

    # --- probe --------------------------------------------------------------------------------------------------

    def _probe(self, steps: list[Step]) -> list[Answer]:
        lines = self.lines([step.target() for step in steps])
        return self._receipted(
            steps, lambda session, run: [self._one_probed(*one) for one in self._seen(session, run, lines)]
        )

    def _one_probed(self, step: Step, counts: dict[str, Counts]) -> Seen:
        left = next((name for name, n in counts.items() if n.skipped), None)
        if left is None:
            return self._kernel.receipt(step, counts, Evidence.PROBED)
        _, ack = self._kernel.failed(step, StepFailed(FailureCode.REMAINS, left).failure)
        return None, (step, msgspec.structs.replace(ack, counts=counts, evidence=Evidence.PROBED))

    def _defer(self, steps: list[Step]) -> list[Answer]:
        lines = self.lines([step.target() for step in steps])
        return self._receipted(
            steps,
            lambda session, run: [
                self._kernel.receipt(step, counts, Evidence.ASSERTED)
                for step, counts in self._seen(session, run, lines)
            ],
        )

    def _seen(
        self, session: Session, steps: Sequence[Step], lines: Mapping[str, Mapping[int, int]]
    ) -> list[tuple[Step, dict[str, Counts]]]:
        counts = self.counts(session, [step.target() for step in steps], lines)
        return [(step, counts[step.ordinal]) for step in steps]

    def counts(
        self, session: Session, targets: Sequence[Target], lines: Mapping[str, Mapping[int, int]]
    ) -> dict[int, dict[str, Counts]]:
        """What is there of each target, per dataset: retained by the map, or (``skipped``) still to be worked."""
        kernel = self._kernel
        found: dict[int, dict[str, Counts]] = {target.ordinal: {} for target in targets}
        for name, per in (kernel.holdings.count(session, Batch(targets)) | dict(lines)).items():
            for ordinal, n in per.items():
                if ordinal in found:
                    kept = n if kernel.retained(name) else 0
                    found[ordinal][name] = Counts(found=n, retained=kept, skipped=n - kept)
        return found

    def lines(self, targets: Sequence[Target]) -> dict[str, Mapping[int, int]]:
        """Log lines per dataset and ordinal, read outside any transaction because it may take long."""
        return {name: lines.look(targets).remaining() for name, lines in self._kernel.holdings.lines.items()}


def sealed(ack: Ack, step: Step, derived: Mapping[str, frozenset[str]]) -> Ack:
    """The ack with identifiers, readable only by the orchestrator and only for this step."""
    identifiers = tuple(
        Identifier(IdentifierKind(kind), value) for kind in sorted(derived) for value in sorted(derived[kind])
    )
    if not identifiers:
        return ack
    plain = _encoder.encode(SealedSubject(identifiers=identifiers))
    return msgspec.structs.replace(ack, sealed=step.key.seal(plain, ack_context(ack)))
