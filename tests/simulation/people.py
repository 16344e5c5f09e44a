"""Who asks and who decides: a platform team, and an operator who in the end looks after all that waits."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.domain.calendar import DAY_MS
from orchestrator.domain.policy import MINUTE
from orchestrator.domain.state import StepStatus
from orchestrator.intake import submission_key
from schemas import codec
from schemas import events as e
from schemas import messages as m
from schemas.codes import HoldCode, Mode, Outcome, Phase, ReasonCode, Right, Role
from schemas.events import INSTALLATION
from schemas.identifiers import Identifier
from schemas.sealing import erase_context, seal_to
from schemas.topics import Topic
from schemas.transport import Message
from tests.simulation.chance import START, TENANTS, USER, Person
from tests.simulation.disk import Row

if TYPE_CHECKING:
    from tests.simulation.world import World

SOURCE = "/simulation/platform"
ACTOR: dict[str, Any] = {"actor": "actor-0123456789ab", "role": Role.SRE}
WHY: dict[str, Any] = {"reason": ReasonCode.OTHER}
PATIENCE = 3
"""How often the operator tries a step again before doing without it."""
EVERY = 10 * MINUTE
"""How often the operator looks at what waits."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One submission: who was meant, by which identifiers or records."""

    person: Person
    event_id: str
    given: frozenset[Identifier]
    records: m.Records | None
    mode: Mode

    @property
    def submission(self) -> bytes:
        return submission_key(SOURCE, self.event_id)


@dataclass(slots=True)
class Plan:
    """What is to happen when, in the order of time."""

    due: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)

    def at(self, moment: int, what: Callable[[], None]) -> None:
        self.due.append((moment, len(self.due), what))

    def ordered(self) -> None:
        self.due.sort(key=lambda item: item[:2], reverse=True)


class Platform:
    """Publishes requests, twice at times, cancels some; gives addresses that were erased to somebody else."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._plan = Plan()
        self.askings: list[Asking] = []
        span = world.setting.calm_at - START
        width = self._rng.choice((100, 5_000, MINUTE, span // 2))
        for n in range(self._rng.choice((1, 2, 3, 3, 4, 5))):
            self._submission(n, START + self._rng.randint(0, width))
        for n in range(self._rng.choice((0, 1, 2))):
            self._plan.at(START + self._rng.randint(0, span), lambda n=n: self._newcomer(n))  # type: ignore[misc]
        self._plan.ordered()
        self.moments = list(self._plan.due)

    @property
    def next(self) -> int | None:
        return self._plan.due[-1][0] if self._plan.due else None

    def turn(self) -> bool:
        """Whatever is due now."""
        due = self._plan.due
        if not due or due[-1][0] > self._world.clock:
            return False
        while due and due[-1][0] <= self._world.clock:
            due.pop()[2]()
        return True

    def _submission(self, n: int, at: int) -> None:
        rng = self._rng
        person = rng.choice(self._world.setting.people)
        records = self._records(person) if rng.random() < 0.15 else None
        given = frozenset() if records else frozenset(rng.sample(sorted(person.all), rng.choice((1, 2, 3, 3))))
        asking = Asking(person, f"e{n}", given, records, rng.choice((Mode.PURGE, Mode.PURGE, Mode.TRASH)))
        right = rng.choice((Right.ERASURE, Right.ERASURE, Right.HOUSEKEEPING))
        received = START - rng.choice((0, 1, 29)) * DAY_MS
        message = self._erase(asking, right, received)
        self.askings.append(asking)
        self._plan.at(at, lambda: self._publish("asks", message))
        for _ in range(rng.choice((0, 0, 1, 2))):
            again = self._erase(asking, right, received)  # sealed anew, as a retrying client may
            self._plan.at(at + rng.choice((0, 100, MINUTE)), lambda again=again: self._publish("asks again", again))  # type: ignore[misc]
        if rng.random() < 0.1:
            other = self._erase(asking, right, received - 1)
            self._plan.at(at + 10 * MINUTE, lambda: self._publish("asks otherwise", other))
        if rng.random() < 0.2:
            cancel = m.Cancel(tenant=person.tenant, event_id=asking.event_id)
            packed = self._packed(cancel, f"c{n}", person.tenant)
            self._plan.at(at + rng.choice((0, 500, MINUTE, 5 * MINUTE)), lambda: self._publish("cancels", packed))

    def _records(self, person: Person) -> m.Records | None:
        product = self._rng.choice(self._world.setting.kinds).name
        rows = self._world.setting.rows[product]
        keys = tuple(key for key, row in rows.items() if row.tenant == person.tenant and row.owners & person.all)
        return m.Records(product=product, dataset="rows", keys=keys[:2]) if keys else None

    def _erase(self, asking: Asking, right: Right, received: int) -> Message:
        plain = tuple(m.PlainIdentifier(kind=each.kind, value=each.value) for each in sorted(asking.given))
        data = msgspec.json.encode(m.SubjectData(identifiers=plain, records=asking.records))
        tenant = asking.person.tenant
        context = erase_context(tenant, SOURCE, asking.event_id)
        erase = m.Erase(
            tenant=tenant,
            right=right,
            received_at=datetime.fromtimestamp(received / 1000, UTC),
            mode=asking.mode,
            sealed=seal_to(self._world.keys.request_public, data, context),
        )
        return self._packed(erase, asking.event_id, tenant)

    def _packed(self, message: m.Erase | m.Cancel, key: str, tenant: str) -> Message:
        signer = self._world.keys.producers[f"producer.{tenant}.1"].key
        return codec.pack(Topic.REQUESTS, key, message, SOURCE, id=key, signer=signer)

    def _publish(self, what: str, message: Message) -> None:
        self._world.say(f"platform {what} ({dict(message.headers)['ce_id'].decode()})")
        self._world.bus.publish([message])

    def _newcomer(self, n: int) -> None:
        """Somebody else is given the e-mail address of one of the people, and uses it."""
        person, kind = self._rng.choice(self._world.setting.people), self._rng.choice(self._world.setting.kinds)
        owners = frozenset({person.email, Identifier.of(USER, f"newcomer-{n}")})
        self._world.disks[kind.name].rows[f"new-{n}"] = Row(person.tenant, owners, self._world.clock)
        self._world.say(f"a newcomer writes to {kind.name}")


class Intruder:
    """Writes what nobody should believe: acks under another's key, rubbish, a tenant that is not his."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._plan = Plan()
        self.positions: set[tuple[str, int, int]] = set()
        for _ in range(self._rng.choice((0, 0, 3))):
            self._plan.at(START + self._rng.choice((self._rng.randint(0, MINUTE), 10 * MINUTE)), self._forge)
        self._plan.ordered()

    @property
    def next(self) -> int | None:
        return self._plan.due[-1][0] if self._plan.due else None

    def turn(self) -> bool:
        due = self._plan.due
        if not due or due[-1][0] > self._world.clock:
            return False
        due.pop()[2]()
        return True

    def _forge(self) -> None:
        self._world.say("intruder: forges")
        message = self._rng.choice((self._ack, self._rubbish, self._stranger))()
        for at in self._world.bus.publish([message]):
            self.positions.add((at.topic, at.partition, at.offset))

    def _ack(self) -> Message:
        """Success for every step there is, signed with a key that is not that product's."""
        open_requests = sorted(key for key, state in self._world.store.tables.requests.items() if not state.ended)
        if not open_requests:
            return self._rubbish()
        state = self._world.store.tables.requests[self._rng.choice(open_requests)]
        name = self._rng.choice(sorted(state.steps))
        step = state.steps[name]
        ack = m.Ack(
            tenant=state.tenant,
            request=state.id,
            product=name,
            phase=step.phase or Phase.PURGE,
            epoch=step.epoch,
            seq=max(step.seq, 1),
            attempt=max(step.attempt, 1),
            outcome=Outcome.NOTHING_FOUND,
            at=self._world.clock,
        )
        signer = self._world.keys.operators["cli.1"]
        return codec.pack(Topic.ACKS, state.id, ack, "/intruder", signer=signer)

    def _rubbish(self) -> Message:
        return Message(self._rng.choice((Topic.REQUESTS, Topic.ACKS, Topic.OPERATIONS)).value, b"x", b"{]")

    def _stranger(self) -> Message:
        erase = m.Erase(tenant=TENANTS[0], right=Right.ERASURE, received_at=datetime.fromtimestamp(START / 1000, UTC))
        signer = self._world.keys.producers[f"producer.{TENANTS[1]}.1"].key
        return codec.pack(Topic.REQUESTS, "x", erase, "/intruder", id="x", signer=signer)


_REACTIONS: dict[type, tuple[float, tuple[str, ...]]] = {
    e.Dispatched: (0.15, ("hold", "hold", "cancel", "waive", "force")),
    e.Failed: (0.4, ("hold", "hold", "cancel", "replay")),
    e.TimedOut: (0.3, ("hold", "cancel", "replay", "force")),
    e.Stopped: (0.6, ("release", "release", "replay", "waive")),
    e.StillUnread: (0.2, ("hold", "cancel", "waive", "replay")),
    e.Trashed: (0.2, ("restore", "cancel", "hold")),
    e.Parked: (0.1, ("hold", "replay", "force", "waive", "cancel")),
}
"""How often a hasty operator reacts to what is seen, and how."""


class Operator:
    """Does this and that at random; once all is calm, sees to everything that waits for a person."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng: random.Random = world.rng
        self._plan = Plan()
        self._tries: dict[tuple[str, str], int] = {}
        self._tends_at = world.setting.calm_at
        self._hasty = self._rng.random() < 0.4
        span = world.setting.calm_at - START
        begun = [moment for moment, *_ in world.platform.moments]
        for _ in range(self._rng.choice((0, 2, 5, 10))):
            after = self._rng.choice((500, 5_000, MINUTE, 10 * MINUTE, span))
            self._plan.at(min(self._rng.choice(begun) + self._rng.randint(0, after), START + span), self._any)
        self._plan.ordered()

    @property
    def next(self) -> int | None:
        if self._plan.due:
            return self._plan.due[-1][0]
        return self._tends_at if self.waits else None

    def turn(self) -> bool:
        due, worked = self._plan.due, False
        while due and due[-1][0] <= self._world.clock:
            due.pop()[2]()
            worked = True
        if self.waits and self._tends_at <= self._world.clock:
            self._tends_at = self._world.clock + EVERY
            self._tend()
            return True
        return worked

    @property
    def waits(self) -> bool:
        """Whether anything waits for somebody who will see to it."""
        if not self._world.calm:
            return False
        tables = self._world.store.tables
        states = tables.requests.values()
        return bool(tables.brakes) or any(not state.ended and (state.holds or state.parked) for state in states)

    # --- at random -------------------------------------------------------------------------------------------------

    def noticed(self, entry: e.Recorded) -> None:
        """Events that somebody may react to, at once or a little later."""
        chance, reactions = _REACTIONS.get(type(entry.event), (0.0, ()))
        if self._world.calm or not self._hasty or self._rng.random() >= chance:
            return
        word, after = self._rng.choice(reactions), self._rng.choice((0, 500, 20_000, 5 * MINUTE))
        moment = min(self._world.clock + after, self._world.setting.calm_at)
        self._plan.at(moment, lambda: self._react(entry.id, word))
        self._plan.ordered()

    def _react(self, key: str, word: str) -> None:
        if not self._world.store.tables.requests[key].ended:
            self._operate(self._operation(key, word))

    def _any(self) -> None:
        if self._rng.random() < 0.2:
            self._brake(self._rng.random() < 0.6, self._scope(TENANTS), self._scope(tuple(self._world.disks)))
            return
        open_requests = sorted(key for key, state in self._world.store.tables.requests.items() if not state.ended)
        if open_requests:
            word = self._rng.choice(
                ("hold", "hold", "hold", "release", "cancel", "restore", "replay", "force", "waive")
            )
            self._operate(self._operation(self._rng.choice(open_requests), word))

    def _scope(self, names: tuple[str, ...]) -> str | None:
        return self._rng.choice((None, *names))

    def _operation(self, key: str, word: str) -> m.AnyOperation:
        state = self._world.store.tables.requests[key]
        common: dict[str, Any] = {"tenant": state.tenant, "request": key, **ACTOR}
        product = self._rng.choice(sorted(state.steps))
        match word:
            case "hold":
                scope = self._rng.choice((None, product))
                hold = f"hold-{self._rng.randrange(16**12):012x}"
                return m.HoldOperation(**common, hold=hold, code=HoldCode.OTHER, review_on="2025-06-30", product=scope)
            case "release" if state.holds:
                return m.ReleaseOperation(**common, **WHY, hold=self._rng.choice(state.holds).hold)
            case "cancel":
                return m.CancelOperation(**common, **WHY, withdrawn=self._rng.random() < 0.5)
            case "restore":
                return m.RestoreOperation(**common, **WHY)
            case "waive":
                return m.WaiveOperation(**common, **WHY, product=product)
            case "force":
                return m.ReplayOperation(**common, **WHY, product=product, force=True)
            case _:
                return m.ReplayOperation(**common, **WHY, product=product)

    # --- in the end ------------------------------------------------------------------------------------------------

    def _tend(self) -> None:
        """See to all that waits for somebody."""
        for tenant, product in sorted(self._world.store.tables.brakes):
            self._brake(False, tenant or None, product or None)
        for key, state in sorted(self._world.store.tables.requests.items()):
            if state.ended:
                continue
            common: dict[str, Any] = {"tenant": state.tenant, "request": key, **ACTOR, **WHY}
            for hold in state.holds:
                self._operate(m.ReleaseOperation(**common, hold=hold.hold))
            for name, step in sorted(state.steps.items()):
                if step.status is StepStatus.PARKED:
                    self._operate(self._decide(key, name, common))

    def _decide(self, key: str, product: str, common: dict[str, Any]) -> m.AnyOperation:
        tries = self._tries[key, product] = self._tries.get((key, product), 0) + 1
        if tries <= PATIENCE:
            return m.ReplayOperation(**common, product=product)
        return m.WaiveOperation(**common, product=product)

    # --- publishing ------------------------------------------------------------------------------------------------

    def _operate(self, operation: m.AnyOperation) -> None:
        name = type(operation).__name__.removesuffix("Operation").lower()
        product = getattr(operation, "product", None) or ""
        forced = " by force" if getattr(operation, "force", False) else ""
        self._world.say(f"operator: {name} {product}{forced} of {operation.request[-4:]}")
        self._send(operation.request, operation)

    def _brake(self, stopped: bool, tenant: str | None, product: str | None) -> None:
        self._world.say(f"operator: {'stop' if stopped else 'resume'} {tenant or 'all'} {product or 'all'}")
        self._send(INSTALLATION, m.BrakeOperation(stopped=stopped, tenant=tenant, product=product, **ACTOR, **WHY))

    def _send(self, key: str, operation: m.AnyOperation | m.BrakeOperation) -> None:
        signer = self._world.keys.operators["cli.1"]
        self._world.bus.publish([codec.pack(Topic.OPERATIONS, key, operation, SOURCE, signer=signer)])
