"""Erase a user: a tombstone is written first, then all rows are deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_user
from datasets.store.errors import ErasedUserError
from datasets.store.schema.sql import insert_into
from datasets.store.schema.tables import AttemptRow, ErasedUserRow, MasteryStateRow, SnapshotRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class Erased:
    """Numbers of deleted rows."""

    attempts: int
    states: int
    snapshots: int


def erase_user(engine: Engine, user_id: str, *, at: datetime, actor: str) -> Erased:
    """Write the tombstone and commit it, then delete the rows; may be repeated."""
    with engine.begin() as conn:
        write_tombstone(conn, user_id, at=at, actor=actor)
        reached("erase: tombstone written")
    reached("erase: tombstone committed")
    with engine.begin() as conn:
        erased = delete_rows(conn, user_id)
        reached("erase: rows deleted")
    reached("erase: committed")
    return erased


def write_tombstone(conn: Connection, user_id: str, *, at: datetime, actor: str) -> None:
    """Write the tombstone, after waiting for writes of this user that are in progress."""
    lock_user(conn, user_id)
    conn.execute(
        insert_into(conn, ErasedUserRow)
        .values(user_id=user_id, actor=actor, erased_at=at)
        .on_conflict_do_nothing()
    )


def delete_rows(conn: Connection, user_id: str) -> Erased:
    """Delete attempts (with their corrections), states and snapshots of an erased user."""
    lock_user(conn, user_id)
    if not is_erased(conn, user_id):
        return Erased(0, 0, 0)  # lifted in the meantime: the present rows are legitimate
    snapshots = conn.execute(delete(SnapshotRow).where(SnapshotRow.user_id == user_id))
    states = conn.execute(delete(MasteryStateRow).where(MasteryStateRow.user_id == user_id))
    attempts = conn.execute(delete(AttemptRow).where(AttemptRow.user_id == user_id))
    return Erased(attempts.rowcount, states.rowcount, snapshots.rowcount)


def lift(conn: Connection, user_id: str) -> bool:
    """Accept the user again; False without a tombstone. Erased rows do not come back."""
    lock_user(conn, user_id)
    done = conn.execute(delete(ErasedUserRow).where(ErasedUserRow.user_id == user_id))
    reached("erase: tombstone lifted")
    return done.rowcount > 0


def is_erased(conn: Connection, user_id: str) -> bool:
    """Return whether the user has a tombstone."""
    found = conn.execute(select(ErasedUserRow.user_id).where(ErasedUserRow.user_id == user_id))
    return found.first() is not None


def erased_users(conn: Connection) -> frozenset[str]:
    """Return every user with a tombstone; extractions and imports must leave them out."""
    return frozenset(conn.execute(select(ErasedUserRow.user_id)).scalars())


def require_not_erased(conn: Connection, user_id: str) -> None:
    """Raise `ErasedUserError` for a user with a tombstone."""
    if is_erased(conn, user_id):
        raise ErasedUserError
