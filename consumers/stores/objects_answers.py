"""What stores of files and objects answer: outcomes, versions, and errors that quote nothing.

Errors carry a stable ``code``; none has a key, a path or a driver's own text in it::

    StoreError
    ├── Unavailable  "unavailable"    the store or its root cannot be reached; a later try may succeed
    ├── TimedOut     "timeout"        no answer in time; a later try may succeed
    ├── Denied       "denied"         the store refuses us
    ├── BadKey       "bad_key"        the key is malformed or leads out of the root
    ├── NotAnObject  "not_an_object"  a folder, a link or a device stands where an object was named
    └── Failed       "failed"         anything else
"""

from __future__ import annotations

import contextlib
import enum
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar


class DeleteOutcome(enum.Enum):
    """What deleting an object found and did."""

    DELETED = "deleted"  # it was there, and is gone
    ABSENT = "absent"  # it was gone already: counts as done
    CHANGED = "changed"  # another version than expected: not deleted, the caller decides


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One object as it stood when it was looked at.

    ``tag`` names the content: ``sha256:…``, or the store's own ``etag:…``. Two versions are the same if key, size
    and tag are; the time is not compared, because a touched file is no other content.
    """

    key: str
    size: int
    tag: str


class StoreError(Exception):
    """A store did not do what was asked. ``detail`` is an errno's or a class's name, never data."""

    code: ClassVar[str] = "failed"

    def __init__(self, detail: str = "") -> None:
        super().__init__(f"{self.code} ({detail})" if detail else self.code)


class Unavailable(StoreError):
    """The store or its root cannot be reached; a later try may succeed."""

    code = "unavailable"


class TimedOut(StoreError):
    """The store gave no answer in time; a later try may succeed."""

    code = "timeout"


class Denied(StoreError):
    """The store refuses us: credentials, grants, file modes, or a retention lock."""

    code = "denied"


class BadKey(StoreError):
    """The key is malformed or leads out of the root."""

    code = "bad_key"


class NotAnObject(StoreError):
    """A folder, a link or a device stands where an object was named."""

    code = "not_an_object"


class Failed(StoreError):
    """Anything else."""


_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNAVAILABLE = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,  # what s3fs makes of SlowDown and ServiceUnavailable
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.ESTALE,
        getattr(errno, "EREMOTEIO", errno.EIO),  # what s3fs makes of InternalError
    }
)


@contextlib.contextmanager
def told_plainly(kind: type[Exception] = Exception) -> Iterator[None]:
    """Turn what a file system or its driver raises into a :class:`StoreError` that quotes no data.

    Args:
        kind: the errors to be told. Drivers of fsspec raise what they like; programming errors pass as they are.
    """
    try:
        yield
    except (StoreError, TypeError, AttributeError, NameError, AssertionError):
        raise
    except kind as error:
        # "from None": a traceback must not print the driver's text, which quotes the path.
        raise _plain(error) from None


def _plain(error: Exception) -> StoreError:
    if isinstance(error, TimeoutError):
        return TimedOut()
    if isinstance(error, OSError):
        detail = errno.errorcode.get(error.errno or 0, type(error).__name__)
        if isinstance(error, PermissionError) or error.errno in _DENIED:
            return Denied(detail)
        if isinstance(error, (FileNotFoundError, ConnectionError)) or error.errno in _UNAVAILABLE:
            return Unavailable(detail)
        return Failed(detail)
    # Drivers' own errors are known by name, so that none of the drivers needs to be installed.
    name = type(error).__name__
    if "Timeout" in name:
        return TimedOut(name)
    if "Connect" in name or "Endpoint" in name:
        return Unavailable(name)
    if "Credential" in name or "Denied" in name:
        return Denied(name)
    return Failed(name)
