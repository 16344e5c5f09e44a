"""Sealing and authentication of messages.

* Between orchestrator and one product: a shared secret, from which HKDF-SHA-256 (RFC 5869) derives one key for
  AES-256-GCM and one for HMAC-SHA-256. What a sealed block belongs to is its associated data, so that it cannot be
  moved into another request, step, phase or attempt.
* To the orchestrator from anybody: a sealed box made with its X25519 public key alone (ephemeral key, HKDF,
  AES-256-GCM).

Text forms are base64url without padding.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.messages import Ack, Address, Brake, Command, Stop

NONCE_BYTES = 12
_BOX_INFO = b"oblio request v1"


class Undecryptable(Exception):
    """The block was not sealed with this key, or not for this place."""


class BadSignature(Exception):
    """The message was not authenticated with this key, or was changed since."""


def b64(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The bytes of :func:`b64`. Raises :class:`ValueError` on any other spelling of them."""
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64(raw) != text:  # padding given, or stray bits in the last character
        raise ValueError("not base64url without padding")
    return raw


def digest(raw: bytes) -> str:
    """SHA-256 as a :data:`schemas.types.Digest`."""
    return b64(hashlib.sha256(raw).digest())


def _derive(secret: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)


@dataclass(frozen=True)
class SharedKey:
    """A secret of 32 bytes that two parties share; ``id`` names it in messages and may be public."""

    id: str
    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise ValueError(f"key {self.id}: a secret is 32 bytes")

    def __repr__(self) -> str:
        return f"SharedKey({self.id!r})"

    @classmethod
    def new(cls, id: str) -> SharedKey:  # noqa: A002 - as the field
        """A new random key."""
        return cls(id, os.urandom(32))

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(_derive(self.secret, b"oblio seal v1"))

    @cached_property
    def _mac_key(self) -> bytes:
        return _derive(self.secret, b"oblio mac v1")

    def seal(self, plaintext: bytes, associated: bytes) -> str:
        """Text form of :meth:`seal_bytes`."""
        return b64(self.seal_bytes(plaintext, associated))

    def open(self, sealed: str, associated: bytes) -> bytes:
        """The plaintext. Raises :class:`Undecryptable`."""
        try:
            return self.open_bytes(unb64(sealed), associated)
        except ValueError:
            raise Undecryptable(self.id) from None

    def seal_bytes(self, plaintext: bytes, associated: bytes) -> bytes:
        """Encrypt under a random nonce, bound to ``associated``."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, associated)

    def open_bytes(self, sealed: bytes, associated: bytes) -> bytes:
        """The plaintext. Raises :class:`Undecryptable`."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
        except (InvalidTag, ValueError):
            raise Undecryptable(self.id) from None

    def mac(self, content: bytes) -> str:
        """HMAC-SHA-256 over ``content``, as a :data:`schemas.types.Digest`."""
        return b64(hmac.digest(self._mac_key, content, "sha256"))

    def verify(self, content: bytes, mac: str) -> None:
        """Raise :class:`BadSignature` unless ``mac`` is this key's over ``content``."""
        if not hmac.compare_digest(self.mac(content).encode(), mac.encode("utf-8", "surrogatepass")):
            raise BadSignature(self.id)


def _joined(domain: bytes, *parts: object) -> bytes:
    """Unambiguous concatenation: each part with its length before it."""
    raws = [part if isinstance(part, bytes) else b"" if part is None else str(part).encode() for part in parts]
    return domain + b"".join(len(raw).to_bytes(4, "big") + raw for raw in raws)


def command_context(command: Command, to: Address) -> bytes:
    """Associated data of the sealed identifiers of ``to``: everything that says where and when they may be used."""
    return _joined(
        b"oblio command v1",
        command.tenant,
        command.request,
        command.phase,
        command.cutoff_at,
        command.expires_at,
        to.product,
        to.epoch,
        to.seq,
        to.attempt,
        to.key,
        to.ceiling,
    )


def command_content(command: Command, to: Address) -> bytes:
    """What :attr:`Address.mac` authenticates."""
    return sealed_content(command_context(command, to), to.sealed)


def sealed_content(context: bytes, sealed: str) -> bytes:
    """The same, where the context is at hand already."""
    return context + sealed.encode()


def ack_context(ack: Ack) -> bytes:
    """Associated data of the identifiers that an ack of ``resolve`` carries."""
    return _joined(b"oblio ack v1", ack.tenant, ack.request, ack.product, ack.phase, ack.epoch, ack.seq, ack.attempt)


def stop_content(stop: Stop) -> bytes:
    """What :attr:`Stop.mac` authenticates."""
    return _joined(b"oblio stop v1", stop.tenant, stop.request, stop.product, stop.epoch, stop.seq, stop.key)


def brake_content(brake: Brake) -> bytes:
    """What :attr:`Brake.mac` authenticates."""
    return _joined(b"oblio brake v1", brake.product, brake.stopped, brake.seq, brake.key, brake.tenant)


def event_content(type: str, source: str, id: str, data: bytes) -> bytes:  # noqa: A002 - the attributes' own names
    """What the ``oblmac`` attribute of a CloudEvent authenticates: who says what, byte for byte."""
    return _joined(b"oblio message v1", type, source, id, data)


# --- sealed boxes -------------------------------------------------------------------------------------------------


def seal_to(public: bytes, plaintext: bytes, associated: bytes) -> str:
    """Seal for the holder of the private half of ``public`` (32 bytes, X25519)."""
    ephemeral = X25519PrivateKey.generate()
    point = ephemeral.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    key = _derive(shared, _BOX_INFO + point + public)
    # The key is used once, so the nonce may be fixed.
    return b64(point + AESGCM(key).encrypt(bytes(NONCE_BYTES), plaintext, associated))


def open_sealed(private: bytes, sealed: str, associated: bytes) -> bytes:
    """The plaintext of :func:`seal_to`. Raises :class:`Undecryptable`."""
    try:
        raw = unb64(sealed)
        point, ciphertext = raw[:32], raw[32:]
        own = X25519PrivateKey.from_private_bytes(private)
        public = own.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        key = _derive(own.exchange(X25519PublicKey.from_public_bytes(point)), _BOX_INFO + point + public)
        return AESGCM(key).decrypt(bytes(NONCE_BYTES), ciphertext, associated)
    except (InvalidTag, ValueError):
        raise Undecryptable("sealed box") from None


def public_of(private: bytes) -> bytes:
    """The X25519 public key (32 bytes) of ``private``."""
    own = X25519PrivateKey.from_private_bytes(private)
    return own.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def erase_context(tenant: str, source: str, id: str) -> bytes:  # noqa: A002 - the attribute's own name
    """Associated data of a sealed subject in a request: it cannot be moved into another tenant's or another event."""
    return _joined(b"oblio erase v1", tenant, source, id)
