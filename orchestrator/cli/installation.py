"""An installation: its home folder, its settings and keys, its maps, and the way to its services."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa

from consumers.maps import DataMap, load
from consumers.settings import ProductSettings
from orchestrator import keys as keyfile
from orchestrator import settings as settingsfile
from orchestrator.bus.postgres import PostgresBus
from orchestrator.cli.registration import registered
from orchestrator.client import Client
from orchestrator.domain.policy import Policy
from orchestrator.embedded_postgres import running_dsn
from orchestrator.keys import KeyRing
from orchestrator.settings import Settings
from orchestrator.store.database import connect
from orchestrator.store.queries import Queries
from orchestrator.store.registry import ProductEntry
from orchestrator.store.store import Store

HOME_VARIABLE = "OBLIO_HOME"
DATABASE = "oblio"
PRODUCTS = ("chat", "guide", "logs", "tickets", "voice")

DEFAULT_SETTINGS = """\
# Settings of this installation. Durations: 90s, 5m, 24h, 30d, 0.
shards = 4
plain_identifiers = false

[policy]
grace = "24h"    # before the first purge
settle = "24h"   # until products are asked to look again
trash = "30d"

[tenants.acme]
zone = "Europe/Rome"

[tenants.globex]
zone = "America/New_York"
"""


class NotRunning(Exception):
    """No system runs in this home folder."""


def default_home() -> Path:
    """``OBLIO_HOME``, or ``.oblio`` in the working folder."""
    return Path(os.environ.get(HOME_VARIABLE, ".oblio"))


@dataclass(frozen=True)
class Installation:
    """What stands in ``home``: ``oblio.toml``, ``keys.json``, ``postgres/``, ``objects/``, ``logs/``."""

    home: Path

    @property
    def postgres_folder(self) -> Path:
        return self.home / "postgres"

    @property
    def objects_folder(self) -> Path:
        return self.home / "objects"

    @property
    def logs_folder(self) -> Path:
        return self.home / "logs"

    def prepare(self, settings: str = DEFAULT_SETTINGS) -> None:
        """Make what is missing: folders, default settings, new keys. What is there stays as it is."""
        self.home.mkdir(parents=True, exist_ok=True)
        for folder in (self.objects_folder, self.logs_folder):
            folder.mkdir(exist_ok=True)
        if not self._settings_file.exists():
            self._settings_file.write_text(settings)
        if not self._key_file.exists():
            keyfile.save(keyfile.generate(PRODUCTS, tuple(sorted(self.settings.tenants))), self._key_file)

    @property
    def _settings_file(self) -> Path:
        return self.home / "oblio.toml"

    @property
    def _key_file(self) -> Path:
        return self.home / "keys.json"

    @cached_property
    def settings(self) -> Settings:
        return settingsfile.load(self._settings_file)

    @cached_property
    def keys(self) -> KeyRing:
        return keyfile.load(self._key_file)

    @cached_property
    def maps(self) -> Mapping[str, DataMap]:
        return {name: load(map_file(name)) for name in PRODUCTS}

    @cached_property
    def products(self) -> dict[str, ProductEntry]:
        return registered(self.maps)

    def policy(self, registry: int) -> Policy:
        return self.settings.policy_for(registry, {name: entry.product for name, entry in self.products.items()})

    def dsn(self, database: str) -> str:
        """The address of a database of the system that runs here. Raises :class:`NotRunning`."""
        found = running_dsn(self.postgres_folder, database)
        if found is None:
            raise NotRunning(f"nothing runs in {self.home}: start it with `oblio dev`, or name its folder with --home")
        return found

    def product_settings(self, name: str) -> ProductSettings:
        """What the product needs to reach its stores and to prove who it is."""
        texts = self.keys.file.products[name]
        return ProductSettings(
            addresses={
                "database": _as_role(self.dsn(name), role_of(name)),
                "files": self.objects_folder.absolute().as_uri(),
                "folder": str(self.logs_folder.absolute()),
            },
            keys=tuple(text.key for text in reversed(texts)),
            local=self.keys.local(name),
        )

    @contextmanager
    def connected(self) -> Iterator[Connected]:
        """The services of the running system, for one command. Raises :class:`NotRunning`."""
        database = connect(self.dsn(DATABASE), application="oblio-cli")
        bus = PostgresBus(database)
        try:
            yield Connected(self, database, bus)
        finally:
            bus.close()
            database.dispose()


@dataclass(frozen=True)
class Connected:
    """A running installation, as a command sees it: it publishes commands and reads projections."""

    installation: Installation
    database: sa.Engine
    bus: PostgresBus

    @cached_property
    def store(self) -> Store:
        return Store(self.database, self.installation.settings.shards)

    @cached_property
    def queries(self) -> Queries:
        return Queries(self.database)

    @cached_property
    def policy(self) -> Policy:
        versions = self.queries.registry()
        return self.installation.policy(versions[0].version if versions else 1)

    @cached_property
    def client(self) -> Client:
        return Client(self.bus, self.installation.keys)


def role_of(product: str) -> str:
    """The database role that a product works as; it may do what its map needs, and nothing else."""
    return f"product_{product}"


def _as_role(dsn: str, role: str) -> str:
    return sa.make_url(dsn).set(username=role, password=None).render_as_string(hide_password=False)


def map_file(product: str) -> Path:
    """The shipped data map of a product."""
    return Path(str(files("consumers") / product / "map.yaml"))
