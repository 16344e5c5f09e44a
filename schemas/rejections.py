"""What each rejection means: its stable class, and one sentence that says what to do."""

from __future__ import annotations

from schemas.codes import RejectionClass, RejectionCode

CLASS_OF: dict[RejectionCode, RejectionClass] = {
    RejectionCode.TOO_LARGE: RejectionClass.MALFORMED,
    RejectionCode.NOT_JSON: RejectionClass.MALFORMED,
    RejectionCode.NOT_A_CLOUDEVENT: RejectionClass.MALFORMED,
    RejectionCode.DUPLICATE_FIELD: RejectionClass.MALFORMED,
    RejectionCode.WRONG_TYPE: RejectionClass.INVALID,
    RejectionCode.MISSING_FIELD: RejectionClass.INVALID,
    RejectionCode.BAD_FIELD: RejectionClass.INVALID,
    RejectionCode.NO_IDENTIFIERS: RejectionClass.INVALID,
    RejectionCode.BAD_IDENTIFIER: RejectionClass.INVALID,
    RejectionCode.PLAIN_IDENTIFIERS: RejectionClass.INVALID,
    RejectionCode.UNDECRYPTABLE: RejectionClass.INVALID,
    RejectionCode.TIME_IN_FUTURE: RejectionClass.INVALID,
    RejectionCode.CASE_IS_PERSONAL: RejectionClass.INVALID,
    RejectionCode.UNKNOWN_TYPE: RejectionClass.UNKNOWN,
    RejectionCode.UNKNOWN_TENANT: RejectionClass.UNKNOWN,
    RejectionCode.UNKNOWN_PRODUCT: RejectionClass.UNKNOWN,
    RejectionCode.UNKNOWN_DATASET: RejectionClass.UNKNOWN,
    RejectionCode.UNKNOWN_REQUEST: RejectionClass.UNKNOWN,
    RejectionCode.UNKNOWN_STEP: RejectionClass.UNKNOWN,
    RejectionCode.WRONG_TOPIC: RejectionClass.UNKNOWN,
    RejectionCode.UNSUPPORTED_VERSION: RejectionClass.UNSUPPORTED,
    RejectionCode.RIGHT_NOT_SUPPORTED: RejectionClass.UNSUPPORTED,
    RejectionCode.UNSIGNED: RejectionClass.UNAUTHENTICATED,
    RejectionCode.UNKNOWN_KEY: RejectionClass.UNAUTHENTICATED,
    RejectionCode.BAD_SIGNATURE: RejectionClass.UNAUTHENTICATED,
    RejectionCode.NOT_THIS_SENDER: RejectionClass.UNAUTHENTICATED,
    RejectionCode.IDEMPOTENCY_CONFLICT: RejectionClass.CONFLICT,
    RejectionCode.NOT_POSSIBLE_NOW: RejectionClass.CONFLICT,
    RejectionCode.INTERNAL_ERROR: RejectionClass.INTERNAL,
}
"""The class of each code: a code has one class, wherever it is found."""

ADVICE: dict[RejectionCode, str] = {
    RejectionCode.TOO_LARGE: "Send one subject per message, in at most 256 KiB.",
    RejectionCode.NOT_JSON: "Send valid JSON in UTF-8, nested no deeper than the schema asks for.",
    RejectionCode.NOT_A_CLOUDEVENT: (
        "Send a CloudEvent 1.0: specversion, type, source and id, each at most 200 characters without control "
        "characters, as ce_… headers or in one application/cloudevents+json document."
    ),
    RejectionCode.DUPLICATE_FIELD: "Name each field once per object: with two values it is not clear which is meant.",
    RejectionCode.WRONG_TYPE: "Give the field the JSON type that its schema asks for.",
    RejectionCode.MISSING_FIELD: "Add the field that is named; the schema of this type says what belongs in it.",
    RejectionCode.BAD_FIELD: "Correct the field that is named; the schema of this type says which values it takes.",
    RejectionCode.NO_IDENTIFIERS: "Name the subject by at least one identifier that is not empty, or name records.",
    RejectionCode.BAD_IDENTIFIER: (
        "Correct the identifier: an e-mail address has one @ and no spaces, a telephone number is in E.164 form."
    ),
    RejectionCode.PLAIN_IDENTIFIERS: (
        "Seal the identifiers with the orchestrator's public key, or have plain ones allowed for this topic."
    ),
    RejectionCode.UNDECRYPTABLE: (
        "Seal again with the orchestrator's current public key, for this tenant, source and id and no other."
    ),
    RejectionCode.TIME_IN_FUTURE: "Correct received_at, or the sender's clock: the subject cannot ask tomorrow.",
    RejectionCode.CASE_IS_PERSONAL: (
        "Use a case reference that is no identifier of the subject: it is kept longer than they are."
    ),
    RejectionCode.UNKNOWN_TYPE: "Use one of the message types that the AsyncAPI document lists.",
    RejectionCode.UNKNOWN_TENANT: "Use the tenant's short name, or have the tenant registered first.",
    RejectionCode.UNKNOWN_PRODUCT: "Use the name of a registered product, or have the product registered first.",
    RejectionCode.UNKNOWN_DATASET: "Use the name of a dataset from the product's data map.",
    RejectionCode.UNKNOWN_REQUEST: "Check the request's id and tenant: there is no such request.",
    RejectionCode.UNKNOWN_STEP: "Check the product's name: it has no step in this request.",
    RejectionCode.WRONG_TOPIC: "Send this type of message to the topic that the AsyncAPI document gives for it.",
    RejectionCode.UNSUPPORTED_VERSION: (
        "Send a version that this installation knows, or upgrade the installation before its senders."
    ),
    RejectionCode.RIGHT_NOT_SUPPORTED: "Only erasure and housekeeping can be asked for as yet: serve this right by hand.",
    RejectionCode.UNSIGNED: "Authenticate the message: this topic takes only messages with oblkeyid and oblmac.",
    RejectionCode.UNKNOWN_KEY: "Register the key, or authenticate with one that is registered and not retired.",
    RejectionCode.BAD_SIGNATURE: (
        "Authenticate exactly the bytes that are sent, with the key that is named; if they were, look for tampering."
    ),
    RejectionCode.NOT_THIS_SENDER: "Send only for the tenant or product that this key or topic is bound to.",
    RejectionCode.IDEMPOTENCY_CONFLICT: (
        "Give a new request a new id: this source and id came before with another content."
    ),
    RejectionCode.NOT_POSSIBLE_NOW: "Look at the request's state first: it does not allow this any more, or not yet.",
    RejectionCode.INTERNAL_ERROR: (
        "Nothing is wrong with the message as far as is known: mend the orchestrator, then resubmit it from quarantine."
    ),
}
"""What to do about each code, in one sentence for the person who sent the message or keeps the installation."""
