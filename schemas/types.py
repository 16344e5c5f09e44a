"""Field types shared by messages and events.

What may stand in an event is too narrow for a name with spaces, an address or a telephone number of a person: each
pattern excludes them, counts have at most nine digits (no E.164 number with its country code is that short), and a
time is a moment of this century (which also catches seconds given as milliseconds).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, get_args

from msgspec import Meta


def text(pattern: str, description: str | None = None) -> Meta:
    r"""A string of exactly this form: ``\Z`` and not ``$``, which would let a final newline through."""
    return Meta(pattern=rf"^{pattern}\Z", description=description)


def fits(kind: Any, value: str) -> bool:
    """Whether a message may carry ``value`` as ``kind``, one of the text types below.

    For what comes from outside (a driver's column name, a SQLSTATE): a message that does not decode helps nobody.
    """
    return re.search(get_args(kind)[1].pattern, value) is not None


# --- what events are made of ---------------------------------------------------------------------------------------

RequestId = Annotated[
    str,
    text(
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "UUID, lower case; made at intake, derived from nothing.",
    ),
]
Tenant = Annotated[str, text(r"[a-z][a-z0-9-]{0,30}", "Short name of a tenant.")]
Name = Annotated[str, text(r"[a-z][a-z0-9_]{0,30}", "Name of a product or dataset, from the registry.")]
Column = Annotated[str, text(r"[A-Za-z_][A-Za-z0-9_]{0,62}", "Name of a column in a product's store.")]
ActorId = Annotated[
    str,
    text(r"actor-[0-9a-f]{12}", "Random id of a person or service that acts; the directory has the name."),
]
HoldId = Annotated[str, text(r"hold-[0-9a-f]{12}", "Random id of a hold.")]
Digest = Annotated[
    # The last character carries four bits only, so that every digest has one spelling.
    str,
    text(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", "32 bytes, base64url without padding."),
]
DateText = Annotated[
    str,
    text(r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])", "Calendar date in the tenant's zone."),
]
SqlState = Annotated[
    # Every SQLSTATE of a standard or a store has a digit; five letters could be a surname.
    str,
    text(
        r"(?:[0-9][0-9A-Z]{4}|[A-Z][0-9][0-9A-Z]{3}|[A-Z]{2}[0-9][0-9A-Z]{2}|[A-Z]{3}[0-9][0-9A-Z]|[A-Z]{4}[0-9])",
        "SQLSTATE of the store's error.",
    ),
]
Millis = Annotated[
    int,
    Meta(ge=10**12, lt=4_102_444_800_000, description="Milliseconds since 1970-01-01T00:00:00Z, from 2001 to 2099."),
]
Count = Annotated[int, Meta(ge=0, lt=10**9)]
Ordinal = Annotated[int, Meta(ge=1, lt=10**9)]

# --- what only messages have ---------------------------------------------------------------------------------------

KeyId = Annotated[str, text(r"[a-z][a-z0-9_.-]{0,60}", "Names a key, never the key itself.")]
Sealed = Annotated[str, text(r"[A-Za-z0-9_-]+", "Ciphertext, base64url without padding.")]
CaseReference = Annotated[
    str, text(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,39}", "Opaque reference of the asker's own case file.")
]
MessageId = Annotated[
    # No control characters: PostgreSQL cannot store NUL, and a terminal should not obey a message.
    str,
    text(r"[^\x00-\x1f\x7f-\x9f]{1,200}", "CloudEvents id of a message."),
]
RecordKey = Annotated[str, text(r"[^\x00-\x1f\x7f-\x9f]{1,100}", "A record's id within its tenant, as text.")]
Offset = Annotated[int, Meta(ge=0, lt=2**53, description="Position in a partition of the log.")]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset.")]
