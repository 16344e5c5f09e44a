"""The registry: which products there are, version by version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from orchestrator.domain.policy import Product
from orchestrator.store.store import Store
from schemas.identifiers import IdentifierKind

REGISTRY_LOCK = 0x0B110520
"""Advisory lock under which versions are numbered."""


class Link(msgspec.Struct, frozen=True):
    """From any of the kinds ``given`` a product finds those ``found``."""

    given: tuple[IdentifierKind, ...]
    found: tuple[IdentifierKind, ...]


class ProductEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A product as registered.

    Args:
        kinds: identifier kinds that its data map matches on.
        datasets: names of its datasets.
        nameable: those of them whose records a request may name one by one.
        map: digest of its data map.
        backup_days: the longest it keeps backups; the index keeps digests no shorter than that.
        trash: ``native`` (hidden, restorable) or ``deferred`` (nothing happens until purge).
    """

    name: str
    wave: int = 1
    kinds: tuple[IdentifierKind, ...] = ()
    links: tuple[Link, ...] = ()
    datasets: tuple[str, ...] = ()
    nameable: tuple[str, ...] = ()
    map: str = ""
    backup_days: int = 0
    trash: str = "deferred"

    @property
    def product(self) -> Product:
        """As the policy knows it, before an operator's settings."""
        return Product(
            self.name,
            wave=self.wave,
            datasets=frozenset(self.datasets),
            nameable=frozenset(self.nameable),
            kinds=frozenset(self.kinds),
            links=tuple((frozenset(link.given), frozenset(link.found)) for link in self.links),
        )


def register(store: Store, products: Sequence[ProductEntry], now: int) -> int:
    """Append a version if the products are not those registered; returns the current version.

    Raises:
        ValueError: two products have one name.
    """
    ordered = sorted(products, key=lambda entry: entry.name)
    if len({entry.name for entry in ordered}) != len(ordered):
        raise ValueError("two products have the same name")
    body = msgspec.json.encode(ordered, order="sorted")
    digest = hashlib.sha256(body).digest()
    with store.database.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(REGISTRY_LOCK)))
        found = connection.execute(
            sa.text("SELECT version, digest FROM oblio.registry ORDER BY version DESC LIMIT 1")
        ).one_or_none()
        if found is not None and bytes(found.digest) == digest:
            return int(found.version)
        version = 1 if found is None else int(found.version) + 1
        connection.execute(
            sa.text(
                """INSERT INTO oblio.registry (version, at, digest, products)
                   VALUES (:version, :at, :digest, CAST(:products AS jsonb))"""
            ),
            {"version": version, "at": now, "digest": digest, "products": body.decode()},
        )
        return version


def entries(products: Any) -> tuple[ProductEntry, ...]:
    """The products of a stored version."""
    return msgspec.convert(products, tuple[ProductEntry, ...])
