"""Where one transaction's decisions are taken and gathered, before they are written together."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from orchestrator.domain.commands import DomainCommand
from orchestrator.domain.decide import decide
from orchestrator.domain.evolve import evolve
from orchestrator.domain.policy import Policy
from orchestrator.domain.state import State
from orchestrator.store.rows import shard_of
from orchestrator.store.unit import Changes, OutboxRow, Unit
from schemas import events as e

log = structlog.get_logger()


class UnknownRequest(Exception):
    """No stream has this id."""


class Desk:
    """Decides for many requests within one transaction.

    ``cache`` holds states that this instance has folded before. It is believed only after the stream's head was read
    under lock: a state that lags behind is read anew, so a conflict concerns one stream and never the batch.
    """

    def __init__(self, unit: Unit, cache: dict[str, State], policy: Policy, now: int) -> None:
        self.unit = unit
        self.changes = Changes()
        self.policy = policy
        self.now = now
        self._cache = cache
        self._loaded: dict[str, State] = {}
        self._told: dict[str, OutboxRow] = {}

    def load(self, ids: Iterable[str]) -> None:
        """Lock the streams and have their present states at hand."""
        wanted = [key for key in set(ids) if key not in self._loaded and key not in self.changes.states]
        heads = self.unit.versions(wanted)
        stale = [key for key, version in heads.items() if (known := self._cache.get(key)) is None or known.n != version]
        fresh = self.unit.states(stale)
        for key in heads:
            self._loaded[key] = fresh[key] if key in fresh else self._cache[key]

    def state(self, request: str) -> State:
        """The state so far, with what this transaction has decided. Raises :class:`UnknownRequest`."""
        state = self.changes.states.get(request) or self._loaded.get(request)
        if state is None:
            raise UnknownRequest(request)
        return state

    def apply(self, request: str, command: DomainCommand) -> list[e.AnyEvent]:
        """Decide for a request that exists, and note what follows."""
        state = self.state(request)
        events = decide(state, command, self.now, self.policy)
        if events:
            self._note(state, request, state.tenant, events)
        return events

    def create(self, request: str, tenant: str, command: DomainCommand) -> None:
        """Decide the first events of a new stream."""
        self._note(None, request, tenant, decide(None, command, self.now, self.policy))

    def _note(self, state: State | None, request: str, tenant: str, events: list[e.AnyEvent]) -> None:
        first = state.n + 1 if state is not None else 1
        recorded: list[tuple[e.Recorded, bytes]] = []
        after = state
        for n, event in enumerate(events, first):
            entry = e.Recorded(id=request, tenant=tenant, n=n, at=self.now, event=event)
            raw = e.encode(entry)
            e.check(raw)
            after = evolve(after, entry)
            recorded.append((entry, raw))
        assert after is not None
        # Nothing is noted until every event of the command has passed its check.
        self.changes.before.setdefault(request, state)
        self.changes.states[request] = after
        self.changes.recorded.extend(recorded)
        shard = shard_of(request, self.unit.shards)
        for event in events:
            self._consequences(shard, after, event)
        self._publish_events(shard, after, first)

    def _publish_events(self, shard: int, state: State, first: int) -> None:
        """One row for all that this transaction adds to a stream."""
        row = self._told.get(state.id)
        if row is None:
            row = self._told[state.id] = OutboxRow(shard, "events", state.id, {"tenant": state.tenant, "first": first})
            self.changes.outbox.append(row)
        row.body["last"] = state.n

    def _consequences(self, shard: int, state: State, event: e.AnyEvent) -> None:
        match event:
            case e.Dispatched():
                self.changes.outbox.append(OutboxRow(shard, "command", state.id, _command_body(state, event)))
            case e.StopSent():
                body = {name: [state.steps[name].epoch, seq] for name, seq in event.steps.items()}
                self.changes.outbox.append(OutboxRow(shard, "stop", state.id, {"tenant": state.tenant, "steps": body}))
            case e.VaultDestroyed():
                self.changes.vault_gone.append(state.id)
            case e.Ended():
                self.changes.vault_gone.append(state.id)
                self.changes.ended.append(state.id)


def _command_body(state: State, event: e.Dispatched) -> dict[str, object]:
    """What the publisher needs to render the command; whom it concerns stays in the vault."""
    cutoffs = [cutoff for name in event.steps if (cutoff := state.steps[name].cutoff_at) is not None]
    return {
        "tenant": state.tenant,
        "phase": event.phase.value,
        "epoch": event.epoch,
        "cutoff_at": min(cutoffs),
        "expires_at": event.expires_at,
        "steps": {name: [seq, attempt] for name, (seq, attempt) in event.steps.items()},
        "ceilings": {name: state.steps[name].ceiling for name in event.steps if state.steps[name].ceiling is not None},
    }
