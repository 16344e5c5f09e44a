"""Sample rows of the back-end log, and its JSON-lines files: gzip, plain, and the active one."""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from consumers.samples.harvest import AS_OF, Harvest, Neighbours, later, moment
from consumers.samples.people import Subject

COLUMNS = {"request_log": "tenant, id, logged_at, level, service, user_id, email, client_ip, message, context"}
SEQUENCES = {"request_log": "id"}

ACTIVE = "app.jsonl"
DAYS = 8  # files go back so many days, today's being the active one
GZIPPED_AFTER = 4  # days

_AGENT = "Mozilla/5.0 (X11; Linux x86_64) Firefox/139.0"
_MESSAGES = (
    ("info", "tickets", "POST /api/v2/tickets 201"),
    ("info", "tickets", "mail accepted from {email}"),
    ("warning", "tickets", "login failed for {email} from {ip}"),
    ("info", "chat", "socket opened for {email}"),
    ("info", "guide", "GET /hc/articles 200"),
    ("error", "voice", "no recording consent for caller {phone}"),
)
_BARE = ("info", "tickets", "smtp: delivered to <{email}> in 312 ms")  # names somebody in the text alone


def log_rows(people: Sequence[Subject], seed: int) -> Harvest:
    """The log table's rows for ``people``, in the order of their time."""
    rng, out = Random(f"{seed}:logs"), Harvest()
    entries = [
        (moment(rng, 30), person, rng.choice(_MESSAGES)) for person in people for _ in range(rng.choice((3, 4, 5, 6)))
    ]
    for number, (at, person, (level, service, message)) in enumerate(sorted(entries, key=lambda entry: entry[0]), 1):
        # Before the login the address alone is known, after it mostly the id alone.
        known = rng.choice(((person.user_id, None), (person.user_id, person.email), (None, person.email)))
        context = {
            "request_id": f"req-{rng.getrandbits(48):012x}",
            "route": "/api/v2",
            "status": rng.choice((200, 201, 401)),
            "params": {"email": person.email, "phone": person.phone},
            "user_agent": _AGENT,
        }
        row = (at, level, service, *known, person.ip, _filled(message, person), context)
        out.add("request_log", person, person.tenant, number, *row)
    return out


def write_log_files(people: Sequence[Subject], folder: Path, seed: int) -> int:
    """Write the files, each as old as its day, into ``folder`` (made if missing); the number of lines."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = _lines(people, Random(f"{seed}:log files"))
    by_age: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for at, line in lines:
        by_age[(AS_OF.date() - at.date()).days].append(line)
    for age, entries in by_age.items():
        content = b"".join(encode_line(entry) for entry in entries)
        day = AS_OF - timedelta(days=age)
        path = folder / (f"app-{day:%Y-%m-%d}.jsonl" if age else ACTIVE)
        if age > GZIPPED_AFTER:
            path = path.with_name(path.name + ".gz")
            content = gzip.compress(content, mtime=0)
        path.write_bytes(content)
        ended = datetime.combine(day.date(), datetime.max.time(), tzinfo=UTC) if age else AS_OF
        os.utime(path, (ended.timestamp(), ended.timestamp()))
    return len(lines)


def encode_line(entry: dict[str, Any]) -> bytes:
    """One line of a log file, as the sample services write it."""
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


_Known = tuple[int | None, str | None, str | None]  # user id, e-mail, IP address: what the service knew
_What = tuple[str, str, str]  # level, service, message


def _filled(message: str, person: Subject) -> str:
    return message.format(email=person.email, ip=person.ip, phone=person.phone)


def _lines(people: Sequence[Subject], rng: Random) -> list[tuple[datetime, dict[str, Any]]]:
    """All lines of all days, in the order of their time."""
    neighbours = Neighbours(people)
    found: list[tuple[datetime, dict[str, Any]]] = []

    def add(tenant: str, known: _Known, what: _What) -> None:
        at = later(rng, AS_OF - timedelta(days=DAYS), DAYS * 86_400)
        found.append((at, _line(at, tenant, known, what, rng)))

    for person in people:
        for _ in range(rng.choice((4, 6, 8))):
            level, service, message = rng.choice(_MESSAGES)
            who = rng.choice(((person.user_id, None), (person.user_id, person.email), (None, person.email)))
            add(person.tenant, (*who, person.ip), (level, service, _filled(message, person)))
        if rng.random() < 0.5:
            level, service, message = _BARE
            add(person.tenant, (None, None, None), (level, service, _filled(message, person)))
        if rng.random() < 0.05:
            host = neighbours.other(person, rng)
            message = f"user {host.user_id} added <{person.email}> to a ticket"
            add(host.tenant, (host.user_id, host.email, host.ip), ("info", "tickets", message))
    return sorted(found, key=lambda entry: entry[0])


def _line(at: datetime, tenant: str, known: _Known, what: _What, rng: Random) -> dict[str, Any]:
    user_id, email, ip = known
    level, service, message = what
    return {
        "ts": at.isoformat().replace("+00:00", "Z"),
        "level": level,
        "service": service,
        "tenant": tenant,
        "user_id": user_id,
        "email": email,
        "ip": ip,
        "message": message,
        "request_id": f"req-{rng.getrandbits(48):012x}",
    }
