"""The houses of the engine's tests serve the store's, too."""

from __future__ import annotations

from tests.engine.conftest import house, house_for

__all__ = ["house", "house_for"]
