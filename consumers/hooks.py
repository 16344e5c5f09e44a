"""Where a data map is not enough: what a product may do in code of its own."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from consumers.stores.sql_batch import Batch
from consumers.stores.sql_rows import Effect, Linked
from schemas.messages import Counts


class ProductCode:
    """Subclass and override what the product needs; each method is called once for a whole batch.

    What is raised here fails the step it concerns: the batch is taken apart, and its other steps go on.
    """

    def after_resolve(
        self,
        connection: sa.Connection,  # noqa: ARG002 - for those who override it
        batch: Batch,  # noqa: ARG002
        linked: Mapping[int, Linked],
    ) -> Mapping[int, Linked]:
        """Add identifiers to what the map's links gave, by ordinal. No effect is allowed here."""
        return linked

    def extra_effects(
        self,
        connection: sa.Connection,  # noqa: ARG002 - for those who override it
        batch: Batch,  # noqa: ARG002
        effect: Effect,  # noqa: ARG002
    ) -> Mapping[int, Mapping[str, Counts]]:
        """Do what the map cannot say; counts by ordinal and a name beside the map's datasets.

        Runs in the transaction in which the step's plan is written, so exactly once per plan; only what is done over
        ``connection`` has that promise.
        """
        return {}
