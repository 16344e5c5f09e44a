"""Garbage collection in a process that runs for long and makes many objects of short life."""

from __future__ import annotations

import gc

THRESHOLDS = (10_000, 20, 50)
"""Objects made before the youngest are looked at, and how often that happens before the older ones are."""


def collect_less() -> None:
    """Leave what exists by now alone for good, and look for cycles among the rest less often.

    We make none that matter; by default the search for them takes a sixth of a busy worker's time. For a process of
    its own, called once, when it has been set up.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
