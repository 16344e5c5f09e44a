"""Identifiers of a subject, and the one place where they are brought to a normal form.

Digests in the index depend on the normal form: two spellings of one address must give one digest, today and
in five years. So the rules here are few, fixed and need no data that changes (no table of numbering plans).
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import Any

import msgspec


class IdentifierKind(StrEnum):
    """What an identifier is. Whether it is surrogate or reusable in a product is said by its data map."""

    EMAIL = "email"
    PHONE = "phone"
    USER_ID = "user_id"
    EXTERNAL_ID = "external_id"
    ACCOUNT_ID = "account_id"
    CONTACT_ID = "contact_id"
    VISITOR_ID = "visitor_id"
    DEVICE_ID = "device_id"
    USERNAME = "username"


class Identifier(msgspec.Struct, frozen=True, order=True):
    """One identifier; ``value`` is personal data and never leaves the vault unsealed."""

    kind: IdentifierKind
    value: str

    def __repr__(self) -> str:
        return f"Identifier({self.kind.value}, …)"  # a traceback or a log line must not show whose it is

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kind", self.kind.value)]

    @classmethod
    def of(cls, kind: IdentifierKind, text: str) -> Identifier:
        """The normalised identifier. Raises :class:`BadIdentifier`."""
        return cls(kind, normalise(kind, text))


class BadIdentifier(ValueError):
    """The text cannot be an identifier of its kind. ``reason`` never quotes the text."""

    def __init__(self, kind: IdentifierKind, reason: str) -> None:
        super().__init__(f"{kind.value}: {reason}")
        self.kind = kind
        self.reason = reason


MAX_LENGTH = 254  # RFC 5321 allows no longer address; no other kind needs more
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_SEPARATORS = re.compile(r"[\s().\-/‐-―\u00a0]+")
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f]")


def normalise(kind: IdentifierKind | str, text: str) -> str:
    """The normal form of ``text`` as an identifier of ``kind``.

    All kinds: Unicode NFC, no surrounding white space, 1 to 254 characters, no control characters. E-mail: lower
    case. Phone: E.164 (``+`` and 7 to 15 digits; ``00`` is read as ``+``; separators and a trunk ``(0)`` drop).

    Raises :class:`BadIdentifier` with a reason that does not quote the text.
    """
    kind = IdentifierKind(kind)
    value = unicodedata.normalize("NFC", text).strip()
    if not value:
        raise BadIdentifier(kind, "is empty")
    if kind is IdentifierKind.PHONE:
        return _phone(value)
    if len(value) > MAX_LENGTH:
        raise BadIdentifier(kind, f"is longer than {MAX_LENGTH} characters")
    if kind is IdentifierKind.EMAIL:
        return _email(value)
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise BadIdentifier(kind, "has control characters")
    return value


def _email(value: str) -> str:
    kind = IdentifierKind.EMAIL
    local, at, domain = value.rpartition("@")
    if not at or not local or not domain or "@" in local:
        raise BadIdentifier(kind, "is not an address: it needs one @ with text on both sides")
    if _SPACE_OR_CONTROL.search(value):
        raise BadIdentifier(kind, "has white space or control characters inside")
    # Lower-casing can leave NFC (rare, but a second normalisation makes the form stable).
    return unicodedata.normalize("NFC", value.lower())


def _phone(value: str) -> str:
    kind = IdentifierKind.PHONE
    digits = _PHONE_SEPARATORS.sub("", value.replace("(0)", ""))
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    if not digits.startswith("+"):
        raise BadIdentifier(kind, "has no country code: write it in E.164 form, + and the country code first")
    if not _PHONE.fullmatch(digits):
        raise BadIdentifier(kind, "is not in E.164 form: + and 7 to 15 digits")
    return digits
