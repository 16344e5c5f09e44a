"""A whole orchestrator on a real PostgreSQL, with products that say what a test tells them to."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import sqlalchemy as sa

from orchestrator import keys as key_files
from orchestrator.bus.postgres import PostgresBus
from orchestrator.client import Client, Submitted, Wish
from orchestrator.domain.policy import Policy, Product, TenantPolicy
from orchestrator.engine import Engine, EngineSettings
from orchestrator.intake import IntakeSettings
from orchestrator.keys import KeyRing
from orchestrator.store.database import WRITER, connect
from orchestrator.store.install import install
from orchestrator.store.queries import Queries, RequestView
from orchestrator.store.store import Store
from schemas import codec
from schemas import messages as m
from schemas.codes import Ground, ReasonCode, Role
from schemas.identifiers import IdentifierKind
from schemas.topics import TOPICS, Topic
from schemas.transport import Message
from tests.engine.products import Answer, ScriptedProduct, done
from tests.postgres import Postgres

SHARDS = 4
PRODUCTS = ("chat", "guide", "logs", "tickets", "voice")
TENANTS = ("acme", "globex")
ACTOR = "actor-0123456789ab"


class Clock:
    """Milliseconds of the epoch, and they pass when the test says so."""

    def __init__(self) -> None:
        self.ms = time.time_ns() // 1_000_000

    def __call__(self) -> int:
        return self.ms

    def pass_(self, *, seconds: float = 0, hours: float = 0, days: float = 0) -> None:
        self.ms += int((seconds + hours * 3_600 + days * 86_400) * 1_000)


def build(url: str) -> None:
    """Install store and bus in an empty database."""
    install(url, shards=SHARDS)
    engine = connect(url)
    PostgresBus.install(engine, {spec.topic.value: SHARDS if spec.sharded else 2 for spec in TOPICS})
    engine.dispose()


def fresh(postgres: Postgres) -> str:
    """The address of a new database with store and bus installed."""
    return postgres.create_database(template=postgres.template("oblio", build))


def policy(products: tuple[str, ...] = PRODUCTS, **more: Any) -> Policy:
    """No grace, no settling; logs come in a wave of their own."""
    known = {
        name: Product(
            name,
            wave=2 if name == "logs" else 1,
            datasets=frozenset({"rows", "recordings"}),
            nameable=frozenset({"rows"}),
        )
        for name in products
    } | more.pop("known", {})
    return Policy(
        registry=1,
        products=known,
        tenants={tenant: TenantPolicy() for tenant in TENANTS},
        **({"grace": 0, "settle": 0} | more),
    )


def email(name: str) -> m.PlainIdentifier:
    return m.PlainIdentifier(kind=IdentifierKind.EMAIL, value=f"{name}@example.org")


def wish(name: str, tenant: str = "acme", **more: Any) -> Wish:
    """A request for the erasure of the person with this e-mail address."""
    return Wish(tenant=tenant, identifiers=(email(name),), ground=Ground.CONSENT_WITHDRAWN, **more)


class House:
    """An engine that acts as the writer, its bus, its products, and a client."""

    def __init__(
        self,
        url: str,
        *,
        policy_: Policy | None = None,
        intake: IntakeSettings | None = None,
        answer: Answer = done,
        batch: int = 500,
    ) -> None:
        self.url = url
        self.stack = ExitStack()
        self.clock = Clock()
        self.policy = policy_ or policy()
        self.intake = intake or IntakeSettings()
        self.batch = batch
        self.keys = KeyRing(key_files.generate(tuple(sorted(self.policy.products)), TENANTS))
        self.database = self._engine(role=WRITER)
        self.owner = self._engine()
        self.store = Store(self.database, SHARDS)
        self.queries = Queries(self.database)
        self.bus = PostgresBus(self.owner, session_s=5.0)
        self.stack.callback(self.bus.close)
        self.client = Client(self.bus, self.keys)
        self.engine = self.new_engine("o1")
        self.products = {name: ScriptedProduct(name, self.bus, self.keys, answer) for name in self.policy.products}
        self.work()  # the first look joins the group, and brings nothing

    def _engine(self, role: str | None = None) -> sa.Engine:
        engine = connect(self.url, pool_size=4, role=role)
        self.stack.callback(engine.dispose)
        return engine

    def close(self) -> None:
        self.stack.close()

    def new_engine(self, instance: str) -> Engine:
        settings = EngineSettings(instance, intake=self.intake, batch=self.batch)
        engine = Engine(self.store, self.bus, self.keys, self.policy, settings, now=self.clock)
        self.stack.callback(engine.close)
        return engine

    # --- asking ----------------------------------------------------------------------------------------------------

    def ask(self, *wishes: Wish) -> list[Submitted]:
        return self.client.erase(wishes)

    def accepted(self, *wishes: Wish) -> list[str]:
        """Publish, let the engine take them in, and give their ids."""
        submitted = self.ask(*wishes)
        for _ in range(5):
            self.engine.step(0)
            found = self.queries.requests_of([one.key for one in submitted])
            if len(found) == len(submitted):
                return [found[one.key] for one in submitted]
        raise AssertionError("not accepted")

    def operate(self, form: type[m.Operation], request: str, tenant: str = "acme", **more: Any) -> None:
        operation = form(tenant=tenant, request=request, actor=ACTOR, role=Role.SRE, **more)
        self.client.operate([operation])  # type: ignore[list-item]

    def brake(self, stopped: bool, tenant: str | None = None, product: str | None = None) -> None:
        message = m.BrakeOperation(
            stopped=stopped, actor=ACTOR, role=Role.SRE, reason=ReasonCode.DRILL, tenant=tenant, product=product
        )
        signer = self.keys.operators["cli.1"]
        self.bus.publish([codec.pack(Topic.OPERATIONS, "brake", message, "/tests", partition=0, signer=signer)])

    def publish(self, *messages: Message) -> None:
        self.bus.publish(messages)

    # --- working ---------------------------------------------------------------------------------------------------

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.engine.step(0)

    def work(self, *names: str) -> int:
        """Let these products (all, if none is named) read and answer what there is."""
        return sum(self.products[name].work() for name in names or self.products)

    def settle(self, *, without: tuple[str, ...] = (), turns: int = 40) -> None:
        """Work until two turns in a row found nothing to do."""
        idle = 0
        for _ in range(turns):
            worked = self.engine.step(0)
            seen = sum(self.products[name].work() for name in self.products if name not in without)
            idle = 0 if worked or seen else idle + 1
            if idle == 2:
                return
        raise AssertionError("it does not come to rest")

    # --- looking ---------------------------------------------------------------------------------------------------

    def sql(self, statement: str, **values: Any) -> list[Any]:
        with self.owner.connect() as connection:
            return list(connection.execute(sa.text(statement), values).all())

    def execute(self, statement: str, **values: Any) -> int:
        with self.owner.begin() as connection:
            return connection.execute(sa.text(statement), values).rowcount

    def count(self, table: str) -> int:
        return int(self.sql(f'SELECT count(*) FROM oblio."{table}"')[0][0])

    def events(self, request: str) -> list[str]:
        """The types of a request's events, in order."""
        return [type(recorded.event).__name__ for recorded in self.queries.history(request)]

    def ends(self) -> list[str]:
        return [end for (end,) in self.sql('SELECT "end" FROM oblio.requests WHERE ended_at IS NOT NULL')]

    def view(self, request: str) -> RequestView:
        view = self.queries.request(request)
        assert view is not None
        return view

    def request_of(self, submitted: Submitted) -> str:
        request = self.queries.request_of(submitted.key)
        assert request is not None
        return request

    def statuses(self, request: str) -> dict[str, str]:
        return {name: step.status.value for name, step in self.view(request).state.steps.items()}

    def stage(self, request: str) -> str:
        return self.view(request).state.stage.value
