"""Identifiers of a batch of subjects, found as values and within free text."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence

from consumers.stores.logfiles_rules import Normalise, Subject

Subjects = tuple[Subject, ...]
_NOBODY: Subjects = ()
_CACHE = 200_000
_MAX_IDENTIFIER = 1_000  # characters; what is longer names nobody, and would only fill the cache


class Index:
    """Identifiers of the batch -> their subjects. One look-up costs the same for one subject or thousands."""

    def __init__(self, subjects: Sequence[Subject], normalise: Normalise) -> None:
        self._normalise = normalise
        self._seen: dict[str, dict[str, Subjects]] = {}
        self.by_kind: dict[str, dict[str, Subjects]] = {}
        for subject in subjects:
            for kind, values in subject.identifiers.items():
                table = self.by_kind.setdefault(kind, {})
                self._seen[kind] = {}
                for normal in {self._normal(kind, value) for value in values}:
                    table[normal] = (*table.get(normal, ()), subject)

    def holders(self, kind: str, text: str) -> Subjects:
        """The subjects whom ``text`` names as an identifier of ``kind``."""
        seen = self._seen.get(kind)
        if seen is None or len(text) > _MAX_IDENTIFIER:
            return _NOBODY
        known = seen.get(text)
        if known is None:
            if len(seen) >= _CACHE:
                seen.clear()
            known = seen[text] = self.by_kind[kind].get(self._normal(kind, text), _NOBODY)
        return known

    def _normal(self, kind: str, text: str) -> str:
        try:
            return self._normalise(kind, text)
        except ValueError:
            return text


_AT = re.compile(r"@|%40|\\u0040")
_BREAK = re.compile(r"[\s@<>\",;()\[\]{}|\\“”„«»‹›]")
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u9fff\uac00-\ud7af\uff00-\uffef"  # Thai to Hangul
_SOFT = re.compile(rf"%[0-9A-Fa-f]{{2}}|[^\w.+\-%]|[{_UNSPACED}]")  # may end what stands before, or be part of it
_DOMAIN = re.compile(r"(?:[^\W_]|[.\-])+")
_SPACED_DOMAIN = re.compile(rf"(?:[^\W_{_UNSPACED}]|[.\-])+")
_PHONE_RUN = re.compile(r"\+?\(?[0-9](?:[0-9\s().\-/\u2010-\u2015\u2212]|%20){5,}+")
_NARROW = str.maketrans("０１２３４５６７８９＋（）－", "0123456789+()-")  # as Asian keyboards write them
_WITHIN = re.compile(r"[0-9A-Za-z]")  # next to digits: a longer number or a code, not a phone number
_DIGITS = re.compile(r"\+?[0-9]+")
_WORD = re.compile(r"\w+(?:-\w+)*+")
_PART = re.compile(rf"[^\W{_UNSPACED}]+")
_STOP = re.compile(r"[:/]")
_LONG = re.compile(r"[^\s\"'<>,;()\[\]{}=&]+")
_MAX_LOCAL = 192
_TAIL = 7
MIN_WORD = 6  # shorter ids are not looked for in text that is no JSON: "42" stands in every second line

Mention = tuple[int, int, str, Subjects]


class Mentions:
    """Finds identifiers in free text: it looks for what is shaped like one and looks that up."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._tails = {normal[-_TAIL:] for normal in index.by_kind.get("phone", ())}
        self._odd = frozenset(
            kind
            for kind, table in index.by_kind.items()
            if kind not in ("email", "phone") and any(not _WORD.fullmatch(normal) for normal in table)
        )

    def find(self, text: str, kinds: Iterable[str], min_word: int = 1) -> Iterator[Mention]:
        """``(start, end, kind, subjects)`` of each mention of an identifier of these kinds; they may overlap."""
        for kind in kinds:
            if kind not in self._index.by_kind:
                continue
            if kind == "email":
                yield from self._emails(text, kind)
            elif kind == "phone":
                yield from self._phones(text, kind)
            else:
                yield from self._words(text, kind, min_word)

    def _emails(self, text: str, kind: str) -> Iterator[Mention]:
        for at in _AT.finditer(text):
            domain = _DOMAIN.match(text, at.end())
            if domain is None:
                continue
            begin = max(0, at.start() - _MAX_LOCAL)
            for stop in _BREAK.finditer(text, begin, at.start()):
                begin = stop.end()
            starts = [begin, *(soft.end() for soft in _SOFT.finditer(text, begin, at.start()))]
            ends = [at.end() + len(domain.group().rstrip(".-"))]
            if spaced := _SPACED_DOMAIN.match(text, at.end(), ends[0]):
                ends.append(spaced.end())
            for start, end in ((start, end) for end in ends for start in starts if start < at.start()):
                if subjects := self._address(kind, text[start:end]):
                    yield start, end, kind, subjects
                    break

    def _address(self, kind: str, candidate: str) -> Subjects:
        plain = candidate.replace("\\u0040", "@")
        found = self._index.holders(kind, plain)
        if not found and "%" in plain:  # from a URL
            found = self._index.holders(kind, urllib.parse.unquote(plain))
        return found

    def _phones(self, text: str, kind: str) -> Iterator[Mention]:
        text = text if text.isascii() else text.translate(_NARROW)
        for run in _PHONE_RUN.finditer(text):
            groups = [group.span() for group in _DIGITS.finditer(text, run.start(), run.end())]
            first = 0
            while first < len(groups):
                last, subjects = self._phone_from(text, kind, groups, first)
                if subjects:
                    yield groups[first][0], groups[last][1], kind, subjects
                    first = last
                first += 1

    def _phone_from(self, text: str, kind: str, groups: Sequence[tuple[int, int]], first: int) -> tuple[int, Subjects]:
        """The subjects whose number is the groups of digits from ``first`` on, and the last group of it."""
        start = groups[first][0]
        if _WITHIN.match(text[start - 1 : start]) and text[start] != "+" and text[start - 3 : start].upper() != "%2B":
            return first, _NOBODY
        digits = ""
        for last in range(first, len(groups)):
            end = groups[last][1]
            digits += text[groups[last][0] : end].lstrip("+")
            if len(digits) > 18:  # 15, and 00 or a trunk (0) before or among them
                break
            if digits[-_TAIL:] in self._tails and not _WITHIN.match(text[end : end + 1]):
                for form in (text[start:end].replace("%20", " "), "+" + digits):
                    if subjects := self._index.holders(kind, form):
                        return last, subjects
        return first, _NOBODY

    def _words(self, text: str, kind: str, min_word: int) -> Iterator[Mention]:
        for word in _WORD.finditer(text):
            yield from self._word(text, kind, word.start(), word.end(), min_word)
            if "-" in word.group() or not word.group().isascii():
                for part in _PART.finditer(text, word.start(), word.end()):
                    yield from self._word(text, kind, *part.span(), min_word)
        if kind in self._odd:
            for word in _LONG.finditer(text):
                end = word.start() + len(word.group().rstrip(".:!?"))
                for start in (word.start(), *(stop.end() for stop in _STOP.finditer(text, word.start(), end))):
                    yield from self._word(text, kind, start, end, min_word)

    def _word(self, text: str, kind: str, start: int, end: int, min_word: int) -> Iterator[Mention]:
        if end - start >= min_word and (subjects := self._index.holders(kind, text[start:end])):
            yield start, end, kind, subjects
