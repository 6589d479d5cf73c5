"""From where on states have changed, so that a night looks only at those.

On PostgreSQL a row carries the transaction that wrote it (`xmin`). A run notes the oldest
transaction that was still going on when it began to take snapshots: what older ones wrote it
has seen, so the next run looks at rows of that transaction and of later ones. SQLite has no
such mark; there every state is looked at.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, select, text

from datasets.store.schema.tables import SnapshotRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Transaction ids of rows have 32 bits and are compared by half of their circle.
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
    """The oldest open transaction, and the server, database and table that it belongs to."""

    system: str
    database: int
    table: int
    transaction: int

    def as_json(self) -> dict[str, Any]:
        """The mark as a run's row holds it."""
        return asdict(self)


def mark_from_json(value: dict[str, Any] | None) -> SnapshotMark | None:
    """The mark in a run's row; None where it has none."""
    return SnapshotMark(**value) if value else None


def mark_of(conn: Connection) -> SnapshotMark | None:
    """The mark of this moment; None on SQLite."""
    if conn.dialect.name != "postgresql":
        return None
    return SnapshotMark(*conn.execute(_MARK).one())


def next_mark(conn: Connection, run_id: str, since: SnapshotMark | None) -> SnapshotMark | None:
    """The mark for the run after this one, taken before this one writes its first row.

    A run that goes on where it was killed writes no second row of a state: what changed in
    between is left to the next run, which must look as far back as this one.
    """
    began = conn.execute(select(exists().where(SnapshotRow.run_id == run_id))).scalar_one()
    return since if began else mark_of(conn)


def changed_since(conn: Connection, mark: SnapshotMark | None) -> str:
    """A condition on a state `s`: it may have changed since; true of all where none can say.

    Of another server, database or table, as after a restored dump, a mark says nothing.
    """
    now = mark_of(conn)
    if mark is None or now is None:
        return "true"
    same = (mark.system, mark.database, mark.table) == (now.system, now.database, now.table)
    if not same or not 0 <= now.transaction - mark.transaction < _COMPARABLE:
        return "true"
    return f"age(s.xmin) <= age('{mark.transaction % _CIRCLE:d}'::xid)"
