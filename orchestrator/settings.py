"""The settings of an installation: one TOML file in its home folder, checked when it is read.

Durations are written as a number and a unit: ``90s``, ``5m``, ``24h``, ``30d``; ``0`` is none.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from orchestrator.domain.policy import Policy, Product, Retry, TenantPolicy

_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)\s*([smhd])")


class SettingsError(Exception):
    """The settings cannot be used; the text says where and what to do."""


class TenantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``zone``: IANA time zone in which days are counted. ``holidays``: dates that are no working days."""

    zone: str = "UTC"
    holidays: tuple[date, ...] = ()


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the orchestrator waits, and for what. See :class:`orchestrator.domain.policy.Policy`."""

    grace: str = "24h"
    settle: str = "24h"
    trash: str = "30d"
    vault_limit: str = "100d"


class ProductSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one product is treated. See :class:`orchestrator.domain.policy.Product`."""

    attempts: int = 6
    first_retry: str = "10s"
    longest_retry: str = "1h"
    timeout: str = "5m"
    lifetime: str = "24h"
    ceiling: int = 200_000
    window: int = 1_000


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. ``plain_identifiers``: whether requests may name people unsealed."""

    shards: int = 4
    plain_identifiers: bool = False
    policy: PolicySettings = PolicySettings()
    tenants: dict[str, TenantSettings] = {}
    products: dict[str, ProductSettings] = {}

    def policy_for(self, registry: int, products: dict[str, Product]) -> Policy:
        """The policy that ``decide`` is given, for the registered products. Raises :class:`SettingsError`."""
        return Policy(
            registry=registry,
            products={name: self._treated(product) for name, product in products.items()},
            tenants={name: _tenant(name, tenant) for name, tenant in self.tenants.items()},
            grace=duration(self.policy.grace),
            settle=duration(self.policy.settle),
            trash=duration(self.policy.trash),
            vault_limit=duration(self.policy.vault_limit),
        )

    def _treated(self, product: Product) -> Product:
        own = self.products.get(product.name, ProductSettings())
        return Product(
            name=product.name,
            wave=product.wave,
            datasets=product.datasets,
            nameable=product.nameable,
            kinds=product.kinds,
            links=product.links,
            retry=Retry(own.attempts, duration(own.first_retry), 3, duration(own.longest_retry)),
            timeout=duration(own.timeout),
            lifetime=duration(own.lifetime),
            ceiling=own.ceiling,
            window=own.window,
        )


def duration(text: str) -> int:
    """Milliseconds of a written duration. Raises :class:`SettingsError`."""
    if text.strip() == "0":
        return 0
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise SettingsError(f"{text!r} is no duration; write a number and s, m, h or d, as in 24h")
    return int(found[1]) * _UNITS[found[2]]


def _tenant(name: str, tenant: TenantSettings) -> TenantPolicy:
    try:
        return TenantPolicy(ZoneInfo(tenant.zone), frozenset(tenant.holidays))
    except (ZoneInfoNotFoundError, ValueError):
        raise SettingsError(
            f"tenants.{name}.zone: {tenant.zone!r} is no IANA time zone; write one such as Europe/Rome"
        ) from None


def load(path: Path) -> Settings:
    """The settings in ``path``. Raises :class:`SettingsError`, naming the file and the field."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Settings)
    except FileNotFoundError:
        raise SettingsError(f"no settings at {path}: `oblio dev` makes an installation with defaults") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SettingsError(f"{path}: {error}") from None
