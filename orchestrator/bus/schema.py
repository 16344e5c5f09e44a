"""The tables of the PostgreSQL-backed bus, in a PostgreSQL schema of their own.

Independent of the orchestrator's store and its migrations: the bus may live in any database.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.schema import CreateSchema

from schemas.transport import BusError

VERSION = 1
"""Of these tables. A bus installed by another version is refused by name."""

INSTALL_LOCK = 0x0B110B05
"""Advisory lock that keeps two installations from making the same tables at once."""

metadata = MetaData(schema="bus")

# Rows that every publish or commit rewrites: room on the page lets PostgreSQL do so without touching an index.
_HOT = {"fillfactor": 20, "autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 500}

log = Table(
    "log",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    comment="One row: which log this is.",
)

topics = Table(
    "topics",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("identity", Uuid, nullable=False),
    Column("partitions", Integer, nullable=False),
)

heads = Table(
    "heads",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("topic_id", ForeignKey("bus.topics.id"), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("first_offset", BigInteger, nullable=False, server_default="0"),
    Column("next_offset", BigInteger, nullable=False, server_default="0"),
    Column("appended_ms", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("topic_id", "partition"),
    comment="A partition's lowest offset still there, the next one to be given, and the time of the newest record.",
    postgresql_with=_HOT,
)

# No foreign key to heads: it would lock a head's row once more for each record. Offsets are dense, because they are
# taken from the head's row in the transaction that writes the record.
records = Table(
    "records",
    metadata,
    Column("head_id", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("published_ms", BigInteger, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("headers", LargeBinary),
    comment="headers: MessagePack of the pairs, absent when there are none.",
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.02},
)

groups = Table(
    "groups",
    metadata,
    Column("name", Text, primary_key=True),
    Column("generation", BigInteger, nullable=False, server_default="0"),
    comment="Its row lock is held by whoever changes the group's members or assignment; generation counts the changes.",
    postgresql_with=_HOT,
)

members = Table(
    "members",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("group_name", ForeignKey("bus.groups.name"), nullable=False),
    Column("name", Text, nullable=False),
    Column("topics", ARRAY(Integer), nullable=False),
    Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
    UniqueConstraint("group_name", "name"),
    comment="id is a member's incarnation: one that was taken for dead and comes back gets another.",
    postgresql_with=_HOT,
)

cursors = Table(
    "cursors",
    metadata,
    Column("group_name", ForeignKey("bus.groups.name"), primary_key=True),
    Column("head_id", ForeignKey("bus.heads.id"), primary_key=True),
    Column("committed", BigInteger),
    Column("owner", BigInteger),
    Column("since", BigInteger, nullable=False, server_default="0"),
    comment="A group's committed offset in a partition, and the member (id) that has read it since that generation.",
    postgresql_with=_HOT,
)


def install(engine: Engine, counts: Mapping[str, int]) -> None:
    """Make what is missing of the tables and of the topics; ``counts`` are the partitions of each topic.

    Raises:
        BusError: the bus was installed by another version, or a topic has another number of partitions already.
    """
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(INSTALL_LOCK)))
        connection.execute(CreateSchema("bus", if_not_exists=True))
        metadata.create_all(connection)
        _check_version(connection)
        existing = dict(connection.execute(select(topics.c.name, topics.c.partitions)).all())
        for name, count in counts.items():
            if name not in existing:
                _create_topic(connection, str(name), count)
            elif existing[name] != count:
                raise BusError(f"topic {name} has {existing[name]} partitions, not {count}: keys would change places")


def _check_version(connection: Connection) -> None:
    version = connection.scalar(select(log.c.version))
    if version is None:
        connection.execute(insert(log).values(id=uuid.uuid4(), version=VERSION))
    elif version != VERSION:
        raise BusError(f"the bus's tables are of version {version}; this program knows version {VERSION}")


def _create_topic(connection: Connection, name: str, count: int) -> None:
    if count < 1:
        raise BusError(f"topic {name} needs at least one partition")
    topic_id = connection.scalar(
        insert(topics).values(name=name, identity=uuid.uuid4(), partitions=count).returning(topics.c.id)
    )
    connection.execute(
        text("INSERT INTO bus.heads (topic_id, partition) SELECT :topic, n FROM generate_series(0, :last) AS n"),
        {"topic": topic_id, "last": count - 1},
    )
