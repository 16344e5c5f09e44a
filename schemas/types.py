"""Field types shared by messages and events. Each pattern is too narrow for a name, an address or a number of a person."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

RequestId = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        description="UUID, lower case; made at intake, derived from nothing.",
    ),
]
Tenant = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,30}$", description="Short name of a tenant.")]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,30}$", description="Name of a product, dataset or column.")]
KeyId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,60}$", description="Names a key, never the key itself.")]
ActorId = Annotated[
    str, Meta(pattern=r"^actor-[0-9a-f]{12}$", description="Random id of a person or service that acts; the directory has the name.")
]
HoldId = Annotated[str, Meta(pattern=r"^hold-[0-9a-f]{12}$", description="Random id of a hold.")]
Digest = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}$", description="32 bytes, base64url without padding.")]
Sealed = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+$", description="Ciphertext, base64url without padding.")]
CaseReference = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,39}$", description="Opaque reference of the asker's own case file.")
]
DateText = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="Calendar date in the tenant's zone.")]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset.")]
Millis = Annotated[int, Meta(ge=0, le=2**53 - 1, description="Milliseconds since 1970-01-01T00:00:00Z.")]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Ordinal = Annotated[int, Meta(ge=1, le=2**53 - 1)]
SqlState = Annotated[str, Meta(pattern=r"^[0-9A-Z]{5}$", description="SQLSTATE of the store's error.")]
