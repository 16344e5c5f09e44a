"""Receipts: what a product keeps of a phase that succeeded.

One per (tenant, request, phase, epoch), written once. Whoever asks for the same again gets the first receipt's ack;
the evidence is not computed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import msgspec
import sqlalchemy as sa

from consumers import arrays
from consumers.steps import Step, StepId
from consumers.stores.sql_errors import store_errors
from schemas.codes import Evidence, Outcome, Phase
from schemas.messages import Ack, Counts, Message
from schemas.sealing import digest
from schemas.types import Count, Digest, Millis, Name, Ordinal, RequestId, Tenant


class Receipt(Message, frozen=True):
    """What was done, in numbers. ``seq`` and ``attempt`` are those of the command that was obeyed."""

    tenant: Tenant
    request: RequestId
    product: Name
    phase: Phase
    epoch: Ordinal
    seq: Ordinal
    attempt: Ordinal
    outcome: Outcome
    at: Millis
    evidence: Evidence
    map: Digest
    counts: dict[Name, Counts] = msgspec.field(default_factory=dict)
    persons: Count = 0


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Receipt)


def receipt_of(
    step: Step,
    counts: dict[str, Counts],
    *,
    at: int,
    map_digest: str,
    evidence: Evidence,
    persons: int = 0,
) -> Receipt:
    """The receipt of a step that succeeded: ``nothing_found`` where neither a row nor a person was."""
    found = any(c.found for c in counts.values()) or persons
    return Receipt(
        tenant=step.command.tenant,
        request=step.command.request,
        product=step.to.product,
        phase=step.phase,
        epoch=step.to.epoch,
        seq=step.to.seq,
        attempt=step.to.attempt,
        outcome=Outcome.DONE if found else Outcome.NOTHING_FOUND,
        at=at,
        evidence=evidence,
        map=map_digest,
        counts=counts,
        persons=persons,
    )


def encode(receipt: Receipt) -> bytes:
    """Canonical bytes: sorted keys, no white space, ASCII text and integers."""
    return _encoder.encode(receipt)


def ack_of(receipt: Receipt, body: bytes, step: Step) -> Ack:
    """The ack that ``receipt`` gives to the command at hand."""
    return Ack(
        tenant=receipt.tenant,
        request=receipt.request,
        product=receipt.product,
        phase=receipt.phase,
        epoch=receipt.epoch,
        seq=step.to.seq,
        attempt=step.to.attempt,
        outcome=receipt.outcome,
        at=receipt.at,
        counts=receipt.counts,
        evidence=receipt.evidence,
        map=receipt.map,
        receipt=digest(body),
        persons=receipt.persons,
    )


def install(engine: sa.Engine) -> None:
    """Create what is missing of the schema ``oblio``; harmless where all of it is there."""
    script = resources.files("consumers").joinpath("receipts.sql").read_text(encoding="utf-8")
    with store_errors(), engine.begin() as connection:
        # Two products over one database may start together, and "if not exists" alone does not make that safe.
        connection.exec_driver_sql("select pg_advisory_xact_lock(hashtext('oblio.install'))")
        connection.exec_driver_sql(script)


_FIND = sa.text(f"""
    select r.tenant, r.request::text, r.phase, r.epoch, r.body
      from oblio.receipts r
      join {arrays.table(**arrays.KEY)}
        on (r.tenant, r.request, r.phase, r.epoch) = (w.tenant, w.request, w.phase, w.epoch)
     where r.product = :product
""")

_WRITE = sa.text(f"""
    insert into oblio.receipts (product, tenant, request, phase, epoch, body)
    select :product, tenant, request, phase, epoch, body
      from {arrays.table(**arrays.KEY, body="bytea")}
""")


def find(connection: sa.Connection, product: str, steps: Sequence[Step]) -> dict[StepId, bytes]:
    """Bodies of the receipts that exist already."""
    if not steps:
        return {}
    with store_errors():
        rows = connection.execute(_FIND, {"product": product, **arrays.keys(steps)})
        return {(tenant, request, phase, epoch): bytes(body) for tenant, request, phase, epoch, body in rows}


def write(connection: sa.Connection, product: str, receipts: Sequence[tuple[Step, bytes]]) -> None:
    """Keep receipts. A second one for the same step violates the primary key: the work is undone with it."""
    if receipts:
        keys = arrays.keys([step for step, _ in receipts])
        bodies = arrays.binary(body for _, body in receipts)
        with store_errors():
            connection.execute(_WRITE, {"product": product, **keys, "w_body": bodies})


def repeated(body: bytes, step: Step) -> Ack:
    """The first receipt's ack, for a command that asks for the same again."""
    return ack_of(_decoder.decode(body), body, step)
