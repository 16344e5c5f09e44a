"""A store in memory that behaves as :mod:`orchestrator.store` does: all of a transaction or nothing of it.

``test_memory_store.py`` puts the same calls to both, so that this one cannot drift from PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from orchestrator.domain.calendar import DAY_MS
from orchestrator.domain.state import State
from orchestrator.store import rows as r
from orchestrator.store.store import DueRow
from orchestrator.store.unit import (
    READY_HORIZON,
    Changes,
    IndexRow,
    LostOffsets,
    LostShard,
    OutboxRow,
    QuarantineRow,
    VaultRow,
    _changed_steps,
)
from schemas.codes import Phase
from schemas.events import INSTALLATION, BrakeSet, Recorded, check, encode
from schemas.transport import Position

_EFFECTS = (Phase.TRASH.value, Phase.PURGE.value)
STEP = {name: place for place, (name, _) in enumerate(r.STEP_COLUMNS)}


@dataclass(slots=True)
class Tables:
    """The tables, by primary key. Rows are never changed in place, so a shallow copy is a snapshot."""

    shards: dict[int, tuple[int, str]] = field(default_factory=dict)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    streams: dict[str, int] = field(default_factory=dict)
    events: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    requests: dict[str, State] = field(default_factory=dict)
    steps: dict[tuple[str, str], r.Row] = field(default_factory=dict)
    timers: dict[str, r.Row] = field(default_factory=dict)
    waits: dict[tuple[str, str], None] = field(default_factory=dict)
    brakes: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    submissions: dict[bytes, tuple[str, bytes]] = field(default_factory=dict)
    open_subjects: dict[tuple[str, bytes], str] = field(default_factory=dict)
    vault: dict[str, VaultRow] = field(default_factory=dict)
    index: dict[tuple[str, bytes, str], IndexRow] = field(default_factory=dict)
    quarantine: dict[tuple[str, int, int], QuarantineRow] = field(default_factory=dict)
    outbox: dict[int, OutboxRow] = field(default_factory=dict)
    sent: dict[str, tuple[int, int]] = field(default_factory=dict)

    def copy(self) -> Tables:
        return Tables(*[dict(getattr(self, name)) for name in _NAMES])


_NAMES = tuple(each.name for each in fields(Tables))


def _quiet(_point: str) -> None:
    return None


def _unheard(_recorded: Sequence[tuple[Recorded, bytes]]) -> None:
    return None


class MemoryStore:
    """``point`` is called wherever a process can die or the database fail; ``heard`` with what was committed."""

    def __init__(
        self,
        shards: int,
        point: Callable[[str], None] = _quiet,
        heard: Callable[[Sequence[tuple[Recorded, bytes]]], None] = _unheard,
    ) -> None:
        self.shards = shards
        self.tables = Tables()
        self.point = point
        self._heard = heard
        self._next_outbox = 1  # like a sequence, it does not go back with a transaction

    @contextmanager
    def unit(self, owned: Mapping[int, int]) -> Iterator[MemoryUnit]:
        """See :meth:`orchestrator.store.store.Store.unit`."""
        self.point("store.begin")
        unit = MemoryUnit(self)
        with self.transaction(unit, owned) as seen:
            yield seen
            if unit.changed:
                self.point("store.commit")
        if unit.changed:
            self.tables = unit.tables
            self._heard(unit.recorded)
            self.point("store.committed")

    @contextmanager
    def transaction(self, unit: MemoryUnit, owned: Mapping[int, int]) -> Iterator[MemoryUnit]:
        """What lasts until it commits."""
        unit.fence(owned)
        yield unit

    def take_shards(self, shards: Sequence[int], owner: str) -> dict[int, int]:
        self.point("store.begin")
        taken = self.shards_taken(shards, owner)
        self.point("store.committed")
        return taken

    def shards_taken(self, shards: Sequence[int], owner: str) -> dict[int, int]:
        taken = {shard: self.tables.shards.get(shard, (0, ""))[0] + 1 for shard in shards}
        self.tables.shards.update((shard, (epoch, owner)) for shard, epoch in taken.items())
        return taken

    def offsets_owed(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return {place: self.tables.offsets.setdefault(place, 0) for place in places}

    def outbox(self, shards: Sequence[int], limit: int) -> list[DueRow]:
        if not any(row.shard in shards for row in self.tables.outbox.values()):
            return []
        self.point("store.begin")
        tables = self.tables  # as they are now: whoever was frozen just before sees what others did meanwhile
        due = [(key, row) for key, row in tables.outbox.items() if row.shard in shards]
        return [self._due_row(tables, key, row) for key, row in sorted(due, key=lambda item: item[0])[:limit]]

    def _due_row(self, tables: Tables, key: int, row: OutboxRow) -> DueRow:
        events: tuple[bytes, ...] = ()
        if row.kind == "events":
            events = tables.events[row.request][row.body["first"] - 1 : row.body["last"]]
        vault = tables.vault.get(row.request) if row.kind == "command" else None
        return DueRow(key, row.kind, row.request, row.body, vault, events)

    def published(self, ids: Sequence[int], sent: Sequence[tuple[str, Position]]) -> None:
        self.point("store.commit")
        self.confirmed(ids, sent)
        self.point("store.committed")

    def confirmed(self, ids: Sequence[int], sent: Sequence[tuple[str, Position]]) -> None:
        for request, position in sorted(dict(sent).items()):
            state, last = self.tables.requests.get(request), self.tables.sent.get(request, (0, -1))
            if state is not None and state.ended_at is None and position.offset > last[1]:
                self.tables.sent[request] = (position.partition, position.offset)
        for key in ids:
            self.tables.outbox.pop(key, None)

    def moments(self, now: int) -> Iterator[int]:
        """When, after ``now``, time alone gives the engine something to do."""
        yield from (at for _, _, at in self.tables.timers.values() if at > now)
        for row in self.tables.steps.values():
            ready_from = row[STEP["ready_from"]]
            if ready_from is not None and ready_from > now:
                yield ready_from

    def new_outbox_id(self) -> int:
        self._next_outbox += 1
        return self._next_outbox - 1


class MemoryUnit:
    """One open transaction. It sees the tables as they are, and copies them before it changes anything."""

    def __init__(self, store: MemoryStore) -> None:
        self.shards = store.shards
        self.tables = store.tables
        self.changed = False
        self.recorded: list[tuple[Recorded, bytes]] = []
        self._store = store

    def _writable(self) -> Tables:
        if not self.changed:
            self.tables = self.tables.copy()
            self.changed = True
        return self.tables

    # --- before deciding -------------------------------------------------------------------------------------------

    def fence(self, owned: Mapping[int, int]) -> None:
        found = {shard: self.tables.shards[shard][0] for shard in owned if shard in self.tables.shards}
        if found != dict(owned):
            raise LostShard

    def move_offsets(self, moves: Mapping[tuple[str, int], tuple[int, int]]) -> None:
        self._store.point("store.statement")
        if not moves:
            return
        offsets = self._writable().offsets
        for place, (old, new) in moves.items():
            if offsets.get(place) != old:
                raise LostOffsets
            offsets[place] = new

    def versions(self, ids: Sequence[str]) -> dict[str, int]:
        return {key: self.tables.streams[key] for key in sorted(ids) if key in self.tables.streams}

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        self._store.point("store.statement")
        found = self.tables.requests
        return {key: r.thaw(r.freeze(found[key])) for key in ids if key in found}

    def submit(self, rows: Sequence[tuple[bytes, str, bytes, str | None, int]]) -> dict[bytes, tuple[str, bytes]]:
        self._store.point("store.statement")
        if not rows:
            return {}
        submissions = self._writable().submissions
        known = {}
        for key, request, body, _case, _destroy_at in rows:
            if key in submissions:
                known[key] = submissions[key]
            else:
                submissions[key] = (request, body)
        return known

    def claim_subjects(self, rows: Sequence[tuple[str, bytes, str]]) -> dict[bytes, str]:
        self._store.point("store.statement")
        if not rows:
            return {}
        subjects = self._writable().open_subjects
        before = {}
        for tenant, digest, request in rows:
            if (tenant, digest) in subjects:
                before[digest] = subjects[tenant, digest]
            subjects[tenant, digest] = request
        return before

    def submission(self, key: bytes) -> str | None:
        found = self.tables.submissions.get(key)
        return found[0] if found else None

    def tenant_of(self, request: str) -> str | None:
        state = self.tables.requests.get(request)
        return state.tenant if state else None

    def vault_entries(self, requests: Sequence[str]) -> list[VaultRow]:
        return [self.tables.vault[key] for key in sorted(requests) if key in self.tables.vault]

    def due(self, shards: Sequence[int], now: int, limit: int) -> list[str]:
        found = [(at, key) for key, shard, at in self.tables.timers.values() if shard in shards and at <= now]
        return [key for _, key in sorted(found)[:limit]]

    def unpublished(self, requests: Sequence[str]) -> set[str]:
        return {row.request for row in self.tables.outbox.values() if row.kind == "command" and row.request in requests}

    def sent(self, requests: Sequence[str]) -> dict[str, tuple[int, int]]:
        return {key: self.tables.sent[key] for key in requests if key in self.tables.sent}

    def in_flight(self, products: Sequence[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self.tables.steps.values():
            if row[STEP["in_flight"]] and row[STEP["product"]] in products:
                counts[row[STEP["product"]]] = counts.get(row[STEP["product"]], 0) + 1
        return counts

    def ready(self, free: Mapping[str, int], shards: Sequence[int], now: int) -> list[tuple[str, str]]:
        waiting: dict[str, list[r.Row]] = {}
        for row in self.tables.steps.values():
            ready_from, product = row[STEP["ready_from"]], row[STEP["product"]]
            braked = row[STEP["phase"]] in _EFFECTS and self._braked(row[STEP["tenant"]], product)
            mine = row[STEP["shard"]] in shards and product in free
            if mine and not braked and ready_from is not None and ready_from <= now:
                waiting.setdefault(product, []).append(row)
        return [(name, row[STEP["request"]]) for name in free for row in _in_turn(waiting.get(name, []), free[name])]

    def _braked(self, tenant: str, product: str) -> bool:
        brakes = self.tables.brakes
        return bool(brakes) and any((t, p) in brakes for t in ("", tenant) for p in ("", product))

    def brakes(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.tables.brakes)

    def append_brake(self, event: Callable[[int], Recorded]) -> Recorded:
        self._store.point("store.statement")
        tables = self._writable()
        recorded = event(tables.streams.get(INSTALLATION, 0) + 1)
        raw = encode(recorded)
        check(raw)
        self._events([(recorded, raw)])
        tables.streams[INSTALLATION] = recorded.n
        fold_brake(tables.brakes, recorded)
        return recorded

    # --- after deciding --------------------------------------------------------------------------------------------

    def write(self, changes: Changes) -> None:
        self._store.point("store.statement")
        self._writable()
        if changes.recorded:
            self._heads(changes)
            self._events(changes.recorded)
            self._derived(changes)
        self._kept(changes)
        for row in changes.outbox:
            body = msgspec.json.decode(msgspec.json.encode(row.body))  # as it comes back from the database
            self.tables.outbox[self._store.new_outbox_id()] = OutboxRow(row.shard, row.kind, row.request, body)

    def _heads(self, changes: Changes) -> None:
        streams = self.tables.streams
        for key, state in changes.states.items():
            before = changes.before[key]
            if before is None and key in streams:
                raise ValueError("a stream with this id exists")
            if before is not None and streams.get(key) != before.n:
                raise LostShard
            streams[key] = state.n

    def _events(self, recorded: Sequence[tuple[Recorded, bytes]]) -> None:
        for event, raw in recorded:
            before = self.tables.events.get(event.id, ())
            if event.n != len(before) + 1:
                raise ValueError("a stream has no gaps and no position twice")
            self.tables.events[event.id] = (*before, raw)
        self.recorded.extend(recorded)

    def _derived(self, changes: Changes) -> None:
        tables = self.tables
        for key, state in changes.states.items():
            before = changes.before[key]
            tables.requests[key] = state
            pairs = (
                [(state, name) for name in state.steps] if before is None else _changed_steps([state], {key: before})
            )
            for _, name in pairs:
                tables.steps[key, name] = r.step_row(state, name, self.shards)
            self._timer(key, before, state)
            if before is None and not state.ended:
                tables.waits.update(((key, other), None) for other in state.behind)
            for other in before.behind if before is not None else ():
                if other not in state.behind or state.ended:
                    tables.waits.pop((key, other), None)

    def _timer(self, key: str, before: State | None, state: State) -> None:
        row = r.timer_row(state, self.shards)
        if before is not None and row == r.timer_row(before, self.shards):
            return
        if row is not None:
            self.tables.timers[key] = row
        else:
            self.tables.timers.pop(key, None)

    def _kept(self, changes: Changes) -> None:
        tables = self.tables
        for entry in changes.vault:
            old = tables.vault.get(entry.request)
            destroy_at = old.destroy_at if old is not None else entry.destroy_at
            tables.vault[entry.request] = VaultRow(entry.request, entry.tenant, entry.key, entry.sealed, destroy_at)
        for digest in changes.index:
            tables.index.setdefault((digest.tenant, digest.digest, digest.request), digest)
        for key in changes.vault_gone:
            tables.vault.pop(key, None)
        gone = set(changes.ended)
        for key in gone:
            tables.sent.pop(key, None)
        if gone:
            for place in [place for place, request in tables.open_subjects.items() if request in gone]:
                del tables.open_subjects[place]
            changes.outbox.extend(self._turns(changes.ended))
        for row in changes.quarantine:
            tables.quarantine.setdefault((row.topic, row.partition, row.offset), row)

    def _turns(self, ended: Sequence[str]) -> list[OutboxRow]:
        return [
            OutboxRow(
                r.shard_of(behind, self.shards),
                "turn",
                waiter,
                {"ended": behind, "tenant": self.tables.requests[waiter].tenant},
            )
            for waiter, behind in sorted(self.tables.waits)
            if behind in ended
        ]


def _in_turn(rows: list[r.Row], most: int) -> list[r.Row]:
    """Nearest due day first, within it tenant by tenant; the order that the statement of the real store gives."""
    rows.sort(key=lambda row: (_due(row), row[STEP["request"]]))
    nearest = sorted(rows[:READY_HORIZON], key=lambda row: (row[STEP["ready_from"]], row[STEP["request"]]))
    turns: dict[Any, int] = {}
    placed = []
    for row in nearest:
        day = _due(row) // DAY_MS
        turn = turns[day, row[STEP["tenant"]]] = turns.get((day, row[STEP["tenant"]]), 0) + 1
        placed.append((day, turn, row[STEP["request"]], row))
    return [row for *_, row in sorted(placed, key=lambda item: item[:3])[:most]]


def _due(row: r.Row) -> int:
    """What has no due date comes last."""
    due = row[STEP["due_at"]]
    return due if due is not None else 1 << 60


def fold_brake(brakes: dict[tuple[str, str], tuple[int, int]], recorded: Recorded) -> None:
    """What a brake event means for the table of brakes."""
    event = recorded.event
    assert isinstance(event, BrakeSet)
    scope = (event.tenant or "", event.product or "")
    if event.stopped:
        brakes.setdefault(scope, (event.seq, recorded.at))
    else:
        brakes.pop(scope, None)
