"""The embedded system: PostgreSQL, bus, orchestrator and the five sample products in one process. A composition root."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import sqlalchemy as sa
import structlog

from consumers import runner
from consumers.product import Product
from consumers.samples.stores import SampleStores
from orchestrator.bus.postgres import PostgresBus
from orchestrator.cli.installation import DATABASE, PRODUCTS, Installation, role_of
from orchestrator.cli.product_roles import prepare
from orchestrator.domain.policy import Policy
from orchestrator.embedded_postgres import EmbeddedPostgres
from orchestrator.engine import Engine, EngineSettings, clock
from orchestrator.intake import IntakeSettings
from orchestrator.store.database import WRITER, connect
from orchestrator.store.install import install
from orchestrator.store.registry import register
from orchestrator.store.store import Store
from schemas.garbage import collect_less
from schemas.topics import TOPICS

log = structlog.get_logger()

HOUSEKEEPING_S = 3600.0

Wrap = Callable[[Product], Product]


class Stoppable(Protocol):
    """An event of threads or of processes."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class System:
    """Everything, started in order by entering and stopped in reverse by leaving.

    Args:
        installation: its home folder; what is missing there is made.
        durable: whether PostgreSQL waits for the disk. Tests and the demo need not.
        wrap: lets the demo put a failure in a product's way.
    """

    def __init__(self, installation: Installation, *, durable: bool = True, wrap: Wrap | None = None) -> None:
        self.installation = installation
        self._durable = durable
        self._wrap = wrap
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stack = ExitStack()
        self.products: Mapping[str, Product] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_work()
        self._stack.close()

    # --- starting --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.installation.prepare()
        server = self._stack.enter_context(EmbeddedPostgres(self.installation.postgres_folder, durable=self._durable))
        for name in (DATABASE, *PRODUCTS):
            server.create_database(name)
        self._install(server)
        self.database = self._engine_for(server.dsn(DATABASE), role=WRITER)
        self.bus = PostgresBus(self._engine_for(server.dsn(DATABASE)), session_s=10.0)
        self._stack.callback(self.bus.close)
        self.store = Store(self.database, self.installation.settings.shards)
        self.stores = self._sample_stores(server)
        self.products = {name: self._product(name) for name in PRODUCTS}
        self.policy = self._policy()

    def _install(self, server: EmbeddedPostgres) -> None:
        shards = self.installation.settings.shards
        install(server.dsn(DATABASE), shards=shards)
        engine = connect(server.dsn(DATABASE), pool_size=1, application="oblio-install")
        try:
            PostgresBus.install(engine, {spec.topic.value: shards if spec.sharded else 1 for spec in TOPICS})
        finally:
            engine.dispose()

    def _engine_for(self, dsn: str, role: str | None = None) -> sa.Engine:
        engine = connect(dsn, pool_size=8, role=role)
        self._stack.callback(engine.dispose)
        return engine

    def _sample_stores(self, server: EmbeddedPostgres) -> SampleStores:
        """The sample stores, made empty on the first start."""
        urls = {name: server.dsn(name) for name in PRODUCTS}
        stores = SampleStores(
            **urls,
            objects=self.installation.objects_folder.absolute().as_uri(),
            log_folder=self.installation.logs_folder.absolute(),
        )
        self._stack.callback(stores.dispose)
        if not sa.inspect(stores.engine("tickets")).has_table("users"):
            stores.create_schemas()
        return stores

    def _product(self, name: str) -> Product:
        data_map = self.installation.maps[name]
        settings = self.installation.product_settings(name)
        prepare(self.stores.engine(name), data_map, role_of(name))
        product = Product(data_map, settings)
        self._stack.callback(product.close)
        return self._wrap(product) if self._wrap is not None else product

    def _policy(self) -> Policy:
        return self.installation.policy(register(self.store, list(self.installation.products.values()), clock()))

    # --- working ---------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Start the orchestrator and the products, each in a thread of its own."""
        self.work_orchestrator()
        for name, product in self.products.items():
            self._spawn(name, runner.run, product, self.bus, self._stop)

    def work_orchestrator(self, instance: str = "embedded") -> None:
        """Start the orchestrator alone; the products run elsewhere."""
        settings = EngineSettings(
            instance=instance, intake=IntakeSettings(plain=self.installation.settings.plain_identifiers)
        )
        engine = Engine(self.store, self.bus, self.installation.keys, self.policy, settings)
        self._spawn("orchestrator", engine.run, self._stop)

        self._spawn("housekeeping", self._keep_house)

    def _keep_house(self) -> None:
        """What a broker and an operator's cron would do: drop records past their retention, and plans past their life."""
        while not self._stop.wait(HOUSEKEEPING_S):
            try:
                for spec in TOPICS:
                    self.bus.trim(spec.topic.value, clock() - spec.retention_ms)
                for product in self.products.values():
                    product.tidy()
            except Exception as error:  # noqa: BLE001  next hour is soon enough
                log.warning("housekeeping_failed", error=type(error).__name__)

    def _spawn(self, name: str, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def wait(self, seconds: float | None = None) -> None:
        """Until :meth:`stop_work` is called from elsewhere."""
        self._stop.wait(seconds)

    def stop_work(self) -> None:
        """Let every thread finish what it has in hand."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=15)
        self._threads.clear()


def serve_products(home: Path, stop: Stoppable) -> None:
    """Run the five products of a running system in this process, until ``stop`` is set."""
    installation = Installation(home)
    with installation.connected() as system:
        threads = []
        for name in PRODUCTS:
            product = Product(installation.maps[name], installation.product_settings(name))
            threads.append(threading.Thread(target=runner.run, args=(product, system.bus, stop), daemon=True))
            threads[-1].start()
        collect_less()
        stop.wait()
        for thread in threads:
            thread.join(timeout=15)
