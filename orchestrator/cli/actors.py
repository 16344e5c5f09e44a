"""Who is at the keyboard, as the history will know them."""

from __future__ import annotations

import getpass
import os

from orchestrator.client import Actor, actor_for
from orchestrator.keys import KeyRing
from schemas.codes import Role


def acting(keys: KeyRing, role: Role) -> Actor:
    """The actor id of the login name, or of ``OBLIO_ACTOR`` where a service acts for somebody."""
    name = os.environ.get("OBLIO_ACTOR") or _login()
    return actor_for(name, role, keys)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
