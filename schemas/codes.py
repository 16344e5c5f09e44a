"""The closed vocabulary of messages and events.

Events can say nothing that does not stand here: no free text, so no personal data, not even by accident.
Members are only ever added; a removed or renamed member would make old history unreadable.
"""

from __future__ import annotations

from enum import StrEnum


class Right(StrEnum):
    """The right of the GDPR that a request exercises. All but erasure are refused by name until they are built."""

    ERASURE = "erasure"
    RESTRICTION = "restriction"
    OBJECTION = "objection"
    ACCESS = "access"
    PORTABILITY = "portability"
    RECTIFICATION = "rectification"
    OFFBOARDING = "offboarding"
    HOUSEKEEPING = "housekeeping"
    """A deletion nobody asked for under a right: it has no legal clock."""


class Ground(StrEnum):
    """Article 17(1) GDPR, letter (a) to (f): why the controller must erase."""

    NO_LONGER_NECESSARY = "17_1_a"
    CONSENT_WITHDRAWN = "17_1_b"
    OBJECTED = "17_1_c"
    UNLAWFUL = "17_1_d"
    LEGAL_OBLIGATION = "17_1_e"
    CHILD = "17_1_f"


class RetentionGround(StrEnum):
    """Article 17(3) GDPR, letter (a) to (e): why a record may stay."""

    EXPRESSION = "17_3_a"
    LEGAL_OBLIGATION = "17_3_b"
    PUBLIC_HEALTH = "17_3_c"
    ARCHIVING = "17_3_d"
    LEGAL_CLAIMS = "17_3_e"


class Capacity(StrEnum):
    """Whether the installation's operator decides why data is processed, or acts on another's instruction."""

    CONTROLLER = "controller"
    PROCESSOR = "processor"


class Channel(StrEnum):
    """By which door a request came."""

    EVENT = "event"
    API = "api"
    CLI = "cli"
    BULK = "bulk"
    CONSOLE = "console"
    SELF_SERVICE = "self_service"


class Mode(StrEnum):
    """How far a request goes, and when."""

    TRASH = "trash"
    """Hide now, restorable for 30 days, purge by itself (never after the legal due date)."""
    PURGE = "purge"
    """Erase for good, after the grace time."""


class Scope(StrEnum):
    """What a request names."""

    SUBJECT = "subject"
    RECORDS = "records"
    """Only named records of one product."""


class Phase(StrEnum):
    """One part of the work that a product does for a request."""

    RESOLVE = "resolve"
    """Find further identifiers of the same person. No effect."""
    TRASH = "trash"
    RESTORE = "restore"
    PURGE = "purge"
    PROBE = "probe"
    """Look again whether anything is left. No effect."""


class Outcome(StrEnum):
    """What a product says of one command."""

    DONE = "done"
    NOTHING_FOUND = "nothing_found"
    CANNOT_MATCH = "cannot_match"
    """None of the identifier kinds given means anything to this product: not done, a person must decide."""
    FAILED = "failed"
    SUPERSEDED = "superseded"
    """A command with a higher seq was obeyed before: no effect."""
    EXPIRED = "expired"
    """The command was read after its expiry: no effect."""
    STOPPED = "stopped"
    """A stop was obeyed; the counts say what had been done before it."""
    PROGRESS = "progress"


class FailureCode(StrEnum):
    """Why a step failed, was parked or timed out."""

    STORE_UNAVAILABLE = "store_unavailable"
    STORE_TIMEOUT = "store_timeout"
    CONTENTION = "contention"
    DENIED = "denied"
    CONFLICT = "conflict"
    RESTORE_CONFLICT = "restore_conflict"
    SCHEMA_MISMATCH = "schema_mismatch"
    VERIFICATION_FAILED = "verification_failed"
    CEILING_EXCEEDED = "ceiling_exceeded"
    AMBIGUOUS_SUBJECT = "ambiguous_subject"
    SHARED_IDENTIFIER = "shared_identifier"
    CANNOT_MATCH = "cannot_match"
    REMAINS = "remains"
    """A probe, or the look after the effect, found what should be gone."""
    OBJECT_CHANGED = "object_changed"
    FILE_BUSY = "file_busy"
    LEASE_LOST = "lease_lost"
    UNDECRYPTABLE = "undecryptable"
    BAD_COMMAND = "bad_command"
    INVALID_ACK = "invalid_ack"
    """The product's counts do not add up, or its answer contradicts itself."""
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    EXPIRED = "expired"
    INTERNAL_ERROR = "internal_error"


class Evidence(StrEnum):
    """How far an outcome is more than the product's word."""

    ASSERTED = "asserted"
    RECOUNTED = "recounted"
    """Verified by row key and post-condition in a new snapshot."""
    PROBED = "probed"
    CONFIRMED = "confirmed"


class End(StrEnum):
    """How a request ended."""

    COMPLETED = "completed"
    COMPLETED_RETAINED = "completed_retained"
    COMPLETED_WAIVED = "completed_waived"
    NO_DATA_FOUND = "no_data_found"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    CANCELLED = "cancelled"


class HoldCode(StrEnum):
    """Why a request waits on legal or operational ground."""

    LEGAL_CLAIM = "legal_claim"
    LITIGATION = "litigation"
    INVESTIGATION = "investigation"
    REGULATOR = "regulator"
    RESTRICTION = "restriction"
    VOLUME = "volume"
    OTHER = "other"


class ReasonCode(StrEnum):
    """Why a person did what they did."""

    CAUSE_MENDED = "cause_mended"
    OPERATOR_ERROR = "operator_error"
    SUBJECT_ASKED = "subject_asked"
    COUNSEL_ASKED = "counsel_asked"
    SYSTEM_RETIRED = "system_retired"
    NOT_APPLICABLE = "not_applicable"
    INCIDENT = "incident"
    INCIDENT_OVER = "incident_over"
    DRILL = "drill"
    OTHER = "other"


class Role(StrEnum):
    """In which role somebody acts."""

    SUBJECT = "subject"
    PLATFORM = "platform"
    COMPLIANCE = "compliance"
    SRE = "sre"
    SYSTEM = "system"


class RejectionClass(StrEnum):
    """The stable class of a rejected message: route on it."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    UNSUPPORTED = "unsupported"
    UNAUTHENTICATED = "unauthenticated"
    CONFLICT = "conflict"
    INTERNAL = "internal"


class RejectionCode(StrEnum):
    """Why a message was rejected. :data:`schemas.rejections.ADVICE` says what to do about each."""

    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NOT_A_CLOUDEVENT = "not_a_cloudevent"
    DUPLICATE_FIELD = "duplicate_field"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    NO_IDENTIFIERS = "no_identifiers"
    BAD_IDENTIFIER = "bad_identifier"
    PLAIN_IDENTIFIERS = "plain_identifiers"
    UNDECRYPTABLE = "undecryptable"
    TIME_IN_FUTURE = "time_in_future"
    CASE_IS_PERSONAL = "case_is_personal"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_TENANT = "unknown_tenant"
    UNKNOWN_PRODUCT = "unknown_product"
    UNKNOWN_DATASET = "unknown_dataset"
    UNKNOWN_REQUEST = "unknown_request"
    UNKNOWN_STEP = "unknown_step"
    UNSUPPORTED_VERSION = "unsupported_version"
    RIGHT_NOT_SUPPORTED = "right_not_supported"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    NOT_THIS_SENDER = "not_this_sender"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    NOT_POSSIBLE_NOW = "not_possible_now"
    WRONG_TOPIC = "wrong_topic"
    INTERNAL_ERROR = "internal_error"
