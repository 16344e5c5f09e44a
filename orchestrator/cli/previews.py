"""What an erasure would touch, asked of the products themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from consumers.product import Asked, Product
from consumers.steps import target_of
from consumers.stores.sql_batch import Batch
from orchestrator.cli.installation import Installation
from orchestrator.cli.output import out, print_json, table
from orchestrator.client import Wish
from orchestrator.engine import clock
from schemas.identifiers import Identifier, IdentifierKind
from schemas.messages import SealedSubject

Counts = dict[str, dict[str, int]]
"""Per product and dataset."""


def subject_of(wish: Wish) -> SealedSubject:
    """What a product would be given for this wish, before anything is resolved."""
    identifiers = tuple(Identifier.of(identifier.kind, identifier.value) for identifier in wish.identifiers)
    return SealedSubject(identifiers=identifiers, records=wish.records)


def preview(installation: Installation, wishes: Sequence[Wish]) -> list[Counts]:
    """Per wish what would be touched. Reads the stores, and touches nothing.

    Identifiers that one product knows and another needs are looked up first, as `resolve` would.
    """
    now = clock()
    with ExitStack() as stack:
        products = []
        for name, data_map in installation.maps.items():
            products.append(Product(data_map, installation.product_settings(name)))
            stack.callback(products[-1].close)
        asked = [Asked(wish.tenant, subject_of(wish), now) for wish in wishes]
        for product in products:
            asked = enriched(product, asked)
        found: list[Counts] = [{} for _ in wishes]
        for product in products:
            mine = [
                (position, one)
                for position, one in enumerate(asked)
                if one.subject.records is None or one.subject.records.product == product.name
            ]
            for (position, _), counts in zip(mine, product.preview([one for _, one in mine]), strict=True):
                found[position][product.name] = dict(counts)
    return found


def enriched(product: Product, asked: Sequence[Asked]) -> list[Asked]:
    """The same subjects, with the identifiers that this product's links lead to."""
    batch = Batch([target_of(i, one.tenant, one.subject, one.cutoff_at) for i, one in enumerate(asked)])
    with product.holdings.session() as session:
        linked = product.holdings.link(session, batch)
    return [_with(one, linked[i].derived) if i in linked else one for i, one in enumerate(asked)]


def _with(asked: Asked, derived: Mapping[str, frozenset[str]]) -> Asked:
    more = [Identifier.of(IdentifierKind(kind), value) for kind, values in derived.items() for value in values]
    identifiers = tuple(sorted({*asked.subject.identifiers, *more}))
    return Asked(asked.tenant, SealedSubject(identifiers=identifiers, records=asked.subject.records), asked.cutoff_at)


def show(installation: Installation, wishes: Sequence[Wish], *, json: bool) -> None:
    """Print what erasing ``wishes`` would touch, summed over them."""
    found = preview(installation, wishes)
    if json:
        print_json({"dry_run": True, "requests": found})
        return
    totals: Counts = {}
    for counts in found:
        for product, datasets in counts.items():
            for dataset, n in datasets.items():
                totals.setdefault(product, {})[dataset] = totals.get(product, {}).get(dataset, 0) + n
    actions = {
        (name, dataset): part.action.value
        for name, data_map in installation.maps.items()
        for dataset, part in data_map.datasets.items()
        if hasattr(part, "action")
    }
    rows = [
        (product, dataset, actions.get((product, dataset), "delete"), n)
        for product, datasets in sorted(totals.items())
        for dataset, n in datasets.items()
        if n
    ]
    out.print(table("Would be touched (nothing was)", ("product", "dataset", "action", "records#"), rows))
    if not rows:
        out.print("No product holds anything under these identifiers.")
