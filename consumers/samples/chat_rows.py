"""Sample rows of the chat: visitors, sessions, messages, participants and typing figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from consumers.samples.harvest import AS_OF, STAFF, Harvest, Neighbours, Voice, how_many, later, moment
from consumers.samples.people import Subject, random_uuid

COLUMNS = {
    "agents": "id, tenant, name, created_at",
    "visitors": "id, tenant, user_id, email, phone, name, ip, attributes, created_at",
    "sessions": "id, tenant, visitor_id, agent_id, topic, language, started_at, ended_at",
    "messages": "id, session_id, sender_type, sender_id, body, payload, created_at",
    "session_participants": "session_id, participant_type, participant_id, display_name, joined_at",
    "typing_metrics": "tenant, session_id, visitor_id, client_ip, day, messages, characters, typing_ms, created_at",
}
SEQUENCES = {"messages": "id"}

_BOT = "Hello! Please leave your e-mail and phone, an agent will be with you shortly."


def chat_rows(people: Sequence[Subject], seed: int) -> Harvest:
    """The chat's rows for ``people``."""
    return _Chat(people, seed).fill()


class _Chat:
    def __init__(self, people: Sequence[Subject], seed: int) -> None:
        self._people = people
        self._rng = Random(f"{seed}:chat")
        self._neighbours = Neighbours(people)
        self._out = Harvest()
        self._agents: dict[str, list[str]] = {}
        self._message_ids = count(1)

    def fill(self) -> Harvest:
        for tenant in self._neighbours.tenants:
            self._agents[tenant] = [random_uuid(self._rng) for _ in STAFF]
            for number, name in zip(self._agents[tenant], STAFF, strict=True):
                self._out.add("agents", None, number, tenant, name, AS_OF - timedelta(days=2000))
        for person in self._people:
            for order, visitor in enumerate(person.visitor_ids):
                seen = self._visitor(person, visitor, signed_in=order == 0)
                for _ in range(how_many(person, self._rng, (0, 1, 1, 2))):
                    self._session(person, visitor, later(self._rng, seen, 300 * 86_400))
        return self._out

    def _visitor(self, person: Subject, visitor: str, *, signed_in: bool) -> datetime:
        """A browser of theirs. A second one is not signed in: e-mail and phone alone say whose it is."""
        rng = self._rng
        seen = moment(rng, 500)
        attributes = {
            "browser": rng.choice(("Firefox", "Chrome", "Safari")),
            "city": person.city,
            "referrer": "https://www.example.com/help",
            "crm": {"email": person.email, "tier": rng.choice(("basic", "plus"))},
        }
        known = (person.user_id, person.email, person.phone, person.name)
        row = known if signed_in else (None, person.email, person.phone, None)
        self._out.add("visitors", person, visitor, person.tenant, *row, person.ip, attributes, seen)
        return seen

    def _session(self, person: Subject, visitor: str, start: datetime) -> None:
        rng, voice = self._rng, Voice(person, self._rng)
        session, agent = random_uuid(rng), rng.choice(self._agents[person.tenant])
        talk = _Talk(self, person, session, start)
        form = {"form": {"email": person.email, "phone": person.phone}}
        talk.say("Bot", None, _BOT, {})
        talk.say("Contact", visitor, voice.fill(voice.phrases.chat_contact[0]), form)
        talk.say("Agent", agent, voice.phrases.chat_agent[rng.randrange(2)], {})
        for line in voice.phrases.chat_contact[1 : rng.randrange(2, 5)]:
            talk.say("Contact", visitor, voice.fill(line), {"client": {"ip": person.ip, "version": "4.2"}})
        talk.say("Agent", agent, voice.phrases.chat_agent[2], {})
        participants = [
            ("Contact", visitor, person.name),
            ("Agent", agent, STAFF[self._agents[person.tenant].index(agent)]),
        ]
        guest = self._neighbours.other(person, rng) if rng.random() < 0.08 else None
        if guest is not None:
            participants.append(("Contact", guest.visitor_ids[0], guest.name))
            self._invite(talk, visitor, guest)
        topic = voice.product if rng.random() < 0.7 else None
        ids = (session, person.tenant, visitor, agent)
        self._out.add("sessions", person, *ids, topic, person.language, start, talk.now)
        for kind, number, shown in participants:
            owner = guest if guest is not None and number == guest.visitor_ids[0] else person
            self._out.add("session_participants", owner, session, kind, number, shown, start)
        self._metrics(person, visitor, session, talk)

    def _invite(self, talk: _Talk, visitor: str, guest: Subject) -> None:
        """Somebody else joins: the host quotes the guest's address, and the guest writes a line of their own."""
        theirs = Voice(guest, self._rng)
        talk.say("Contact", visitor, theirs.one_of(talk.phrases.other_quoting), {})
        talk.say("Contact", guest.visitor_ids[0], theirs.fill(theirs.phrases.chat_contact[1]), {}, author=guest)

    def _metrics(self, person: Subject, visitor: str, session: str, talk: _Talk) -> None:
        figures = (talk.messages, talk.characters, talk.characters * self._rng.randrange(90, 260))
        row = (session, visitor, person.ip, talk.now.date(), *figures, talk.now)
        self._out.add("typing_metrics", person, person.tenant, *row)


class _Talk:
    """One session as it goes on: the clock and what is counted."""

    def __init__(self, chat: _Chat, person: Subject, session: str, start: datetime) -> None:
        self._chat, self._person, self._session = chat, person, session
        self.phrases = Voice(person, chat._rng).phrases
        self.now, self.messages, self.characters = start, 0, 0

    def say(
        self, kind: str, sender: str | None, body: str, payload: dict[str, Any], author: Subject | None = None
    ) -> None:
        self.now = later(self._chat._rng, self.now, 90)
        self.messages += 1
        self.characters += len(body)
        row = (next(self._chat._message_ids), self._session, kind, sender, body, payload, self.now)
        self._chat._out.add("messages", author or self._person, *row)
