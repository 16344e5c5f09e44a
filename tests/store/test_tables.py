"""Of which kind each table is, and what follows from it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from orchestrator.store import tables
from orchestrator.store.tables import TableKind

KINDS = {
    "events": TableKind.TRUTH,
    "installation": TableKind.TRUTH,
    "registry": TableKind.TRUTH,
    "brakes": TableKind.DERIVED,
    "requests": TableKind.DERIVED,
    "steps": TableKind.DERIVED,
    "timers": TableKind.DERIVED,
    "waits": TableKind.DERIVED,
    "offsets": TableKind.WORKING,
    "outbox": TableKind.WORKING,
    "sent": TableKind.WORKING,
    "shards": TableKind.WORKING,
    "streams": TableKind.WORKING,
    "index": TableKind.KEPT,
    "open_subjects": TableKind.KEPT,
    "quarantine": TableKind.KEPT,
    "submissions": TableKind.KEPT,
    "vault": TableKind.KEPT,
}


def test_every_table_is_of_the_kind_that_was_decided_for_it():
    assert {table.name: table.info["kind"] for table in tables.metadata.tables.values()} == KINDS


def test_what_is_kept_has_a_date_or_goes_with_its_request():
    for table in tables.tables_of(TableKind.KEPT):
        assert "destroy_at" in table.columns or table.name == "open_subjects"


CHANGING = {"requests", "steps", "timers", "streams", "sent", "offsets", "shards", "vault"}


@pytest.mark.parametrize("name", sorted(CHANGING))
def test_rows_that_change_have_room_in_their_page(name: str):
    table = tables.metadata.tables[f"oblio.{name}"]
    assert table.dialect_options["postgresql"]["with"] == {"fillfactor": 80}


NEVER_CHANGING = {"id", "tenant", "accepted_at", "request", "product", "behind", "shard", "destroy_at"}


def test_no_index_is_on_a_column_that_changes_save_partial_ones_and_the_queue_of_timers():
    for table in tables.metadata.tables.values():
        for index in table.indexes:
            changing = {column.name for column in index.columns} - NEVER_CHANGING
            partial = index.dialect_options["postgresql"]["where"] is not None
            assert partial or not changing or index.name == "timers_fire_at_idx", index.name


def test_no_column_of_the_truth_or_of_a_derived_table_could_hold_a_sentence_of_a_persons():
    texts = {
        (table.name, column.name)
        for table in tables.tables_of(TableKind.TRUTH, TableKind.DERIVED)
        for column in table.columns
        if isinstance(column.type, sa.Text)
    }
    # Each of these is a code of a closed vocabulary, or a name from the registry or the settings.
    assert texts == {
        ("brakes", "product"),
        ("brakes", "tenant"),
        ("requests", "end"),
        ("requests", "mode"),
        ("requests", "stage"),
        ("requests", "tenant"),
        ("steps", "dataset"),
        ("steps", "failure"),
        ("steps", "phase"),
        ("steps", "product"),
        ("steps", "status"),
        ("steps", "tenant"),
    }
