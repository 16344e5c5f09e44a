"""The bytes of rejected records: sealed under the vault key, for whoever may have to look at them or send them again."""

from __future__ import annotations

import msgspec

from orchestrator.keys import KeyRing
from orchestrator.store.queries import RejectedRecord
from schemas.sealing import SharedKey
from schemas.transport import Record


class KeptRecord(msgspec.Struct, frozen=True, array_like=True):
    """A rejected record as it came."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int

    def __repr__(self) -> str:
        return "KeptRecord(…)"


def seal_record(key: SharedKey, rejection: str, record: Record) -> bytes:
    """The record's bytes, sealed for the quarantine under the id of its rejection."""
    kept = KeptRecord(record.key, record.value, tuple(record.headers), record.timestamp_ms)
    return key.seal_bytes(_encode(kept), _context(rejection))


def open_record(keys: KeyRing, rejected: RejectedRecord) -> KeptRecord:
    """The record that was rejected.

    Raises:
        KeyError: the vault key of its time is destroyed.
        schemas.sealing.Undecryptable: the bytes were not sealed under that key, or are damaged.
    """
    return _decode(keys.vault[rejected.key].open_bytes(rejected.sealed, _context(rejected.line.id)))


def _context(rejection: str) -> bytes:
    return f"oblio quarantine v1\0{rejection}".encode()


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(KeptRecord).decode
