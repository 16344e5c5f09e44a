"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, UUID

revision = "0001"
down_revision = None

SCHEMA = "oblio"
TABLES = (
    "events",
    "registry",
    "installation",
    "requests",
    "steps",
    "timers",
    "waits",
    "brakes",
    "streams",
    "outbox",
    "sent",
    "offsets",
    "shards",
    "vault",
    "index",
    "open_subjects",
    "submissions",
    "quarantine",
)


def upgrade() -> None:
    """Truth, derived, working and kept tables, and the guard of the truth."""
    _truth()
    _derived()
    _working()
    _kept()
    _guard()


def _truth() -> None:
    op.create_table(
        "events",
        sa.Column("id", UUID(as_uuid=False), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", BYTEA(), nullable=False, comment="canonical bytes, as written"),
        sa.PrimaryKeyConstraint("id", "n", name="events_pkey"),
        schema=SCHEMA,
    )
    op.create_table(
        "registry",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("digest", BYTEA(), nullable=False),
        sa.Column("products", JSONB(), nullable=False, comment="name, wave, kinds, map digest, backup window"),
        sa.PrimaryKeyConstraint("version", name="registry_pkey"),
        schema=SCHEMA,
    )
    op.create_table(
        "installation",
        sa.Column("one", sa.Boolean(), server_default=sa.true(), nullable=False, comment="so that there is one row"),
        sa.Column(
            "shards", sa.Integer(), nullable=False, comment="fixed at installation: streams belong to them for ever"
        ),
        sa.PrimaryKeyConstraint("one", name="installation_pkey"),
        sa.CheckConstraint("one", name="installation_one_row_check"),
        schema=SCHEMA,
    )


def _derived() -> None:
    op.create_table(
        "requests",
        sa.Column("id", UUID(as_uuid=False), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("end", sa.Text(), nullable=True),
        sa.Column("parked", sa.Boolean(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("stopping", sa.Boolean(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("state", BYTEA(), nullable=False, comment="the folded state, MessagePack"),
        sa.PrimaryKeyConstraint("id", name="requests_pkey"),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 80},
    )
    op.create_index("requests_accepted_at_idx", "requests", ["accepted_at"], schema=SCHEMA)
    op.create_index(
        "requests_open_idx",
        "requests",
        ["tenant", "accepted_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "steps",
        sa.Column("request", UUID(as_uuid=False), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("ready_from", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("in_flight", sa.Boolean(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("dataset", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("request", "product", name="steps_pkey"),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "steps_ready_idx",
        "steps",
        ["product", "due_at", "ready_from"],
        schema=SCHEMA,
        postgresql_where=sa.text("ready_from IS NOT NULL"),
    )
    op.create_index(
        "steps_parked_idx",
        "steps",
        ["product", "failure"],
        schema=SCHEMA,
        postgresql_where=sa.text("status = 'parked'"),
    )
    op.create_index("steps_in_flight_idx", "steps", ["product"], schema=SCHEMA, postgresql_where=sa.text("in_flight"))
    op.create_table(
        "timers",
        sa.Column("request", UUID(as_uuid=False), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("fire_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request", name="timers_pkey"),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 80},
    )
    op.create_index("timers_fire_at_idx", "timers", ["shard", "fire_at"], schema=SCHEMA)
    op.create_table(
        "waits",
        sa.Column("request", UUID(as_uuid=False), nullable=False),
        sa.Column("behind", UUID(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("request", "behind", name="waits_pkey"),
        schema=SCHEMA,
    )
    op.create_index("waits_behind_idx", "waits", ["behind"], schema=SCHEMA)
    op.create_table(
        "brakes",
        sa.Column("tenant", sa.Text(), nullable=False, comment="'' means every tenant"),
        sa.Column("product", sa.Text(), nullable=False, comment="'' means every product"),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "product", name="brakes_pkey"),
        schema=SCHEMA,
    )


def _working() -> None:
    op.create_table(
        "streams",
        sa.Column("id", UUID(as_uuid=False), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="streams_pkey"),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("request", UUID(as_uuid=False), nullable=False),
        sa.Column("body", JSONB(), nullable=False, comment="steps, phase, seq: never an identifier"),
        sa.PrimaryKeyConstraint("id", name="outbox_pkey"),
        schema=SCHEMA,
        postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000},
    )
    op.create_index("outbox_shard_idx", "outbox", ["shard", "id"], schema=SCHEMA)
    op.create_table(
        "sent",
        sa.Column("request", UUID(as_uuid=False), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False, comment="of the request's last command"),
        sa.PrimaryKeyConstraint("request", name="sent_pkey"),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "offsets",
        sa.Column("log", sa.Text(), nullable=False, comment="identity of the log: cluster and topic"),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log", "partition", name="offsets_pkey"),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "shards",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("shard", name="shards_pkey"),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 80},
    )


def _kept() -> None:
    op.create_table(
        "vault",
        sa.Column("request", UUID(as_uuid=False), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sealed", BYTEA(), nullable=False),
        sa.Column("destroy_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request", name="vault_pkey"),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 80},
    )
    op.create_index("vault_destroy_at_idx", "vault", ["destroy_at"], schema=SCHEMA)
    op.create_table(
        "index",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("digest", BYTEA(), nullable=False),
        sa.Column("request", UUID(as_uuid=False), nullable=False),
        sa.Column("derived", sa.Boolean(), nullable=False),
        sa.Column("destroy_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "digest", "request", name="index_pkey"),
        schema=SCHEMA,
    )
    op.create_index("index_destroy_at_idx", "index", ["destroy_at"], schema=SCHEMA)
    op.create_table(
        "open_subjects",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("digest", BYTEA(), nullable=False),
        sa.Column("request", UUID(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "digest", name="open_subjects_pkey"),
        schema=SCHEMA,
    )
    op.create_index("open_subjects_request_idx", "open_subjects", ["request"], schema=SCHEMA)
    op.create_table(
        "submissions",
        sa.Column("key", BYTEA(), nullable=False, comment="digest of CloudEvents source and id"),
        sa.Column("request", UUID(as_uuid=False), nullable=False),
        sa.Column("body", BYTEA(), nullable=False, comment="keyed digest of what was asked"),
        sa.Column("case", sa.Text(), nullable=True, comment="the asker's own reference"),
        sa.Column("destroy_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="submissions_pkey"),
        schema=SCHEMA,
    )
    op.create_index("submissions_destroy_at_idx", "submissions", ["destroy_at"], schema=SCHEMA)
    op.create_table(
        "quarantine",
        sa.Column("id", UUID(as_uuid=False), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("rejection_class", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("producer", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sealed", BYTEA(), nullable=False),
        sa.Column("destroy_at", sa.BigInteger(), nullable=False),
        sa.Column("resubmitted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="quarantine_pkey"),
        sa.UniqueConstraint("topic", "partition", "offset", name="quarantine_topic_partition_offset_key"),
        schema=SCHEMA,
    )
    op.create_index("quarantine_destroy_at_idx", "quarantine", ["destroy_at"], schema=SCHEMA)


GUARDED = ("events", "registry", "installation")


def _guard() -> None:
    """What is true stays: no row of the truth is changed or taken away, by whoever it may be, whatever the session says.

    A guard rail, no wall: the owner can remove it. The evidence is the ledger, and a checkpoint kept elsewhere.
    """
    op.execute(
        f"""CREATE FUNCTION {SCHEMA}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '%.% is only added to: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
                USING ERRCODE = 'restrict_violation';
        END $$"""
    )
    for table in GUARDED:
        op.execute(
            f"""CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.{table}
            FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"""
        )
        # ALWAYS: else a session that calls itself a replica would pass.
        op.execute(f"ALTER TABLE {SCHEMA}.{table} ENABLE ALWAYS TRIGGER append_only")


def downgrade() -> None:
    """Everything goes, the history included."""
    for table in TABLES:
        op.drop_table(table, schema=SCHEMA)
    op.execute(f"DROP FUNCTION {SCHEMA}.refuse_change()")
