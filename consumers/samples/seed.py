"""Fills the five sample stores with believable people; see :mod:`consumers.samples.people` for who they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from types import ModuleType
from typing import Any

from consumers.samples import chat_rows, guide_rows, log_rows, ticket_rows, voice_rows
from consumers.samples.harvest import AS_OF, Harvest, Key, copy_rows
from consumers.samples.people import TENANTS, Subject, people
from consumers.samples.stores import PRODUCTS, SampleStores

_MAKERS: dict[str, tuple[Callable[[Sequence[Subject], int], Harvest], ModuleType]] = {
    "tickets": (ticket_rows.ticket_rows, ticket_rows),
    "chat": (chat_rows.chat_rows, chat_rows),
    "guide": (guide_rows.guide_rows, guide_rows),
    "voice": (voice_rows.voice_rows, voice_rows),
    "logs": (log_rows.log_rows, log_rows),
}


@dataclass(frozen=True)
class SampleWorld:
    """Who is in the stores, and how much each has there.

    Attributes:
        subjects: Everybody, by tenant and user id.
        counts: Per (tenant, user id) and product: rows by table, and ``files`` where the product keeps any.
        totals: Per product: rows by table; ``files``; for logs also ``lines`` of the log files.
    """

    subjects: tuple[Subject, ...]
    counts: Mapping[Key, Mapping[str, Counter[str]]]
    totals: Mapping[str, Counter[str]]

    def subject(self, tenant: str, user_id: int) -> Subject:
        """The subject of that number at that tenant. Raises ``KeyError``."""
        for subject in self.subjects:
            if subject.key == (tenant, user_id):
                return subject
        raise KeyError((tenant, user_id))

    def everywhere(self) -> tuple[Subject, ...]:
        """Those with data in all five products, files included, and no phone shared within their tenant.

        These show an erasure best; nobody has to decide anything about them. In the order of ``subjects``.
        """
        return tuple(subject for subject in self.subjects if not subject.phone_at_home and self._has_all(subject))

    def twins(self) -> tuple[Subject, ...]:
        """Those of :meth:`everywhere` whose e-mail address exists at the other tenant too."""
        return tuple(subject for subject in self.everywhere() if subject.email_elsewhere)

    def choose(self, count: int) -> tuple[Subject, ...]:
        """``count`` of :meth:`everywhere`: of both tenants in turn, beginning with a twin if there is one.

        No two of them share an e-mail or a phone, so each twin's counterpart at the other tenant is a bystander.

        Raises ``ValueError`` if there are not so many.
        """
        first = [*self.twins(), *(subject for subject in self.everywhere() if not subject.email_elsewhere)]
        tenants = sorted(TENANTS, key=lambda tenant: bool(first) and tenant != first[0].tenant)
        chosen: list[Subject] = []
        taken: set[str] = set()
        for tenant in islice(cycle(tenants), count):
            free = (one for one in first if one.tenant == tenant and taken.isdisjoint((one.phone, *one.emails)))
            subject = next(free, None)
            if subject is None:
                raise ValueError("not so many subjects have data in every product")
            chosen.append(subject)
            taken |= {subject.phone, *subject.emails}
        return tuple(chosen)

    def _has_all(self, subject: Subject) -> bool:
        mine = self.counts[subject.key]
        wanted = (
            ("tickets", "attachments"),
            ("chat", "sessions"),
            ("guide", "article_comments"),
            ("voice", "transcripts"),
        )
        return all(mine[product][table] for product, table in wanted)


def seed(stores: SampleStores, subjects: int = 2000, seed: int = 1) -> SampleWorld:
    """Fill the stores, whose schemas exist and are empty, and say who is in there.

    Args:
        stores: Where to; see :meth:`SampleStores.create_schemas`.
        subjects: How many people, 40 to 10,000.
        seed: The same seed makes the same people, rows and files, byte for byte.

    Raises:
        ValueError: ``subjects`` is out of range.
        psycopg2.Error: A store is not empty (a key exists already), or is not reachable.
    """
    everybody = people(subjects, seed)
    counts: dict[Key, dict[str, Counter[str]]] = {person.key: {} for person in everybody}
    totals: dict[str, Counter[str]] = {}
    for product in PRODUCTS:
        make, module = _MAKERS[product]
        harvest = make(everybody, seed)
        load(stores, product, harvest.tables, module.COLUMNS, module.SEQUENCES)
        stores.object_store.put(harvest.objects)
        totals[product] = Counter({table: len(rows) for table, rows in harvest.tables.items()})
        totals[product]["files"] += len(harvest.objects)
        for person in everybody:
            counts[person.key][product] = harvest.counts[person.key]
    totals["logs"]["lines"] = log_rows.write_log_files(everybody, stores.log_folder, seed)
    return SampleWorld(everybody, counts, totals)


def grow(stores: SampleStores, subject: Subject, tickets: int = 70_000, comments: int = 1) -> None:
    """Give ``subject`` so many more tickets, each with so many comments: one very large subject, in seconds.

    The new tickets have numbers from 10,000,001 on, or from the tenant's highest on if that is higher. They name the
    subject as all tickets do; their comments are the subject's own.
    """
    values = {"tenant": subject.tenant, "id": subject.user_id, "email": subject.email, "phone": subject.phone}
    values |= {"name": subject.name, "tickets": tickets, "comments": comments, "as_of": AS_OF}
    with stores.cursor("tickets") as cursor:
        cursor.execute(
            """
            with base as (select greatest(max(id), 10000000) as id from tickets where tenant = %(tenant)s),
            added as (
                insert into tickets (tenant, id, requester_id, subject, description, status, channel, priority,
                                     custom_fields, created_at, updated_at)
                select %(tenant)s, base.id + n, %(id)s, 'Sensor alarm ' || n, 'Raised for ' || %(name)s, 'closed',
                       'api', 'low', jsonb_build_object('contact', jsonb_build_object('email', %(email)s,
                       'callback_phone', %(phone)s), 'severity', n %% 4 + 1), at, at
                from base, generate_series(1, %(tickets)s) n, lateral (select %(as_of)s - n * interval '7 minutes') a (at)
                returning tenant, id, created_at
            )
            insert into comments (tenant, ticket_id, author_type, author_id, body, via_email, created_at)
            select tenant, id, 'Contact', %(id)s, 'Report ' || n || ' from ' || %(email)s, %(email)s, created_at
            from added, generate_series(1, %(comments)s) n
            """,
            values,
        )
    analyse(stores, "tickets")


def load(
    stores: SampleStores,
    product: str,
    tables: Mapping[str, Sequence[Sequence[Any]]],
    columns: Mapping[str, str],
    sequences: Mapping[str, str],
) -> None:
    """Copy ``tables`` into ``product``'s database in one transaction, and let its planner know what is in there.

    Args:
        stores: The sample stores.
        product: Whose database.
        tables: Rows by table.
        columns: By table, in an order that foreign keys allow: the columns of its rows.
        sequences: The identity column of each table whose rows brought their own numbers.
    """
    with stores.cursor(product) as cursor:
        for table, names in columns.items():
            copy_rows(cursor, table, names, tables.get(table, ()))
        for table, column in sequences.items():
            cursor.execute(
                f"select setval(pg_get_serial_sequence(%s, %s), (select coalesce(max({column}), 0) + 1 from {table}), false)",
                (table, column),
            )
    analyse(stores, product)


def analyse(stores: SampleStores, product: str) -> None:
    """Gather the planner's statistics of ``product``'s database; autovacuum would come a minute too late."""
    with stores.cursor(product) as cursor:
        cursor.execute("analyze")
