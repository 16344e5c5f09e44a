"""Shows that nobody else's data changed: a fingerprint of everything that does not belong to given subjects.

Take one before an erasure and one *like* it after, and compare:

    before = fingerprint(stores, subjects)
    ...
    after = fingerprint(stores, subjects, like=before)
    assert not differences(before, after)

The second one leaves out the very rows, files and lines that the first found to be the subjects', by their keys: after
an erasure nothing else would tell whose they were. A bystander's row that quotes a subject's address is compared
value by value, the address itself being free to become anything (or nothing).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consumers.samples.catalogue import CATALOGUE, Table, name_erased
from consumers.samples.logwriter import SERVICE
from consumers.samples.needles import Finder, needles_of, texts_in
from consumers.samples.people import Subject
from consumers.samples.remains import Finding, counterparts, links, log_files, parsed, remains
from consumers.samples.stores import PRODUCTS, SampleStores

__all__ = ["Difference", "Finding", "Fingerprint", "counterparts", "differences", "fingerprint", "links", "remains"]

_ESCAPED = re.compile(r"\\+[nrt\"/]")  # JSON's, in a row printed as text
_REPLACEMENT = ".{0,100}?"  # what may stand where an address was


@dataclass(frozen=True)
class TablePrint:
    """One table: ``mentions`` are bystanders' rows that quote a subject, by key; ``digest`` is of all others' rows."""

    rows: int
    digest: str
    owned: frozenset[str]
    mentions: Mapping[str, Mapping[str, Any] | None]


@dataclass(frozen=True)
class LinesPrint:
    """All log files as one sequence of lines; ``mentions`` and ``owned`` by request id."""

    digests: tuple[bytes, ...]
    owned: frozenset[str]
    mentions: Mapping[str, bytes]


@dataclass(frozen=True)
class Fingerprint:
    """Everything that is not the subjects': tables by (product, table), files by object key, lines of the log files."""

    tables: Mapping[tuple[str, str], TablePrint]
    objects: Mapping[str, str]
    owned_objects: frozenset[str]
    lines: LinesPrint
    finder: Finder

    def digest(self) -> str:
        """One hash of it all, to print beside another. It counts rows that quote a subject by their number only."""
        whole = hashlib.sha256()
        for place, table in sorted(self.tables.items()):
            whole.update(repr((place, table.rows, table.digest, len(table.mentions))).encode())
        whole.update(repr(sorted(self.objects.items())).encode())
        whole.update(b"".join(self.lines.digests) + str(len(self.lines.mentions)).encode())
        return whole.hexdigest()

    def size(self) -> dict[str, int]:
        """How many bystanders' rows, files and lines it covers, per product."""
        sizes = dict.fromkeys(PRODUCTS, 0)
        for (product, _), table in self.tables.items():
            sizes[product] += table.rows + len(table.mentions)
        for key in self.objects:
            product = key.partition("/")[0]
            sizes[product] = sizes.get(product, 0) + 1
        sizes["logs"] += len(self.lines.digests) + len(self.lines.mentions)
        return sizes


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """Something of a bystander's that is not what it was. ``what`` quotes no data."""

    product: str
    place: str
    what: str


def fingerprint(stores: SampleStores, subjects: Sequence[Subject], like: Fingerprint | None = None) -> Fingerprint:
    """The fingerprint of everything that does not belong to ``subjects``.

    Args:
        stores: The sample stores.
        subjects: Whose data is left out.
        like: The fingerprint taken before, whose rows, files and lines are left out again.
    """
    finder = like.finder if like is not None else Finder(needles_of(subjects, ("email",)))
    tables: dict[tuple[str, str], TablePrint] = {}
    owned: set[str] = set()
    for product in PRODUCTS:
        with stores.cursor(product) as cursor:
            name_erased(cursor, subjects)
            for table in CATALOGUE[product]:
                former = like.tables[product, table.name] if like is not None else None
                if former is None and table.object_key is not None:
                    owned |= _owned_objects(cursor, table)
                tables[product, table.name] = _print_table(cursor, table, finder, former)
    owned_objects = like.owned_objects if like is not None else frozenset(owned)
    objects = {
        key: hashlib.sha256(stores.object_store.read(key)).hexdigest()
        for key in stores.object_store.list()
        if key not in owned_objects
    }
    lines = _print_lines(stores, subjects, finder, like.lines if like is not None else None)
    return Fingerprint(tables, objects, owned_objects, lines, finder)


def differences(before: Fingerprint, after: Fingerprint) -> tuple[Difference, ...]:
    """What of the bystanders' changed between the two; empty when nothing did, save that addresses were scrubbed."""
    return tuple(sorted(_differences(before, after)))


def _differences(before: Fingerprint, after: Fingerprint) -> Iterator[Difference]:
    for (product, table), was in before.tables.items():
        now = after.tables[product, table]
        if was.rows != now.rows:
            yield Difference(product, table, f"{was.rows} rows before, {now.rows} after")
        elif was.digest != now.digest:
            yield Difference(product, table, "a row changed")
        for key, row in was.mentions.items():
            if not _same(row, now.mentions[key], before.finder):
                gone = now.mentions[key] is None
                yield Difference(
                    product, table, f"a row that quoted an address {'is gone' if gone else 'changed elsewhere'}"
                )
    for key in before.objects.keys() | after.objects.keys():
        if before.objects.get(key) != after.objects.get(key):
            what = (
                "a file is gone"
                if key not in after.objects
                else "a file changed"
                if key in before.objects
                else "a new file"
            )
            yield Difference(key.partition("/")[0], "objects", what)
    yield from _line_differences(before, after)


def _line_differences(before: Fingerprint, after: Fingerprint) -> Iterator[Difference]:
    was, now = before.lines, after.lines
    if len(was.digests) != len(now.digests):
        yield Difference("logs", "files", f"{len(was.digests)} lines before, {len(now.digests)} after")
    elif was.digests != now.digests:
        yield Difference("logs", "files", "a line changed, or their order did")
    for request_id, line in was.mentions.items():
        if request_id not in now.mentions:
            yield Difference("logs", "files", "a line that quoted an address is gone")
        elif not _same_text(line.decode(), now.mentions[request_id].decode("utf-8", "replace"), before.finder):
            yield Difference("logs", "files", "a line that quoted an address changed elsewhere")


def _key(table: Table) -> str:
    return f"concat_ws('|', {', '.join('t.' + column for column in table.key)})"


def _owned_objects(cursor: Any, table: Table) -> set[str]:
    cursor.execute(f"select t.{table.object_key} from {table.name} t where {table.owned}")
    return {key for (key,) in cursor}


def _print_table(cursor: Any, table: Table, finder: Finder, former: TablePrint | None) -> TablePrint:
    key = _key(table)
    if former is None:
        cursor.execute(f"select {key} from {table.name} t where {table.owned}")
        owned = frozenset(found for (found,) in cursor)
        mentioning = _mentioning(cursor, table, finder, owned)
    else:
        owned, mentioning = former.owned, frozenset(former.mentions)
    rows: dict[str, dict[str, Any]] = {}
    if mentioning:
        cursor.execute(f"select {key}, to_jsonb(t) from {table.name} t where {key} = any(%s)", (sorted(mentioning),))
        rows = dict(cursor.fetchall())
    # Not concatenated but summed, so that a table larger than PostgreSQL's longest text fits; two sums of 64 bits.
    cursor.execute(
        "select count(*), concat_ws('/', sum(hashtextextended(t::text, 1)::numeric),"
        f" sum(hashtextextended(t::text, 2)::numeric)) from {table.name} t where {key} <> all(%s::text[])",
        (sorted(owned | mentioning),),
    )
    count, digest = cursor.fetchone()
    return TablePrint(count, digest, owned, {mention: rows.get(mention) for mention in mentioning})


def _mentioning(cursor: Any, table: Table, finder: Finder, owned: frozenset[str]) -> frozenset[str]:
    """Keys of the rows, those in ``owned`` apart, that quote an address of one of their own tenant's subjects."""
    if not finder.needles:
        return frozenset()
    cursor.execute(f"select {_key(table)}, {table.tenant}, t::text from {table.name} t where strpos(t::text, '@') > 0")
    return frozenset(
        found
        for found, tenant, row in cursor
        if found not in owned and any(needle.tenant == tenant for needle in finder.found_in(_ESCAPED.sub(" ", row)))
    )


def _print_lines(
    stores: SampleStores, subjects: Sequence[Subject], finder: Finder, former: LinesPrint | None
) -> LinesPrint:
    keys = {subject.key for subject in subjects}
    digests: list[bytes] = []
    owned = set(former.owned if former is not None else ())
    mentions: dict[str, bytes] = {}
    for line, entry in _lines_in_order(stores):
        request_id = str(entry["request_id"])
        named = (
            {needle.tenant for text in texts_in(entry) for needle in finder.found_in(text)} if former is None else set()
        )
        quoted = former is not None and request_id in former.mentions
        if former is None and _is_theirs(entry, keys, finder, str(entry.get("tenant")) in named):
            owned.add(request_id)
        elif quoted or str(entry.get("tenant")) in named:
            mentions[request_id] = line
        elif request_id not in owned:
            digests.append(hashlib.sha256(line).digest()[:16])
    return LinesPrint(tuple(digests), frozenset(owned), mentions)


def _lines_in_order(stores: SampleStores) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines of all log files, oldest file first.

    Left out are those of the live writer, which come while we look, and what has no request id: every sample line
    has one, so that is a subject's line blanked out (a bystander's would be missed in the count).
    """
    # "app-…" sorts before "app.jsonl": closed files by their day, the active one last.
    for _, content in log_files(stores.log_folder):
        for line in content.splitlines(keepends=True):
            entry = parsed(line) or {}
            if entry.get("service") != SERVICE and entry.get("request_id"):
                yield line, entry


def _is_theirs(entry: Mapping[str, Any], keys: set[tuple[str, int]], finder: Finder, named: bool) -> bool:
    """Whether a line is a subject's: by its user id or address, or naming them while nobody else is on it."""
    tenant, user_id, email = str(entry.get("tenant")), entry.get("user_id"), entry.get("email")
    if (tenant, user_id) in keys:
        return True
    if email is not None:
        return any(needle.tenant == tenant and needle.text == email.lower() for needle in finder.found_in(email))
    return named and user_id is None


def _same(before: Any, after: Any, finder: Finder) -> bool:
    """Whether ``after`` is ``before``, but for subjects' addresses, which may have become anything or gone."""
    if isinstance(before, str):
        whole = _is_address(before, finder)
        return (after is None and whole) or (isinstance(after, str) and _same_text(before, after, finder))
    if isinstance(before, list) and isinstance(after, list):
        left = before if len(before) == len(after) else [item for item in before if not _is_address(item, finder)]
        return len(left) == len(after) and all(_same(a, b, finder) for a, b in zip(left, after, strict=True))
    if isinstance(before, dict) and isinstance(after, dict):
        kept = {key: value for key, value in before.items() if key in after or not _is_address(value, finder)}
        return kept.keys() == after.keys() and all(_same(value, after[key], finder) for key, value in kept.items())
    return json.dumps(before) == json.dumps(after)


def _is_address(value: Any, finder: Finder) -> bool:
    return isinstance(value, str) and any(end - start == len(value) for start, end, _ in finder.spans(value))


def _same_text(before: str, after: str, finder: Finder) -> bool:
    spans = list(finder.spans(before))
    if not spans:
        return before == after
    pattern, at = "", 0
    for start, end, _ in sorted(spans, key=lambda span: span[0]):
        pattern += re.escape(before[at:start]) + _REPLACEMENT
        at = end
    return re.fullmatch(pattern + re.escape(before[at:]), after, re.DOTALL) is not None
