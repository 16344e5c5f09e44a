"""What a seed decides: who is erased, by which rules, what goes wrong and how often."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.domain.calendar import DAY_MS, millis
from orchestrator.domain.policy import HOUR, MINUTE, SECOND, Policy, Product, Retry, TenantPolicy
from schemas.identifiers import Identifier, IdentifierKind
from tests.simulation.disk import DATASET, Kind, Row

TENANTS = ("acme", "globex")
NAMES = ("tickets", "chat", "voice")
START = millis(datetime(2025, 1, 31, 9, 30, tzinfo=UTC))

SKEW = 2 * SECOND
"""How far apart the clocks of two hosts may be."""

EMAIL, PHONE, USER = IdentifierKind.EMAIL, IdentifierKind.PHONE, IdentifierKind.USER_ID


@dataclass(frozen=True, slots=True)
class Person:
    """A data subject of one tenant; two of different tenants may have the same identifiers."""

    tenant: str
    email: Identifier
    phone: Identifier
    user: Identifier

    @property
    def all(self) -> frozenset[Identifier]:
        return frozenset({self.email, self.phone, self.user})


@dataclass(frozen=True, slots=True)
class Rates:
    """Chances of each fault at each place where it can happen."""

    crash: float = 0.0
    error: float = 0.0
    freeze: float = 0.0
    lost: float = 0.0
    failure: float = 0.0
    slip: float = 0.0
    late: float = 0.0
    slow: float = 0.0


@dataclass(slots=True)
class Setting:
    """All that is drawn before the first turn."""

    rng: random.Random
    shards: int
    instances: int
    policy: Policy
    kinds: list[Kind]
    people: list[Person]
    rates: Rates
    faults: int
    """How many faults there may be in all."""
    calm_at: int
    """From then on nothing goes wrong any more, and a person looks after what waits."""
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)


def setting(seed: int) -> Setting:
    """The world of one seed."""
    rng = random.Random(seed)
    kinds = _kinds(rng)
    people = _people(rng)
    made = Setting(
        rng=rng,
        shards=rng.choice((1, 2, 3)),
        instances=rng.choice((1, 1, 2)),
        policy=_policy(rng, kinds),
        kinds=kinds,
        people=people,
        rates=_rates(rng),
        faults=rng.choice((0, 5, 20, 60)),
        calm_at=START + rng.choice((10 * MINUTE, 2 * HOUR, 30 * HOUR)),
    )
    made.rows = {kind.name: _rows(rng, kind.name, people) for kind in kinds}
    return made


def _kinds(rng: random.Random) -> list[Kind]:
    voice = frozenset({PHONE}) if rng.random() < 0.5 else frozenset({PHONE, EMAIL})
    kinds = [
        Kind("tickets", frozenset({EMAIL, USER}), links=rng.random() < 0.7),
        Kind("chat", frozenset({EMAIL, USER}), native=rng.random() < 0.5),
        Kind("voice", voice, native=rng.random() < 0.5),
    ]
    return kinds[: rng.choice((1, 2, 2, 3, 3))]


def _policy(rng: random.Random, kinds: Sequence[Kind]) -> Policy:
    known = (frozenset({EMAIL, USER}), frozenset({EMAIL, USER, PHONE}))
    products = {
        kind.name: Product(
            kind.name,
            wave=rng.choice((1, 1, 2)),
            datasets=frozenset({DATASET}),
            nameable=frozenset({DATASET}),
            kinds=kind.kinds,
            links=(known,) if kind.links else (),
            retry=Retry(attempts=rng.choice((2, 3, 6)), first=10 * SECOND, longest=10 * MINUTE),
            timeout=rng.choice((30 * SECOND, 5 * MINUTE)),
            lifetime=rng.choice((2 * MINUTE, 24 * HOUR)),
            window=rng.choice((1, 2, 1000)),
        )
        for kind in kinds
    }
    return Policy(
        registry=1,
        products=products,
        tenants={tenant: TenantPolicy() for tenant in TENANTS},
        grace=rng.choice((0, 0, 10 * MINUTE, 24 * HOUR)),
        settle=rng.choice((0, 5 * MINUTE, 24 * HOUR)),
        trash=rng.choice((HOUR, 30 * DAY_MS)),
        vault_limit=rng.choice((3 * DAY_MS, 100 * DAY_MS, 100 * DAY_MS)),
    )


def _people(rng: random.Random) -> list[Person]:
    people = []
    for n in range(rng.choice((1, 1, 2))):
        ids = (
            Identifier.of(EMAIL, f"person{n}@example.org"),
            Identifier.of(PHONE, f"+3906555010{n}"),
            Identifier.of(USER, f"user-of-{n}"),
        )
        people += [Person(tenant, *ids) for tenant in TENANTS]
    return people


def _rows(rng: random.Random, product: str, people: Sequence[Person]) -> dict[str, Row]:
    """Some rows for everybody; each belongs to a user, an address or a telephone, or to several of them."""
    rows = {}
    for place, person in enumerate(people):
        for n in range(rng.choice((0, 1, 3, 5))):
            profile = product == "tickets" and n == 0
            owners = person.all if profile else frozenset(rng.sample(sorted(person.all), 2))
            retained = rng.random() < 0.1 and not profile
            rows[f"{product}-{place}-{n}"] = Row(person.tenant, owners, START - DAY_MS, retained, profile)
    return rows


def _rates(rng: random.Random) -> Rates:
    def chance(*often: float) -> float:
        return rng.choice((0.0, *often))

    return Rates(
        crash=chance(0.003, 0.02),
        error=chance(0.003, 0.02),
        freeze=chance(0.003, 0.02),
        lost=chance(0.02, 0.1),
        failure=chance(0.1, 0.5),
        slip=chance(0.1, 0.5),
        late=chance(0.1, 0.5),
        slow=chance(0.02, 0.2),
    )
