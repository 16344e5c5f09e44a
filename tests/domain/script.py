"""A request told in words: what happens to it, line by line, and what it decides.

    told = Told(products("tickets", "chat"), grace=0)
    told.tell("accept", "go", "tickets done")
    assert told.says("chat nothing") == ["chat purge nothing_found", "settling"]

Lines (``said`` gives the events of the last one in words; see :func:`words`):

* ``accept`` with any of ``trash``, ``housekeeping``, ``behind 1,2``, ``kinds email,phone``, ``records tickets``,
  ``received -40d``;
* ``go`` dispatches all that may go, ``go tickets`` only that;
* ``tickets done``, ``tickets failed contention``, ``tickets progress 5``, ``tickets stopped``: acks, for the command
  that is out unless ``seq=1``, ``epoch=1``, ``phase=trash`` or ``attempt=1`` say otherwise; ``found=3`` gives counts;
* ``wait 5m`` lets time pass, ``tick`` looks at the clock (``tick unread tickets``), ``due`` does both up to the timer;
* ``cancel``, ``withdraw``, ``restore``, ``hold``, ``hold tickets``, ``release``, ``replay tickets``, ``force tickets``,
  ``waive tickets``, ``turn 1``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from orchestrator.domain.calendar import DAY_MS, millis
from orchestrator.domain.commands import Accept, Answer, Dispatch, DomainCommand, Operate, Tick
from orchestrator.domain.decide import decide
from orchestrator.domain.evolve import evolve, fold
from orchestrator.domain.policy import HOUR, MINUTE, SECOND, Policy, Product, TenantPolicy
from orchestrator.domain.state import State, Step
from schemas import events as e
from schemas import messages as m
from schemas.codes import Capacity, Channel, FailureCode, HoldCode, Mode, Outcome, Phase, ReasonCode, Right, Role
from schemas.identifiers import IdentifierKind

ID = "0190a0b0-0000-4000-8000-00000000000a"
TENANT = "acme"
COMMITMENT = "A" * 43
START = millis(datetime(2025, 1, 31, 9, 30, tzinfo=UTC))
"""A Friday; the request is due on Friday 28 February 2025."""

UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY_MS}
WHO: dict[str, Any] = {"actor": "actor-0123456789ab", "role": Role.COMPLIANCE}


def duration(text: str) -> int:
    """``5m`` or ``-40d`` in milliseconds."""
    return int(text[:-1]) * UNITS[text[-1]]


def other(number: str) -> str:
    """The id of another request."""
    return f"0190a0b0-0000-4000-8000-{int(number):012d}"


def products(*names: str, **settings: Any) -> dict[str, Product]:
    """Products of one wave each: ``products("tickets", "profile:2")``."""
    made = {}
    for text in names:
        name, _, wave = text.partition(":")
        made[name] = Product(name, wave=int(wave or 1), **settings)
    return made


EMAIL, PHONE, USER = (
    frozenset({IdentifierKind.EMAIL}),
    frozenset({IdentifierKind.PHONE}),
    frozenset({IdentifierKind.USER_ID}),
)

LINKED = {
    "tickets": Product("tickets", kinds=EMAIL | USER, links=((EMAIL, USER | PHONE),)),
    "voice": Product("voice", kinds=PHONE),
}
"""Tickets knows from an e-mail address the telephone number that voice needs."""


class Told:
    """One request, its history and its clock."""

    def __init__(self, registry: dict[str, Product] | None = None, **policy: Any) -> None:
        registry = registry if registry is not None else products("tickets", "chat")
        settings: dict[str, Any] = {"registry": 1, "tenants": {TENANT: TenantPolicy()}} | policy
        self.policy = Policy(products=registry, **settings)
        self.now = START
        self.history: list[e.Recorded] = []
        self._state: State | None = None

    @property
    def state(self) -> State:
        assert self._state is not None
        return self._state

    def step(self, name: str) -> Step:
        return self.state.steps[name]

    def tell(self, *lines: str) -> Told:
        for line in lines:
            self.said(line)
        return self

    def said(self, line: str) -> list[str]:
        """What one line leads to, in words."""
        return [words(event) for event in self.events(line)]

    def events(self, line: str) -> list[e.AnyEvent]:
        """What one line leads to."""
        verb, *rest = line.split()
        if verb == "wait":
            self.now += duration(rest[0])
            return []
        if verb == "due":
            due = self.state.next_due()
            assert due is not None
            self.now = max(self.now, due)
            verb = "tick"
        return self.do(self._command(verb, rest))

    def do(self, command: DomainCommand) -> list[e.AnyEvent]:
        """Decide, write down and fold; the fold of the whole history must give the same."""
        events = decide(self._state, command, self.now, self.policy)
        for event in events:
            n = self._state.n + 1 if self._state is not None else 1
            recorded = e.Recorded(id=ID, tenant=TENANT, n=n, at=self.now, event=event)
            e.check(e.encode(recorded))
            self.history.append(recorded)
            self._state = evolve(self._state, recorded)
        assert self._state == fold(self.history)
        return events

    def _command(self, verb: str, rest: list[str]) -> DomainCommand:
        match verb:
            case "accept":
                return self._accept(rest)
            case "go":
                return Dispatch(tuple(rest) or tuple(self.state.steps))
            case "tick":
                return Tick(frozenset(rest[1:]))
            case name if name in self.state.steps:
                return self.answer(name, rest)
            case _:
                return Operate(self._operation(verb, rest))

    def _accept(self, rest: list[str]) -> Accept:
        values: dict[str, Any] = {
            "request": ID,
            "tenant": TENANT,
            "right": Right.ERASURE,
            "mode": Mode.PURGE,
            "capacity": Capacity.CONTROLLER,
            "channel": Channel.API,
            "ground": None,
            "received_at": self.now,
            "commitment": COMMITMENT,
        }
        words = iter(rest)
        for word in words:
            match word:
                case "trash":
                    values["mode"] = Mode.TRASH
                case "housekeeping":
                    values["right"] = Right.HOUSEKEEPING
                case "behind":
                    values["behind"] = tuple(other(number) for number in next(words).split(","))
                case "records":
                    values["records_of"] = next(words)
                case "received":
                    values["received_at"] = self.now + duration(next(words))
                case "kinds":
                    values["kinds"] = frozenset(IdentifierKind(kind) for kind in next(words).split(","))
                case _:
                    raise ValueError(word)
        return Accept(**values)

    def answer(self, name: str, rest: list[str]) -> Answer:
        """What a product says of the command that is out, save where ``rest`` says otherwise."""
        step = self.step(name)
        plain = [word for word in rest if "=" not in word]
        given = dict(word.split("=") for word in rest if "=" in word)
        outcome = Outcome({"nothing": "nothing_found"}.get(plain[0], plain[0]))
        counts = {key: int(given.pop(key)) for key in list(given) if key in m.Counts.__struct_fields__}
        persons = int(given.pop("persons", 0))
        values: dict[str, Any] = {"phase": step.phase or Phase.PURGE}
        for key, value in given.items():
            values[key] = Phase(value) if key == "phase" else int(value)
        if outcome is Outcome.FAILED:
            values["failure"] = m.Failure(code=FailureCode(plain[1]))
        if outcome is Outcome.PROGRESS:
            values |= {"done": int(plain[1]), "total": 100}
        ack = m.Ack(
            tenant=TENANT,
            request=ID,
            product=name,
            epoch=step.epoch,
            seq=max(step.seq, 1),
            attempt=max(step.attempt, 1),
            outcome=outcome,
            at=self.now,
            counts={"rows": m.Counts(**counts)} if counts else {},
            persons=persons,
            phase=values.pop("phase"),
        )
        return Answer(replace(ack, **values), kinds=0)

    def _operation(self, verb: str, rest: list[str]) -> m.AnyOperation:
        common: dict[str, Any] = {"tenant": TENANT, "request": ID, **WHO}
        reason: dict[str, Any] = {"reason": ReasonCode.OTHER}
        product = rest[0] if rest else None
        match verb:
            case "cancel" | "withdraw":
                return m.CancelOperation(**common, **reason, withdrawn=verb == "withdraw")
            case "restore":
                return m.RestoreOperation(**common, **reason)
            case "hold":
                return m.HoldOperation(
                    **common, hold=hold_id(product), code=HoldCode.LITIGATION, review_on="2025-06-30", product=product
                )
            case "release":
                return m.ReleaseOperation(**common, **reason, hold=hold_id(product))
            case "replay" | "force":
                ceiling = int(rest[1]) if len(rest) > 1 else None
                return m.ReplayOperation(**common, **reason, product=rest[0], force=verb == "force", ceiling=ceiling)
            case "waive":
                return m.WaiveOperation(**common, **reason, product=rest[0])
            case "turn":
                return m.TurnOperation(**common, ended=other(rest[0]))
            case _:
                raise ValueError(verb)


def hold_id(product: str | None) -> str:
    """One hold per product, and one for the whole request."""
    return "hold-" + (product or "all").encode().hex()[:12].rjust(12, "0")


def words(event: e.AnyEvent) -> str:
    """An event in few words, without what a table would not compare."""
    return _WORDS.get(type(event), _plain)(event)


def _plain(event: e.AnyEvent) -> str:
    name = type(event).__struct_config__.tag
    step = getattr(event, "step", None)
    return f"{step} {name}" if step else str(name).replace("_", " ")


def _epoch(event: e.Dispatched | e.Succeeded | e.Replayed) -> str:
    return f" in epoch {event.epoch}" if event.epoch > 1 else ""


_WORDS: dict[type, Callable[[Any], str]] = {
    e.Accepted: lambda v: "accepted" + (f", {v.starts.value} is ready" if v.starts else ""),
    e.PhaseStarted: lambda v: f"{v.phase.value} begins" + (f": {', '.join(v.steps)}" if v.steps else ""),
    e.Dispatched: lambda v: f"{v.phase.value} out: {_numbered(v.steps)}{_epoch(v)}",
    e.Succeeded: lambda v: f"{v.step} {v.phase.value} {v.outcome.value}{_epoch(v)}",
    e.Failed: lambda v: f"{v.step} failed: {v.failure.code.value}" + ("" if v.counted else ", uncounted"),
    e.Parked: lambda v: f"{v.step} parked: {v.failure.code.value}",
    e.Progressed: lambda v: f"{v.step} at {v.done}",
    e.StillUnread: lambda v: f"unread: {', '.join(v.steps)}",
    e.SeenRead: lambda v: f"read: {', '.join(v.steps)}",
    e.Replayed: lambda v: f"{v.step} replayed: {v.phase.value}{_epoch(v)}",
    e.EvidenceNoted: lambda v: f"{v.step} noted: {v.outcome.value}",
    e.StopSent: lambda v: "stop: " + ", ".join(f"{name} {seq}" for name, seq in v.steps.items()),
    e.HoldPlaced: lambda v: f"held: {v.product}" if v.product else "held",
    e.CancelAsked: lambda v: "withdrawn" if v.withdrawn else "cancel asked",
    e.Ended: lambda v: f"ended: {v.end.value}" + (", restored" if v.restored else ""),
}


def _numbered(steps: dict[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name} {seq}/{attempt}" for name, (seq, attempt) in steps.items())
