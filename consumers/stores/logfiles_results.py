"""What is told of log files: which there are, what was seen in them, and what became of them."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass


class FileState(enum.Enum):
    """How a file may be changed."""

    CLOSED = "closed"  # by copy and rename
    ACTIVE = "active"  # by rotation, or in place
    UNSETTLED = "unsettled"  # not now: written, renamed or compressed too recently


class Outcome(enum.Enum):
    """What became of one file."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"  # nothing was left to do
    ABSENT = "absent"  # gone, or rotated away under another name outside the patterns: counts as done
    BUSY = "busy"  # locked, unsettled, or changed under our hands: try again later
    STOPPED = "stopped"  # the caller said no; what was written in place before stays
    UNREADABLE = "unreadable"  # broken gzip, or bytes that cannot be read: a person must look


class Unfinished(Exception):
    """A file cannot be read or changed to its end, at least not now."""

    def __init__(self, outcome: Outcome, reason: str = "") -> None:
        super().__init__(outcome.value, reason)
        self.outcome, self.reason = outcome, reason


def busy(reason: str) -> Unfinished:
    """The error of a file that is to be tried again later. ``reason``: see :class:`FileResult`."""
    return Unfinished(Outcome.BUSY, reason)


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Which bytes a name led to. Rotation keeps device and inode; a rewrite changes the inode."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode

    @classmethod
    def of(cls, seen: os.stat_result) -> FileVersion:
        """The version in a ``stat`` result."""
        return cls(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file as listed; ``name`` is relative to the folder."""

    name: str
    state: FileState
    version: FileVersion
    settles_s: float = 0.0
    """Seconds until an unsettled file will be closed, if nobody touches it."""


@dataclass(frozen=True, slots=True)
class Count:
    """Lines of one subject in one file."""

    pending: int = 0
    """Have something to erase."""
    undated: int = 0
    """Found by a reusable identifier alone, with no readable time, in a file written after the cut-off: not touched."""
    suspicious: int = 0
    """Name the subject where no rule reaches: not JSON, too long, or without a tenant."""

    def __add__(self, other: Count) -> Count:
        return Count(self.pending + other.pending, self.undated + other.undated, self.suspicious + other.suspicious)


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What a dry run saw in one file. ``counts`` holds the ordinals of those who were seen."""

    name: str
    version: FileVersion
    counts: Mapping[int, Count]
    readable: bool = True
    """Nothing may be certified while a file is not."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """What a rewrite did to the file called ``name`` by now."""

    name: str
    outcome: Outcome
    in_place: bool = False
    rotate_failed: bool = False
    """The command failed, or its file did not fall quiet; the file was overwritten in place instead."""
    reason: str = ""
    """Of ``busy``: ``locked``, ``unsettled``, ``changed``, ``compressed``."""
