"""From rows found to plans: files before the rows that lead to them, and ceilings before everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from consumers.failures import StepFailed
from consumers.holdings import Found, Session
from consumers.kernel import Kernel
from consumers.plans import Part
from consumers.steps import Step
from consumers.stores.sql_rows import Rows
from schemas.codes import FailureCode


def split(dataset: str, rows: Rows, at: int = 0) -> dict[int, Part]:
    """Rows of many subjects as one part for each."""
    positions: dict[int, list[int]] = {}
    for position, ordinal in enumerate(rows.ordinals):
        positions.setdefault(ordinal, []).append(position)
    if len(positions) == 1:
        return {rows.ordinals[0]: Part(dataset, list(rows.keys), list(rows.extras), at=at)}
    return {
        ordinal: Part(
            dataset,
            [[column[i] for i in mine] for column in rows.keys],
            [[column[i] for i in mine] for column in rows.extras],
            at=at,
        )
        for ordinal, mine in positions.items()
    }


def parts_of(kernel: Kernel, found: Found, steps: Sequence[Step], *, files: bool, at: int = 0) -> dict[int, list[Part]]:
    """The parts of each step's plan, by ordinal: objects first, then rows in working order.

    Raises:
        StepFailed: a row leads to a file outside the place where the map says this tenant's files are.
    """
    rows = {name: split(name, found[name], at) for name in found if found[name]}
    parts: dict[int, list[Part]] = {step.ordinal: [] for step in steps}
    if files:
        for step in steps:
            parts[step.ordinal] += _objects(kernel, rows, step)
    for per in rows.values():
        for ordinal, part in per.items():
            parts[ordinal].append(part)
    return parts


def _objects(kernel: Kernel, rows: Mapping[str, Mapping[int, Part]], step: Step) -> Iterable[Part]:
    for leading, files in kernel.holdings.leading.items():
        part = rows.get(leading, {}).get(step.ordinal)
        if part is None:
            continue
        for name, column in files.items():
            keys = [key for key in dict.fromkeys(part.extras[column]) if key]
            prefix = kernel.holdings.files[name].prefix.replace("{tenant}", step.command.tenant)
            if not all(key.startswith(prefix) for key in keys):
                raise StepFailed(FailureCode.SCHEMA_MISMATCH, leading, kernel.holdings.files[name].column)
            if keys:
                yield Part(name, [keys])


def with_files(kernel: Kernel, dataset: str, rows: Rows) -> set[int]:
    """Ordinals of those whose rows lead to a file."""
    columns = [rows.extras[column] for column in kernel.holdings.leading.get(dataset, {}).values() if rows]
    return {ordinal for column in columns for ordinal, key in zip(rows.ordinals, column, strict=True) if key}


def amounts(parts: Iterable[Part]) -> dict[str, int]:
    """Rows, objects or lines per dataset."""
    found: dict[str, int] = {}
    for part in parts:
        found[part.dataset] = found.get(part.dataset, 0) + part.amount(len(part))
    return found


def ceiling(kernel: Kernel, step: Step) -> int:
    """The most rows that this step may touch; what the command says goes before the map."""
    return step.to.ceiling if step.to.ceiling is not None else kernel.map.limits.max_rows


def above(kernel: Kernel, session: Session, step: Step, parts: Iterable[Part]) -> str | None:
    """The dataset with which a step exceeds its ceilings, if it does. Retained rows are not touched, so not counted."""
    touched = {name: n for name, n in amounts(parts).items() if not kernel.retained(name)}
    if sum(touched.values()) > ceiling(kernel, step):
        return max(touched, key=lambda name: touched[name])
    if step.to.ceiling is not None:
        return None
    return next((name for name, n in touched.items() if _too_many(kernel, session, name, n)), None)


def _too_many(kernel: Kernel, session: Session, name: str, n: int) -> bool:
    most = kernel.map.datasets[name].max_rows
    if most is not None and n > most:
        return True
    limits = kernel.map.limits
    # Only what is a large share of the smallest dataset that counts is worth asking for the size.
    if name not in kernel.holdings.rows or n <= limits.max_share * limits.max_share_from:
        return False
    size = kernel.holdings.size(session, name)
    return size >= limits.max_share_from and n > limits.max_share * size
