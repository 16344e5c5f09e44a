"""Finding identifiers in texts of any kind: whole, at any case, and as many at once as one likes."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consumers.samples.people import Subject

_WORD = re.compile(r"[^\W_]+")
_ADDRESS_GOES_ON = re.compile(r"[\w.+-]*@")
_IDEOGRAPHS = 0x2E80  # from here on writing has no spaces, so a name may touch the next word
_ESCAPED = re.compile(rb"\\+[nrt\"/]")  # in a text that is JSON but was cut or broken


@dataclass(frozen=True, slots=True)
class Needle:
    """One identifier of one subject: ``text`` in lower case."""

    tenant: str
    kind: str
    text: str


def needles_of(subjects: Iterable[Subject], kinds: Sequence[str] = ()) -> list[Needle]:
    """Everything that names ``subjects`` and nobody else of their tenant; of the given kinds only, if any are given.

    Kinds: ``email``, ``phone`` (unless the household shares it), ``name``, ``street``, ``external_id``, ``ip``,
    ``visitor_id``. User ids are numbers, which no search of texts can tell from others: see ``remains.links``.
    """
    found = []
    for subject in subjects:
        texts = {
            "email": subject.emails,
            "phone": () if subject.phone_at_home else (subject.phone,),
            "name": (subject.name, subject.name.replace(" ", "_")),
            "street": (subject.street,),
            "external_id": (subject.external_id,),
            "ip": (subject.ip,),
            "visitor_id": subject.visitor_ids,
        }
        for kind, values in texts.items():
            if not kinds or kind in kinds:
                found += [Needle(subject.tenant, kind, value.lower()) for value in dict.fromkeys(values) if value]
    return found


class Finder:
    """Finds needles in texts in one pass, however many there are: each is looked up by its longest word."""

    def __init__(self, needles: Iterable[Needle]) -> None:
        self.needles = tuple(needles)
        self._by_word: dict[str, list[tuple[Needle, int]]] = defaultdict(list)
        for needle in self.needles:
            anchor = max(_WORD.finditer(needle.text), key=lambda word: len(word.group()))
            self._by_word[anchor.group()].append((needle, anchor.start()))

    def spans(self, text: str) -> Iterator[tuple[int, int, Needle]]:
        """Where in ``text`` a needle stands by itself, not as part of a longer address, number or word."""
        lower = text.lower()
        if len(lower) != len(text):  # a few letters grow when lowered; positions would be off, presence is not
            text = lower
        for word in _WORD.finditer(lower):
            for needle, offset in self._by_word.get(word.group(), ()):
                start = word.start() - offset
                end = start + len(needle.text)
                if (
                    start >= 0
                    and lower.startswith(needle.text, start)
                    and _stands_alone(lower, start, end, needle.kind)
                ):
                    yield start, end, needle

    def found_in(self, text: str) -> list[Needle]:
        """The needles in ``text``, each as often as it occurs."""
        return [needle for _, _, needle in self.spans(text)]


def _stands_alone(text: str, start: int, end: int, kind: str) -> bool:
    before, after, beyond = text[start - 1 : start], text[end : end + 1], text[end + 1 : end + 2]
    if kind == "name" and ord(text[start]) >= _IDEOGRAPHS:
        return True
    if kind == "name":
        if _ADDRESS_GOES_ON.match(text, end):
            return False  # anna_rossi@… may be another Anna Rossi's
        before, after = before.replace("_", " "), after.replace("_", " ")  # as around it in a file's name
    if kind in {"email", "ip"}:
        longer_left = bool(before) and (before in "._+-" or before.isalnum())
        longer_right = after in {".", "-"} and beyond.isalnum()
    else:
        longer_left = before.isalnum() and kind != "phone"  # a number's + parts it from what stands before
        longer_right = False
    return not (longer_left or longer_right or after.isalnum() or after == "_")


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value as the driver gives it: arrays and JSON are walked, keys included, bytes decoded."""
    if value is None or isinstance(value, (bool, int, float)):
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, (bytes, memoryview)):
        yield bytes(value).decode("utf-8", "replace")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from texts_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_in(item)
    else:
        yield str(value)


def texts_of_file(content: bytes) -> Iterator[str]:
    """Every text in a file's content: read as JSON if it is, else as it stands, with JSON's escapes taken for spaces."""
    if content[:1] in {b"{", b"["}:
        try:
            yield from texts_in(json.loads(content))
        except ValueError:
            yield _ESCAPED.sub(b" ", content).decode("utf-8", "replace")
        return
    yield content.decode("utf-8", "replace")
