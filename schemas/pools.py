"""Pooled connections that may have died while nobody used them."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

IDLE_S = 1.0
"""A connection given back less than this long ago is taken to be alive, in seconds."""

_GIVEN_BACK = "given back"


def ping_when_idle(engine: sa.Engine, idle_s: float = IDLE_S) -> sa.Engine:
    """Ask a pooled connection whether it lives before it is lent, if it lay idle for longer than ``idle_s``.

    SQLAlchemy's ``pool_pre_ping`` asks every time: a round trip for each short transaction, which busy workers notice.
    Whoever uses a connection that died a moment ago gets the driver's error, and the pool starts anew.
    """

    @sa.event.listens_for(engine, "checkin")
    def given_back(_connection: Any, record: Any) -> None:
        record.info[_GIVEN_BACK] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def lent(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.get(_GIVEN_BACK)
        if since is None or time.monotonic() - since < idle_s:
            return
        try:
            alive = engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            alive = False
        if not alive:
            raise sa.exc.DisconnectionError  # the pool takes another connection in its place

    return engine
