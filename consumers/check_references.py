"""Whether foreign keys are followed: children of what the map deletes or empties are in the map, and reached."""

from __future__ import annotations

from consumers.check_findings import Case, Code
from consumers.check_live import LiveTable, Reference
from consumers.maps_model import Action, By, Of, SqlDataset, Whose

_ON_DELETE = {
    "c": "they would be deleted with it, uncounted",
    "n": "they would be cut off",
    "d": "they would be cut off",
}


def check_references(case: Case) -> None:
    """Note references to the subject's rows that nothing in the map follows."""
    for name, dataset, table in case.datasets():
        if dataset.whose is Whose.OTHERS or dataset.action is Action.RETAIN:
            continue
        for reference in case.live.children(table.name):
            child = case.live.tables[reference.table]
            if dataset.action is Action.DELETE and child.name not in case.mapped():
                _unmapped(case, name, table, reference)
            elif child.name in case.mapped() and not _followed(case, table, reference):
                hint = (
                    f"`{child.name}` refers to `{table.name}` by {', '.join(reference.columns)} and no dataset finds its rows"
                    f" `of: {name}`; add one, or say under `justify:` why they are not the subject's"
                )
                child_name = next(n for n, d in case.data_map.of_kind(SqlDataset).items() if d.table == child.name)
                case.error(Code.CHILD_NOT_FOLLOWED, hint, ("datasets", child_name), reference.columns[-1])


def _unmapped(case: Case, name: str, table: LiveTable, reference: Reference) -> None:
    what = _ON_DELETE.get(reference.on_delete, "deleting would fail where there are any")
    hint = f"rows of `{reference.table}` refer to `{table.name}` and are not in the map: {what}; add a dataset for them"
    case.error(Code.CHILD_NOT_MAPPED, hint, ("datasets", name), reference.columns[-1])


def _followed(case: Case, parent: LiveTable, reference: Reference) -> bool:
    """Whether some dataset of the child table goes by this reference, or a reason is given."""
    columns = set(reference.columns)
    for dataset in case.same_table(reference.table):
        if columns & set(dataset.justify):
            return True
        # Answers to the subject's own records are other people's, and may be followed as such.
        counts = dataset.whose is Whose.SUBJECT or reference.table == parent.name
        for way in dataset.match if counts else ():
            if isinstance(way, By) and not way.through and way.column in columns:
                return True
            if (
                isinstance(way, By)
                and way.through
                and way.through[0].table == parent.name
                and set(way.through[0].on) & columns
            ):
                return True
            if isinstance(way, Of) and case.data_map.sql(way.of).table == parent.name and set(way.on) & columns:
                return True
    return False
