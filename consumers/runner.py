"""The loop of a product in the embedded system: one thread for commands, one for stops.

Order is everything: handle, publish the acks, move the offset owed in the product's own database, and last tell the
log. Whatever dies in between is done again, and answered from its receipts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from consumers import offsets
from consumers.product import Product
from schemas.topics import Topic
from schemas.transport import Batch, Bus, Message, OffsetOutOfRange, Reader, Record

log = structlog.get_logger(__name__)

BATCH = 200
POLL_S = 0.5
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


def run(product: Product, bus: Bus, stop: threading.Event, *, member: str | None = None) -> None:
    """Read and obey until ``stop`` is set. Never dies of an exception: it logs a code, pauses, and tries again.

    Args:
        product: installed already.
        bus: any log.
        stop: set it to end the loop within about a poll, or a batch.
        member: this reader's name in the product's groups.
    """
    member = member or f"{product.name}-1"
    product.on_progress = bus.publish
    control = threading.Thread(
        target=Loop(product, bus, Topic.STOPS, f"product.{product.name}.stops", obey=product.stop, member=member).run,
        args=(stop,),
        name=f"{product.name}-stops",
        daemon=True,
    )
    control.start()
    Loop(product, bus, Topic.COMMANDS, f"product.{product.name}", obey=product.handle, member=member).run(stop)
    control.join()


class Loop:
    """One reader of one topic."""

    def __init__(
        self,
        product: Product,
        bus: Bus,
        topic: Topic,
        group: str,
        *,
        obey: Callable[[Sequence[Record]], Sequence[Message]],
        member: str,
    ) -> None:
        self._product = product
        self._bus = bus
        self._topic = topic
        self._group = group
        self._obey = obey
        self._member = member
        self._generation = 0
        self._identity = ""

    def run(self, stop: threading.Event) -> None:
        """Read until ``stop`` is set."""
        pause = FIRST_PAUSE_S
        while not stop.is_set():
            try:
                self._read(stop)
                pause = FIRST_PAUSE_S
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever a log or a database does
                log.warning("reader pauses", group=self._group, error=type(error).__name__, seconds=pause)
                stop.wait(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)

    def _read(self, stop: threading.Event) -> None:
        """With one reader, until ``stop`` is set or something raises."""
        reader = self._bus.reader(self._group, [self._topic.value], self._member)
        self._generation = 0
        self._identity = self._bus.identity(self._topic.value)
        try:
            while not stop.is_set():
                self.turn(reader)
        finally:
            reader.close()

    def turn(self, reader: Reader) -> None:
        """One poll, and what follows from it.

        Raises:
            StoreError, BusError: nothing is lost; the records come again.
        """
        try:
            batch = reader.poll(BATCH, POLL_S)
        except OffsetOutOfRange as gap:
            # Records that are owed are gone: for a person to accept. The other partitions go on.
            log.error(  # noqa: TRY400 - a traceback adds nothing to a code
                "owed offset is not in the log", group=self._group, partition=gap.at.partition, first=gap.first
            )
            return
        if batch.generation != self._generation:
            self._take_over(reader, batch)
        if not batch.records:
            return
        if self._went_back(reader, batch.records):
            return
        messages = self._obey(batch.records)
        if messages:
            self._bus.publish(messages)
        self._product.moved(batch.records, self._identity)
        reader.commit({at: after for at, (_, after) in offsets.spans(batch.records).items()})

    def _take_over(self, reader: Reader, batch: Batch) -> None:
        """Begin every partition where this product's own database says, and tell the log so.

        Whoever died between moving the offset owed and committing it left the log behind: without a word it would
        look as if the last command were unread until the partition's next record.
        """
        owed = self._product.owed(list(batch.assigned), self._identity)
        for at, offset in owed.items():
            reader.seek(at, offset)
        if owed:
            reader.commit(owed)
        self._generation = batch.generation

    def _went_back(self, reader: Reader, records: Sequence[Record]) -> bool:
        """Whether a partition of the batch begins above what is owed; then all of it is read again from there."""
        spans = offsets.spans(records)
        known = self._product.owed(list(spans), self._identity)
        gaps = offsets.gaps(records, known)
        if not gaps:
            return False
        log.warning("went back to the offset owed", group=self._group, partitions=len(gaps))
        for at, (first, _) in spans.items():
            reader.seek(at, gaps.get(at, first))
        return True
