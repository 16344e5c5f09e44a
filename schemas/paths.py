"""Where a message does not fit its type."""

from __future__ import annotations

import re

import msgspec

_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([a-z0-9_.\[\]]+)`\Z")


class BadField(ValueError):
    """A field breaks a rule that its type cannot say; raised where a message is made. Neither text quotes a value."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


def path_of(error: msgspec.ValidationError) -> str | None:
    """The path of the field that ``error`` is about, at most 80 characters; ``None`` for the message as a whole.

    Nothing else is taken over from the error: its text may quote the value.
    """
    found = _PATH.search(str(error))
    parts = [found[1]] if found else []
    if isinstance(error.__cause__, BadField):
        parts.append(error.__cause__.field)
    return ".".join(parts)[:80] or None
