"""Sample rows of the help centre: articles, comments and what readers leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from random import Random

from consumers.samples.harvest import AS_OF, STAFF, Harvest, Neighbours, Voice, how_many, later, moment
from consumers.samples.people import Subject, random_uuid
from consumers.samples.phrases import LANGUAGES

COLUMNS = {
    "articles": "tenant, id, title, body, locale, editor_name, created_at",
    "article_comments": "tenant, id, uid, article_id, parent_id, author_id, author_name, author_email, body, created_at",
    "comment_revisions": "comment_uid, revision, body, edited_at",
    "comment_votes": "tenant, comment_id, user_id, value, created_at",
    "subscriptions": "tenant, user_id, article_id, email, created_at",
    "article_feedback": "tenant, id, article_id, user_id, email, helpful, remark, created_at",
}
SEQUENCES: dict[str, str] = {}


def guide_rows(people: Sequence[Subject], seed: int) -> Harvest:
    """The help centre's rows for ``people``."""
    return _Guide(people, seed).fill()


class _Guide:
    def __init__(self, people: Sequence[Subject], seed: int) -> None:
        self._people = people
        self._rng = Random(f"{seed}:guide")
        self._neighbours = Neighbours(people)
        self._out = Harvest()
        self._articles: dict[tuple[str, str], list[int]] = {}
        self._comment_ids = {tenant: count(1) for tenant in self._neighbours.tenants}
        self._feedback_ids = {tenant: count(1) for tenant in self._neighbours.tenants}

    def fill(self) -> Harvest:
        for tenant in self._neighbours.tenants:
            self._write_articles(tenant)
        for person in self._people:
            article = self._rng.choice(self._articles[person.tenant, person.language])
            for _ in range(how_many(person, self._rng, (0, 1, 1, 2))):
                self._discussion(person, article)
            self._marks(person, article)
        return self._out

    def _write_articles(self, tenant: str) -> None:
        numbers = count(1)
        for language, phrases in LANGUAGES.items():
            # Many articles: a discussion stays short, as in a real help centre.
            texts = [phrases.articles[n % 2] for n in range(20)]
            for edition, (title, body) in enumerate(texts):
                number = next(numbers)
                row = (f"{title} ({edition // 2 + 1})", body, language, self._rng.choice(STAFF))
                self._out.add("articles", None, tenant, number, *row, AS_OF - timedelta(days=1500))
                self._articles.setdefault((tenant, language), []).append(number)

    def _discussion(self, person: Subject, article: int) -> None:
        """A comment; often somebody answers it and quotes the commenter's address."""
        rng, voice = self._rng, Voice(person, self._rng)
        written = moment(rng, 700)
        # Without an account the address alone says who wrote, and it stands as it was typed.
        anonymous, text = rng.random() < 0.3, voice.one_of(voice.phrases.guide)
        comment, uid = self._comment(person, article, None, text, written, anonymous=anonymous)
        if rng.random() < 0.2:
            self._out.add("comment_revisions", person, uid, 1, voice.fill(voice.phrases.guide[0]), written)
        if rng.random() < 0.5:
            other = self._neighbours.other(person, rng)
            self._reply(person, other, article, comment, later(rng, written, 5 * 86_400))
        if rng.random() < 0.3:
            voter = self._neighbours.other(person, rng)
            self._out.add(
                "comment_votes", voter, person.tenant, comment, voter.user_id, rng.choice((1, 1, -1)), written
            )

    def _reply(self, person: Subject, other: Subject, article: int, parent: int, written: datetime) -> None:
        rng, phrases = self._rng, LANGUAGES[other.language]
        email = typed(person.email) if rng.random() < 0.3 else person.email
        if rng.random() < 0.6:
            body = rng.choice(phrases.guide_quoting).format(email=email)
        else:
            body = Voice(other, rng).fill(phrases.guide[2])
        _, uid = self._comment(other, article, parent, body, written, anonymous=False)
        if rng.random() < 0.1:
            self._out.add("comment_revisions", other, uid, 1, f"{body} ?", written)

    def _comment(
        self, author: Subject, article: int, parent: int | None, body: str, written: datetime, *, anonymous: bool
    ) -> tuple[int, str]:
        number, uid = next(self._comment_ids[author.tenant]), random_uuid(self._rng)
        who = (None if anonymous else author.user_id, author.name, typed(author.email) if anonymous else author.email)
        ids = (author.tenant, number, uid, article, parent)
        self._out.add("article_comments", author, *ids, *who, body, written)
        return number, uid

    def _marks(self, person: Subject, article: int) -> None:
        rng, voice = self._rng, Voice(person, self._rng)
        if rng.random() < 0.4:
            row = (person.user_id, article, person.email, moment(rng, 400))
            self._out.add("subscriptions", person, person.tenant, *row)
        if rng.random() < 0.4:
            number, anonymous = next(self._feedback_ids[person.tenant]), rng.random() < 0.5
            who = (None if anonymous else person.user_id, typed(person.email) if anonymous else None)
            remark = voice.one_of(voice.phrases.remark) if rng.random() < 0.6 else None
            row_of = (person.tenant, number, article, *who, rng.random() < 0.7, remark, moment(rng, 400))
            self._out.add("article_feedback", person, *row_of)


def typed(email: str) -> str:
    """An address as its owner may type it: ``Anna.Rossi@Example.com``."""
    return email.title().replace(".Com", ".com").replace(".Org", ".org").replace(".Net", ".net")
