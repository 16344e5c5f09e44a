"""What one line is to the subjects of a batch, and what becomes of it.

**Whose line.** A rule says which fields identify. Surrogate identifiers reach every line; reusable ones reach lines
created before the subject's ``cutoff_at`` and lines owned by one of its surrogates. A line of another tenant is never
touched. In arrays only the element that names the subject is redacted, not its neighbours.

**What is changed.** Only the bytes of the values themselves: every other byte of the line stays as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from consumers.stores.logfiles_json import (
    BLANK,
    Span,
    Steps,
    Text,
    chains_of,
    dumped,
    in_scope,
    leaves,
    same_length,
    scan,
    thoroughly,
)
from consumers.stores.logfiles_mentions import MIN_WORD, Index, Mentions
from consumers.stores.logfiles_results import Count, FileState, FileVersion
from consumers.stores.logfiles_rules import ERASED, LineAction, LineRule, Normalise, Subject, Treatment
from consumers.stores.objects_answers import Failed


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of the file a line stands in, and whether its bytes are to be overwritten where they are."""

    written_by: datetime
    """Nothing in it is younger than this."""
    active: bool = False
    in_place: bool = False

    @classmethod
    def of(cls, version: FileVersion, state: FileState, *, in_place: bool = False) -> Context:
        """The context of a file in that state."""
        written_by = datetime.fromtimestamp(version.mtime_ns / 1e9, UTC)
        return cls(written_by, active=state is FileState.ACTIVE, in_place=in_place)


@dataclass(slots=True)
class Tally:
    """What one line is to one subject."""

    reached: bool = False
    """It is theirs, or mentions them where a rule looks."""
    pending: bool = False
    undated: bool = False
    suspicious: bool = False

    def count(self) -> Count:
        return Count(int(self.pending), int(self.undated and not self.reached), int(self.suspicious))


@dataclass(slots=True)
class Verdict:
    """What is to happen to one line: ``edits`` maps ``(start, end)`` to new bytes."""

    tallies: dict[Subject, Tally] = field(default_factory=dict)
    edits: dict[tuple[int, int], bytes] = field(default_factory=dict)
    drop: bool = False

    def of(self, subject: Subject) -> Tally:
        return self.tallies.setdefault(subject, Tally())

    @property
    def changes(self) -> bool:
        return self.drop or bool(self.edits)

    def disjoint(self) -> list[tuple[int, int, bytes]]:
        """The edits in order, those inside a wider one left out."""
        kept: list[tuple[int, int, bytes]] = []
        end = 0
        for (start, stop), new in sorted(self.edits.items(), key=lambda edit: (edit[0][0], -edit[0][1])):
            if start >= end:
                kept.append((start, stop, new))
                end = stop
        return kept

    def applied(self, line: bytes) -> bytes:
        """The line with its edits."""
        parts: list[bytes] = []
        at = 0
        for start, stop, new in self.disjoint():
            parts += [line[at:start], new]
            at = stop
        return b"".join([*parts, line[at:]])


class Judge:
    """The rule and the subjects of one batch, ready to be held against lines."""

    def __init__(self, rule: LineRule, subjects: Sequence[Subject], normalise: Normalise) -> None:
        self.rule = rule
        self.index = Index(subjects, normalise)
        self.mentions = Mentions(self.index)
        self._fields = [(kind, chains_of(path)) for kind, paths in rule.identifies.items() for path in paths]
        self._texts = [(scrub.kinds, chains_of(path)) for path, scrub in rule.scrubs.items()]
        self._wanted = frozenset(rule.paths())
        names = [path.rpartition(".")[2] for path in self._wanted]
        self._names = [(f'"{name}"'.encode(), names.count(name)) for name in sorted(set(names))]
        self._decode = msgspec.json.Decoder().decode

    def line(self, line: bytes, context: Context) -> Verdict | None:
        """What is to happen to the line; ``None``: it is nobody's."""
        if not line or line.isspace():
            return None
        document = self._parsed(line)
        if document is None:
            return self._unparsed(line, context)
        return self._judged(line, context) if self._concerns(document) else None

    def is_json(self, line: bytes) -> bool:
        """Whether the line is a JSON object or array."""
        return self._parsed(line) is not None

    def part(self, text: bytes) -> Verdict | None:
        """The verdict on part of an overlong line, which is searched and never changed."""
        verdict = Verdict()
        for _, _, _, subjects in self.mentions.find(Text(text, 0).text, self.index.by_kind, MIN_WORD):
            for subject in subjects:
                verdict.of(subject).suspicious = True
        return verdict if verdict.tallies else None

    def rewritten(self, line: bytes, verdict: Verdict, context: Context) -> bytes:
        """What the line becomes, read again before it is used. Raises Failed where that left something."""
        ending = line[len(line.rstrip(b"\r\n")) :]
        if verdict.drop:
            return b"{}".ljust(len(line) - len(ending)) + ending if context.in_place else b""
        new = verdict.applied(line)
        if context.in_place and len(new) != len(line):
            raise Failed("a length changed")
        again = self.line(new, context)
        if (again is not None and again.changes) or (self.is_json(line) and not self.is_json(new)):
            raise Failed("a redaction left something")
        return new

    def _unparsed(self, line: bytes, context: Context) -> Verdict | None:
        """The verdict on bytes that are no JSON: they are searched as text, with JSON's escapes understood."""
        if not self.rule.scrub_unparsed:
            return self.part(line)
        text = Text(line, 0)
        verdict = Verdict()
        for start, end, _, subjects in self.mentions.find(text.text, self.index.by_kind, MIN_WORD):
            place = text.place(start), text.place(end)
            verdict.edits[place] = _scrubbed(ERASED.encode(), place, context)
            for subject in subjects:
                verdict.of(subject).reached = verdict.of(subject).pending = True
        return verdict if verdict.tallies else None

    def _parsed(self, line: bytes) -> Any:
        """The document, or ``None`` if the line is no JSON object or array."""
        # A key that stands twice hides its first value from a decoder: then all its values are taken.
        for name, often in self._names:
            if line.count(name) > often:
                return thoroughly(line)
        try:
            document = self._decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return thoroughly(line)
        return document if isinstance(document, (dict, list)) else None

    def _concerns(self, document: Any) -> bool:
        """Whether any subject is named anywhere the rule looks; tenant and time are looked at later."""
        holders = self.index.holders
        for kind, chains in self._fields:
            for text in leaves(document, chains):
                if holders(kind, text):
                    return True
        for kinds, chains in self._texts:
            for text in leaves(document, chains):
                if next(self.mentions.find(text, kinds), None):
                    return True
        return False

    def _judged(self, line: bytes, context: Context) -> Verdict | None:
        verdict = Verdict()
        _Reading(self, scan(line, self._wanted), context, verdict).judge()
        return verdict if verdict.tallies else None


@dataclass(slots=True)
class _Reading:
    """One line read by the rule; what it finds goes into the verdict."""

    batch: Judge
    spans: Mapping[str, list[Span]]
    context: Context
    verdict: Verdict
    owned: dict[Subject, list[Steps]] = field(default_factory=dict)
    """Where a surrogate says that the line is theirs."""

    def judge(self) -> None:
        for subject, scopes in self._claims().items():
            tally = self.verdict.of(subject)
            tally.reached = True
            if self.batch.rule.action is LineAction.DELETE:
                self.verdict.drop = tally.pending = True
            else:
                self._redact(scopes, tally)
        if not self.verdict.drop:
            self._scrub()

    def _claims(self) -> dict[Subject, list[Steps]]:
        """The subjects whose line this is, and where it says so."""
        rule = self.batch.rule
        found = [
            (kind, span, subject)
            for kind, paths in rule.identifies.items()
            for path in paths
            for span in self.spans.get(path, ())
            for subject in self.batch.index.holders(kind, span.text() or "")
            if self._is_tenants(span, subject)
        ]
        for kind, span, subject in found:
            if kind not in rule.reusable:
                self.owned.setdefault(subject, []).append(span.steps)
        claims = {subject: list(scopes) for subject, scopes in self.owned.items()}
        for kind, span, subject in found:
            if kind in rule.reusable and self._reaches(span, subject):
                claims.setdefault(subject, []).append(span.steps)
        return claims

    def _redact(self, scopes: Sequence[Steps], tally: Tally) -> None:
        for path, treatment in self.batch.rule.redacts.items():
            for span in self.spans.get(path, ()):
                token = _token(treatment, span.raw)
                done = span.raw == token or BLANK.fullmatch(span.raw)
                if done or not any(in_scope(steps, span.steps) for steps in scopes):
                    continue
                new = same_length(token, span.raw) if self.context.in_place else token
                self.verdict.edits[span.start, span.end] = new
                tally.pending = True

    def _scrub(self) -> None:
        for path, scrub in self.batch.rule.scrubs.items():
            for span in self.spans.get(path, ()):
                if span.text() is None:
                    continue
                quoted = span.raw[:1] == b'"'
                text = Text(span.raw[1:-1], span.start + 1) if quoted else Text(span.raw, span.start)
                for start, end, kind, subjects in self.batch.mentions.find(text.text, scrub.kinds):
                    reached = [subject for subject in subjects if self._is_mentioned(kind, span, subject)]
                    if reached and quoted:
                        place = text.place(start), text.place(end)
                        new = _scrubbed(dumped(scrub.replacement)[1:-1], place, self.context)
                        self.verdict.edits.setdefault(place, new)
                    elif reached:
                        self.verdict.edits.setdefault((span.start, span.end), b"0".ljust(len(span.raw)))
                    for subject in reached:
                        tally = self.verdict.of(subject)
                        tally.reached = tally.pending = True

    def _is_mentioned(self, kind: str, span: Span, subject: Subject) -> bool:
        if not self._is_tenants(span, subject):
            return False
        return kind not in self.batch.rule.reusable or self._reaches(span, subject)

    def _is_tenants(self, span: Span, subject: Subject) -> bool:
        path = self.batch.rule.tenant
        if path is None:
            return True
        near = [other.text() for other in self.spans.get(path, ()) if in_scope(other.steps, span.steps)]
        if not near or None in near:
            self.verdict.of(subject).suspicious = True
            return False
        return all(text == subject.tenant for text in near)

    def _reaches(self, span: Span, subject: Subject) -> bool:
        """Whether a reusable identifier at ``span`` is the subject's: owned by a surrogate, or old enough."""
        if any(in_scope(steps, span.steps) for steps in self.owned.get(subject, ())):
            return True
        near = [other for other in self.spans.get(self.batch.rule.created, ()) if in_scope(other.steps, span.steps)]
        moments = [_moment(other) for other in near]
        if moments and None not in moments:
            return all(moment < subject.cutoff_at for moment in moments if moment)
        if self.context.written_by < subject.cutoff_at:
            return True
        self.verdict.of(subject).undated = True
        return False


def _token(treatment: Treatment, raw: bytes) -> bytes:
    if not callable(treatment):
        return dumped(treatment)
    value = json.loads(raw)
    try:
        new = treatment(value)
    except (ValueError, TypeError):
        return b"null"
    return raw if type(new) is type(value) and new == value else dumped(new)


def _scrubbed(replacement: bytes, place: tuple[int, int], context: Context) -> bytes:
    length = place[1] - place[0]
    if not context.in_place:
        return replacement
    return replacement.ljust(length, b"*") if len(replacement) <= length else b"*" * length


def _moment(span: Span) -> datetime | None:
    """The time a value tells, aware, or ``None``."""
    text = span.text()
    if text is None:
        return None
    try:
        if re.fullmatch(r"\d{9,20}(\.\d+)?", text):
            number = float(text)
            scale = 1e9 if number > 1e17 else 1e6 if number > 1e14 else 1e3 if number > 1e11 else 1
            return datetime.fromtimestamp(number / scale, UTC)
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
