"""Log files of a data map: its datasets as sources and rules of :mod:`consumers.stores.logfiles`, batch by batch."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import structlog

from consumers.failures import StoreFailed
from consumers.maps import Action, DataMap, LogDataset, Value, Word
from consumers.maps import Scrub as MapScrub
from consumers.maps import Treatment as MapTreatment
from consumers.plans import Part
from consumers.stores.logfiles import (
    FilePlan,
    FileVersion,
    LineAction,
    LineRule,
    LogFiles,
    LogSource,
    Outcome,
    Scrub,
    Subject,
    Treatment,
)
from consumers.stores.mentions import IP_ADDRESS
from consumers.stores.sql_rows import Target
from schemas.codes import FailureCode
from schemas.identifiers import normalise

log = structlog.get_logger(__name__)

_IP = re.compile(IP_ADDRESS, re.IGNORECASE)
_NAMING = re.compile(
    r"[^\s<>()\[\],;:\"']+(?:@|%40)[^\s<>()\[\],;\"']+|(?:\+|\b00|\b%2B)?\d[\d\s().\-/]{5,}\d", re.IGNORECASE
)
"""Any e-mail address, and any number long enough for a phone."""
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the log files hold of a batch, by ordinal."""

    parts: dict[int, Part] = field(default_factory=dict)
    """Files with lines to erase, and how many each: parts of plans, in the files' order."""
    undated: dict[int, int] = field(default_factory=dict)
    """Lines found by a reusable identifier alone whose time nobody knows: they may be a later owner's, and stay."""
    stuck: dict[int, int] = field(default_factory=dict)
    """Lines that name the subject where the map does not reach: no JSON, too long, without a tenant."""

    def remaining(self) -> dict[int, int]:
        """Lines that should be gone."""
        pending = {ordinal: part.amount(len(part)) for ordinal, part in self.parts.items()}
        return {
            ordinal: pending.get(ordinal, 0) + self.stuck.get(ordinal, 0)
            for ordinal in pending.keys() | self.stuck.keys()
        }


class Lines:
    """One dataset of log files.

    Args:
        data_map: the map it belongs to.
        name: the dataset's name.
        address: its folder, as a path or a ``file://`` URL.
    """

    def __init__(self, data_map: DataMap, name: str, address: str) -> None:
        dataset = data_map.datasets[name]
        assert isinstance(dataset, LogDataset)
        self.name = name
        source = LogSource(
            folder=_folder(address),
            patterns=dataset.files,
            active=dataset.active,
            settle_s=dataset.settle_s,
            rotate=dataset.rotate,
        )
        self._files = LogFiles(source, rule_of(data_map, dataset), normalise)

    def look(self, targets: Sequence[Target]) -> Seen:
        """What there is of each target, read afresh: one pass per file. No log file is changed.

        Raises:
            StoreFailed: a file cannot be read, so nothing can be said of anybody.
            consumers.stores.objects.StoreError: the folder cannot be read.
        """
        seen = Seen()
        for plan in sorted(self._files.plan(_subjects(targets)), key=lambda plan: plan.name):
            if not plan.readable:
                raise StoreFailed(FailureCode.SCHEMA_MISMATCH, self.name)
            self._note(plan, seen)
        return seen

    def _note(self, plan: FilePlan, seen: Seen) -> None:
        for ordinal, count in plan.counts.items():
            if count.pending:
                part = seen.parts.setdefault(ordinal, Part(self.name, [[], []]))
                part.columns[0].append(plan.name)
                part.columns[1].append(_version_text(plan.version))
                part.amounts.append(count.pending)
            for found, n in ((seen.undated, count.undated), (seen.stuck, count.suspicious)):
                if n:
                    found[ordinal] = found.get(ordinal, 0) + n

    def rewrite(self, name: str, version: str, targets: Sequence[Target], may_continue: Callable[[], bool]) -> bool:
        """Erase the targets from one file of a plan, wherever it is now. Safe to repeat.

        Returns:
            Whether the file is done with; if not, ``may_continue`` said no.

        Raises:
            StoreFailed: the file is busy, or broken.
            consumers.stores.objects.StoreError: the file cannot be written.
        """
        result = self._files.rewrite(name, _version_of(version), _subjects(targets), may_continue)
        if result.rotate_failed:
            log.warning("log file not rotated, overwritten in place", dataset=self.name)
        match result.outcome:
            case Outcome.BUSY:
                log.info("log file busy", dataset=self.name, reason=result.reason)
                raise StoreFailed(FailureCode.FILE_BUSY, self.name)
            case Outcome.UNREADABLE:
                raise StoreFailed(FailureCode.SCHEMA_MISMATCH, self.name)
            case outcome:
                return outcome is not Outcome.STOPPED


def _folder(address: str) -> Path:
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == "file" else Path(address)


def _subjects(targets: Sequence[Target]) -> list[Subject]:
    return [
        Subject(target.ordinal, target.tenant, target.identifiers, target.cutoff_at or _END_OF_TIME)
        for target in targets
        if target.records is None  # no line of a log can be named in a request
    ]


def _version_text(version: FileVersion) -> str:
    return ":".join(map(str, (version.device, version.inode, version.size, version.mtime_ns, version.ctime_ns)))


def _version_of(text: str) -> FileVersion:
    return FileVersion(*map(int, text.split(":")))


# --- from the map's words to a rule -----------------------------------------------------------------------------------


def rule_of(data_map: DataMap, dataset: LogDataset) -> LineRule:
    """How the lines of a dataset are read."""
    identifies: dict[str, tuple[str, ...]] = {}
    for way in dataset.match:
        identifies[way.by.value] = (*identifies.get(way.by.value, ()), way.field)
    return LineRule(
        identifies=identifies,
        tenant=dataset.tenant,
        created=dataset.created,
        reusable=frozenset(kind.value for kind in data_map.identifiers if data_map.reusable(kind)),
        redacts=_redactions(dataset),
        scrubs=_scrubs(dataset),
        action=LineAction.DELETE if dataset.action is Action.DELETE else LineAction.REDACT,
        scrub_unparsed=dataset.scrub_unparsed,
    )


def _scrubs(dataset: LogDataset) -> dict[str, Scrub]:
    return {
        path: Scrub(frozenset(kind.value for kind in treatment.scrub), treatment.with_)
        for path, treatment in dataset.fields.items()
        if isinstance(treatment, MapScrub)
    }


def _redactions(dataset: LogDataset) -> dict[str, Treatment]:
    return {
        path: _treatment(treatment)
        for path, treatment in dataset.fields.items()
        if not isinstance(treatment, MapScrub) or treatment.ip
    }


def _treatment(treatment: MapTreatment) -> Treatment:
    if treatment is None:
        return None
    if isinstance(treatment, MapScrub):
        return _without_addresses(treatment.with_)
    if treatment is Word.CLEAR:
        return _empty
    if treatment is Word.TRUNCATE_IP:
        return _truncated
    fixed = cast("Value", treatment).value  # the map's rules let nothing else through, and no list
    return (lambda _: fixed) if isinstance(fixed, dict) else cast("Treatment", fixed)


def _without_addresses(replacement: str) -> Callable[[Any], Any]:
    """Take every IP address out of a text of the subject's own line, and with it whatever else could name them.

    The value is replaced as a whole then, so mentions that a scrub would have found must go in the same stroke.
    """

    def clean(value: Any) -> Any:
        if not isinstance(value, str) or not _IP.search(value):
            return value
        return _NAMING.sub(replacement, _IP.sub(replacement, value))

    return clean


def _empty(value: Any) -> Any:
    """The empty value of the same JSON type; numbers and truth values have none and become null."""
    return type(value)() if isinstance(value, str | dict) else None


def _truncated(value: Any) -> str | None:
    """An IPv4 address to its /24, an IPv6 address to its /48. Raises ValueError for what is no address."""
    address = ipaddress.ip_address(str(value))
    network = ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False)
    return str(network.network_address)
