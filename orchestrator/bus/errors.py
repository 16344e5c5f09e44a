"""Failures of the database, told as failures of the bus."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import psycopg2
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from schemas.transport import BusError

P = ParamSpec("P")
R = TypeVar("R")


def told(function: Callable[P, R]) -> Callable[P, R]:
    """Let a method raise :class:`BusError` where the database failed, without the driver's text.

    That text may quote keys and values. The new error is raised outside of the handler, so that no traceback
    carries the old one along as its context.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (SQLAlchemyError, psycopg2.Error) as error:
            failure = BusError(f"{function.__name__.strip('_')}: {describe(error)}")
        raise failure

    return wrapper


def describe(error: Exception) -> str:
    """What failed, by SQLSTATE alone."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "pgcode", None)
    if state:
        return f"the bus's database refused, SQLSTATE {state}"
    if isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError):
        return "no connection to the bus's database; it is tried again with the next call"
    return f"the bus's database failed ({type(cause).__name__})"
