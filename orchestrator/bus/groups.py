"""Consumer groups of a PostgreSQL-backed bus: who is a member, who reads which partition, and how far the group is.

Whoever changes a group holds its row's lock. There is no coordinator: every member that sees a new generation
*settles*, that is, removes the members whose session ran out, gives up the partitions that should be another's, and
hands every partition without a living owner to the member that should have it. A partition of a living member is
never taken from it: it gives it up itself, in a poll, when it has dealt with what it had read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from orchestrator.bus.records import CHANNEL
from orchestrator.bus.sharing import assign_ranges
from schemas.transport import Fenced

_LOCK_GROUP = text("""
    INSERT INTO bus.groups (name) VALUES (:group) ON CONFLICT DO NOTHING;
    SELECT generation FROM bus.groups WHERE name = :group FOR UPDATE
""")

_LOCK_MEMBERS = text("""
    SELECT id, name, topics, expires_at < clock_timestamp() AS expired
    FROM bus.members WHERE group_name = :group ORDER BY id FOR UPDATE
""")

_ADD_MEMBER = text("""
    INSERT INTO bus.members (group_name, name, topics, expires_at)
    VALUES (:group, :name, :topics, clock_timestamp() + make_interval(secs => :session)) RETURNING id
""")

_REMOVE_MEMBERS = text("DELETE FROM bus.members WHERE id = ANY(CAST(:ids AS bigint[]))")

_ADD_CURSORS = text("""
    INSERT INTO bus.cursors (group_name, head_id)
    SELECT :group, id FROM bus.heads WHERE topic_id = ANY(CAST(:topics AS int[])) ORDER BY id
    ON CONFLICT DO NOTHING
""")

_LOCK_CURSORS = text("""
    SELECT c.head_id, c.owner, c.since, c.committed, head.topic_id, head.partition
    FROM bus.cursors AS c JOIN bus.heads AS head ON head.id = c.head_id
    WHERE c.group_name = :group ORDER BY c.head_id FOR NO KEY UPDATE OF c
""")

_SET_OWNERS = text("""
    UPDATE bus.cursors AS c SET owner = given.owner, since = :generation
    FROM unnest(CAST(:heads AS int[]), CAST(:owners AS bigint[])) AS given(head_id, owner)
    WHERE c.group_name = :group AND c.head_id = given.head_id
""")

_SET_GENERATION = text(f"""
    UPDATE bus.groups SET generation = :generation WHERE name = :group;
    SELECT pg_notify('{CHANNEL}', 'group ' || :group)
""")

# Owner and offset stand in one row, so that a member that lost a partition cannot move its offset, whenever it lost it.
_COMMIT = text("""
    WITH mine AS (
        SELECT head_id FROM bus.cursors
        WHERE group_name = :group AND head_id = ANY(CAST(:heads AS int[])) AND owner = :member
        ORDER BY head_id FOR NO KEY UPDATE
    )
    UPDATE bus.cursors AS c SET committed = given.next
    FROM mine JOIN unnest(CAST(:heads AS int[]), CAST(:offsets AS bigint[])) AS given(head_id, next) USING (head_id)
    WHERE c.group_name = :group AND c.head_id = mine.head_id AND (SELECT count(*) FROM mine) = :count
""")

_COMMITTED = text("""
    SELECT head_id, committed FROM bus.cursors
    WHERE group_name = :group AND head_id = ANY(CAST(:heads AS int[])) AND committed IS NOT NULL
""")

_GLANCE = text("""
    SELECT g.generation, head.id, head.first_offset, head.next_offset
    FROM bus.groups AS g LEFT JOIN bus.heads AS head ON head.id = ANY(CAST(:heads AS int[]))
    WHERE g.name = :group
""")

_BEAT = text("""
    WITH alive AS (
        SELECT id FROM bus.members WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE bus.members AS m SET expires_at = clock_timestamp() + make_interval(secs => :session)
    FROM alive WHERE m.id = alive.id
""")

_LOST = text("""
    SELECT group_name FROM bus.members WHERE group_name = ANY(CAST(:groups AS text[]))
    GROUP BY group_name
    HAVING bool_or(expires_at < clock_timestamp()) AND bool_or(expires_at >= clock_timestamp())
""")


@dataclass(frozen=True, slots=True)
class Seat:
    """What a reader asks for: to be ``name`` in ``group`` and read ``topics`` (ids), heard of every ``session_s``."""

    group: str
    name: str
    topics: tuple[int, ...]
    session_s: float


@dataclass(frozen=True, slots=True)
class Holding:
    """A partition that a member owns since a generation; ``committed`` is the group's offset, if there is one."""

    head: int
    since: int
    committed: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member has after settling."""

    member: int
    generation: int
    holdings: tuple[Holding, ...]


@dataclass(frozen=True, slots=True)
class _Cursor:
    head: int
    owner: int | None
    since: int
    committed: int | None
    topic: int
    partition: int


@dataclass(frozen=True, slots=True)
class _Member:
    id: int
    name: str
    topics: tuple[int, ...]


class _Settling:
    """One change of one group, from taking its lock to telling its members."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection = connection
        self._group = group
        self._generation = int(connection.execute(_LOCK_GROUP, {"group": group}).scalar_one())
        self._living: dict[int, _Member] = {}
        self._expired: set[int] = set()
        for row in connection.execute(_LOCK_MEMBERS, {"group": group}):
            self._living[row.id] = _Member(row.id, row.name, tuple(row.topics))
            if row.expired:
                self._expired.add(row.id)
        self._changed = False

    def namesake(self, name: str) -> int | None:
        """The member of that name."""
        return next((member.id for member in self._living.values() if member.name == name), None)

    def remove(self, ids: Iterable[int]) -> None:
        gone = [member for member in ids if self._living.pop(member, None)]
        if gone:
            self._connection.execute(_REMOVE_MEMBERS, {"ids": gone})
            self._changed = True

    def remove_expired(self, *, but: int | None = None) -> None:
        """Remove those whose session ran out; the one that settles is plainly alive."""
        self.remove(self._expired - {but})

    def is_member(self, member: int | None) -> bool:
        return member in self._living

    def add(self, seat: Seat) -> int:
        row = {"group": seat.group, "name": seat.name, "topics": list(seat.topics), "session": seat.session_s}
        member = int(self._connection.execute(_ADD_MEMBER, row).scalar_one())
        self._living[member] = _Member(member, seat.name, seat.topics)
        self._connection.execute(_ADD_CURSORS, {"group": seat.group, "topics": list(seat.topics)})
        self._changed = True
        return member

    def finish(self, giving: int | None) -> tuple[int, list[_Cursor]]:
        """Hand over what is free and what ``giving`` has to give up; the generation and the cursors as they now are."""
        cursors = [_Cursor(*row) for row in self._connection.execute(_LOCK_CURSORS, {"group": self._group})]
        heirs = self._heirs(cursors)
        given: dict[int, int | None] = {}
        for cursor in cursors:
            heir = heirs.get((cursor.topic, cursor.partition))
            if heir != cursor.owner and (cursor.owner not in self._living or cursor.owner == giving):
                given[cursor.head] = heir
        if given or self._changed:
            self._generation += 1
            self._write(given)
        return self._generation, [
            _Cursor(c.head, given[c.head], self._generation, c.committed, c.topic, c.partition)
            if c.head in given
            else c
            for c in cursors
        ]

    def _heirs(self, cursors: Iterable[_Cursor]) -> dict[tuple[int, int], int]:
        partitions: dict[int, int] = {}
        for cursor in cursors:
            partitions[cursor.topic] = max(partitions.get(cursor.topic, 0), cursor.partition + 1)
        ids = {member.name: member.id for member in self._living.values()}
        ranges = assign_ranges({member.name: member.topics for member in self._living.values()}, partitions)
        return {place: ids[name] for place, name in ranges.items()}

    def _write(self, given: Mapping[int, int | None]) -> None:
        change = {"group": self._group, "generation": self._generation}
        if given:
            owners = {"heads": list(given), "owners": list(given.values())}
            self._connection.execute(_SET_OWNERS, change | owners)
        self._connection.execute(_SET_GENERATION, change)


def settle(connection: Connection, seat: Seat, member: int | None) -> Standing:
    """Take or keep a seat, give up what should be another's, and take what is free. Within one transaction.

    ``member`` is ``None`` for one that joins. One that was removed while it was silent joins again.

    Raises:
        Fenced: another took this member's name.
    """
    settling = _Settling(connection, seat.group)
    namesake = settling.namesake(seat.name)
    if member is None and namesake is not None:
        # A process that was killed and started again need not wait until its own session has run out.
        settling.remove([namesake])
    elif member is not None and namesake not in {member, None}:
        raise Fenced("another reader of this member name took its place in the group")
    settling.remove_expired(but=member)
    if member is None or not settling.is_member(member):
        member = settling.add(seat)
    generation, cursors = settling.finish(giving=member)
    beat(connection, [member], seat.session_s)
    return Standing(
        member, generation, tuple(Holding(c.head, c.since, c.committed) for c in cursors if c.owner == member)
    )


def leave(connection: Connection, group: str, member: int) -> None:
    """Give the seat up and hand its partitions to the others. Within one transaction."""
    settling = _Settling(connection, group)
    settling.remove([member])
    settling.finish(giving=None)


def reap(connection: Connection, group: str) -> None:
    """Remove the members whose session ran out and hand their partitions to the living. Within one transaction."""
    settling = _Settling(connection, group)
    settling.remove_expired()
    settling.finish(giving=None)


def commit(connection: Connection, group: str, member: int, offsets: Mapping[int, int]) -> None:
    """Move the group's offsets (next offset by head), all or none. One statement: autocommit will do.

    Raises:
        Fenced: one of the partitions is not this member's.
    """
    moved = connection.execute(
        _COMMIT,
        {
            "group": group,
            "member": member,
            "heads": list(offsets),
            "offsets": list(offsets.values()),
            "count": len(offsets),
        },
    ).rowcount
    if moved != len(offsets):
        raise Fenced("a partition was handed to another member: nothing was committed")


def committed(connection: Connection, group: str, heads: Iterable[int]) -> dict[int, int]:
    """The committed offsets of a group, by head; those that were never committed are left out."""
    rows = connection.execute(_COMMITTED, {"group": group, "heads": list(heads)})
    return dict(rows.all())


def glance(connection: Connection, group: str, heads: Iterable[int]) -> tuple[int, dict[int, tuple[int, int]]]:
    """The group's generation (0 before its first member), and the first and next offset of each head."""
    rows = connection.execute(_GLANCE, {"group": group, "heads": list(heads)}).all()
    generation = rows[0][0] if rows else 0
    return generation, {head: (first, end) for _, head, first, end in rows if head is not None}


def beat(connection: Connection, members: Iterable[int], session_s: float) -> None:
    """Renew the sessions of these members."""
    connection.execute(_BEAT, {"ids": list(members), "session": session_s})


def lost(connection: Connection, groups: Iterable[str]) -> list[str]:
    """Those of the groups that have a member whose session ran out, and another to take over from it.

    A lone member that is late keeps its partitions: nobody is waiting for them.
    """
    return list(connection.execute(_LOST, {"groups": list(groups)}).scalars())
