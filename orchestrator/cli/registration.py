"""What the orchestrator knows of a product, taken from its data map. Part of the composition root."""

from __future__ import annotations

from collections.abc import Mapping

from consumers.maps import DataMap
from orchestrator.store.registry import Link, ProductEntry


class RegistrationError(ValueError):
    """The maps cannot be registered together; the text says why."""


def registered(maps: Mapping[str, DataMap]) -> dict[str, ProductEntry]:
    """The products of ``maps``, each with its wave. Raises :class:`RegistrationError`."""
    waves: dict[str, int] = {}
    for name in maps:
        _wave(name, maps, waves, ())
    return {name: _entry(data_map, waves[name]) for name, data_map in sorted(maps.items())}


def _entry(data_map: DataMap, wave: int) -> ProductEntry:
    return ProductEntry(
        name=data_map.product,
        wave=wave,
        kinds=tuple(sorted(data_map.needs)),
        links=tuple(
            Link(tuple(sorted({way.by for way in data_map.starts(link)})), tuple(sorted(link.gives)))
            for link in data_map.links
        ),
        datasets=tuple(sorted(data_map.datasets)),
        nameable=tuple(sorted(data_map.nameable)),
        map=data_map.digest(),
        backup_days=data_map.backup_days,
        trash=data_map.trash.value,
    )


def _wave(name: str, maps: Mapping[str, DataMap], waves: dict[str, int], path: tuple[str, ...]) -> int:
    """One more than the latest wave it comes after; products that nobody has registered are not waited for."""
    if name in path:
        raise RegistrationError(
            f"{' after '.join((*path, name))}: these products wait for each other; mend one `after:`"
        )
    if name not in waves:
        before = [_wave(other, maps, waves, (*path, name)) for other in maps[name].after if other in maps]
        waves[name] = 1 + max(before, default=0)
    return waves[name]
