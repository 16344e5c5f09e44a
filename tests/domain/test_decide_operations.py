"""What people may ask at which time, and what they are told where it is not possible."""

from __future__ import annotations

import pytest

from orchestrator.domain.commands import NotPossible
from orchestrator.domain.policy import MINUTE
from orchestrator.domain.state import Stage
from tests.domain.script import LINKED, Told, products

PURGE, TRASH, HELD_OUT = ["accept"], ["accept trash"], ["accept kinds email"]

STAGES: dict[str, tuple[Stage, list[str]]] = {
    "behind": (Stage.BEHIND, ["accept kinds email,user_id,phone behind 1"]),
    "resolving": (Stage.RESOLVING, ["accept trash kinds email"]),
    "resolving, out": (Stage.RESOLVING, ["accept trash kinds email", "go"]),
    "grace": (Stage.GRACE, ["accept kinds email,user_id,phone"]),
    "trashing": (Stage.TRASHING, ["accept trash kinds email,user_id,phone"]),
    "trashing, out": (Stage.TRASHING, ["accept trash kinds email,user_id,phone", "go"]),
    "trashing, parked": (
        Stage.TRASHING,
        ["accept trash kinds email,user_id,phone", "go", "tickets failed denied", "voice done"],
    ),
    "trashed": (Stage.TRASHED, ["accept trash kinds email,user_id,phone", "go", "tickets done", "voice done"]),
    "restoring": (
        Stage.RESTORING,
        ["accept trash kinds email,user_id,phone", "go", "tickets done", "voice done", "restore"],
    ),
    "purging": (Stage.PURGING, ["accept kinds email,user_id,phone", "wait 24h", "tick"]),
    "purging, out": (Stage.PURGING, ["accept kinds email,user_id,phone", "wait 24h", "tick", "go"]),
    "purging, parked": (
        Stage.PURGING,
        ["accept kinds email,user_id,phone", "wait 24h", "tick", "go", "tickets failed denied", "voice done"],
    ),
}
STAGES["settling"] = (Stage.SETTLING, [*STAGES["purging, out"][1], "tickets done", "voice done"])
STAGES["probing"] = (Stage.PROBING, [*STAGES["settling"][1], "due", "go"])
STAGES["probing, remains"] = (
    Stage.PROBING,
    [*STAGES["probing"][1], "tickets failed remains", "voice nothing"],
)
STAGES["ended"] = (Stage.ENDED, [*STAGES["probing"][1], "tickets nothing", "voice nothing"])


def at(name: str) -> Told:
    stage, lines = STAGES[name]
    told = Told(LINKED).tell(*lines)
    assert told.state.stage is stage
    return told


def test_every_stage_is_here():
    assert {stage for stage, _ in STAGES.values()} == set(Stage)


ENDED = "the request has ended; nothing of it can be changed"
PURGED = "the first purge is dispatched; what is purged cannot come back. Place a hold to stop the rest"
NO_TRASH = "nothing of this request is in the trash; cancel it instead"
NOT_NOW = "the step is not part of the present phase"
UNDER_WAY = (
    "the product has its command and may be at work; place a hold on that product to stop it, "
    "or wait for its answer or its time-out"
)
ONLY = "only a parked or failing one can be replayed"

CASES = [
    # stage               operation         events, or what the person is told
    ("behind",            "cancel",         ["cancel asked"]),
    ("behind",            "restore",        NO_TRASH),
    ("behind",            "hold",           ["held"]),
    ("behind",            "replay tickets", NOT_NOW),
    ("behind",            "waive tickets",  "the step is idle; there is nothing to waive"),
    ("resolving",         "cancel",         ["cancel asked", "ended: cancelled"]),
    ("resolving",         "waive tickets",  ["tickets waived", "trash begins"]),
    ("resolving",         "replay tickets", f"the step is ready; {ONLY}"),
    ("resolving",         "replay voice",   NOT_NOW),
    ("resolving, out",    "cancel",         ["cancel asked", "ended: cancelled"]),
    ("resolving, out",    "hold",           ["held"]),
    ("resolving, out",    "waive tickets",  "the product has its command and may be at work; wait for its answer or its time-out"),
    ("grace",             "cancel",         ["cancel asked", "ended: cancelled"]),
    ("grace",             "withdraw",       ["withdrawn", "ended: withdrawn"]),
    ("grace",             "restore",        NO_TRASH),
    ("grace",             "hold voice",     ["held: voice"]),
    ("grace",             "hold crm",       "the request has no step of that product"),
    ("grace",             "release",        "the request has no such hold; its history lists those it has"),
    ("grace",             "waive voice",    "the step is idle; there is nothing to waive"),
    ("trashing",          "cancel",         ["cancel asked", "ended: cancelled"]),
    ("trashing",          "restore",        NO_TRASH),
    ("trashing",          "waive voice",    ["voice waived"]),
    ("trashing, out",     "cancel",         ["cancel asked", "stop: tickets 2, voice 2"]),
    ("trashing, out",     "restore",        ["restore asked", "stop: tickets 2, voice 2"]),
    ("trashing, out",     "hold",           ["held", "stop: tickets 2, voice 2"]),
    ("trashing, out",     "hold voice",     ["held: voice", "stop: voice 2"]),
    ("trashing, out",     "waive voice",    UNDER_WAY),
    ("trashing, parked",  "cancel",         ["cancel asked", "stop: tickets 2"]),
    ("trashing, parked",  "hold",           ["held", "stop: tickets 2"]),
    ("trashing, parked",  "replay tickets", ["tickets replayed: trash"]),
    ("trashing, parked",  "force tickets",  ["tickets replayed: trash in epoch 2"]),
    ("trashing, parked",  "replay voice",   f"the step is done; {ONLY}"),
    ("trashing, parked",  "waive tickets",  ["stop: tickets 2", "tickets waived", "trashed"]),
    ("trashing, parked",  "waive voice",    "the step is done; there is nothing to waive"),
    ("trashed",           "cancel",         ["cancel asked", "restore begins: tickets, voice"]),
    ("trashed",           "withdraw",       ["withdrawn", "restore begins: tickets, voice"]),
    ("trashed",           "restore",        ["restore asked", "restore begins: tickets, voice"]),
    ("trashed",           "hold",           ["held"]),
    ("trashed",           "force tickets",  f"the step is done; {ONLY}"),
    ("restoring",         "cancel",         []),
    ("restoring",         "restore",        []),
    ("restoring",         "hold",           ["held"]),
    ("restoring",         "waive voice",    ["voice waived"]),
    ("purging",           "cancel",         ["cancel asked", "ended: cancelled"]),
    ("purging",           "restore",        NO_TRASH),
    ("purging",           "hold",           ["held"]),
    ("purging",           "waive voice",    ["voice waived"]),
    ("purging",           "force voice",    f"the step is ready; {ONLY}"),
    ("purging, out",      "force voice",    f"the step is under way; {ONLY}"),
    ("purging, out",      "cancel",         PURGED),
    ("purging, out",      "withdraw",       PURGED),
    ("purging, out",      "restore",        "the purge has begun; what is purged cannot be restored"),
    ("purging, out",      "hold",           ["held", "stop: tickets 2, voice 2"]),
    ("purging, out",      "hold voice",     ["held: voice", "stop: voice 2"]),
    ("purging, out",      "replay voice",   f"the step is under way; {ONLY}"),
    ("purging, parked",   "cancel",         PURGED),
    ("purging, parked",   "replay tickets", ["tickets replayed: purge"]),
    ("purging, parked",   "force voice",    ["voice replayed: purge in epoch 2"]),
    ("purging, parked",   "replay voice",   "the step is done; only a forced replay does it again"),
    ("purging, parked",   "waive tickets",  ["stop: tickets 2", "tickets waived", "settle started"]),
    ("settling",          "cancel",         PURGED),
    ("settling",          "force voice",    ["voice replayed: purge in epoch 2"]),
    ("settling",          "waive voice",    "the step is done; there is nothing to waive"),
    ("probing",           "cancel",         PURGED),
    ("probing",           "hold",           ["held"]),
    ("probing",           "force voice",    f"the step is under way; {ONLY}"),
    ("probing, remains",  "replay tickets", ["tickets replayed: purge in epoch 2"]),
    ("probing, remains",  "force tickets",  ["tickets replayed: purge in epoch 2"]),
    ("probing, remains",  "force voice",    f"the step is done; {ONLY}"),
    ("probing, remains",  "waive tickets",  ["tickets waived", "ended: completed_waived"]),
    ("ended",             "cancel",         ENDED),
    ("ended",             "restore",        ENDED),
    ("ended",             "hold",           ENDED),
    ("ended",             "release",        ENDED),
    ("ended",             "replay tickets", ENDED),
    ("ended",             "waive tickets",  ENDED),
    ("ended",             "turn 1",         []),
]  # fmt: skip


@pytest.mark.parametrize("name,line,expected", [pytest.param(*case, id=f"{case[0]}: {case[1]}") for case in CASES])
def test_operations(name, line, expected):
    told = at(name)
    if isinstance(expected, str):
        before = told.state
        with pytest.raises(NotPossible) as refused:
            told.tell(line)
        assert refused.value.advice == expected
        assert told.state is before
    else:
        assert told.said(line) == expected


@pytest.mark.parametrize("operation", ["replay", "waive"])
def test_a_product_that_is_no_part_of_the_request(operation):
    with pytest.raises(NotPossible, match="no step of that product"):
        Told().tell("accept", f"{operation} crm")


@pytest.mark.parametrize("name", [name for name in STAGES if name != "ended"])
def test_asking_twice_changes_nothing_more(name):
    told = at(name).tell("hold")
    assert told.said("hold") == []


# --- holds ---------------------------------------------------------------------------------------------------------

TWO = products("tickets", "chat")


def test_a_hold_keeps_the_purge_from_beginning():
    told = Told(TWO).tell("accept", "hold", "wait 30h")
    assert told.said("tick") == []
    assert told.state.stage is Stage.GRACE
    assert told.state.due_at is not None
    assert told.state.next_due() == told.state.due_at + 1, "nothing to do for the clock until then"
    assert told.said("release") == ["hold released", "purge begins"]


def test_a_hold_keeps_the_trash_from_being_purged():
    told = Told(TWO).tell("accept trash", "go", "tickets done", "chat done", "hold")
    assert told.state.purge_at is not None
    told.now = told.state.purge_at + MINUTE
    assert told.said("tick") == []
    assert told.state.stage is Stage.TRASHED
    assert told.said("release") == ["hold released", "purge begins"]


def test_a_hold_on_one_product_lets_the_others_go_on():
    told = Told(TWO, grace=0).tell("accept", "hold chat")
    assert told.said("go") == ["purge out: tickets 1/1"]
    assert told.said("tickets done") == ["tickets purge done"]
    assert told.said("release chat") == ["hold released"]
    assert told.said("go") == ["purge out: chat 1/1"]


def test_a_hold_on_one_product_holds_up_the_waves_after_it():
    told = Told(products("tickets", "profile:2"), grace=0).tell("accept", "hold tickets")
    assert told.said("go") == []


def test_the_last_hold_counts():
    told = Told(TWO, grace=0).tell("accept", "hold", "hold chat")
    assert told.said("go") == []
    told.tell("release")
    assert told.said("go") == ["purge out: tickets 1/1"]


def test_a_hold_does_not_keep_data_from_coming_back():
    told = Told(TWO).tell("accept trash", "go", "tickets done", "chat done", "restore", "go")
    assert told.said("hold") == ["held"]
    assert told.said("tickets done") == ["tickets restore done"]
    told.tell("chat failed store_unavailable", "wait 1h")
    assert told.said("go") == ["restore out: chat 3/2"]


def test_a_hold_holds_the_probe_too_since_its_answer_would_end_the_request():
    told = at("settling").tell("hold", "due")
    assert told.said("go") == []
    told.tell("release")
    assert told.said("go") == ["probe out: tickets 2/1, voice 2/1"]


def test_due_while_held_is_missed_once_and_on_it_goes():
    told = Told(TWO).tell("accept", "hold", "wait 40d")
    assert told.said("tick") == ["deadline missed"]
    assert told.said("tick") == []
    assert told.said("release") == ["hold released", "purge begins"]
