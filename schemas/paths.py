"""Where a message does not fit its type."""

from __future__ import annotations

import re

import msgspec

_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([a-z0-9_.\[\]]+)`\Z")


def path_of(error: msgspec.ValidationError) -> str | None:
    """The path of the field that ``error`` is about, at most 80 characters; ``None`` for the message as a whole.

    Nothing else is taken over from the error: its text may quote the value.
    """
    found = _PATH.search(str(error))
    return found[1][:80] if found else None
