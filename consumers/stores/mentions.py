"""How an identifier is recognised within free text.

The patterns use only what Python's ``re`` and PostgreSQL's regular expressions read alike, so that a line of a file
and a column of a table are scrubbed by one rule. They are meant to be matched without regard to case.

The borders matter: ``anna@x.org`` must be found in ``<anna@x.org>`` and in ``mailto:anna%40x.org``, and must not be
found in ``joanna@x.org`` or ``anna@x.org.uk``, who are other people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

NEVER = r"(?!)"
"""A pattern that matches nothing: for a subject without an identifier of the kinds asked for."""

SEPARATORS = " \t\r\n\u00a0().-/"
"""What people put between the digits of a phone."""

IP_ADDRESS = (
    r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6})"
    r"(?![\w:]|\.\d)"
)
"""Any IPv4 or IPv6 address."""

_NO_SEPARATORS = dict.fromkeys(map(ord, SEPARATORS))
_BETWEEN = r"[ \t\r\n\u00a0().\/-]{0,3}"
_SPECIAL = re.compile(r"([^\w\s])", re.ASCII)


def mention_pattern(kind: str, value: str) -> str:
    """The pattern of one identifier in normal form. Phones match with any usual separators, and with 00 for +."""
    if kind == "email":
        local, _, domain = value.rpartition("@")
        return rf"(?<![\w.+-]){_escape(local)}(?:@|%40){_escape(domain)}(?!\w|[.-]\w)"
    if kind == "phone" and value.removeprefix("+").isascii() and value.removeprefix("+").isdigit():
        digits = _BETWEEN.join(value.removeprefix("+"))
        return rf"(?<![\d+])(?:\+|00|%2B)?{_BETWEEN}{digits}(?!\d)"
    return rf"(?<![\w-]){_escape(value)}(?![\w-])"


def subject_pattern(identifiers: Mapping[str, Iterable[str]], kinds: Iterable[str]) -> str:
    """One pattern for all of a subject's identifiers of these kinds; longer ones first, so that none hides another."""
    values = [(kind, value) for kind in kinds for value in identifiers.get(kind, ())]
    values.sort(key=lambda pair: (-len(pair[1]), pair))
    return "|".join(mention_pattern(kind, value) for kind, value in values) or NEVER


def number_pattern(identifiers: Mapping[str, Iterable[str]], kinds: Iterable[str]) -> str:
    """The identifiers that can stand as a bare JSON number, between its separators in PostgreSQL's ``jsonb`` text."""
    numbers = {value.removeprefix("+") for kind in kinds if kind != "email" for value in identifiers.get(kind, ())}
    digits = sorted(number for number in numbers if number.isascii() and number.isdigit())
    return rf"(?<=[:,] |\[)(?:{'|'.join(digits)})(?=[\]}},])" if digits else NEVER


def hints(identifiers: Mapping[str, Iterable[str]], kinds: Iterable[str]) -> list[str]:
    """What a text must hold for any mention, without regard to borders: a cheap look before an expensive one.

    The text is to be in lower case with ``%40`` as ``@`` and, for phones, without :data:`SEPARATORS`.
    """
    found = [
        value.removeprefix("+").translate(_NO_SEPARATORS) if kind == "phone" else value.lower()
        for kind in kinds
        for value in identifiers.get(kind, ())
    ]
    return sorted(found)


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text).replace(" ", r"\s")
