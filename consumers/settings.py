"""What one product needs to be told: addresses, keys, and how patient it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from schemas.pools import ping_when_idle
from schemas.sealing import SharedKey


@dataclass(frozen=True, kw_only=True)
class ProductSettings:
    """Settings of one product.

    Args:
        addresses: what the map's ``stores.*.setting`` name: a database address, the root of an object store, a folder.
        keys: shared with the orchestrator, newest first; older ones still open and verify.
        local: a secret that never leaves the product; plans and the trash are sealed with it.
        group: commands worked on together.
        lease_s: how long a silent worker keeps a step, in seconds. Longer than the statement time-out of the stores,
            or a slow statement would look like death.
        chunk_ms: how long one transaction of a large step should take, in milliseconds; its size adapts.
        progress_s: least time between two progress acks of one step, in seconds.
        retries: how often contended work is tried again before it is taken apart.
        backoff_s: first pause between two such tries, in seconds; it doubles, with jitter.
    """

    addresses: Mapping[str, str]
    keys: tuple[SharedKey, ...]
    local: SharedKey
    group: int = 200
    lease_s: float = 30.0
    chunk_ms: int = 500
    progress_s: float = 2.0
    retries: int = 4
    backoff_s: float = 0.05
    engine_options: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("a product needs a key shared with the orchestrator")

    def key(self, key_id: str) -> SharedKey | None:
        """The key of that id, if it is one of this product's."""
        return next((key for key in self.keys if key.id == key_id), None)

    def engine(self, setting: str) -> sa.Engine:
        """An engine for the database that ``setting`` names. Raises KeyError where it is not given."""
        url = sa.make_url(self.addresses[setting])
        if url.drivername in ("postgresql", "postgres"):
            # SQLAlchemy 2.1 reads the bare name as psycopg 3.
            url = url.set(drivername="postgresql+psycopg2")
        options = {"pool_size": 2, "max_overflow": 4, **self.engine_options}
        return ping_when_idle(sa.create_engine(url, hide_parameters=True, **options))
