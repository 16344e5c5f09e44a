"""Where the five sample products keep their data, and how their empty stores are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import sqlalchemy as sa

PRODUCTS = ("tickets", "chat", "guide", "voice", "logs")

_SCHEMAS = Path(__file__).parent.parent  # schema.sql stands in each product's own folder


@dataclass(frozen=True)
class SampleStores:
    """The stores of the sample products: a database each, one object store, one folder of log files.

    Args:
        tickets: SQLAlchemy URL or engine of the help desk's database; ``postgresql://`` means psycopg2 here.
        chat: The same for the chat.
        guide: The same for the help centre.
        voice: The same for telephony.
        logs: The same for the back-end log's table.
        objects: fsspec URL of the object store's root; the ``object_key`` columns are relative to it.
        log_folder: Local folder of the JSON-lines files.
    """

    tickets: str | sa.URL | sa.Engine
    chat: str | sa.URL | sa.Engine
    guide: str | sa.URL | sa.Engine
    voice: str | sa.URL | sa.Engine
    logs: str | sa.URL | sa.Engine
    objects: str
    log_folder: Path
    _engines: dict[str, sa.Engine] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def on_server(cls, server: str | sa.URL, folder: Path, prefix: str = "") -> SampleStores:
        """Stores in five databases of one server, made if missing, with files under ``folder``.

        Args:
            server: URL of any database of the server; its user must be allowed to create databases.
            folder: Where the object store (``objects``) and the log files (``logs``) go; made if missing.
            prefix: Put before each product's name to name its database.
        """
        url = psycopg2_url(server)
        _create_databases(url, [prefix + product for product in PRODUCTS])
        (folder / "objects").mkdir(parents=True, exist_ok=True)
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        urls = {product: url.set(database=prefix + product) for product in PRODUCTS}
        return cls(**urls, objects=(folder / "objects").absolute().as_uri(), log_folder=folder / "logs")

    def url(self, product: str) -> sa.URL:
        """The SQLAlchemy URL of ``product``'s database, with its driver named."""
        return self.engine(product).url

    def engine(self, product: str) -> sa.Engine:
        """The engine of ``product``'s database; the same one every time."""
        if product not in self._engines:
            given: str | sa.URL | sa.Engine = getattr(self, product)
            made = given if isinstance(given, sa.Engine) else sa.create_engine(psycopg2_url(given))
            self._engines[product] = made
        return self._engines[product]

    @contextmanager
    def cursor(self, product: str) -> Iterator[Any]:
        """A psycopg2 cursor in a transaction of its own, committed at the end: COPY needs the driver itself."""
        connection = self.engine(product).raw_connection()
        try:
            with closing(connection.cursor()) as cursor:
                yield cursor
            connection.commit()
        finally:
            connection.close()

    @cached_property
    def object_store(self) -> ObjectStore:
        return ObjectStore(self.objects)

    def create_schemas(self) -> None:
        """Run every product's ``schema.sql``. Raises SQLAlchemy's ``ProgrammingError`` if a table already exists."""
        for product in PRODUCTS:
            with self.engine(product).begin() as connection:
                connection.exec_driver_sql(schema_of(product))

    def dispose(self) -> None:
        """Close the pooled connections of every engine used so far."""
        for engine in self._engines.values():
            engine.dispose()


class ObjectStore:
    """The sample object store: whole objects by key, under one fsspec URL."""

    def __init__(self, url: str) -> None:
        self._fs, root = fsspec.core.url_to_fs(url)
        self._root = str(root).rstrip("/")

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Write the objects, making folders as needed."""
        paths = {f"{self._root}/{key}": content for key, content in objects.items()}
        for folder in sorted({path.rpartition("/")[0] for path in paths}):
            self._fs.makedirs(folder, exist_ok=True)
        self._fs.pipe(paths)

    def list(self) -> list[str]:
        """The keys of all objects, sorted."""
        return sorted(str(path)[len(self._root) + 1 :] for path in self._fs.find(self._root))

    def read(self, key: str) -> bytes:
        content = self._fs.cat_file(f"{self._root}/{key}")
        assert isinstance(content, bytes)
        return content


def schema_of(product: str) -> str:
    """The DDL of ``product``'s sample database."""
    return (_SCHEMAS / product / "schema.sql").read_text(encoding="utf-8")


def psycopg2_url(url: str | sa.URL) -> sa.URL:
    """``url`` with psycopg2 as its driver unless it names one: SQLAlchemy 2.1 would take another by default."""
    made = sa.make_url(url)
    return made.set(drivername="postgresql+psycopg2") if made.drivername in {"postgresql", "postgres"} else made


def _create_databases(server: sa.URL, names: list[str]) -> None:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        known = set(connection.scalars(sa.text("select datname from pg_database")))
        quote = engine.dialect.identifier_preparer.quote
        for name in names:
            if name not in known:
                connection.exec_driver_sql(f"create database {quote(name)}")
