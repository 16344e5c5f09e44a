"""The words of a data map: what a product team may write, as types.

Each class is a mapping of the YAML file; its fields are the keys that may stand there. How a file becomes these
types is in :mod:`consumers.maps_reading`, what they must not say together in :mod:`consumers.maps_rules`.
No value here is ever SQL: names are quoted, conditions are structured, identifiers travel as bound parameters.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterator
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from schemas.codes import RetentionGround
from schemas.identifiers import IdentifierKind

Column = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,62}$")]
Table = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,62}(\.[A-Za-z_][A-Za-z0-9_$]{0,62})?$")]
MapName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
Path = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_$-]{1,64}(\.[A-Za-z0-9_$-]{1,64}){0,9}$")]
Millis = Annotated[int, Meta(ge=10, le=600_000)]
Rows = Annotated[int, Meta(ge=1, le=10_000_000)]
Text = Annotated[str, Meta(min_length=1, max_length=500)]
Scalar = str | int | float | bool

DEFAULT_TEXT = "[erased]"


class StoreKind(StrEnum):
    """What keeps the data."""

    SQL = "sql"
    OBJECTS = "objects"
    LOGFILES = "logfiles"


class Nature(StrEnum):
    """Whether an identifier can ever name a second person."""

    SURROGATE = "surrogate"
    """Given to one person and never to another: a user id."""
    REUSABLE = "reusable"
    """May belong to somebody else tomorrow: an e-mail address, a phone number."""


class Action(StrEnum):
    """What happens to a record at purge."""

    DELETE = "delete"
    REDACT = "redact"
    """Overwrite the personal fields, keep the record."""
    ANONYMISE = "anonymise"
    """Cut the link to the person by a named method, keep the rest."""
    RETAIN = "retain"
    """Keep, with ground, basis and end."""


class Method(StrEnum):
    """How ``anonymise`` cuts the link. There is no hash here: whoever can list the identifiers can undo one."""

    NULL_LINK = "null_link"
    """The columns that led to the subject are emptied."""
    REPLACE_AUTHOR = "replace_author"
    """The columns that led to the subject name a fixed author who is no person."""


class Trash(StrEnum):
    """What a product does in the trash phase."""

    NATIVE = "native"
    """Rows are hidden by their ``hide`` column and can be shown again."""
    DEFERRED = "deferred"
    """Nothing happens until purge."""


class Whose(StrEnum):
    """Whose records a dataset holds."""

    SUBJECT = "subject"
    OTHERS = "others"
    """Other people's records that mention the subject: only the mention is touched, the record stays theirs."""


class Stored(StrEnum):
    """In which form a column keeps an identifier, where it is not the normal form."""

    EXACT = "exact"
    LOWER = "lower"
    """Compared as ``lower(column)``; wants an index on that expression."""


class Operator(StrEnum):
    """How a condition compares; the names are the usual ones."""

    EQ = "eq"
    NE = "ne"
    IN = "in"
    NOT_IN = "not_in"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    IS_NULL = "is_null"
    NOT_NULL = "not_null"


class Word(StrEnum):
    """Treatments of a column that need no argument; ``null`` is written as YAML's own null."""

    CLEAR = "clear"
    """The empty value of the column's type: empty text, array or JSON object."""
    TRUNCATE_IP = "truncate_ip"
    """An IPv4 address to its /24, an IPv6 address to its /48."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all parts of a map: immutable, and a key that nobody knows is an error."""


class Store(Part, frozen=True, kw_only=True):
    """Where data lives. ``setting`` names the product's setting that holds the address; the map never holds it."""

    kind: StoreKind
    setting: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,60}$")]
    lock_timeout_ms: Millis = 2_000
    statement_timeout_ms: Millis = 15_000


class Tenancy(Part, frozen=True, kw_only=True):
    """The column that separates tenants, where a table does not say otherwise."""

    column: Column


class Limits(Part, frozen=True, kw_only=True):
    """Ceilings. ``chunk_rows``: rows in one transaction. ``max_rows`` and ``max_share``: a step above them is not run."""

    chunk_rows: Annotated[int, Meta(ge=1, le=5_000)] = 5_000
    max_rows: Rows = 100_000
    max_share: Annotated[float, Meta(gt=0, le=1)] = 0.2
    max_share_from: Rows = 1_000
    """``max_share`` counts only for datasets of at least this many rows."""


class Condition(Part, frozen=True, kw_only=True):
    """``column op value``; ``value`` is a list for ``in`` and ``not_in``, and absent for the two null tests."""

    column: Column
    op: Operator = Operator.EQ
    value: Scalar | list[Scalar] | None = None


class Join(Part, frozen=True, kw_only=True):
    """One step from a table to the next: ``on`` maps columns of the nearer table to columns of ``table``."""

    table: Table
    on: dict[Column, Column]
    tenant: Column | None = None
    """This table's tenant column; none where it has none."""
    created: Column | None = None
    where: tuple[Condition, ...] = ()


class By(Part, frozen=True, kw_only=True):
    """Rows whose ``column`` (or the last joined table's, with ``through``) holds an identifier of kind ``by``."""

    marker: ClassVar[str] = "by"
    by: IdentifierKind
    column: Column
    stored: Stored = Stored.EXACT
    through: tuple[Join, ...] = ()
    where: tuple[Condition, ...] = ()


class Of(Part, frozen=True, kw_only=True):
    """Rows that belong to a row of another dataset: ``on`` maps this table's columns to the other dataset's."""

    marker: ClassVar[str] = "of"
    of: MapName
    on: dict[Column, Column]
    where: tuple[Condition, ...] = ()


class Value(Part, frozen=True, kw_only=True):
    """A fixed value. In text, ``{key}`` stands for the row's own key, for columns that must stay unique."""

    marker: ClassVar[str] = "value"
    value: Scalar | list[Scalar] | dict[str, Any]


class JsonPaths(Part, frozen=True, kw_only=True):
    """Paths of a JSON column that are removed; the rest of the document stays."""

    marker: ClassVar[str] = "json"
    json: tuple[Path, ...]


class Elements(Part, frozen=True, kw_only=True):
    """Elements of an array that are an identifier of the subject (of these kinds): removed, or replaced by ``with``."""

    marker: ClassVar[str] = "elements"
    elements: tuple[IdentifierKind, ...]
    with_: str | int | None = msgspec.field(default=None, name="with")


class Scrub(Part, frozen=True, kw_only=True):
    """Free text or JSON out of which the subject's identifiers (of these kinds) are taken, wherever they stand."""

    marker: ClassVar[str] = "scrub"
    scrub: tuple[IdentifierKind, ...]
    ip: bool = False
    """Take out every IP address as well; only in the subject's own records."""
    with_: Annotated[str, Meta(pattern=r"^[A-Za-z0-9 _.*\[\]<>-]{0,40}$")] = msgspec.field(
        default=DEFAULT_TEXT, name="with"
    )


Treatment = Value | JsonPaths | Elements | Scrub | Word | None


class Until(Part, frozen=True, kw_only=True):
    """When retention ends: ``column`` plus an ISO 8601 duration, or a fixed date."""

    column: Column | None = None
    plus: Annotated[str, Meta(pattern=r"^P(?=\d)(\d+Y)?(\d+M)?(\d+D)?$")] | None = None
    fixed: date | None = None


class Retention(Part, frozen=True, kw_only=True):
    """Why a record stays: ground of Art. 17(3), the legal basis in words, and until when."""

    ground: RetentionGround
    basis: Text
    until: Until


class HideValue(StrEnum):
    """What the hide column gets."""

    NOW = "now"
    TRUE = "true"


class Hide(Part, frozen=True, kw_only=True):
    """How a row goes to the trash: its column is set to the time, or to true. Null (or false) is "not hidden"."""

    column: Column
    value: HideValue = HideValue.NOW


class SqlDataset(Part, frozen=True, kw_only=True):
    """Rows of one table, and what becomes of them. A table may serve several datasets: the first that finds a row has it."""

    marker: ClassVar[str] = "table"
    store: MapName = "db"
    table: Table
    key: tuple[Column, ...]
    """Primary key."""
    tenant: Column | None = None
    """This table's tenant column, where it has another name than the map's."""
    tenant_by_parent: bool = False
    """The table has no tenant column: it is reached only through a dataset or table that has one."""
    created: Column | None = None
    match: tuple[By | Of, ...]
    where: tuple[Condition, ...] = ()
    whose: Whose = Whose.SUBJECT
    action: Action
    method: Method | None = None
    columns: dict[Column, Treatment] = {}
    keep: tuple[Column, ...] = ()
    """Columns of a kept record that stay, on purpose."""
    justify: dict[Path, Text] = {}
    """Why a column that looks personal is none, or stays: what ``products check`` would otherwise ask."""
    retain: Retention | None = None
    hide: Hide | None = None
    max_rows: Rows | None = None


class ObjectDataset(Part, frozen=True, kw_only=True):
    """Files in an object store whose keys stand in a column of another dataset's rows. Goes before that dataset."""

    marker: ClassVar[str] = "rows"
    store: MapName
    rows: MapName
    """The SQL dataset whose rows lead to the files."""
    column: Column
    """Its column with the object's key."""
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_./{}-]{0,200}$")] = ""
    """Every key must begin with this (``{tenant}`` is the tenant); another key is an error, not a deletion."""
    action: Action = Action.DELETE
    max_rows: Rows | None = None


class LineMatch(Part, frozen=True, kw_only=True):
    """Lines whose ``field`` is an identifier of kind ``by``. Mentions within text are a matter of ``scrub``."""

    by: IdentifierKind
    field: Path


Glob = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.*?/\[\]-]{1,200}$")]


class LogDataset(Part, frozen=True, kw_only=True):
    """Lines of structured log files (JSON lines, plain or gzip)."""

    marker: ClassVar[str] = "files"
    store: MapName
    files: tuple[Glob, ...]
    """Patterns of all files, relative to the store's folder."""
    active: tuple[Glob, ...] = ()
    """Patterns of the files that are being written. Where no file fits any of them (or none is given), the newest plain
    file of each pattern under ``files``, in each folder, counts as one: what is written is never replaced by a copy."""
    rotate: tuple[Text, ...] = ()
    """Command (with its arguments) that makes the writer let go of the active file; absent: it is overwritten in place."""
    settle_s: Annotated[int, Meta(ge=0, le=86_400)] = 60
    """A file counts as closed when it has not changed for this many seconds."""
    tenant: Path | None = None
    """The field with the tenant; none only in a single-tenant map."""
    created: Path
    """The field with the line's time."""
    match: tuple[LineMatch, ...]
    action: Action
    """``redact``, or ``delete`` (the line)."""
    fields: dict[Path, Treatment] = {}
    """Treatments in the subject's lines; ``scrub`` works in all lines of the tenant."""
    keep: tuple[Path, ...] = ()
    scrub_unparsed: bool = False
    """Take identifiers out of lines that are no JSON, too, whosever they are: their tenant and time are unknown. Without
    it such a line stays as it is, and the step waits for a person."""
    max_rows: Rows | None = None


Dataset = SqlDataset | ObjectDataset | LogDataset
D = TypeVar("D", SqlDataset, ObjectDataset, LogDataset)


class Link(Part, frozen=True, kw_only=True):
    """Rows of ``dataset`` lead from one identifier to others: ``gives`` maps a kind to the column(s) that hold it.

    It starts from the dataset's own ``by:`` matches and from ``match``: identifiers that lead to the person but by
    themselves are no reason to erase the row, as a phone that a household shares. One row is one person, unless
    ``person`` names the column that tells people apart.
    """

    dataset: MapName
    match: tuple[By, ...] = ()
    gives: dict[IdentifierKind, Column | tuple[Column, ...]]
    person: Column | None = None
    where: tuple[Condition, ...] = ()

    def columns(self) -> Iterator[tuple[IdentifierKind, Column]]:
        """Each kind and column, a kind once per column that holds it."""
        for kind, names in self.gives.items():
            for name in (names,) if isinstance(names, str) else names:
                yield kind, name


class DataMap(Part, frozen=True, kw_only=True):
    """What one product holds of people, where, and what becomes of it."""

    product: MapName
    version: Annotated[int, Meta(ge=1, le=1)]
    """Version of this language, not of the map: 1."""
    description: Text
    stores: dict[MapName, Store]
    tenancy: Tenancy | Annotated[str, Meta(pattern=r"^single_tenant$")]
    trash: Trash
    backup_days: Annotated[int, Meta(ge=0, le=3_650)]
    """How long a backup of these stores lives: until then the data is gone but for it."""
    identifiers: dict[IdentifierKind, Nature]
    links: tuple[Link, ...] = ()
    after: tuple[MapName, ...] = ()
    """Products that must be done before this one begins."""
    limits: Limits = Limits()
    datasets: dict[MapName, Dataset]
    """In the order in which they are worked: children before parents, files before the rows that lead to them."""
    ignore: dict[Table, Text] = {}
    """Tables that hold no subject's data though they look like it, and why."""

    def of_kind(self, kind: type[D]) -> dict[str, D]:
        """The datasets of one class, in order."""
        return {name: dataset for name, dataset in self.datasets.items() if isinstance(dataset, kind)}

    def sql(self, name: str) -> SqlDataset:
        """The SQL dataset of that name. Raises KeyError."""
        dataset = self.datasets[name]
        if not isinstance(dataset, SqlDataset):
            raise KeyError(name)
        return dataset

    def tenant_column(self, dataset: SqlDataset) -> str | None:
        """The tenant column of the dataset's own table, ``None`` where it has none."""
        if dataset.tenant_by_parent or isinstance(self.tenancy, str):
            return None
        return dataset.tenant or self.tenancy.column

    def record_column(self, name: str) -> str | None:
        """The one key column by which records of a dataset can be named in a request, beside the tenant."""
        dataset = self.datasets.get(name)
        if not isinstance(dataset, SqlDataset) or dataset.whose is Whose.OTHERS:
            return None
        tenant = self.tenant_column(dataset)
        rest = [column for column in dataset.key if column != tenant]
        return rest[0] if len(rest) == 1 and (tenant or isinstance(self.tenancy, str)) else None

    @property
    def nameable(self) -> tuple[str, ...]:
        """Datasets whose records a request may name one by one."""
        return tuple(name for name in self.datasets if self.record_column(name))

    @property
    def needs(self) -> frozenset[IdentifierKind]:
        """Kinds by which this product finds a subject's records, or takes mentions out of them."""
        kinds = {way.by for d in self.of_kind(SqlDataset).values() for way in d.match if isinstance(way, By)}
        kinds |= {way.by for d in self.of_kind(LogDataset).values() for way in d.match}
        for treatment in self._treatments():
            if isinstance(treatment, Scrub):
                kinds.update(treatment.scrub)
            elif isinstance(treatment, Elements):
                kinds.update(treatment.elements)
        return frozenset(kinds)

    def _treatments(self) -> Iterator[Treatment]:
        for dataset in self.datasets.values():
            if isinstance(dataset, SqlDataset):
                yield from dataset.columns.values()
            elif isinstance(dataset, LogDataset):
                yield from dataset.fields.values()

    def starts(self, link: Link) -> tuple[By, ...]:
        """From which identifiers a link starts."""
        own = [way for way in self.sql(link.dataset).match if isinstance(way, By)]
        return (*own, *(way for way in link.match if way not in own))

    @property
    def supplies(self) -> frozenset[IdentifierKind]:
        """Kinds to which this product can lead from others."""
        return frozenset(kind for link in self.links for kind in link.gives)

    def reusable(self, kind: str) -> bool:
        """Whether identifiers of this kind may belong to somebody else one day, in this product."""
        return self.identifiers[IdentifierKind(kind)] is Nature.REUSABLE

    def matches(self, kinds: Collection[str]) -> bool:
        """Whether any identifier of these kinds leads to records here, at once or by this product's own links."""
        sql = {way.by for d in self.of_kind(SqlDataset).values() for way in d.match if isinstance(way, By)}
        lines = {way.by for d in self.of_kind(LogDataset).values() for way in d.match}
        links = {way.by for link in self.links for way in self.starts(link)}
        return any(kind in kinds for kind in sql | lines | links)

    def digest(self) -> str:
        """SHA-256 of the canonical form, base64url without padding: layout, comments and key order do not change it."""
        plain = msgspec.to_builtins(self)
        plain["datasets"] = list(plain["datasets"].items())  # their order is meaning
        text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


UNSAFE_HASH = re.compile(r"hash|sha-?\d|md5|digest|pseudonym", re.IGNORECASE)
"""Words that people use for what is no anonymisation."""
