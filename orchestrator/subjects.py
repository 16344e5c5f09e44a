"""Whom a request is about: what goes into the vault, and the digests and the commitment made from it."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass

import msgspec

from orchestrator.keys import KeyRing
from orchestrator.store.unit import VaultRow
from schemas.identifiers import Identifier, IdentifierKind
from schemas.messages import Records, SealedSubject
from schemas.sealing import SharedKey, b64


class Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    """The plaintext of a vault entry. ``opening`` is the random key of the request's commitment."""

    opening: bytes
    identifiers: tuple[Identifier, ...] = ()
    records: Records | None = None

    def __repr__(self) -> str:
        return "Subject(…)"

    @classmethod
    def new(cls, identifiers: tuple[Identifier, ...], records: Records | None) -> Subject:
        return cls(os.urandom(32), tuple(sorted(set(identifiers))), records)

    @property
    def kinds(self) -> frozenset[IdentifierKind]:
        return frozenset(identifier.kind for identifier in self.identifiers)

    @property
    def sealed_form(self) -> bytes:
        """What each product is given, before it is sealed for it."""
        return _encode(SealedSubject(identifiers=self.identifiers, records=self.records))

    def commitment(self, tenant: str) -> str:
        """HMAC-SHA-256 under the random opening: the only trace of the subject in the log."""
        canonical = tenant.encode() + b"\0" + self.sealed_form
        return b64(hmac.digest(self.opening, b"oblio commitment v1\0" + canonical, "sha256"))

    def body_digest(self, keys: KeyRing, tenant: str, asked: bytes) -> bytes:
        """Keyed digest of what was asked, the same however often it is sealed anew."""
        content = b"\0".join((b"oblio body v1", tenant.encode(), asked, self.sealed_form))
        return hmac.digest(keys.index.secret, content, "sha256")

    def with_derived(self, more: tuple[Identifier, ...]) -> Subject:
        return Subject(self.opening, tuple(sorted({*self.identifiers, *more})), self.records)

    def digests(self, keys: KeyRing, tenant: str) -> tuple[bytes, ...]:
        """Index digests of all that names this subject or these records, sorted."""
        found = [keys.digest_of(tenant, identifier) for identifier in self.identifiers]
        if self.records is not None:
            label = f"record:{self.records.product}.{self.records.dataset}"
            found += [keys.digest(tenant, label, key) for key in self.records.keys]
        return tuple(sorted(set(found)))


@dataclass(frozen=True)
class Vault:
    """Seals subjects for the vault table and opens them, under the key of their epoch."""

    keys: KeyRing

    def seal(self, request: str, tenant: str, subject: Subject) -> tuple[str, bytes]:
        """The key's id and the sealed entry."""
        key = self.keys.vault_current
        return key.id, key.seal_bytes(msgspec.msgpack.encode(subject), _context(request, tenant))

    def open(self, request: str, tenant: str, key: str, sealed: bytes) -> Subject:
        """Raises :class:`schemas.sealing.Undecryptable`, or :class:`KeyError` where the key epoch is destroyed."""
        plain = self._key(key).open_bytes(sealed, _context(request, tenant))
        return _decoder.decode(plain)

    def open_row(self, row: VaultRow) -> Subject:
        return self.open(row.request, row.tenant, row.key, row.sealed)

    def _key(self, name: str) -> SharedKey:
        return self.keys.vault[name]


def _context(request: str, tenant: str) -> bytes:
    return f"oblio vault v1\0{tenant}\0{request}".encode()


_encode = msgspec.json.Encoder(order="sorted").encode
_decoder = msgspec.msgpack.Decoder(Subject)
