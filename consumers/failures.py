"""Errors of any kind as codes: what an ack may say of them, and which of them are worth trying again at once."""

from __future__ import annotations

import re

from consumers.stores import objects
from consumers.stores.sql_errors import StoreError
from schemas.codes import FailureCode
from schemas.messages import Failure
from schemas.sealing import Undecryptable

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_STATE = re.compile(r"[0-9A-Z]{5}")
_FOREIGN_KEY = "23503"
"""A child row came between looking and deleting: looking again finds it."""

_OBJECTS = {
    "unavailable": FailureCode.STORE_UNAVAILABLE,
    "timeout": FailureCode.STORE_TIMEOUT,
    "denied": FailureCode.DENIED,
    "bad_key": FailureCode.SCHEMA_MISMATCH,
    "not_an_object": FailureCode.OBJECT_CHANGED,
}


class StepFailed(Exception):
    """The step cannot be done; ``failure`` says why, in codes."""

    def __init__(self, code: FailureCode, dataset: str | None = None, column: str | None = None) -> None:
        super().__init__(code.value)
        self.failure = Failure(code=code, dataset=name_or_none(dataset), column=name_or_none(column))


class StoreFailed(StepFailed):
    """What a store is like keeps every step of the batch from being done, not this one alone."""


def name_or_none(text: str | None) -> str | None:
    """``text`` if a message may carry it as a name, else nothing: an ack that does not decode helps nobody."""
    return text if text and _NAME.fullmatch(text) else None


def contended(error: BaseException) -> bool:
    """Whether the same work, tried again at once, may simply succeed. What took too long would do so again."""
    return isinstance(error, StoreError) and (error.code is FailureCode.CONTENTION or error.sqlstate == _FOREIGN_KEY)


def hopeless(error: BaseException) -> bool:
    """Whether the error has nothing to do with the step at hand, so that its neighbours would meet it too."""
    return isinstance(error, StoreFailed) or failure_of(error).code is FailureCode.STORE_UNAVAILABLE


def failure_of(error: BaseException) -> Failure:
    """The error as code, SQLSTATE and column. Never its text: drivers quote values in it."""
    if isinstance(error, StepFailed):
        return error.failure
    if isinstance(error, StoreError):
        state = error.sqlstate if error.sqlstate and _STATE.fullmatch(error.sqlstate) else None
        return Failure(code=error.code, column=name_or_none(error.column), sqlstate=state)
    if isinstance(error, objects.StoreError):
        return Failure(code=_OBJECTS.get(error.code, FailureCode.INTERNAL_ERROR))
    if isinstance(error, Undecryptable):
        return Failure(code=FailureCode.UNDECRYPTABLE)
    if isinstance(error, PermissionError):
        return Failure(code=FailureCode.DENIED)
    if isinstance(error, TimeoutError):
        return Failure(code=FailureCode.STORE_TIMEOUT)
    if isinstance(error, OSError):
        return Failure(code=FailureCode.STORE_UNAVAILABLE)
    return Failure(code=FailureCode.INTERNAL_ERROR)
