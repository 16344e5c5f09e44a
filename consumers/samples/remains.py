"""Looks for what is left of subjects: through every table and every file, knowing nothing of the data maps."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consumers.samples.catalogue import CATALOGUE, LINKS, RETAINED, name_erased
from consumers.samples.needles import Finder, Needle, needles_of, texts_in, texts_of_file
from consumers.samples.people import Subject
from consumers.samples.stores import PRODUCTS, SampleStores

_FETCH = 5000  # rows at a time
_FEW = 500  # needles that are quicker sought one by one
_NO_TEXT = ("bool", "int2", "int4", "int8", "float4", "float8", "numeric", "date", "timestamp", "timestamptz", "oid")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Identifiers of one kind in one place. Never says whose, nor which: ``tenant`` is all.

    Attributes:
        product: Whose store.
        place: ``table.column``, or the name of a file.
        kind: Of the identifier; see :func:`consumers.samples.needles.needles_of`.
        tenant: Whose row or file it is; empty where the place does not tell.
        count: How often.
        retained: The law says to keep this place, still.
    """

    product: str
    place: str
    kind: str
    tenant: str
    count: int
    retained: bool = False


@dataclass(frozen=True, slots=True)
class _Hit:
    product: str
    place: str
    tenant: str | None  # None: the place does not tell
    needle: Needle
    retained: bool


def remains(stores: SampleStores, subjects: Sequence[Subject]) -> tuple[Finding, ...]:
    """Every place that still names one of ``subjects`` at their own tenant, or at none; retained ones among them."""
    hits = _search(stores, needles_of(subjects))
    return _summed(hit for hit in hits if hit.tenant in {None, hit.needle.tenant})


def counterparts(stores: SampleStores, subjects: Sequence[Subject]) -> tuple[Finding, ...]:
    """Every place where another tenant has an e-mail or a phone of ``subjects``: the same after an erasure as before.

    Left out is what belongs to one of ``subjects`` there as well, and what one of them wrote of somebody else.
    """
    needles = needles_of(subjects, ("email", "phone"))
    theirs = {(needle.tenant, needle.text) for needle in needles}
    hits = _search(stores, needles, without=subjects)
    others = (hit for hit in hits if hit.tenant is not None and (hit.tenant, hit.needle.text) not in theirs)
    return _summed(others)


def links(stores: SampleStores, subjects: Sequence[Subject]) -> tuple[Finding, ...]:
    """Every row and log line that still carries the user id of one of ``subjects``, though no longer any name of theirs."""
    keys = sorted({subject.key for subject in subjects})
    found: list[Finding] = []
    for product, columns in LINKS.items():
        with stores.cursor(product) as cursor:
            for table, column, condition in columns:
                cursor.execute(
                    f"select tenant, count(*) from {table} where {condition} and (tenant, {column}) in"
                    " (select * from unnest(%s::text[], %s::bigint[])) group by tenant",
                    ([tenant for tenant, _ in keys], [user_id for _, user_id in keys]),
                )
                retained = (product, table) in RETAINED
                place = f"{table}.{column}"
                found += [Finding(product, place, "user_id", tenant, count, retained) for tenant, count in cursor]
    return tuple(sorted([*found, *_linked_lines(stores.log_folder, frozenset(keys))]))


def _linked_lines(folder: Path, keys: frozenset[tuple[str, int]]) -> Iterator[Finding]:
    for name, content in log_files(folder):
        counts: Counter[str] = Counter()
        for line in content.splitlines():
            entry = parsed(line)
            if entry is not None and (entry.get("tenant"), entry.get("user_id")) in keys:
                counts[str(entry["tenant"])] += 1
        yield from (Finding("logs", name, "user_id", tenant, count) for tenant, count in counts.items())


def log_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file under ``folder``, leftovers included; gzip is told by its first bytes."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError, zlib.error):
                content = _torn(content)
        yield str(path.relative_to(folder)), content


def _torn(content: bytes) -> bytes:
    """As much as can be read of a gzip file that somebody is still writing, or has broken."""
    reader, read = zlib.decompressobj(wbits=31), b""
    try:
        read = reader.decompress(content)
    except zlib.error:
        read = content
    return read


def parsed(line: bytes) -> dict[str, Any] | None:
    """A log line's object, or ``None`` when it is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _search(stores: SampleStores, needles: Sequence[Needle], without: Sequence[Subject] = ()) -> Iterator[_Hit]:
    """All needles everywhere, save in rows and log lines that belong to ``without``."""
    finder = Finder(needles)
    for product in PRODUCTS:
        connection = stores.engine(product).raw_connection()
        try:
            name_erased(connection.cursor(), without)
            for table, columns in _tables(connection).items():
                yield from _search_table(connection, product, table, columns, finder)
        finally:
            connection.close()
    yield from _search_objects(stores, finder)
    yield from _search_logs(stores, finder, without)


def _tables(connection: Any) -> dict[str, list[tuple[str, str]]]:
    """Every table of the database, the products' own and any other: its columns and their types."""
    cursor = connection.cursor()
    cursor.execute(
        """
        select case n.nspname when 'public' then '' else quote_ident(n.nspname) || '.' end || quote_ident(c.relname),
               a.attname, ty.typname
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'm')
        join pg_namespace n on n.oid = c.relnamespace
        join pg_type ty on ty.oid = a.atttypid
        where a.attnum > 0 and not a.attisdropped and n.nspname not in ('pg_catalog', 'information_schema')
          and n.nspname not like 'pg_toast%' and n.nspname not like 'pg_temp%'
        order by 1, a.attnum
        """
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in cursor.fetchall():
        found.setdefault(table, []).append((column, kind))
    return found


def _search_table(
    connection: Any, product: str, table: str, columns: list[tuple[str, str]], finder: Finder
) -> Iterator[_Hit]:
    known = {entry.name: entry for entry in CATALOGUE[product]}
    names = [column for column, kind in columns if kind not in _NO_TEXT]
    of_tenant = "t.tenant" if ("tenant", "text") in columns else "null::text"
    of_tenant = known[table].tenant if table in known else of_tenant
    keep = _still_retained(product, table)
    selected = ", ".join(f't."{name}"' for name in names) or "null"
    cursor = connection.cursor("remains")  # on the server's side: a table may be larger than memory
    cursor.itersize = _FETCH
    others = f"not coalesce({known[table].owned}, false)" if table in known else "true"
    cursor.execute(f"select {of_tenant}, {keep}, {selected} from {table} t where {others}")
    for tenant, retained, *values in cursor:
        for name, value in zip(names, values, strict=False):
            for text in texts_in(value):
                for needle in finder.found_in(text):
                    yield _Hit(product, f"{table}.{name}", tenant, needle, retained)
    cursor.close()


def _still_retained(product: str, table: str) -> str:
    if (product, table) not in RETAINED:
        return "false"
    column, years = RETAINED[product, table]
    return f"(t.{column} + interval '{years} years' > timestamptz '{datetime.now(UTC).isoformat()}')"


def _search_objects(stores: SampleStores, finder: Finder) -> Iterator[_Hit]:
    for key in stores.object_store.list():
        product, _, rest = key.partition("/")
        tenant = rest.partition("/")[0]
        for text in (key, *texts_of_file(stores.object_store.read(key))):
            for needle in _in_file(finder, text):
                yield _Hit(product, _place(key, finder), tenant or None, needle, retained=False)


def _in_file(finder: Finder, text: str) -> list[Needle]:
    """As ``found_in``; with few needles a quick look comes first, since sound is long and has no words."""
    if len(finder.needles) <= _FEW:
        lower = text.lower()
        if not any(needle.text in lower for needle in finder.needles):
            return []
    return finder.found_in(text)


def _search_logs(stores: SampleStores, finder: Finder, without: Sequence[Subject]) -> Iterator[_Hit]:
    numbers = {subject.key for subject in without}
    emails = {(subject.tenant, email) for subject in without for email in subject.emails}
    for name, content in log_files(stores.log_folder):
        for line in (name.encode(), *content.splitlines()):
            entry = parsed(line)
            tenant = None if entry is None else str(entry.get("tenant"))
            if entry is not None and (
                (tenant, entry.get("user_id")) in numbers or (tenant, entry.get("email")) in emails
            ):
                continue
            for text in texts_of_file(line) if entry is None else texts_in(entry):
                for needle in finder.found_in(text):
                    yield _Hit("logs", name, tenant, needle, retained=False)


def _place(key: str, finder: Finder) -> str:
    """The file's key, unless it names somebody itself: a report must not."""
    return "a file whose name tells" if finder.found_in(key) else key


def _summed(hits: Iterable[_Hit]) -> tuple[Finding, ...]:
    counts = Counter(
        Finding(hit.product, hit.place, hit.needle.kind, hit.tenant or "", 0, hit.retained) for hit in hits
    )
    return tuple(sorted(replace(finding, count=count) for finding, count in counts.items()))
