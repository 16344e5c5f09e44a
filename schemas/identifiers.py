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
_PHONE_SEPARATORS = re.compile(r"[\s().\-/‐-―−]+")
_KEEPS_TRUNK_ZERO = ("+39", "+378")  # in Italy and San Marino the zero is part of the number
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_IN_ADDRESS = re.compile(r'[<>()\[\],;:"\\]')
# What copying from a web page or a contact brings along unseen: soft hyphen, zero-width space, direction marks, BOM.
# The joiners U+200C and U+200D are letters' business in some scripts and stay.
_INVISIBLE = "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_INVISIBLES = re.compile(f"[{_INVISIBLE}]+")
_AROUND = re.compile(rf"\A[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+\Z")


def normalise(kind: IdentifierKind | str, text: str) -> str:
    """The normal form of ``text`` as an identifier of ``kind``.

    All kinds: Unicode NFC, no white space or invisible marks around, 1 to 254 characters, no control characters.
    E-mail: lower case. Phone: E.164 (``+`` and 7 to 15 digits; ``00`` is read as ``+``; separators drop, and so does
    a trunk zero in brackets where the country drops it).

    Raises :class:`BadIdentifier` with a reason that does not quote the text.
    """
    kind = IdentifierKind(kind)
    value = _AROUND.sub("", unicodedata.normalize("NFC", text))
    if not value:
        raise BadIdentifier(kind, "is empty")
    if kind is IdentifierKind.PHONE:
        value = _phone(value)
    elif kind is IdentifierKind.EMAIL:
        value = _email(value)
    elif any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise BadIdentifier(kind, "has control characters")
    if len(value) > MAX_LENGTH:
        raise BadIdentifier(kind, f"is longer than {MAX_LENGTH} characters")
    return value


def _email(text: str) -> str:
    kind = IdentifierKind.EMAIL
    # Lower-casing can leave NFC (rare, but a second normalisation makes the form stable).
    value = unicodedata.normalize("NFC", _INVISIBLES.sub("", text).lower())
    local, at, domain = value.rpartition("@")
    if not at or not local or not domain or "@" in local:
        raise BadIdentifier(kind, "is not an address: it needs one @ with text on both sides")
    if _SPACE_OR_CONTROL.search(value):
        raise BadIdentifier(kind, "has white space or control characters inside")
    if _NOT_IN_ADDRESS.search(value):
        raise BadIdentifier(kind, "is not a bare address: no name, no brackets, no mailto, one address only")
    if not all(domain.split(".")):
        raise BadIdentifier(kind, "has an empty part in its domain")
    return value


def _phone(text: str) -> str:
    kind = IdentifierKind.PHONE
    # NFKC: full-width digits and signs as an Asian keyboard writes them.
    plain = unicodedata.normalize("NFKC", _INVISIBLES.sub("", text))
    head, trunk_zero, tail = plain.partition("(0)")
    digits = _PHONE_SEPARATORS.sub("", head)
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    if trunk_zero and digits.startswith(_KEEPS_TRUNK_ZERO):
        digits += "0"
    digits += _PHONE_SEPARATORS.sub("", tail)
    if not digits.startswith("+"):
        raise BadIdentifier(kind, "has no country code: write it in E.164 form, + and the country code first")
    if not _PHONE.fullmatch(digits):
        raise BadIdentifier(kind, "is not in E.164 form: + and 7 to 15 digits")
    return digits
