"""The keys of an installation, kept in a file outside the database and its backups.

An old dump of the database and today's keys name nobody, and neither does the file alone.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from schemas.codes import Mode
from schemas.identifiers import Identifier
from schemas.sealing import SharedKey, b64, public_of, unb64

FILE_MODE = 0o600


class KeyText(msgspec.Struct, frozen=True):
    """A key as it stands in the file."""

    id: str
    secret: str

    @property
    def key(self) -> SharedKey:
        return SharedKey(self.id, unb64(self.secret))

    @classmethod
    def new(cls, name: str) -> KeyText:
        return cls(name, b64(os.urandom(32)))

    def __repr__(self) -> str:
        return f"KeyText({self.id!r})"


class ProducerText(msgspec.Struct, frozen=True):
    """A platform team that may send requests: its key, its tenant and the modes it may ask for."""

    key: KeyText
    tenant: str
    modes: tuple[Mode, ...] = (Mode.TRASH, Mode.PURGE)


class KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file. Lists are oldest first: the last key is used, the older ones still open what they sealed."""

    request: str
    """Private X25519 key to which requests are sealed."""
    vault: tuple[KeyText, ...]
    index: KeyText
    orchestrator: KeyText
    operators: tuple[KeyText, ...]
    products: dict[str, tuple[KeyText, ...]]
    locals: dict[str, KeyText]
    """Each product's own key for its plans; shared with nobody."""
    producers: tuple[ProducerText, ...]


@dataclass(frozen=True)
class Producer:
    """A platform team's key, and what may be asked with it."""

    key: SharedKey
    tenant: str
    modes: frozenset[Mode]


class KeyRing:
    """The orchestrator's keys, ready for use."""

    def __init__(self, file: KeyFile) -> None:
        self.file = file
        self.request_private = unb64(file.request)
        self.request_public = public_of(self.request_private)
        self.vault = {text.id: text.key for text in file.vault}
        self.vault_current = file.vault[-1].key
        self.index = file.index.key
        self.orchestrator = file.orchestrator.key
        self.operators = {text.id: text.key for text in file.operators} | {self.orchestrator.id: self.orchestrator}
        self.products = {name: {text.id: text.key for text in texts} for name, texts in file.products.items()}
        self._current = {name: texts[-1].key for name, texts in file.products.items()}
        self.producers = {
            text.key.id: Producer(text.key.key, text.tenant, frozenset(text.modes)) for text in file.producers
        }

    def product(self, name: str) -> SharedKey:
        """The key of the present epoch shared with a product. Raises :class:`KeyError`."""
        return self._current[name]

    def local(self, name: str) -> SharedKey:
        """A product's own key, for the embedded system that runs both sides."""
        return self.file.locals[name].key

    def digest(self, tenant: str, label: str, value: str) -> bytes:
        """The index digest of an identifier: HMAC-SHA-256 under the index key, bound to the tenant."""
        return hmac.digest(self.index.secret, f"oblio index v1\0{tenant}\0{label}\0{value}".encode(), "sha256")

    def digest_of(self, tenant: str, identifier: Identifier) -> bytes:
        return self.digest(tenant, identifier.kind.value, identifier.value)


def generate(products: tuple[str, ...], tenants: tuple[str, ...]) -> KeyFile:
    """New random keys for everything."""
    return KeyFile(
        request=b64(os.urandom(32)),
        vault=(KeyText.new("vault.1"),),
        index=KeyText.new("index.1"),
        orchestrator=KeyText.new("orchestrator.1"),
        operators=(KeyText.new("cli.1"),),
        products={name: (KeyText.new(f"product.{name}.1"),) for name in products},
        locals={name: KeyText.new(f"local.{name}.1") for name in products},
        producers=tuple(ProducerText(KeyText.new(f"producer.{tenant}.1"), tenant) for tenant in tenants),
    )


def save(file: KeyFile, path: Path) -> None:
    """Write the file, readable by its owner alone; never over an existing one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "wb") as out:
        out.write(msgspec.json.format(msgspec.json.encode(file), indent=2))


def load(path: Path) -> KeyRing:
    """The keys in ``path``. Raises :class:`ValueError` with what to do, never quoting a key."""
    try:
        return KeyRing(msgspec.json.decode(path.read_bytes(), type=KeyFile))
    except FileNotFoundError:
        raise ValueError(f"no key file at {path}: run `oblio dev` once to make an installation") from None
    except (msgspec.MsgspecError, ValueError):
        raise ValueError(f"the key file {path} cannot be read; restore it from its own backup") from None
