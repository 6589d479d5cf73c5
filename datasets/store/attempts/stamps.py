"""The stamp of one new attempt: what is stored of its user's earlier attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, select

from bkt_core.stamps import NOTHING_BEFORE, Stamp
from datasets.store.schema.tables import AttemptRow
from datasets.store.schema.types import in_utc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection

_AT = bindparam("at", type_=AttemptRow.attempted_at.type)
_LATEST = (
    select(func.max(AttemptRow.attempted_at))
    .where(AttemptRow.user_id == bindparam("user_id"), AttemptRow.attempted_at < _AT)
    .scalar_subquery()
)
#: The user's rows of the moment itself, and of the latest one before it.
_ROWS = (
    select(
        AttemptRow.id,
        AttemptRow.attempted_at,
        AttemptRow.attempt_code,
        AttemptRow.correct,
        AttemptRow.recent_outcomes,
        AttemptRow.n_before,
        AttemptRow.n_right_before,
    )
    .where(
        AttemptRow.user_id == bindparam("user_id"),
        AttemptRow.attempted_at <= _AT,
        AttemptRow.attempted_at >= func.coalesce(_LATEST, _AT),
    )
    .order_by(AttemptRow.attempted_at, AttemptRow.id)
)


def stamp_of_new(conn: Connection, user_id: str, attempted_at: datetime) -> Stamp | None:
    """Return the stamp of an attempt that is about to be written; one look-up in an index.

    None if the rows that it follows from have no stamp; `bkt stamp` gives it one later.
    It takes no lock: what another transaction has not committed is not known yet.
    """
    rows = conn.execute(_ROWS, {"user_id": user_id, "at": attempted_at}).all()
    own = [row for row in rows if row.attempted_at == in_utc(attempted_at)]
    if own:
        return _stamp_of(own)
    if not rows:
        return NOTHING_BEFORE
    before = _stamp_of(rows)
    if before is None:
        return None
    outcomes: dict[object, int] = {}
    for row in rows:  # one without a code is an attempt of its own
        outcomes.setdefault(row if row.attempt_code is None else row.attempt_code, row.correct)
    return before.after(outcomes.values())


def _stamp_of(rows: Iterable[Any]) -> Stamp | None:
    """Return the stamp of a moment; None if none of its rows has one."""
    for row in rows:
        if row.recent_outcomes is not None:
            return Stamp(row.recent_outcomes, row.n_before, row.n_right_before)
    return None
