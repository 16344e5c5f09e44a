"""The store's migrations, applied by :func:`orchestrator.store.install.install`."""

from __future__ import annotations
