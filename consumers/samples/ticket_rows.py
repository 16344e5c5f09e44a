"""Sample rows of the help desk: users, tickets and their threads, attachments with files, invoices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from random import Random

from consumers.samples.files import attachment
from consumers.samples.harvest import AS_OF, STAFF, Harvest, Neighbours, Voice, later, likely, moment
from consumers.samples.people import FIRST_USER_ID, Subject, random_uuid

COLUMNS = {
    "agents": "tenant, id, name, email, created_at",
    "users": "tenant, id, external_id, email, phone, name, locale, time_zone, profile, alternate_emails, created_at",
    "tickets": "tenant, id, requester_id, assignee_id, subject, description, status, channel, priority, custom_fields,"
    " cc_emails, created_at, updated_at",
    "comments": "id, tenant, ticket_id, author_type, author_id, body, via_email, is_public, created_at",
    "attachments": "id, comment_id, object_key, file_name, content_type, size, created_at",
    "attachment_previews": "attachment_id, page, object_key, ocr_text",
    "ticket_events": "tenant, ticket_id, seq, actor_type, actor_id, kind, old_value, new_value, created_at",
    "satisfaction_ratings": "tenant, id, ticket_id, user_id, score, remark, created_at",
    "invoices": "tenant, id, number, user_id, billing_name, billing_email, billing_address, amount, currency, issued_at",
}
SEQUENCES = {"comments": "id"}

_YEARS = 365


def ticket_rows(people: Sequence[Subject], seed: int) -> Harvest:
    """The help desk's rows and files for ``people``."""
    return _Tickets(people, seed).fill()


class _Tickets:
    def __init__(self, people: Sequence[Subject], seed: int) -> None:
        self._people = people
        self._rng = Random(f"{seed}:tickets")
        self._neighbours = Neighbours(people)
        self._out = Harvest()
        self._ticket_ids = {tenant: count(1) for tenant in self._neighbours.tenants}
        self._rating_ids = {tenant: count(1) for tenant in self._neighbours.tenants}
        self._invoice_ids = {tenant: count(1) for tenant in self._neighbours.tenants}
        self._comment_ids = count(1)

    def fill(self) -> Harvest:
        for tenant in self._neighbours.tenants:
            for number, name in enumerate(STAFF):
                email = f"{name.lower().replace(' ', '.')}@{tenant}.example"
                # The first agent has the number of the first user: only author_type tells them apart.
                self._out.add("agents", None, tenant, FIRST_USER_ID + number, name, email, AS_OF - timedelta(days=2000))
        for person in self._people:
            joined = self._user(person)
            for _ in range(self._rng.choice((1, 1, 2, 2, 3, 4))):
                _Thread(self, person, later(self._rng, joined, 900 * 86_400)).write()
            self._invoices(person)
        return self._out

    def _user(self, person: Subject) -> datetime:
        rng = self._rng
        joined = moment(rng, 3 * _YEARS, AS_OF - timedelta(days=30))
        profile = {
            "address": _address(person),
            "birthday": f"{rng.randrange(1950, 2006)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
            "company": rng.choice((None, None, "Officine Nord", "Blue Harbour Ltd", "Werk 9 GmbH")),
            "preferences": {
                "newsletter": rng.random() < 0.3,
                "theme": "dark",
                "contact_by": rng.choice(("email", "phone")),
            },
        }
        row = (person.external_id, person.email, person.phone, person.name, person.locale, person.time_zone, profile)
        self._out.add("users", person, *person.key, *row, person.alternate_emails, joined)
        return joined

    def _invoices(self, person: Subject) -> None:
        for _ in range(self._rng.choice((0, 0, 1, 2))):
            number = next(self._invoice_ids[person.tenant])
            issued = moment(self._rng, 5 * _YEARS)
            billed = (person.name, person.email, _address(person))
            amount = f"{self._rng.randrange(1500, 90000) / 100:.2f}"
            currency = {"GB": "GBP", "US": "USD", "JP": "JPY"}.get(person.country, "EUR")
            row = (f"{issued.year}-{number:06d}", person.user_id, *billed, amount, currency, issued)
            self._out.add("invoices", person, person.tenant, number, *row)


def _address(person: Subject) -> dict[str, str]:
    return {"street": person.street, "city": person.city, "postcode": person.postcode, "country": person.country}


class _Thread:
    """One ticket of one person with everything that hangs on it."""

    def __init__(self, desk: _Tickets, person: Subject, opened: datetime) -> None:
        self._desk, self._person, self._now = desk, person, opened
        self._rng, self._out = desk._rng, desk._out
        self._voice = Voice(person, self._rng)
        self._id = next(desk._ticket_ids[person.tenant])
        self._agent = FIRST_USER_ID + self._rng.randrange(len(STAFF))
        self._copied = desk._neighbours.other(person, self._rng) if self._rng.random() < 0.12 else None
        self._events = count(1)

    def write(self) -> None:
        opened = self._now
        self._event("Contact", self._person.user_id, "created", None, {"status": "new"})
        self._event("System", None, "notified", None, {"to": self._person.email})
        if self._person.alternate_emails and self._rng.random() < 0.3:
            was = {"email": self._person.alternate_emails[0]}
            self._event("Agent", self._agent, "requester", was, {"email": self._person.email})
        self._comments()
        status = self._rng.choice(("open", "pending", "solved", "solved", "closed"))
        self._event("Agent", self._agent, "status", {"status": "new"}, {"status": status})
        self._ticket(status, opened)
        if status in {"solved", "closed"} and self._rng.random() < 0.6:
            self._rating()

    def _ticket(self, status: str, opened: datetime) -> None:
        rng, person, voice = self._rng, self._person, self._voice
        subject, description = rng.choice(voice.phrases.topics)
        contact = {"email": person.email, "callback_phone": person.phone}
        fields = {
            "contact": contact,
            "order_number": voice.order,
            "product": voice.product,
            "severity": rng.randrange(1, 5),
        }
        channel = rng.choice(("email", "email", "web", "chat", "phone", "api"))
        row = (
            voice.fill(subject),
            voice.fill(description),
            status,
            channel,
            rng.choice(("low", "normal", "high")),
            fields,
        )
        copied = [] if self._copied is None else [self._copied.email]
        ids = (person.tenant, self._id, person.user_id, self._agent)
        self._out.add("tickets", person, *ids, *row, copied, opened, self._now)

    def _comments(self) -> None:
        phrases, voice, person = self._voice.phrases, self._voice, self._person
        for turn in range(self._rng.choice((1, 1, 2))):
            comment = self._comment(person, "Contact", voice.one_of(phrases.contact))
            if likely(person, self._rng, 0.18):
                self._attach(comment)
            templates = phrases.agent_quoting if turn == 0 and self._rng.random() < 0.4 else phrases.agent
            self._comment(None, "Agent", voice.one_of(templates))
        if self._copied is not None:
            self._copy(self._copied)

    def _copy(self, other: Subject) -> None:
        """Put somebody else in copy: each then quotes the other's address."""
        theirs = Voice(other, self._rng)
        self._event("Contact", self._person.user_id, "cc", None, {"email": other.email})
        self._comment(self._person, "Contact", theirs.one_of(self._voice.phrases.other_quoting))
        if self._rng.random() < 0.6:
            self._comment(other, "Contact", self._voice.one_of(theirs.phrases.other_quoting))

    def _comment(self, author: Subject | None, author_type: str, body: str) -> int:
        self._now = later(self._rng, self._now, 2 * 86_400)
        number = next(self._desk._comment_ids)
        author_id = self._agent if author is None else author.user_id
        via = author.email if author is not None and self._rng.random() < 0.6 else None
        ids = (number, self._person.tenant, self._id)
        public = author is not None or self._rng.random() < 0.9
        self._out.add("comments", author or self._person, *ids, author_type, author_id, body, via, public, self._now)
        return number

    def _event(self, actor_type: str, actor: int | None, kind: str, old: object, new: object) -> None:
        ids = (self._person.tenant, self._id, next(self._events))
        self._out.add("ticket_events", self._person, *ids, actor_type, actor, kind, old, new, self._now)

    def _rating(self) -> None:
        number = next(self._desk._rating_ids[self._person.tenant])
        remark = self._voice.one_of(self._voice.phrases.remark) if self._rng.random() < 0.5 else None
        row = (self._id, self._person.user_id, self._rng.randrange(1, 6), remark, later(self._rng, self._now, 86_400))
        self._out.add("satisfaction_ratings", self._person, self._person.tenant, number, *row)

    def _attach(self, comment: int) -> None:
        person, number = self._person, random_uuid(self._rng)
        file = attachment(person, self._voice.order, self._rng)
        key = f"tickets/{person.tenant}/{self._now.year}/{number}{file.suffix}"
        self._out.put(key, person, file.content)
        row = (number, comment, key, file.name, file.content_type, len(file.content), self._now)
        self._out.add("attachments", person, *row)
        if file.preview is not None:
            preview = key.removesuffix(file.suffix) + "-1.png"
            self._out.put(preview, person, file.preview)
            self._out.add("attachment_previews", person, number, 1, preview, file.text)
