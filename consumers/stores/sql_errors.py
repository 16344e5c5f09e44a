"""The store's errors as stable codes: SQLSTATE and names of the schema, never a driver's text, which quotes data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from schemas.codes import FailureCode

_BY_STATE = {
    "55P03": FailureCode.CONTENTION,  # lock_not_available: the lock time-out
    "40001": FailureCode.CONTENTION,  # serialization_failure
    "40P01": FailureCode.CONTENTION,  # deadlock_detected
    "57014": FailureCode.STORE_TIMEOUT,  # query_canceled: the statement time-out
    "25P03": FailureCode.STORE_TIMEOUT,  # idle_in_transaction_session_timeout
    "42501": FailureCode.DENIED,  # insufficient_privilege
    "25006": FailureCode.DENIED,  # read_only_sql_transaction
}
_BY_CLASS = {
    "08": FailureCode.STORE_UNAVAILABLE,  # connection exceptions
    "57": FailureCode.STORE_UNAVAILABLE,  # admin_shutdown, crash_shutdown, cannot_connect_now
    "53": FailureCode.STORE_UNAVAILABLE,  # disk full, out of memory, too many connections
    "58": FailureCode.STORE_UNAVAILABLE,  # the system below the server
    "28": FailureCode.DENIED,  # invalid authorisation
    "23": FailureCode.CONFLICT,  # a constraint
    "42": FailureCode.SCHEMA_MISMATCH,  # undefined table or column, wrong type
    "22": FailureCode.SCHEMA_MISMATCH,  # a value that the column's type does not take
    "3F": FailureCode.SCHEMA_MISMATCH,  # no such schema
}


class StoreError(Exception):
    """The store refused or could not be reached.

    ``sqlstate``, ``table``, ``column`` and ``constraint`` are given where the server named them.
    """

    def __init__(
        self,
        code: FailureCode,
        *,
        sqlstate: str | None = None,
        table: str | None = None,
        column: str | None = None,
        constraint: str | None = None,
    ) -> None:
        names = {"sqlstate": sqlstate, "table": table, "column": column, "constraint": constraint}
        place = ", ".join(f"{what} {name}" for what, name in names.items() if name)
        super().__init__(f"{code.value} ({place})" if place else code.value)
        self.code = code
        self.sqlstate, self.table, self.column, self.constraint = sqlstate, table, column, constraint

    @property
    def contended(self) -> bool:
        """Whether the same rows may be tried again at once, perhaps in smaller chunks."""
        return self.code in (FailureCode.CONTENTION, FailureCode.STORE_TIMEOUT)


@contextmanager
def store_errors(*, restoring: bool = False) -> Iterator[None]:
    """Turn errors of SQLAlchemy and the driver into :class:`StoreError`, dropping their text.

    ``restoring``: a violated constraint means that a row cannot come back from the trash.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise _translated(error, restoring=restoring) from None


def execute(
    connection: Connection, sql: str, parameters: Mapping[str, Any], *, restoring: bool = False
) -> Sequence[Any]:
    """All rows of one statement. Raises :class:`StoreError`; nothing of the driver's error hangs on it."""
    try:
        return connection.exec_driver_sql(sql, dict(parameters)).all()
    except SQLAlchemyError as error:
        failure = _translated(error, restoring=restoring)
    raise failure  # outside the handler: not even the context of the traceback quotes data


def _translated(error: SQLAlchemyError, *, restoring: bool) -> StoreError:
    if isinstance(error, DBAPIError):
        return _of_driver(error, restoring=restoring)
    return StoreError(FailureCode.INTERNAL_ERROR)


def _of_driver(error: DBAPIError, *, restoring: bool) -> StoreError:
    diag = getattr(error.orig, "diag", None)
    state = getattr(error.orig, "pgcode", None)
    if state is None:
        # psycopg2 gives no SQLSTATE when the connection itself broke or never came about.
        return StoreError(FailureCode.STORE_UNAVAILABLE)
    code = _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or FailureCode.INTERNAL_ERROR
    if restoring and code is FailureCode.CONFLICT:
        code = FailureCode.RESTORE_CONFLICT
    return StoreError(
        code,
        sqlstate=state,
        table=getattr(diag, "table_name", None),
        column=getattr(diag, "column_name", None),
        constraint=getattr(diag, "constraint_name", None),
    )
