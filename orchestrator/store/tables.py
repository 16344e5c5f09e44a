"""The tables, each of one of four kinds; ``tests/store/test_tables.py`` keeps the list.

*Truth* is only ever added to. *Derived* tables are a pure function of the truth and can be rebuilt while the system
runs. *Working* tables say what is under way. *Kept* tables live by their own dates: they hold what must be destroyed.

All times are milliseconds of the epoch. Tables whose rows change have a fillfactor of 80, and no index on a column
that changes save partial ones on open rows, so that updates stay in the page.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, UUID

SCHEMA = "oblio"

NAMING = {
    "pk": "%(table_name)s_pkey",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}

metadata = sa.MetaData(schema=SCHEMA, naming_convention=NAMING)


class TableKind(StrEnum):
    """What may be done with a table's rows, and what they can be made from."""

    TRUTH = "truth"
    """Only added to; what is in it can be made from nothing else."""
    DERIVED = "derived"
    """Folded from the truth, and rebuilt from it."""
    WORKING = "working"
    """Says what is under way."""
    KEPT = "kept"
    """Lives by its own dates."""


def _id(name: str, *, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, UUID(as_uuid=False), nullable=False, primary_key=primary_key)


def _millis(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def tables_of(*kinds: TableKind) -> list[sa.Table]:
    """The tables of ``kinds``, by name."""
    return sorted((table for table in metadata.tables.values() if table.info["kind"] in kinds), key=lambda t: t.name)


def _table(
    name: str, kind: TableKind, *items: sa.schema.SchemaItem, changing: bool = False, queue: bool = False
) -> sa.Table:
    """``changing``: rows are updated, and there should be room in their page. ``queue``: rows come and go."""
    table: sa.Table = sa.Table(name, metadata, *items, info={"kind": kind})
    if changing:
        table.dialect_options["postgresql"]["with"] = {"fillfactor": 80}
    if queue:
        table.dialect_options["postgresql"]["with"] = {
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 1000,
        }
    return table


# --- truth ---------------------------------------------------------------------------------------------------------

events = _table(
    "events",
    TableKind.TRUTH,
    _id("id", primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True),
    _millis("at"),
    sa.Column("body", BYTEA, nullable=False, comment="canonical bytes, as written"),
)

registry = _table(
    "registry",
    TableKind.TRUTH,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    _millis("at"),
    sa.Column("digest", BYTEA, nullable=False),
    sa.Column("products", JSONB, nullable=False, comment="name, wave, kinds, map digest, backup window"),
)

installation = _table(
    "installation",
    TableKind.TRUTH,
    sa.Column("one", sa.Boolean, primary_key=True, server_default=sa.true(), comment="so that there is one row"),
    sa.Column("shards", sa.Integer, nullable=False, comment="fixed at installation: streams belong to them for ever"),
    sa.CheckConstraint("one", name="one_row"),
)

# --- derived -------------------------------------------------------------------------------------------------------

requests = _table(
    "requests",
    TableKind.DERIVED,
    _id("id", primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("end", sa.Text),
    sa.Column("parked", sa.Boolean, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("stopping", sa.Boolean, nullable=False),
    _millis("accepted_at"),
    _millis("due_at", nullable=True),
    _millis("ended_at", nullable=True),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("state", BYTEA, nullable=False, comment="the folded state, MessagePack"),
    sa.Index("requests_open_idx", "tenant", "accepted_at", postgresql_where=sa.text("ended_at IS NULL")),
    sa.Index("requests_accepted_at_idx", "accepted_at"),
    changing=True,
)

steps = _table(
    "steps",
    TableKind.DERIVED,
    _id("request", primary_key=True),
    sa.Column("product", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("phase", sa.Text),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    _millis("ready_from", nullable=True),
    _millis("due_at", nullable=True),
    sa.Column("in_flight", sa.Boolean, nullable=False),
    sa.Column("failure", sa.Text),
    sa.Column("dataset", sa.Text),
    sa.Index("steps_ready_idx", "product", "due_at", "ready_from", postgresql_where=sa.text("ready_from IS NOT NULL")),
    sa.Index("steps_in_flight_idx", "product", postgresql_where=sa.text("in_flight")),
    sa.Index("steps_parked_idx", "product", "failure", postgresql_where=sa.text("status = 'parked'")),
    changing=True,
)

timers = _table(
    "timers",
    TableKind.DERIVED,
    _id("request", primary_key=True),
    sa.Column("shard", sa.Integer, nullable=False),
    _millis("fire_at"),
    sa.Index("timers_fire_at_idx", "shard", "fire_at"),
    changing=True,
)

waits = _table(
    "waits",
    TableKind.DERIVED,
    _id("request", primary_key=True),
    _id("behind", primary_key=True),
    sa.Index("waits_behind_idx", "behind"),
)

brakes = _table(
    "brakes",
    TableKind.DERIVED,
    sa.Column("tenant", sa.Text, primary_key=True, comment="'' means every tenant"),
    sa.Column("product", sa.Text, primary_key=True, comment="'' means every product"),
    sa.Column("seq", sa.Integer, nullable=False),
    _millis("since"),
)

# --- working -------------------------------------------------------------------------------------------------------

streams = _table(
    "streams",
    TableKind.WORKING,
    _id("id", primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    changing=True,
)

outbox = _table(
    "outbox",
    TableKind.WORKING,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    _id("request"),
    sa.Column("body", JSONB, nullable=False, comment="steps, phase, seq: never an identifier"),
    sa.Index("outbox_shard_idx", "shard", "id"),
    queue=True,
)

sent = _table(
    "sent",
    TableKind.WORKING,
    _id("request", primary_key=True),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False, comment="of the request's last command"),
    changing=True,
)

offsets = _table(
    "offsets",
    TableKind.WORKING,
    sa.Column("log", sa.Text, primary_key=True, comment="identity of the log: cluster and topic"),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("next", sa.BigInteger, nullable=False),
    changing=True,
)

shards = _table(
    "shards",
    TableKind.WORKING,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    changing=True,
)

# --- kept with a life of their own ---------------------------------------------------------------------------------

vault = _table(
    "vault",
    TableKind.KEPT,
    _id("request", primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("sealed", BYTEA, nullable=False),
    _millis("destroy_at"),
    sa.Index("vault_destroy_at_idx", "destroy_at"),
    changing=True,
)

index = _table(
    "index",
    TableKind.KEPT,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("digest", BYTEA, primary_key=True),
    _id("request", primary_key=True),
    sa.Column("derived", sa.Boolean, nullable=False),
    _millis("destroy_at"),
    sa.Index("index_destroy_at_idx", "destroy_at"),
)

open_subjects = _table(
    "open_subjects",
    TableKind.KEPT,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("digest", BYTEA, primary_key=True),
    _id("request"),
    sa.Index("open_subjects_request_idx", "request"),
)

submissions = _table(
    "submissions",
    TableKind.KEPT,
    sa.Column("key", BYTEA, primary_key=True, comment="digest of CloudEvents source and id"),
    _id("request"),
    sa.Column("body", BYTEA, nullable=False, comment="keyed digest of what was asked"),
    sa.Column("case", sa.Text, comment="the asker's own reference"),
    _millis("destroy_at"),
    sa.Index("submissions_destroy_at_idx", "destroy_at"),
)

quarantine = _table(
    "quarantine",
    TableKind.KEPT,
    _id("id", primary_key=True),
    _millis("at"),
    sa.Column("rejection_class", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("field", sa.Text),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("producer", sa.Text),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("sealed", BYTEA, nullable=False),
    _millis("destroy_at"),
    sa.Index("quarantine_destroy_at_idx", "destroy_at"),
    _millis("resubmitted_at", nullable=True),
    sa.UniqueConstraint("topic", "partition", "offset"),
)
