"""The load of benchmark W1: many people with the same, known amount of data each, made inside the databases.

Per person: 3 tickets of 4 comments, 2 chats of 4 messages, 2 comments in the guide, 1 call without files, 10 log rows.
People come in groups of one subject and ``bystanders_per_subject`` others; groups belong to the two tenants in turn.
Ids are counted per tenant, and whoever has a user id at one tenant shares e-mail and phone with that id at the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from consumers.samples.harvest import AS_OF
from consumers.samples.people import FIRST_USER_ID, TENANTS, Subject
from consumers.samples.seed import analyse
from consumers.samples.stores import PRODUCTS, SampleStores

PER_PERSON: Mapping[str, Mapping[str, int]] = {
    "tickets": {"users": 1, "tickets": 3, "comments": 12},
    "chat": {"visitors": 1, "sessions": 2, "messages": 8},
    "guide": {"article_comments": 2},
    "voice": {"calls": 1},
    "logs": {"request_log": 10},
}

# ``people`` is everybody of both tenants; every statement below reads it. n: number within the tenant, from 0.
_PEOPLE = """
create temporary table people on commit drop as
select tenant, {first} + n as id, n, format('user%s@w1.example', {first} + n) as email,
       '+39310' || lpad(({first} + n)::text, 7, '0') as phone, format('Person %s', {first} + n) as name
from (select case when g % 2 = 0 then '{acme}' else '{globex}' end as tenant, (g / 2) * {group} + m as n
      from generate_series(0, {groups} - 1) g, generate_series(0, {group} - 1) m) p;
"""

_STATEMENTS: Mapping[str, str] = {
    "tickets": """
insert into agents select tenant, {first}, 'Robin Ashdown', 'robin.ashdown@' || tenant || '.example'
from unnest(array['{acme}', '{globex}']) tenant;
insert into users (tenant, id, external_id, email, phone, name, locale, time_zone, profile, created_at)
select tenant, id, 'W1-' || id, email, phone, name, 'en-GB', 'Europe/London',
       jsonb_build_object('address', jsonb_build_object('street', id || ' Mill Lane', 'city', 'Leeds'),
                          'preferences', '{{"theme": "dark"}}'::jsonb), timestamptz '{as_of}' - interval '900 days'
from people;
insert into tickets (tenant, id, requester_id, assignee_id, subject, description, status, channel, priority,
                     custom_fields, created_at, updated_at)
select tenant, n * 3 + k, id, {first}, 'Order ' || n || ' has not arrived', 'Please look into it. ' || name, 'open',
       'email', 'normal', jsonb_build_object('contact', jsonb_build_object('email', email, 'callback_phone', phone),
       'severity', k), timestamptz '{as_of}' - k * interval '30 days', timestamptz '{as_of}' - k * interval '29 days'
from people, generate_series(1, 3) k;
insert into comments (tenant, ticket_id, author_type, author_id, body, via_email, created_at)
select tenant, n * 3 + k, case c % 2 when 1 then 'Contact' else 'Agent' end, case c % 2 when 1 then id else {first} end,
       case c when 2 then 'I have sent it to ' || email when 4 then 'Anything else?' else 'Still waiting. ' || name end,
       case c % 2 when 1 then email end, timestamptz '{as_of}' - k * interval '30 days' + c * interval '1 hour'
from people, generate_series(1, 3) k, generate_series(1, 4) c;
""",
    "chat": """
insert into visitors (id, tenant, user_id, email, phone, name, ip, attributes, created_at)
select md5(tenant || id)::uuid, tenant, id, email, phone, name, '100.64.0.1',
       jsonb_build_object('browser', 'Firefox', 'crm', jsonb_build_object('email', email)),
       timestamptz '{as_of}' - interval '300 days' from people;
insert into sessions (id, tenant, visitor_id, topic, language, started_at, ended_at)
select md5(tenant || id || '/' || k)::uuid, tenant, md5(tenant || id)::uuid, 'Lumen S', 'en',
       timestamptz '{as_of}' - k * interval '20 days', timestamptz '{as_of}' - k * interval '20 days' + interval '5 min'
from people, generate_series(1, 2) k;
insert into messages (session_id, sender_type, sender_id, body, payload, created_at)
select md5(tenant || id || '/' || k)::uuid, case m % 2 when 1 then 'Contact' else 'Bot' end,
       case m % 2 when 1 then md5(tenant || id)::uuid end,
       case m when 1 then 'it is on ' || email when 3 then 'thanks' else 'One moment please.' end,
       case m when 1 then jsonb_build_object('form', jsonb_build_object('email', email, 'phone', phone)) else '{{}}' end,
       timestamptz '{as_of}' - k * interval '20 days' + m * interval '1 min'
from people, generate_series(1, 2) k, generate_series(1, 4) m;
""",
    "guide": """
insert into articles (tenant, id, title, body, locale, editor_name, created_at)
select tenant, a, 'Article ' || a, 'Hold the power button for ten seconds.', 'en', 'Robin Ashdown',
       timestamptz '{as_of}' - interval '1500 days'
from unnest(array['{acme}', '{globex}']) tenant, generate_series(0, {articles} - 1) a;
insert into article_comments (tenant, id, uid, article_id, author_id, author_name, author_email, body, created_at)
select tenant, n * 2 + k, md5(tenant || id || '/' || k)::uuid, (n + k) % {articles}, id, name, email,
       'Step 3 did not work, write to ' || email, timestamptz '{as_of}' - k * interval '40 days'
from people, generate_series(1, 2) k;
""",
    "voice": """
insert into agents select tenant, {first}, 'Robin Ashdown' from unnest(array['{acme}', '{globex}']) tenant;
insert into calls (tenant, id, caller_phone, caller_name, user_id, agent_id, queue, direction, started_at, duration_s,
                   outcome)
select tenant, n + 1, phone, upper(name), null, {first}, 'support', 'inbound', timestamptz '{as_of}' - interval '9 days',
       120, 'answered' from people;
""",
    "logs": """
insert into request_log (tenant, logged_at, level, service, user_id, email, client_ip, message, context)
select tenant, timestamptz '{as_of}' - k * interval '1 day', 'info', 'tickets', id, case k % 2 when 0 then email end,
       '100.64.0.1', case k % 2 when 0 then 'mail accepted from ' || email else 'GET /api/v2/tickets 200' end,
       jsonb_build_object('request_id', md5(tenant || id || '/' || k), 'route', '/api/v2',
                          'params', jsonb_build_object('email', email, 'phone', phone))
from generate_series(1, 10) k, people;
""",
}


@dataclass(frozen=True, slots=True)
class W1World:
    """Who is in there: ``subjects`` are to be erased, all ``people`` counts bystanders too."""

    subjects: tuple[Subject, ...]
    people: int

    def totals(self) -> dict[str, dict[str, int]]:
        """How many rows each table got, by product; staff and articles apart."""
        return {
            product: {table: count * self.people for table, count in tables.items()}
            for product, tables in PER_PERSON.items()
        }


def seed_w1(stores: SampleStores, subjects: int, bystanders_per_subject: int = 5) -> W1World:
    """Fill the databases, whose schemas exist and are empty, with W1's people; no files are written.

    Foreign keys are not checked row by row (they hold by construction) where the database's user may say so.

    Args:
        stores: The sample stores.
        subjects: How many subjects.
        bystanders_per_subject: How many others there are for each.
    """
    group = bystanders_per_subject + 1
    values = {
        "first": FIRST_USER_ID,
        "acme": TENANTS[0],
        "globex": TENANTS[1],
        "groups": subjects,
        "group": group,
        "articles": max(20, subjects * group // 8),
        "as_of": AS_OF.isoformat(),
    }
    with ThreadPoolExecutor(2, "w1") as pool:  # five databases, two at a time
        list(pool.map(lambda product: _fill(stores, product, values), sorted(PRODUCTS, key=_rows, reverse=True)))
    return W1World(tuple(_subjects(subjects, group)), subjects * group)


def _rows(product: str) -> int:
    return sum(PER_PERSON[product].values())


def _fill(stores: SampleStores, product: str, values: Mapping[str, object]) -> None:
    with stores.cursor(product) as cursor:
        cursor.execute("set local synchronous_commit = off")
        cursor.execute("select rolsuper from pg_roles where rolname = current_user")
        if cursor.fetchone() == (True,):
            cursor.execute("set local session_replication_role = replica")
        cursor.execute(_PEOPLE.format_map(values))
        cursor.execute(_STATEMENTS[product].format_map(values))
    analyse(stores, product)


def _subjects(count: int, group: int) -> Iterator[Subject]:
    """The first of each group, as the databases know them."""
    for number in range(count):
        user_id = FIRST_USER_ID + number // 2 * group
        twin_exists = number % 2 == 1 or number + 1 < count
        yield Subject(
            tenant=TENANTS[number % 2],
            user_id=user_id,
            external_id=f"W1-{user_id}",
            email=f"user{user_id}@w1.example",
            alternate_emails=(),
            phone=f"+39310{user_id:07d}",
            name=f"Person {user_id}",
            language="en",
            locale="en-GB",
            time_zone="Europe/London",
            street=f"{user_id} Mill Lane",
            city="Leeds",
            postcode="",
            country="GB",
            ip="",  # W1 has one address for all
            visitor_ids=(),
            email_elsewhere=twin_exists,
            phone_elsewhere=twin_exists,
        )
