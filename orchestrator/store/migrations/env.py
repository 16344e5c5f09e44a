"""How Alembic runs the migrations: on the connection that it is handed, each in a transaction of its own."""

from __future__ import annotations

from typing import Any

from alembic import context

from orchestrator.store.tables import SCHEMA, metadata

LOCK_TIMEOUT = "3s"
"""A migration that waits for a lock makes everybody behind it wait: better it fails and is tried again."""


def include(name: str | None, kind: str, _parents: Any) -> bool:
    """Only what is in the store's schema is the store's."""
    return name == SCHEMA if kind == "schema" else True


connection = context.config.attributes["connection"]
connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'; CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
connection.commit()
context.configure(
    connection=connection,
    target_metadata=metadata,
    include_schemas=True,
    include_name=include,
    version_table_schema=SCHEMA,
    transaction_per_migration=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
