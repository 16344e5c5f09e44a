"""Long-running processes look for garbage less often, and never among what they were started with."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc
from schemas.garbage import THRESHOLDS, collect_less
collect_less()
assert gc.get_threshold() == THRESHOLDS
assert gc.get_freeze_count() > 1_000
assert gc.isenabled()
"""


def test_what_exists_is_left_alone_and_the_rest_is_looked_at():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
