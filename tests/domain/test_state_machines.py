"""``docs/state-machines.md`` against the code: every member is drawn, and every arrow has an example."""

from __future__ import annotations

import pytest

from orchestrator.domain.state import Stage, StepStatus
from tests.domain.diagrams import drawn, walked
from tests.domain.script import LINKED, Told, products

TRASHED = ["accept trash", "go", "tickets done", "chat done"]
OUT = ["accept", "due", "go"]
PURGED = [*OUT, "tickets done", "chat done"]
PROBING = [*PURGED, "due", "go"]

STAGES = {
    ("*", "behind"): ["accept behind 1"],
    ("*", "resolving"): ["accept kinds email"],
    ("*", "grace"): ["accept"],
    ("*", "trashing"): ["accept trash"],
    ("*", "purging"): ["accept"],
    ("behind", "resolving"): ["accept kinds email behind 1", "turn 1"],
    ("behind", "grace"): ["accept behind 1", "turn 1"],
    ("behind", "ended"): ["accept kinds email behind 1", "cancel", "turn 1"],
    ("resolving", "grace"): ["accept kinds email", "go", "tickets done"],
    ("resolving", "ended"): ["accept kinds email", "go", "cancel"],
    ("grace", "trashing"): ["accept trash behind 1", "turn 1"],
    ("grace", "purging"): ["accept", "due"],
    ("grace", "ended"): ["accept", "cancel"],
    ("trashing", "trashed"): TRASHED,
    ("trashing", "restoring"): ["accept trash", "go tickets", "tickets done", "cancel"],
    ("trashing", "ended"): ["accept trash", "cancel"],
    ("trashed", "purging"): [*TRASHED, "due"],
    ("trashed", "restoring"): [*TRASHED, "restore"],
    ("restoring", "ended"): [*TRASHED, "restore", "go", "tickets done", "chat done"],
    ("purging", "restoring"): [*TRASHED, "due", "cancel"],
    ("purging", "ended"): ["accept", "due", "cancel"],
    ("purging", "settling"): PURGED,
    ("settling", "probing"): [*PURGED, "due"],
    ("settling", "purging"): [*PURGED, "force chat"],
    ("probing", "purging"): [*PROBING, "chat failed remains", "replay chat"],
    ("probing", "ended"): [*PROBING, "chat nothing", "tickets nothing"],
}

UNREAD = [*OUT, "wait 5m", "tick unread chat tickets"]
WAITING = [*OUT, "chat failed store_unavailable"]
TIMED_OUT = [*OUT, "due"]
PARKED = [*OUT, "chat failed denied"]
STOPPED = [*OUT, "hold", "chat stopped"]

STATUSES = {
    ("pending", "ready"): [*OUT, "tickets done"],
    ("pending", "waived"): ["accept", "due", "waive chat"],
    ("ready", "dispatched"): OUT,
    ("ready", "succeeded"): [*STOPPED, "chat done seq=1"],
    ("ready", "waived"): ["accept", "due", "waive chat"],
    ("dispatched", "succeeded"): [*OUT, "chat done"],
    ("dispatched", "waiting"): WAITING,
    ("dispatched", "timed_out"): TIMED_OUT,
    ("dispatched", "unread"): UNREAD,
    ("dispatched", "parked"): PARKED,
    ("dispatched", "ready"): STOPPED,
    ("dispatched", "waived"): [*OUT, "hold", "waive chat"],
    ("unread", "dispatched"): [*UNREAD, "due"],
    ("unread", "succeeded"): [*UNREAD, "chat done"],
    ("unread", "waiting"): [*UNREAD, "chat failed store_unavailable"],
    ("unread", "parked"): [*UNREAD, "chat failed denied"],
    ("unread", "ready"): [*UNREAD, "hold", "chat stopped"],
    ("unread", "waived"): [*UNREAD, "waive chat"],
    ("waiting", "dispatched"): [*WAITING, "wait 1h", "go"],
    ("waiting", "ready"): [*WAITING, "replay chat"],
    ("waiting", "succeeded"): [*WAITING, "chat done"],
    ("waiting", "waived"): [*WAITING, "waive chat"],
    ("timed_out", "dispatched"): [*TIMED_OUT, "wait 1h", "go"],
    ("timed_out", "ready"): [*TIMED_OUT, "replay chat"],
    ("timed_out", "succeeded"): [*TIMED_OUT, "chat done"],
    ("timed_out", "waiting"): [*TIMED_OUT, "chat failed store_unavailable"],
    ("timed_out", "parked"): [*TIMED_OUT, "chat failed denied"],
    ("timed_out", "waived"): [*TIMED_OUT, "waive chat"],
    ("parked", "ready"): [*PARKED, "replay chat"],
    ("parked", "succeeded"): [*PARKED, "chat done"],
    ("parked", "waived"): [*PARKED, "waive chat"],
    ("succeeded", "ready"): [*PURGED, "force chat"],
}


def told(lines: list[str], *, grace: int | None = None, waves: bool = False) -> Told:
    registry = products("tickets", "chat:2") if waves else products("tickets", "chat")
    if "kinds email" in lines[0]:
        registry = LINKED
    return Told(registry, **({} if grace is None else {"grace": grace})).tell(*lines)


@pytest.mark.parametrize("edge", sorted(drawn()[0]), ids=" to ".join)
def test_stages(edge):
    stages, _ = walked(told(STAGES[edge], grace=0 if edge == ("*", "purging") else None).history)
    assert edge in stages
    assert stages <= drawn()[0]


@pytest.mark.parametrize("edge", sorted(edge for edge in drawn()[1] if edge[0] != "*"), ids=" to ".join)
def test_statuses(edge):
    _, statuses = walked(told(STATUSES[edge], waves=edge[0] == "pending").history)
    assert edge in statuses
    assert statuses <= drawn()[1]


def test_every_member_is_drawn():
    stages, statuses = drawn()
    assert {name for edge in stages for name in edge} - {"*"} == {stage.value for stage in Stage}
    assert {name for edge in statuses for name in edge} - {"*"} == {status.value for status in StepStatus}


def test_every_example_is_of_an_arrow():
    assert set(STAGES) == drawn()[0]
    assert set(STATUSES) == {edge for edge in drawn()[1] if edge[0] != "*"}
