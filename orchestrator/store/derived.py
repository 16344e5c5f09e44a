"""The statements that write derived rows: the same ones serve the engine and the rebuild."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from orchestrator.domain.state import State
from orchestrator.store import rows as r
from orchestrator.store.database import array, execute_rows
from orchestrator.store.tables import SCHEMA
from schemas.events import BrakeSet, Recorded


def insert_requests(connection: Connection, states: Sequence[State], shards: int, schema: str = SCHEMA) -> None:
    """Insert the rows of ``states``."""
    if states:
        names = ", ".join(f'"{name}"' for name, _ in r.REQUEST_COLUMNS)
        execute_rows(
            connection,
            f"INSERT INTO {schema}.requests ({names}) SELECT {names} FROM {{rows}}",
            r.REQUEST_COLUMNS,
            [r.request_row(state, shards) for state in states],
        )


def update_requests(connection: Connection, states: Sequence[State], shards: int) -> None:
    """Bring the rows of ``states`` up to date."""
    if states:
        changing = ("stage", "end", "parked", "held", "stopping", "due_at", "ended_at", "n", "state")
        sets = ", ".join(f'"{name}" = r."{name}"' for name in changing)
        execute_rows(
            connection,
            f"UPDATE oblio.requests q SET {sets} FROM {{rows}} WHERE q.id = r.id",
            r.REQUEST_COLUMNS,
            [r.request_row(state, shards) for state in states],
        )


def insert_steps(connection: Connection, pairs: Sequence[tuple[State, str]], shards: int, schema: str = SCHEMA) -> None:
    """Insert the rows of these (request, step) pairs."""
    if pairs:
        names = ", ".join(f'"{name}"' for name, _ in r.STEP_COLUMNS)
        execute_rows(
            connection,
            f"INSERT INTO {schema}.steps ({names}) SELECT {names} FROM {{rows}}",
            r.STEP_COLUMNS,
            [r.step_row(state, name, shards) for state, name in pairs],
        )


def update_steps(connection: Connection, pairs: Sequence[tuple[State, str]], shards: int) -> None:
    """Bring the rows of these (request, step) pairs up to date."""
    if pairs:
        changing = [name for name, _ in r.STEP_COLUMNS if name not in ("request", "product", "tenant", "shard")]
        sets = ", ".join(f'"{name}" = r."{name}"' for name in changing)
        execute_rows(
            connection,
            f"UPDATE oblio.steps s SET {sets} FROM {{rows}} WHERE s.request = r.request AND s.product = r.product",
            r.STEP_COLUMNS,
            [r.step_row(state, name, shards) for state, name in pairs],
        )


def put_timers(connection: Connection, rows: Sequence[r.Row], schema: str = SCHEMA) -> None:
    """Set the timers given as rows; each request has one at most."""
    if rows:
        execute_rows(
            connection,
            f"""INSERT INTO {schema}.timers (request, shard, fire_at) SELECT request, shard, fire_at FROM {{rows}}
                ON CONFLICT (request) DO UPDATE SET fire_at = excluded.fire_at""",
            r.TIMER_COLUMNS,
            rows,
        )


def insert_waits(connection: Connection, states: Sequence[State], schema: str = SCHEMA) -> None:
    """Insert who waits behind whom."""
    rows = [row for state in states for row in r.wait_rows(state)]
    if rows:
        execute_rows(
            connection,
            f"INSERT INTO {schema}.waits (request, behind) SELECT request, behind FROM {{rows}}",
            r.WAIT_COLUMNS,
            rows,
        )


def delete_rows(connection: Connection, table: str, column: str, ids: Sequence[str]) -> None:
    """Delete the rows whose ``column`` is one of ``ids``."""
    if ids:
        connection.execute(
            sa.text(f'DELETE FROM oblio."{table}" WHERE {column} = ANY(CAST(:ids AS uuid[]))'),
            {"ids": array(ids)},
        )


def fold_brake(connection: Connection, recorded: Recorded) -> None:
    """What a brake event means for the table of brakes; :func:`orchestrator.store.rows.brakes` says the same."""
    event = recorded.event
    if not isinstance(event, BrakeSet):
        raise TypeError(f"the installation's stream has brakes only, not {type(event).__name__}")
    scope = {"tenant": event.tenant or "", "product": event.product or ""}
    if event.stopped:
        statement = """INSERT INTO oblio.brakes (tenant, product, seq, since)
                       VALUES (:tenant, :product, :seq, :since) ON CONFLICT (tenant, product) DO NOTHING"""
        connection.execute(sa.text(statement), scope | {"seq": event.seq, "since": recorded.at})
    else:
        statement = "DELETE FROM oblio.brakes WHERE tenant = :tenant AND product = :product"
        connection.execute(sa.text(statement), scope)
