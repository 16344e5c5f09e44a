"""The world of one seed: processes, their turns, the clock, and what goes wrong.

Everything runs in one thread. A process that freezes, or works slowly, does so by letting the others have turns from
within its own; so it wakes in the midst of what it did, as a real one does.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import structlog
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from orchestrator.domain.policy import HOUR, MINUTE
from orchestrator.engine import Engine, EngineSettings
from orchestrator.keys import KeyFile, KeyRing, KeyText, ProducerText
from orchestrator.store.unit import LostOffsets, LostShard
from schemas.codes import FailureCode, Phase
from schemas.sealing import b64
from schemas.topics import TOPICS
from schemas.transport import BusError
from tests.simulation.bus import SESSION_MS, Faults, Life, MemoryBus
from tests.simulation.chance import NAMES, SKEW, START, TENANTS, Setting, setting
from tests.simulation.checks import Checks
from tests.simulation.disk import Disk
from tests.simulation.people import Intruder, Operator, Platform
from tests.simulation.product import SimulatedProduct
from tests.simulation.rowchecks import Broken
from tests.simulation.store import MemoryStore

MOST_ROUNDS = 6_000
DEEPEST = 3
QUIET_ROUNDS = 3

LOCKED = frozenset({"store.statement", "store.commit"})
"""Within a transaction."""

IDLE = frozenset({"bus.poll", "store.begin"})
"""Where a process is most of the time: faults there are seldom of interest."""

FAILURES = (
    FailureCode.STORE_UNAVAILABLE,
    FailureCode.STORE_TIMEOUT,
    FailureCode.CONTENTION,
    FailureCode.VERIFICATION_FAILED,
    FailureCode.CEILING_EXCEEDED,
    FailureCode.SHARED_IDENTIFIER,
    FailureCode.INTERNAL_ERROR,
)


class Crash(BaseException):
    """The process dies here. No handler of errors may catch it."""


@dataclass(slots=True)
class Process:
    """Something that dies as a whole. ``begin`` starts it; it gives the loops that then have turns."""

    name: str
    begin: Callable[[], Sequence[Callable[[], bool]]]
    loops: list[Callable[[], bool]] = field(default_factory=list)
    up: bool = False
    starts_at: int = 0
    busy: set[int] = field(default_factory=set)
    frozen: int = 0
    stalled_until: int = 0
    """Its first loop, that over commands, has no turn before: the second may overtake it."""
    life: Life = field(default_factory=Life)


class World(Faults):
    """Runs one seed to its end. :class:`Broken` says which promise was not kept."""

    def __init__(
        self, seed: int, tell: Callable[[str], None] | None = None, store: type[MemoryStore] = MemoryStore
    ) -> None:
        self.seed = seed
        self.setting: Setting = setting(seed)
        self.rng = self.setting.rng
        self.clock = START
        self.rounds = 0
        self.faults_left = self.setting.faults
        self._tell = tell
        self._acting: list[Process | None] = []
        self._depth = 0
        self.keys = KeyRing(_KEYS)
        self.bus = MemoryBus({t.topic.value: self.setting.shards if t.sharded else 2 for t in TOPICS}, self.now, self)
        self.checks = Checks(self)
        self.store = store(self.setting.shards, self.point, self.checks.heard)
        self.disks = {kind.name: Disk(rows=self.setting.rows[kind.name]) for kind in self.setting.kinds}
        self.platform = Platform(self)
        self.operator = Operator(self)
        self.intruder = Intruder(self)
        self.processes = [self._engine(f"o{n}") for n in range(self.setting.instances)]
        self.processes += [self._product(kind.name) for kind in self.setting.kinds]

    # --- what others ask of it -------------------------------------------------------------------------------------

    def now(self) -> int:
        return self.clock

    @property
    def calm(self) -> bool:
        return self.clock >= self.setting.calm_at

    def say(self, text: str) -> None:
        """A line of the story, where somebody listens."""
        if self._tell is not None:
            process = self._acting[-1] if self._acting else None
            who = process.name if process is not None else "-"
            self._tell(f"{(self.clock - START) / 1000:>12.3f}  {who:<9} {text}")

    # --- running ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until nothing is left to do. Raises :class:`Broken`."""
        with _determined(random.Random(f"ids of {self.seed}")):
            quiet = 0
            while quiet < QUIET_ROUNDS:
                if self.round():
                    quiet = 0
                elif not self._onward():
                    quiet += 1
                if self.rounds > MOST_ROUNDS:
                    raise Broken("the simulation finds no end", self.checks.standing())
            self.checks.at_the_end()

    def round(self) -> bool:
        """Everybody who can has one turn, in any order; whether anybody did anything."""
        self.rounds += 1
        self.clock += self.rng.randint(1, 20)
        self._acting.append(None)  # people are no process: nothing of what may happen to one happens to them
        worked = self.platform.turn() | self.operator.turn() | self.intruder.turn()
        self._acting.pop()
        loops = [(process, n) for process in self.processes for n in range(2)]
        self.rng.shuffle(loops)
        for process, n in loops:
            worked = self._turn(process, n) or worked
        return worked

    def _onward(self) -> bool:
        """Nobody has anything to do now: let time pass until somebody has."""
        moments = [moment for moment in self._moments() if moment > self.clock]
        if not moments:
            return False
        following = min(moments)
        self.bus.wait(following - self.clock)
        self.clock = following
        return True

    def _moments(self) -> Iterator[int]:
        """When, after now, something will be to do."""
        yield from (moment for moment in self._nexts() if moment is not None)
        yield from (process.starts_at for process in self.processes if not process.up)
        yield from (process.stalled_until for process in self.processes)
        for moment in self.store.moments(self.clock - 2 * SKEW):
            yield from (moment - SKEW, moment, moment + SKEW)  # some clocks are ahead, and some behind
        yield from self.bus.lapses()
        if not self.calm:
            yield self.setting.calm_at

    def _nexts(self) -> tuple[int | None, ...]:
        return self.platform.next, self.operator.next, self.intruder.next, self.bus.next_visible(self.clock)

    def _turn(self, process: Process, n: int) -> bool:
        if process.frozen or n in process.busy:
            return False
        if not process.up:
            if process.starts_at > self.clock or process.busy:
                return False
            self._start(process)
        if n >= len(process.loops) or (n == 0 and process.stalled_until > self.clock):
            return False
        if n == 0 and len(process.loops) > 1 and self._strikes(self.setting.rates.slow / 4):
            process.stalled_until = min(self.clock + self.rng.choice((1_000, 30_000, HOUR)), self.setting.calm_at)
            self.say(f"{process.name} stalls")
            return True
        process.busy.add(n)
        self._acting.append(process)
        life = process.life
        try:
            return process.loops[n]()
        except Crash:
            if not life.over:
                self._die(process)
            return True
        finally:
            self._acting.pop()
            process.busy.discard(n)

    def _start(self, process: Process) -> None:
        process.up = True
        process.life = Life()
        process.loops = list(process.begin())

    def _die(self, process: Process) -> None:
        self.say("dies")
        process.up = False
        process.life.over = True
        process.loops = []
        process.starts_at = self.clock + min(
            self.rng.choice((0, 1_000, 30_000, 10 * MINUTE, 3 * HOUR)), max(0, self.setting.calm_at - self.clock)
        )

    # --- processes -------------------------------------------------------------------------------------------------

    def _engine(self, name: str) -> Process:
        def begin() -> Sequence[Callable[[], bool]]:
            # A new host may have another name, another clock, and other settings than the one that died.
            skew = self.rng.choice((0, 0, -SKEW, SKEW))
            member = name if self.rng.random() < 0.5 else f"{name}.{self.rng.randrange(1000)}"
            settings = EngineSettings(member, batch=self.rng.choice((1, 5, 500)))
            engine = Engine(
                self.store,  # type: ignore[arg-type]
                self.bus,
                self.keys,
                self.setting.policy,
                settings,
                now=lambda: self.clock + skew,
            )
            return [lambda: self._engine_turn(engine)]

        return Process(name, begin)

    def _engine_turn(self, engine: Engine) -> bool:
        try:
            return engine.step(0)
        except (BusError, SQLAlchemyError, LostShard, LostOffsets) as error:
            self.say(f"recovers from {type(error).__name__}")
            engine._recover(error)
            return True

    def _product(self, name: str) -> Process:
        kind = next(kind for kind in self.setting.kinds if kind.name == name)

        def begin() -> Sequence[Callable[[], bool]]:
            product = SimulatedProduct(kind, self.disks[name], self.bus, self.keys.products[name], self)
            return [product.commands_turn, product.stops_turn]

        return Process(name, begin)

    # --- faults ----------------------------------------------------------------------------------------------------

    def _strikes(self, chance: float) -> bool:
        if chance == 0 or self.faults_left <= 0 or self.calm or self.rng.random() >= chance:
            return False
        self.faults_left -= 1
        return True

    def life(self) -> Life:
        process = self._acting[-1] if self._acting else None
        return process.life if process is not None else Life()

    def point(self, name: str) -> None:
        process, rates = self._acting[-1] if self._acting else None, self.setting.rates
        if process is None:
            return
        if self._dead(process):
            raise Crash
        often = 0.1 if name in IDLE else 1.0
        if self._strikes(rates.crash * often):
            self.say(f"crash at {name}")
            raise Crash
        if name.startswith(("bus.", "store.")) and self._strikes(rates.error * often):
            self.say(f"error at {name}")
            if name.startswith("bus."):
                raise BusError("the log does not answer")
            raise OperationalError("commit", None, Exception("connection lost"))
        if name in LOCKED:
            return  # locks are held: others could not go on
        if self._depth < DEEPEST and self._strikes(rates.freeze * often):
            self._freeze(process, name)
        elif name.startswith("product.") and self._depth < DEEPEST and self._strikes(rates.slow):
            self._others(self.rng.randint(1, 4), 100)

    def _dead(self, process: Process) -> bool:
        """Another loop of this process died while this one was slow or frozen."""
        return not process.up

    def _freeze(self, process: Process, name: str) -> None:
        self.say(f"freezes at {name}")
        process.frozen += 1
        self._others(self.rng.randint(1, 8), self.rng.choice((1_000, SESSION_MS)))
        process.frozen -= 1
        self.say("wakes")
        if self._dead(process):
            raise Crash

    def _others(self, rounds: int, each_ms: int) -> None:
        self._depth += 1
        for _ in range(rounds):
            self.clock += self.rng.randint(0, each_ms)
            self.round()
        self._depth -= 1

    def delay(self) -> int:
        late = self.setting.rates.late
        if late and not self.calm and self.rng.random() < late:
            return self.rng.choice((10, 500, 20_000))
        return 0

    def appended(self, asked: int) -> int:
        by_process = bool(self._acting) and self._acting[-1] is not None
        return self.rng.randrange(asked) if asked and by_process and self._strikes(self.setting.rates.error) else asked

    def slipped(self, size: int) -> int:
        # What is skipped at the very end of a partition shows only with the next record.
        return self.rng.choice((-3, -1, min(1, size - 1))) if size and self._strikes(self.setting.rates.slip) else 0

    def lost(self) -> bool:
        lost = self._strikes(self.setting.rates.lost)
        if lost:
            self.say("loses a message")
        return lost

    def failure(self, product: str) -> FailureCode | None:
        code = self.rng.choice(FAILURES) if self._strikes(self.setting.rates.failure) else None
        if code is not None:
            self.say(f"fails: {code.value}")
        return code

    def effect(self, product: str, tenant: str, request: str, phase: Phase, rows: int) -> None:
        self.say(f"{phase.value} of {rows} rows of {request[-4:]}")
        self.checks.effect(product, tenant, request, phase)


# --- what must not differ between two runs -----------------------------------------------------------------------------


def _key(name: str) -> KeyText:
    return KeyText(name, b64(name.encode().ljust(32, b".")))


_KEYS = KeyFile(
    request=b64(b"request".ljust(32, b".")),
    vault=(_key("vault.1"),),
    index=_key("index.1"),
    orchestrator=_key("orchestrator.1"),
    operators=(_key("cli.1"),),
    products={name: (_key(f"product.{name}.1"),) for name in NAMES},
    locals={},
    producers=tuple(ProducerText(_key(f"producer.{tenant}.1"), tenant) for tenant in TENANTS),
)


@contextmanager
def _determined(rng: random.Random) -> Iterator[None]:
    """Ids and keys come from the seed, and nothing is logged."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with mock.patch.object(os, "urandom", rng.randbytes):
            yield
    finally:
        structlog.configure(**before)
