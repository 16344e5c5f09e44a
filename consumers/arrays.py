"""Many rows as parameters of one statement: a table of arrays, each written as one string.

A driver spends far less on one string than on a list of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consumers.steps import Step


def table(**columns: str) -> str:
    """A table function ``w`` over array parameters ``w_<column>``; ``columns`` gives the type of each."""
    arrays = ", ".join(f"cast(:w_{name} as {type_}[])" for name, type_ in columns.items())
    return f"unnest({arrays}) as w ({', '.join(columns)})"


def plain(items: Iterable[object]) -> str:
    """An array literal of numbers, ids or words that need no quoting."""
    return "{" + ",".join(map(str, items)) + "}"


def binary(items: Iterable[bytes]) -> str:
    """An array literal of byte strings."""
    return "{" + ",".join(['"\\\\x' + item.hex() + '"' for item in items]) + "}"


KEY = {"tenant": "text", "request": "uuid", "phase": "text", "epoch": "bigint"}
"""The columns that a receipt and a plan are keyed by, beside the product."""


def keys(steps: Sequence[Step]) -> dict[str, str]:
    """The parameters of the columns :data:`KEY`. By their types none of the values needs quoting."""
    columns = zip(*(step.id for step in steps), strict=True) if steps else ((),) * len(KEY)
    return {f"w_{name}": plain(column) for name, column in zip(KEY, columns, strict=True)}
