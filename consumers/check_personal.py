"""Whether anything that looks personal has been forgotten: by the names of columns, and by a small sample of content.

The sample never leaves this module: a finding names places and shares, not values.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from consumers.check_findings import Case, Code
from consumers.check_live import LiveTable, sample
from consumers.maps_model import (
    Action,
    By,
    JsonPaths,
    LogDataset,
    ObjectDataset,
    Operator,
    Scrub,
    SqlDataset,
    Stored,
    Whose,
)
from consumers.maps_reading import Path
from consumers.stores.mentions import IP_ADDRESS
from consumers.stores.sql_catalog import ColumnType
from schemas.identifiers import BadIdentifier, normalise

SHARE = 0.2
"""From this share of a sample on, content counts as of a kind."""

_PERSONAL_WORDS = """
    name firstname lastname surname forename nickname username login email mail emails phone phones mobile cell fax tel
    msisdn ip ips address addresses street city zip postcode postal birth birthday birthdate dob born age gender sex
    passport ssn iban bic card vat taxid nationality religion salary latitude longitude lat lon geo location avatar photo
    picture portrait signature company employer caller callback contact params cookie fingerprint ocr
"""
_FREE_TEXT_WORDS = "body text message description subject note notes comment remark content transcript reason"
_PEOPLE_WORDS = """
    user author requester customer client visitor contact actor sender recipient caller participant subscriber member
    owner person account submitter reporter guest
"""
_PERSONAL = frozenset(_PERSONAL_WORDS.split())
_FREE_TEXT = frozenset(_FREE_TEXT_WORDS.split())
_PEOPLE = frozenset(_PEOPLE_WORDS.split())
_FILES = frozenset({"object", "blob", "storage", "s3", "gcs", "bucket"})
_EMAIL = re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+\.[a-z]{2,}", re.IGNORECASE)
_PHONE = re.compile(r"\+[1-9][0-9 ().\-/]{6,20}[0-9]")
_IP = re.compile(IP_ADDRESS, re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def words(name: str) -> set[str]:
    """The words of a name, in lower case: ``callbackPhone`` and ``callback_phone`` have the same."""
    return {word.lower() for word in _WORDS.findall(name)}


def looks_personal(name: str, *, text: bool = True) -> bool:
    """Whether a column's name says that it holds something about a person; ``text``: it can hold free text."""
    found = words(name)
    return bool(found & _PERSONAL) or (text and bool(found & _FREE_TEXT))


def identifier_kind(name: str) -> str | None:
    """What kind of identifier a column seems to hold, by its name."""
    found = words(name)
    if found & {"email", "emails", "mail"}:
        return "email"
    if found & {"phone", "phones", "mobile", "msisdn"}:
        return "phone"
    return "id" if "id" in found and found & _PEOPLE else None


def content_kind(values: Iterable[str]) -> str | None:
    """What a fifth or more of the values hold: an e-mail address or a phone."""
    some = list(values)
    for kind, pattern in (("email", _EMAIL), ("phone", _PHONE)):
        if some and sum(1 for value in some if pattern.search(value)) / len(some) >= SHARE:
            return kind
    return None


def check_personal(case: Case, connection: Connection, rows: int) -> None:
    """Note what looks personal and is neither treated nor kept on purpose. Looks at ``rows`` rows of each table."""
    for name, dataset, table in case.datasets():
        if table.name not in case.samples:
            case.samples[table.name] = sample(connection, table.name, _sampled(table), rows)
        found = case.samples[table.name]
        _check_inventory(case, name, dataset, table, found)
        _check_identifiers(case, name, dataset, table, found)
        _check_json(case, name, dataset, found)
        _check_scrubs(case, name, dataset, table, found)
        _check_files(case, name, dataset, table)
    _check_links(case)
    _check_other_tables(case)


def _sampled(table: LiveTable) -> list[str]:
    return [c.name for c in table.columns.values() if c.is_text or c.is_json or c.element or c.type == "inet"]


def _check_inventory(
    case: Case, name: str, dataset: SqlDataset, table: LiveTable, found: Mapping[str, list[str]]
) -> None:
    """Of a record that stays, every column is treated or kept on purpose; of other people's, what may mention."""
    if dataset.action not in (Action.REDACT, Action.ANONYMISE):
        return
    path: Path = ("datasets", name)
    hide = {dataset.hide.column} if dataset.hide else set()
    fixed = {*dataset.key, case.data_map.tenant_column(dataset), dataset.created, *hide}
    for column in table.columns.values():
        if column.name in fixed or column.name in dataset.columns or column.generated:
            continue
        personal = _personal(column, found)
        if column.name in dataset.keep:
            if personal and dataset.whose is Whose.SUBJECT and not case.justified(table.name, column.name):
                hint = f"`{column.name}` is kept and looks personal; treat it, or say why under `justify:`"
                case.warn(Code.PERSONAL_KEPT, hint, (*path, "keep"), column.name)
        elif dataset.whose is Whose.SUBJECT:
            hint = f"`{column.name}` has no treatment; give it one under `columns:`, or name it under `keep:`"
            case.error(Code.UNMAPPED_COLUMN, hint, path, column.name)
        elif (personal or column.is_json) and column.name not in dataset.justify:
            hint = f"`{column.name}` may mention the subject; scrub it under `columns:`, or name it under `keep:`"
            case.error(Code.UNMAPPED_COLUMN, hint, path, column.name)


def _personal(column: ColumnType, found: Mapping[str, list[str]]) -> bool:
    text = column.is_text or column.is_json or column.element is not None or column.type in ("inet", "cidr")
    return (text and looks_personal(column.name)) or content_kind(found.get(column.name, ())) is not None


def _check_identifiers(
    case: Case, name: str, dataset: SqlDataset, table: LiveTable, found: Mapping[str, list[str]]
) -> None:
    """Whatever holds an identifier leads to the subject, or somebody has said why not."""
    path: Path = ("datasets", name)
    if dataset.whose is Whose.SUBJECT and dataset.action is not Action.RETAIN:
        leading = case.leading(table.name)
        for column in table.columns.values():
            kind = identifier_kind(column.name) or (
                content_kind(found.get(column.name, ())) if _is_short(column) else None
            )
            known = kind == "id" or kind in {str(k) for k in case.data_map.identifiers}
            if kind and known and column.name not in leading and not case.justified(table.name, column.name):
                if _free_text(column):
                    continue
                hint = (
                    f"`{column.name}` looks like an identifier and leads nowhere: add a match `by:` or `of:` it,"
                    " or say under `justify:` whose it is"
                )
                case.error(Code.IDENTIFIER_NOT_MATCHED, hint, path, column.name)
    for i, way in enumerate(dataset.match):
        if isinstance(way, By) and not way.through and way.column in found:
            _check_spelling(case, way, found[way.column], (*path, "match", i))
        if isinstance(way, By) and not way.through and case.data_map.reusable(way.by):
            _check_shared(case, dataset, way, (*path, "match", i))


def _check_shared(case: Case, dataset: SqlDataset, way: By, path: Path) -> None:
    """Where a surrogate can say whose a row is, a phone or an address says it only where the surrogate is missing."""
    asked = {condition.column for condition in way.where if condition.op is Operator.IS_NULL}
    told = asked | set(dataset.key)  # a row's own id says nothing of whose it is
    for other in dataset.match:
        surrogate = isinstance(other, By) and not other.through and not case.data_map.reusable(other.by)
        if isinstance(other, By) and surrogate and other.column not in told and way.column not in dataset.justify:
            hint = (
                f"`{way.column}` may be shared, and `{other.column}` says whose a row is: ask that it `is_null` under `where:`,"
                f" or say under `justify:` of {way.column} why not"
            )
            case.error(Code.SHARED_IDENTIFIER, hint, path, way.column)


def _is_short(column: ColumnType) -> bool:
    """Whether a column can be an identifier, rather than a text or document that holds one."""
    return not column.is_json and not _free_text(column)


def _free_text(column: ColumnType) -> bool:
    return bool(words(column.name) & _FREE_TEXT)


def _check_spelling(case: Case, way: By, values: list[str], path: Path) -> None:
    if way.by.value not in ("email", "phone"):
        return
    odd = 0
    for value in values[:1000]:
        try:
            odd += normalise(way.by, value) != (value.lower() if way.stored is Stored.LOWER else value)
        except BadIdentifier:
            continue
    if odd:
        hint = f"`{way.column}` is stored in other spellings than the normal form"
        hint += "; say `stored: lower`" if way.by.value == "email" else "; store it in E.164 form"
        case.error(Code.OTHER_SPELLING, hint, path, way.column)


def _check_json(case: Case, name: str, dataset: SqlDataset, found: Mapping[str, list[str]]) -> None:
    for column, treatment in dataset.columns.items():
        if not isinstance(treatment, JsonPaths):
            continue
        for path in _personal_paths(found.get(column, ())):
            removed = any(path == gone or path.startswith(gone + ".") for gone in treatment.json)
            if not removed and f"{column}.{path}" not in dataset.justify:
                hint = (
                    f"`{path}` in `{column}` looks personal and stays; add it to `json:`, or say why under `justify:`"
                )
                case.error(Code.PERSONAL_PATH, hint, ("datasets", name, "columns", column), column)


def _personal_paths(documents: Iterable[str]) -> list[str]:
    leaves: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        for path, value in flat(json.loads(document)):
            leaves[path].append(value)
    return [
        path
        for path, values in leaves.items()
        if any(values) and (any(looks_personal(part) for part in path.split(".")) or content_kind(values))
    ]


def flat(document: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a JSON document with their dotted paths; items of a list share its path."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from flat(value, f"{path}.{key}" if path else key)
    elif isinstance(document, list):
        for value in document:
            yield from flat(value, path)
    else:
        yield path, "" if document is None else str(document)


def _check_scrubs(case: Case, name: str, dataset: SqlDataset, table: LiveTable, found: Mapping[str, list[str]]) -> None:
    """Free text is scrubbed of every kind that people write: addresses and phones, and IP addresses if there are any."""
    for column, treatment in dataset.columns.items():
        known = table.columns.get(column)
        if isinstance(treatment, Scrub) and known and (known.is_json or _free_text(known)):
            own = dataset.whose is Whose.SUBJECT
            path: Path = ("datasets", name, "columns", column)
            _check_scrub(case, treatment, found.get(column, ()) if own else (), path, column)


def _check_scrub(case: Case, treatment: Scrub, values: Iterable[str], path: Path, column: str) -> None:
    kinds = {str(kind) for kind in case.data_map.identifiers} & {"email", "phone"}
    for kind in sorted(kinds - {str(kind) for kind in treatment.scrub}):
        case.error(Code.SCRUB_INCOMPLETE, f"`{column}` is not scrubbed of {kind}; add it", path, column)
    if not treatment.ip and any(_IP.search(value) for value in values):
        case.error(Code.SCRUB_INCOMPLETE, f"`{column}` holds IP addresses; add `ip: true`", path, column)


def _check_files(case: Case, name: str, dataset: SqlDataset, table: LiveTable) -> None:
    """Deleted rows that lead to files take the files along."""
    if dataset.action is not Action.DELETE:
        return
    followed = {files.column for files in case.data_map.of_kind(ObjectDataset).values() if files.rows == name}
    for column in table.columns.values():
        if (
            column.is_text
            and words(column.name) & _FILES
            and "key" in words(column.name)
            and column.name not in followed
        ):
            hint = (
                f"`{column.name}` leads to files, which would stay: add a dataset with `rows: {name}` before this one"
            )
            case.error(Code.FILE_NOT_MAPPED, hint, ("datasets", name), column.name)


def _check_links(case: Case) -> None:
    """What a link's rows are found by, they give as well: else the products that know no other kind find nothing."""
    for i, link in enumerate(case.data_map.links):
        if link.dataset not in {name for name, _, _ in case.datasets()}:
            continue
        given = {(str(kind), column) for kind, column in link.columns()}
        starts = {(way.by.value, way.column) for way in case.data_map.starts(link) if not way.through}
        own = {(way.by.value, way.column) for way in case.data_map.sql(link.dataset).match if isinstance(way, By)}
        for kind, column in sorted(starts - given):
            hint = f"`{column}` holds {kind} and is not under `gives:`"
            case.error(Code.IDENTIFIER_NOT_GIVEN, hint, ("links", i), column)
        for _, column in sorted(given - starts):
            hint = f"`{column}` is given and not asked: nobody would notice that it is shared; add it under `match:`"
            case.error(Code.IDENTIFIER_NOT_MATCHED, hint, ("links", i), column)
        for kind, column in sorted(given - own):
            if not case.data_map.reusable(kind):
                hint = f"`{column}` is a surrogate {kind}: {link.dataset} should be found by it"
                case.error(Code.IDENTIFIER_NOT_MATCHED, hint, ("datasets", link.dataset), column)


def _check_other_tables(case: Case) -> None:
    mapped = case.mapped() | set(case.data_map.ignore)
    for table in case.live.tables.values():
        if table.name in mapped:
            continue
        personal = [
            c.name for c in table.columns.values() if looks_personal(c.name, text=c.is_text) or identifier_kind(c.name)
        ]
        if personal:
            hint = (
                f"table `{table.name}` is not in the map and looks personal ({', '.join(personal)});"
                " add a dataset, or say under `ignore:` why not"
            )
            case.error(Code.TABLE_NOT_MAPPED, hint, ("datasets",))


def check_lines(case: Case, name: str, dataset: LogDataset, lines: Iterable[bytes]) -> None:
    """The same for lines of log files: every field is treated, kept, or the tenant or the time."""
    fields = _fields(lines)
    path: Path = ("datasets", name)
    known = {p for p in (*dataset.keep, *dataset.fields, dataset.tenant, dataset.created) if p}
    kinds = {str(kind) for kind in case.data_map.identifiers}
    matched = {way.field for way in dataset.match}
    for field, values in fields.items():
        if not any(field == path or field.startswith(f"{path}.") for path in known):
            hint = f"field `{field}` has no treatment; give it one under `fields:`, or name it under `keep:`"
            case.error(Code.UNMAPPED_COLUMN, hint, path, field)
        elif field in dataset.keep and any(values) and (looks_personal(field) or content_kind(values)):
            hint = f"`{field}` is kept and looks personal"
            case.warn(Code.PERSONAL_KEPT, hint, (*path, "keep"), field)
        kind = identifier_kind(field) or content_kind(values)
        treatment = dataset.fields.get(field)
        scrubbed = isinstance(treatment, Scrub)
        if isinstance(treatment, Scrub):
            _check_scrub(case, treatment, values, (*path, "fields", field), field)
        if (kind == "id" or kind in kinds) and field not in matched and not scrubbed:
            hint = f"field `{field}` looks like an identifier and leads nowhere: add a match `by:` it"
            case.error(Code.IDENTIFIER_NOT_MATCHED, hint, path, field)
    for field in known if fields else ():
        if not any(seen == field or seen.startswith(f"{field}.") for seen in fields):
            case.warn(Code.MISSING_COLUMN, f"no line of the sample has the field `{field}`", path, field)


def _fields(lines: Iterable[bytes]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue  # text between the lines, or one cut off by the end of the sample
        for path, value in flat(document) if isinstance(document, dict) else ():
            fields[path].append(value)
    return fields
