"""Count attempts without a stamp; nothing heavy is imported for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from datasets.store.schema.tables import AttemptRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

_UNSTAMPED = AttemptRow.recent_outcomes.is_(None)


def count_unstamped(conn: Connection) -> int:
    """Return the number of attempts without a stamp; an index holds only these."""
    n = conn.execute(
        select(func.count()).select_from(AttemptRow).where(_UNSTAMPED)
    ).scalar_one()
    return int(n)


def has_unstamped(conn: Connection) -> bool:
    """Return whether an attempt has no stamp."""
    return conn.execute(select(AttemptRow.id).where(_UNSTAMPED).limit(1)).first() is not None
