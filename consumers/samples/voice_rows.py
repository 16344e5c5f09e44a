"""Sample rows of telephony, keyed by phone, with a recording and a transcript file for most calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from random import Random

from consumers.samples.files import recording, transcript
from consumers.samples.harvest import AS_OF, STAFF, Harvest, Neighbours, Voice, how_many, likely, moment
from consumers.samples.people import FIRST_USER_ID, Subject, random_uuid

COLUMNS = {
    "agents": "tenant, id, name, created_at",
    "calls": "tenant, id, caller_phone, caller_name, user_id, agent_id, queue, direction, started_at, duration_s, outcome",
    "recordings": "id, tenant, call_id, object_key, format, bytes, created_at",
    "transcripts": "id, recording_id, object_key, language, words, created_at",
    "call_notes": "tenant, call_id, seq, agent_id, note, created_at",
    "callback_requests": "tenant, id, phone, name, reason, requested_at, done_at",
}
SEQUENCES: dict[str, str] = {}


def voice_rows(people: Sequence[Subject], seed: int) -> Harvest:
    """Telephony's rows and files for ``people``; three in five of them have called."""
    return _Telephony(people, seed).fill()


class _Telephony:
    def __init__(self, people: Sequence[Subject], seed: int) -> None:
        self._people = people
        self._rng = Random(f"{seed}:voice")
        self._out = Harvest()
        self._tenants = list(Neighbours(people).tenants)
        self._call_ids = {tenant: count(1) for tenant in self._tenants}
        self._callback_ids = {tenant: count(1) for tenant in self._tenants}

    def fill(self) -> Harvest:
        for tenant in self._tenants:
            for number, name in enumerate(STAFF):
                self._out.add("agents", None, tenant, FIRST_USER_ID + number, name, AS_OF)
        for person in self._people:
            for _ in range(how_many(person, self._rng, (0, 0, 1, 1, 2))):
                self._call(person)
            if self._rng.random() < 0.1:
                self._callback(person)
        return self._out

    def _call(self, person: Subject) -> None:
        rng = self._rng
        number, started = next(self._call_ids[person.tenant]), moment(rng, 400)
        outcome = rng.choice(("answered", "answered", "answered", "transferred", "voicemail", "missed"))
        recognised = rng.random() < 0.4
        caller = (person.phone, person.name.upper() if recognised else None, person.user_id if recognised else None)
        agent = FIRST_USER_ID + rng.randrange(len(STAFF))
        queue = (rng.choice(("support", "billing", "orders")), rng.choice(("inbound", "inbound", "outbound")))
        row = (*caller, agent, *queue, started, rng.randrange(5, 900), outcome)
        self._out.add("calls", person, person.tenant, number, *row)
        if outcome != "missed":
            self._record(person, number, started)
        if rng.random() < 0.4:
            note = f"Caller rang from {person.phone}, wants the answer at {person.email}."
            self._out.add("call_notes", person, person.tenant, number, 1, agent, note, started)

    def _record(self, person: Subject, call: int, started: datetime) -> None:
        rng, number = self._rng, random_uuid(self._rng)
        key = f"voice/{person.tenant}/{started:%Y/%m}/{number}.wav"
        content = recording(person.phone, rng)
        self._out.put(key, person, content)
        self._out.add("recordings", person, number, person.tenant, call, key, "wav", len(content), started)
        if likely(person, rng, 0.85):
            self._transcribe(person, number, key, started)

    def _transcribe(self, person: Subject, recording_id: str, recorded: str, started: datetime) -> None:
        voice = Voice(person, self._rng)
        lines = [
            (speaker, voice.fill(words))
            for agent, caller in voice.phrases.call
            for speaker, words in (("agent", agent), ("caller", caller))
        ]
        as_json = self._rng.random() < 0.7
        key = recorded.removesuffix(".wav") + (".json" if as_json else ".txt")
        self._out.put(key, person, transcript(lines, person.language, person.phone, as_json))
        words = sum(len(line.split()) for _, line in lines)
        number = random_uuid(self._rng)
        self._out.add("transcripts", person, number, recording_id, key, person.language, words, started)

    def _callback(self, person: Subject) -> None:
        voice, asked = Voice(person, self._rng), moment(self._rng, 60)
        row = (person.phone, person.name, voice.one_of(voice.phrases.contact), asked, None)
        self._out.add("callback_requests", person, person.tenant, next(self._callback_ids[person.tenant]), *row)
