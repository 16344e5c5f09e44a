"""Holding maps and stores against each other, with the products' own code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from consumers.check import Finding, Level, check_product
from consumers.maps import StoreKind, load_with_source
from consumers.product import Asked, Product
from orchestrator.cli.installation import Installation
from orchestrator.cli.previews import enriched
from orchestrator.engine import clock
from schemas.identifiers import Identifier
from schemas.messages import Counts, PlainIdentifier, SealedSubject

ERROR = Level.ERROR


def findings_of(installation: Installation, name: str, path: Path) -> list[Finding]:
    """What there is to say about the map at ``path``, held against the stores of product ``name``."""
    data_map, source = load_with_source(path)
    settings = installation.product_settings(name)
    with ExitStack() as stack:
        databases = {}
        folders = {}
        for store, spec in data_map.stores.items():
            if spec.kind is StoreKind.SQL:
                engine = settings.engine(spec.setting)
                stack.callback(engine.dispose)
                databases[store] = stack.enter_context(engine.connect())
            elif spec.kind is StoreKind.LOGFILES:
                folders[store] = Path(settings.addresses[spec.setting])
        return check_product(data_map, source, databases, folders)


def look(
    installation: Installation, tenant: str, identifiers: Sequence[PlainIdentifier]
) -> dict[str, dict[str, Counts]]:
    """What each product holds now under these identifiers."""
    subject = SealedSubject(identifiers=tuple(Identifier.of(one.kind, one.value) for one in identifiers))
    asked = [Asked(tenant, subject, clock())]
    with ExitStack() as stack:
        products = []
        for name, data_map in installation.maps.items():
            products.append(Product(data_map, installation.product_settings(name)))
            stack.callback(products[-1].close)
        for product in products:
            asked = enriched(product, asked)
        return {product.name: dict(product.probe(asked)[0]) for product in products}
