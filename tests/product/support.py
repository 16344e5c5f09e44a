"""What the tests of products share: products over the sample stores, and an orchestrator's side of the log."""

from __future__ import annotations

import gzip
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from consumers.maps import DataMap, LogDataset, load
from consumers.product import Product
from consumers.samples.people import Subject
from consumers.samples.stores import PRODUCTS, SampleStores
from consumers.settings import ProductSettings
from schemas import codec
from schemas.codes import Phase
from schemas.identifiers import Identifier, IdentifierKind
from schemas.messages import Ack, Address, Brake, Command, Counts, Records, SealedSubject, Stop
from schemas.sealing import SharedKey, ack_context, brake_content, command_content, command_context, stop_content
from schemas.topics import Topic
from schemas.transport import Message, Record

ZERO = "A" * 43
NOW = 1_800_000_000_000
LATER = 4_000_000_000_000  # 2096: no test command expires by itself
KEY = SharedKey("orchestrator.test.1", b"k" * 32)
LOCAL = SharedKey("local.test.1", b"l" * 32)
CONSUMERS = Path(__file__).parents[2] / "consumers"


class Crash(BaseException):
    """The process is gone: nothing after this line runs."""


def data_map(product: str) -> DataMap:
    """The shipped map; log files need not settle, since the tests have only just written them."""
    shipped = load(CONSUMERS / product / "map.yaml")
    datasets = {
        name: msgspec.structs.replace(dataset, settle_s=0) if isinstance(dataset, LogDataset) else dataset
        for name, dataset in shipped.datasets.items()
    }
    return msgspec.structs.replace(shipped, datasets=datasets)


def settings(stores: SampleStores, product: str, **more: Any) -> ProductSettings:
    addresses = {
        "database": stores.url(product).render_as_string(hide_password=False),
        "files": stores.objects,
        "folder": str(stores.log_folder),
    }
    values: dict[str, Any] = {"keys": (KEY,), "local": LOCAL, "lease_s": 0.1, "backoff_s": 0.005, "progress_s": 0.0}
    return ProductSettings(**{"addresses": addresses, **values, **more})


@dataclass
class World:
    """Products over one set of sample stores; closes what it made."""

    stores: SampleStores
    made: list[Product] = field(default_factory=list)

    def product(self, name: str, *, map_: DataMap | None = None, more: dict | None = None, **options: Any) -> Product:
        """A new worker of the product, as after a restart."""
        product = Product(map_ or data_map(name), settings(self.stores, name, **(more or {})), **options)
        if name not in {other.name for other in self.made}:
            product.install()
        self.made.append(product)
        return product

    def products(self) -> dict[str, Product]:
        return {name: self.product(name) for name in PRODUCTS}

    def close(self) -> None:
        for product in self.made:
            product.close()
        self.stores.dispose()


def identifiers(subject: Subject) -> tuple[Identifier, ...]:
    """Everything that is known of a sample subject, as after resolve."""
    found = [
        (IdentifierKind.USER_ID, str(subject.user_id)),
        (IdentifierKind.EXTERNAL_ID, subject.external_id),
        (IdentifierKind.PHONE, subject.phone),
        *((IdentifierKind.EMAIL, email) for email in subject.emails),
        *((IdentifierKind.VISITOR_ID, visitor) for visitor in subject.visitor_ids),
    ]
    return tuple(Identifier.of(kind, value) for kind, value in found if value)


def of(subject: Subject) -> SealedSubject:
    return SealedSubject(identifiers=identifiers(subject))


def request_id() -> str:
    return str(uuid.UUID(bytes=os.urandom(16), version=4))


def command(
    product: str | Sequence[str],
    phase: Phase,
    tenant: str,
    subject: SealedSubject,
    *,
    request: str | None = None,
    epoch: int = 1,
    seq: int = 1,
    attempt: int = 1,
    ceiling: int | None = None,
    cutoff_at: int | None = None,
    expires_at: int = LATER,
    key: SharedKey = KEY,
) -> Command:
    """A command as the orchestrator makes it: sealed and authenticated for each product."""
    names = [product] if isinstance(product, str) else product
    cutoff = cutoff_at if cutoff_at is not None else time.time_ns() // 1_000_000
    drafts = tuple(
        Address(product=n, epoch=epoch, seq=seq, attempt=attempt, key=key.id, sealed="x", mac=ZERO, ceiling=ceiling)
        for n in names
    )
    bare = Command(
        tenant=tenant, request=request or request_id(), phase=phase, cutoff_at=cutoff, expires_at=expires_at, to=drafts
    )
    plain = msgspec.json.encode(subject)
    addresses = []
    for draft in drafts:
        sealed = msgspec.structs.replace(draft, sealed=key.seal(plain, command_context(bare, draft)))
        addresses.append(msgspec.structs.replace(sealed, mac=key.mac(command_content(bare, sealed))))
    return msgspec.structs.replace(bare, to=tuple(addresses))


def records(*messages: codec.AnyMessage, topic: Topic = Topic.COMMANDS, first: int = 0) -> list[Record]:
    found = []
    for offset, message in enumerate(messages, first):
        packed = codec.pack(topic, "key", message, "/orchestrator")
        found.append(Record(topic.value, 0, offset, packed.key, packed.value, packed.headers, NOW))
    return found


def acks(messages: Iterable[Message]) -> list[Ack]:
    """The acks among messages, each authenticated."""
    found = []
    for message in messages:
        if message.topic == Topic.ACKS.value:
            envelope, ack = codec.message_of(
                Record(message.topic, 0, 0, message.key, message.value, message.headers, NOW)
            )
            envelope.verify(KEY)
            assert isinstance(ack, Ack)
            assert all(counts.add_up for counts in ack.counts.values())
            found.append(ack)
    return found


def obey(product: Product, *commands: Command) -> list[Ack]:
    return acks(product.handle(records(*commands)))


def one(product: Product, wanted: Command) -> Ack:
    (ack,) = obey(product, wanted)
    return ack


def opened(ack: Ack) -> dict[str, set[str]]:
    """The identifiers that an ack of resolve carries."""
    assert ack.sealed is not None
    subject = msgspec.json.decode(KEY.open(ack.sealed, ack_context(ack)), type=SealedSubject)
    found: dict[str, set[str]] = {}
    for identifier in subject.identifiers:
        found.setdefault(identifier.kind.value, set()).add(identifier.value)
    return found


def stop_of(wanted: Command, seq: int) -> Stop:
    to = wanted.to[0]
    bare = Stop(
        tenant=wanted.tenant, request=wanted.request, product=to.product, epoch=to.epoch, seq=seq, key=KEY.id, mac=ZERO
    )
    return msgspec.structs.replace(bare, mac=KEY.mac(stop_content(bare)))


def brake(product: str, seq: int, *, stopped: bool, tenant: str | None = None) -> Brake:
    bare = Brake(product=product, stopped=stopped, seq=seq, key=KEY.id, mac=ZERO, tenant=tenant)
    return msgspec.structs.replace(bare, mac=KEY.mac(brake_content(bare)))


def named(product: str, dataset: str, *keys: str) -> SealedSubject:
    return SealedSubject(records=Records(product=product, dataset=dataset, keys=keys))


def crashing(at: int) -> Callable[[str], None]:
    """A boundary that dies at its ``at``-th call."""
    calls = iter(range(1, at + 1))

    def boundary(_: str) -> None:
        if next(calls, at) == at:
            raise Crash

    return boundary


def totals(counts: dict[str, Counts]) -> dict[str, int]:
    return {name: n.found for name, n in counts.items()}


def state(world: World, product: str) -> dict[str, str]:
    """Digests of everything a product's stores hold; two equal ones are the same data."""
    found: dict[str, str] = {}
    with world.stores.cursor(product) as cursor:
        cursor.execute("select table_name from information_schema.tables where table_schema = 'public' order by 1")
        for (table,) in cursor.fetchall():
            cursor.execute(f"select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {table} t")
            found[table] = cursor.fetchone()[0]
    if product in ("tickets", "voice"):
        objects = [key for key in world.stores.object_store.list() if key.startswith(product)]
        found["objects"] = hashlib.sha256(repr(objects).encode()).hexdigest()
    if product == "logs":
        for path in sorted(world.stores.log_folder.iterdir()):
            raw = path.read_bytes()
            found[path.name] = hashlib.sha256(gzip.decompress(raw) if path.suffix == ".gz" else raw).hexdigest()
    return found


def left_over(product: Product) -> dict[str, int]:
    """Rows in the kernel's working tables."""
    with product.holdings.home.connect() as connection:
        return {
            table: connection.exec_driver_sql(f"select count(*) from oblio.{table}").scalar_one()
            for table in ("plans", "trash")
        }
