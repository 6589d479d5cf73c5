"""The stored rows from which stamps of an import follow."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from sqlalchemy import text

from datasets.store.connections.copy_rows import fill_temporary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from datasets.id_codes import IdCodes

#: Users of an import with the first and the last time of its rows.
_USERS = {"user_id": "id", "code": "int", "first_at": "moment", "last_at": "moment"}
#: Microseconds since 1970 of a time, or its text.
_MOMENT = {
    "postgresql": "(extract(epoch FROM a.attempted_at) * 1000000)::bigint",
    "sqlite": "a.attempted_at",
}
_STORED = """
    SELECT u.code, {moment}, coalesce(a.attempt_code, a.id), a.correct,
           coalesce(a.recent_outcomes, 0), coalesce(a.n_before, 0),
           coalesce(a.n_right_before, 0)
    FROM stamped_user u JOIN attempts a ON a.user_id = u.user_id
    AND a.attempted_at <= u.last_at
    AND a.attempted_at >= coalesce(
        (SELECT max(b.attempted_at) FROM attempts b
         WHERE b.user_id = u.user_id AND b.attempted_at < u.first_at),
        u.first_at)
    ORDER BY u.code, a.id
"""
_BATCH_ROWS = 50_000
_SCANS = ("hashjoin", "mergejoin", "seqscan", "material")


class StoredLog(NamedTuple):
    """Stored rows by user and id; a row without a code is an attempt of its own."""

    user: NDArray[np.int32]  # codes
    moment: NDArray[np.int64]  # microseconds since 1970
    attempt: NDArray[np.int64]
    correct: NDArray[np.int8]
    stamps: NDArray[np.int64]  # (n_rows, 3), 0 where there is none

    def of_users(self, first: int, last: int) -> StoredLog:
        """Return the rows of users with these codes and those between."""
        begin, end = np.searchsorted(self.user, [first, last + 1])
        return StoredLog._make(column[begin:end] for column in self)


def stored_log(
    conn: Connection, users: IdCodes, user: NDArray[np.int32], moment: NDArray[np.int64]
) -> StoredLog:
    """Return what is stored of the users of new rows, each (n_rows,).

    For each user these are the rows between the first and the last new row, and those of the
    latest moment before.
    """
    first = np.full(len(users), np.iinfo(np.int64).max)
    last = np.full(len(users), np.iinfo(np.int64).min)
    np.minimum.at(first, user, moment)
    np.maximum.at(last, user, moment)
    codes = np.arange(len(users), dtype=np.int64)
    asked = pl.DataFrame(
        {
            "user_id": pl.Series(pl.from_arrow(users.ids(codes))),
            "code": codes,
            "first_at": first,
            "last_at": last,
        }
    ).with_columns(pl.col("first_at", "last_at").cast(pl.Datetime("us", "UTC")))
    fill_temporary(conn, "stamped_user", _USERS, asked)
    return _read(conn)


def _read(conn: Connection) -> StoredLog:
    kind = conn.dialect.name
    with looked_up(conn):
        result = conn.execute(text(_STORED.format(moment=_MOMENT[kind])))
        parts = [_log_of(rows, kind) for rows in result.partitions(_BATCH_ROWS)]
    if not parts:
        return _log_of([], kind)
    return StoredLog._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _log_of(rows: Sequence[Sequence[Any]], kind: str) -> StoredLog:
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * 7
    moments = pl.Series(columns[1], dtype=pl.String if kind == "sqlite" else pl.Int64)
    if kind == "sqlite":
        moments = moments.str.to_datetime("%Y-%m-%d %H:%M:%S%.6f", time_unit="us").to_physical()
    return StoredLog(
        np.array(columns[0], np.int32),
        moments.to_numpy(),
        np.array(columns[2], np.int64),
        np.array(columns[3], np.int8),
        np.stack([np.array(column, np.int64) for column in columns[4:]], axis=1),
    )


@contextmanager
def looked_up(conn: Connection) -> Iterator[None]:
    """Let PostgreSQL look up attempts by an index: it knows nothing of a temporary table."""
    for state in ("off", "on"):
        if conn.dialect.name == "postgresql":
            for kind in _SCANS:
                conn.exec_driver_sql(f"SET LOCAL enable_{kind} = {state}")
        if state == "off":
            yield
