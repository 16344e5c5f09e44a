"""Whether the product may do what its map asks, and no more; and what else happens when its rows change."""

from __future__ import annotations

from consumers.check_findings import Case, Code
from consumers.check_live import LiveTable
from consumers.maps_model import Action, SqlDataset


def check_grants(case: Case) -> None:
    """Note missing rights (errors), rights beyond the map (warnings), and triggers on mapped tables (warnings)."""
    if case.live.superuser:
        case.warn(
            Code.WIDE_GRANT, "the role is a superuser; give the product a role of its own", ("stores", case.store)
        )
    for table in case.live.tables.values():
        datasets = [d for d in case.same_table(table.name) if d.store == case.store]
        if datasets:
            _check_mapped(case, table, datasets)
        elif not case.live.superuser:
            _check_unmapped(case, table)


def _check_mapped(case: Case, table: LiveTable, datasets: list[SqlDataset]) -> None:
    path = ("datasets", next(n for n, d in case.data_map.of_kind(SqlDataset).items() if d.table == table.name))
    rights = table.rights
    deletes = any(d.action is Action.DELETE for d in datasets)
    updates = any(d.action in (Action.REDACT, Action.ANONYMISE) or d.hide for d in datasets)
    needed = {"SELECT": (True, rights.select), "DELETE": (deletes, rights.delete), "UPDATE": (updates, rights.update)}
    for right, (wanted, given) in needed.items():
        if wanted and not given:
            case.error(Code.MISSING_GRANT, f"the role may not {right} on `{table.name}`; grant it", path)
    for trigger in table.triggers:
        hint = f"trigger `{trigger}` on `{table.name}` runs when rows change: see that it copies no old values anywhere"
        case.warn(Code.TRIGGER, hint, path)
    if case.live.superuser:
        return
    if rights.owner:
        case.warn(Code.WIDE_GRANT, f"the role owns `{table.name}`; a role with grants alone is enough", path)
        return
    wide = {
        "TRUNCATE": rights.truncate,
        "REFERENCES": rights.references,
        "TRIGGER": rights.trigger,
        "INSERT": rights.insert,
        "DELETE": rights.delete and not deletes,
        "UPDATE": rights.update and not updates,
    }
    for right in [right for right, given in wide.items() if given]:
        case.warn(Code.WIDE_GRANT, f"the map needs no {right} on `{table.name}`; revoke it", path)


def _check_unmapped(case: Case, table: LiveTable) -> None:
    rights = table.rights
    given = {"UPDATE": rights.update, "DELETE": rights.delete, "TRUNCATE": rights.truncate}
    for right in [right for right, has in given.items() if has]:
        hint = f"`{table.name}` is not in the map and the role may {right} it; revoke that"
        case.warn(Code.WIDE_GRANT, hint, ("stores", case.store))
