"""Phases and waves: which steps take part, which may go out, and what a step keeps from one phase to the next."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.domain.state import FINISHED, STAGE_OF_PHASE, Stage, State, Step, StepStatus
from schemas.codes import FailureCode, Phase
from schemas.messages import Failure

VAULT_GONE = Failure(code=FailureCode.UNDECRYPTABLE)
"""Why a step waits for a person once the identifiers are destroyed: no command can be written any more."""

_TOGETHER = frozenset({Phase.RESOLVE, Phase.PROBE})
"""Phases without effects need no waves."""

_ERASING = frozenset({Phase.PURGE, Phase.PROBE})


def start(state: State, phase: Phase, only: tuple[str, ...] | None = None) -> State:
    """Begin ``phase`` for every step (or those of ``only``); those of its first wave are ready."""
    steps = {
        name: _entered(step, phase, vault_gone=state.vault_gone)
        if not step.waived and (only is None or name in only)
        else _left_out(step, phase)
        for name, step in state.steps.items()
    }
    return replace(state, stage=STAGE_OF_PHASE[phase], steps=promoted(steps))


def onward(state: State) -> State:
    """After a step is finished: the next wave, or the grace time that follows resolving."""
    steps = promoted(state.steps)
    if state.stage is Stage.RESOLVING and all(step.status in FINISHED for step in steps.values()):
        return replace(state, steps=steps, stage=Stage.GRACE)
    return replace(state, steps=steps)


def again(step: Step, phase: Phase, epoch: int, status: StepStatus) -> Step:
    """The step at the beginning of ``phase`` in ``epoch``.

    The cut-off of the purge stays that of its probe and of a purge repeated in another epoch: who was given a
    reusable identifier since then is somebody else.
    """
    return replace(
        step,
        status=status,
        phase=phase,
        epoch=epoch,
        spent=0,
        setbacks=0,
        begun=False,
        may_act=False,
        cutoff_at=step.cutoff_at if step.phase in _ERASING else None,
        timeout_at=None,
        retry_at=None,
        failure=None,
        earlier=None,
        noted=False,
        done=0,
        total=0,
    )


def back_to_purge(state: State) -> State:
    """While products look again, one has to purge once more; then all will look once more.

    Steps that wait for a person because something remains keep waiting for that decision.
    """
    steps = {
        name: again(step, Phase.PURGE, step.epoch, StepStatus.SUCCEEDED)
        if step.phase is Phase.PROBE and not step.waived and not remains(step)
        else step
        for name, step in state.steps.items()
    }
    return replace(state, stage=Stage.PURGING, probe_at=None, steps=steps)


def remains(step: Step) -> bool:
    """Whether its probe found what should be gone."""
    return (
        step.status is StepStatus.PARKED
        and step.phase is Phase.PROBE
        and step.failure is not None
        and step.failure.code is FailureCode.REMAINS
    )


def promoted(steps: dict[str, Step]) -> dict[str, Step]:
    """The pending steps of the first unfinished wave become ready. Restore goes through the waves in reverse."""
    unfinished = [step for step in steps.values() if step.status not in FINISHED]
    if not any(step.status is StepStatus.PENDING for step in unfinished):
        return steps
    waves = [step.wave for step in unfinished]
    wave = max(waves) if any(step.phase is Phase.RESTORE for step in unfinished) else min(waves)
    return {
        name: replace(step, status=StepStatus.READY)
        if step.status is StepStatus.PENDING and (step.phase in _TOGETHER or step.wave == wave)
        else step
        for name, step in steps.items()
    }


def _entered(step: Step, phase: Phase, *, vault_gone: bool) -> Step:
    epoch = step.epoch + 1 if phase is Phase.PROBE and step.probed >= step.epoch else step.epoch
    if vault_gone:
        return replace(again(step, phase, epoch, StepStatus.PARKED), failure=VAULT_GONE)
    return again(step, phase, epoch, StepStatus.PENDING)


def _left_out(step: Step, phase: Phase) -> Step:
    if step.waived:
        return replace(step, status=StepStatus.WAIVED, phase=phase)
    return replace(again(step, phase, step.epoch, StepStatus.IDLE), phase=None)
