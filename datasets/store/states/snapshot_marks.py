"""Marks from which states may have changed, so that a run reads only those states.

On PostgreSQL a row has the id of the transaction that wrote it (`xmin`). A run stores the
oldest transaction that was active when it began to write snapshots. It has seen everything that
older transactions wrote, so that the next run reads only rows of that and of later
transactions. SQLite has no such id; there every state is read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, select, text

from datasets.store.schema.tables import SnapshotRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Transaction ids of rows have 32 bits and wrap around.
_CIRCLE = 2**32
_COMPARABLE = 2**31 - 2**24
_MARK = text(
    """
    SELECT (SELECT system_identifier FROM pg_control_system())::text,
           (SELECT oid FROM pg_database WHERE datname = current_database())::bigint,
           'bkt_user_skill_state'::regclass::oid::bigint,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    """
)


@dataclass(frozen=True, slots=True)
class SnapshotMark:
    """The oldest active transaction, and the server, database and table it belongs to."""

    system: str
    database: int
    table: int
    transaction: int

    def as_json(self) -> dict[str, Any]:
        """Return the mark in the form in which the row of a run stores it."""
        return asdict(self)


def mark_from_json(value: dict[str, Any] | None) -> SnapshotMark | None:
    """Read the mark in the row of a run; None if it has none."""
    return SnapshotMark(**value) if value else None


def mark_of(conn: Connection) -> SnapshotMark | None:
    """Return the current mark; None on SQLite."""
    if conn.dialect.name != "postgresql":
        return None
    return SnapshotMark(*conn.execute(_MARK).one())


def next_mark(conn: Connection, run_id: str, since: SnapshotMark | None) -> SnapshotMark | None:
    """Return the mark for the next run, taken before this run writes its first row.

    A run that resumes after a kill writes no second row of a state. What changed in between is
    left to the next run, which must therefore use the mark of this run.
    """
    began = conn.execute(select(exists().where(SnapshotRow.run_id == run_id))).scalar_one()
    return since if began else mark_of(conn)


def changed_since(conn: Connection, mark: SnapshotMark | None) -> str:
    """Return a condition on a state `s` that is true if it may have changed since the mark.

    It is always true if the mark is of another server, database or table, as after a restore.
    """
    now = mark_of(conn)
    if mark is None or now is None:
        return "true"
    same = (mark.system, mark.database, mark.table) == (now.system, now.database, now.table)
    if not same or not 0 <= now.transaction - mark.transaction < _COMPARABLE:
        return "true"
    return f"age(s.xmin) <= age('{mark.transaction % _CIRCLE:d}'::xid)"
