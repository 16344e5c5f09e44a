"""One file per revision, numbered."""

from __future__ import annotations
