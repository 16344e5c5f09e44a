"""A database role for each sample product: it may do what its data map needs, and nothing else."""

from __future__ import annotations

import sqlalchemy as sa

from consumers import receipts
from consumers.maps import Action, By, DataMap, SqlDataset

_ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} LOGIN; END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""


def prepare(owner: sa.Engine, data_map: DataMap, role: str) -> None:
    """Make the product's own tables and its role, and grant the role what the map needs; may be repeated.

    Args:
        owner: the product's database, as the owner of its tables.
        data_map: says which tables are read, changed, emptied.
        role: its name.
    """
    receipts.install(owner)
    with owner.begin() as connection:
        connection.execute(sa.text(_ROLE.format(role=role)))
        connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public, oblio TO {role}"))
        connection.execute(sa.text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA oblio TO {role}"))
        for table, rights in sorted(rights_of(data_map).items()):
            connection.execute(sa.text(f'GRANT {", ".join(sorted(rights))} ON "{table}" TO {role}'))


def rights_of(data_map: DataMap) -> dict[str, set[str]]:
    """What each table of the map's SQL datasets must allow."""
    rights: dict[str, set[str]] = {}
    for dataset in data_map.of_kind(SqlDataset).values():
        mine = rights.setdefault(dataset.table, {"SELECT"})
        if dataset.action is Action.DELETE:
            mine.add("DELETE")
        elif dataset.action is not Action.RETAIN:
            mine.add("UPDATE")
        if dataset.hide is not None:
            mine.add("UPDATE")
        for way in dataset.match:
            if isinstance(way, By):
                for join in way.through:
                    rights.setdefault(join.table, {"SELECT"})
    return rights
