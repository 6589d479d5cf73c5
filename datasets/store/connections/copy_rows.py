"""Write frames to tables in the current transaction, in bulk.

PostgreSQL uses binary COPY, encoded column by column; SQLite uses `executemany`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from datasets.store.connections.database_errors import driver_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg
    from numpy.typing import NDArray
    from sqlalchemy import Connection

    Bytes = NDArray[np.uint8]

#: Column kinds: type on PostgreSQL, type on SQLite, and format of one value (None: text).
_KINDS: dict[str, tuple[str, str, str | None]] = {
    "id": ('text COLLATE "C"', "TEXT", None),
    "int": ("bigint", "INTEGER", ">i8"),
    "int32": ("integer", "INTEGER", ">i4"),
    "small": ("smallint", "INTEGER", ">i2"),
    "double": ("double precision", "REAL", ">f8"),
    "moment": ("timestamptz", "TEXT", ">i8"),
}
#: Microseconds from 1970, the origin in Polars, to 2000, the origin in PostgreSQL.
_EPOCH_US = 946_684_800_000_000
#: Layout in which text is one array of bytes with the end of each value.
_PLAIN = pl.CompatLevel.oldest()
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_SQLITE_MOMENT = "%Y-%m-%d %H:%M:%S%.6f"


def fill_temporary(
    conn: Connection, table: str, columns: Mapping[str, str], frame: pl.DataFrame
) -> None:
    """Create the temporary table if it is missing, empty it, and fill it in the frame's order.

    `columns` maps names to kinds: id, int, int32, small, double or moment. On PostgreSQL the
    rows are deleted at the end of the transaction; on SQLite they stay until the next call.
    """
    empty_temporary(conn, table, columns)
    add_rows(conn, table, columns, frame)


def empty_temporary(conn: Connection, table: str, columns: Mapping[str, str]) -> None:
    """Create the temporary table if it is missing, and empty it."""
    on_sqlite = conn.dialect.name == "sqlite"
    described = ", ".join(
        f"{name} {_KINDS[kind][1 if on_sqlite else 0]}" for name, kind in columns.items()
    )
    end = "" if on_sqlite else " ON COMMIT DELETE ROWS"
    conn.exec_driver_sql(f"CREATE TEMPORARY TABLE IF NOT EXISTS {table} ({described}){end}")
    conn.exec_driver_sql(f"DELETE FROM {table}" if on_sqlite else f"TRUNCATE {table}")  # noqa: S608 - a name of ours


def add_rows(
    conn: Connection, table: str, columns: Mapping[str, str], frame: pl.DataFrame
) -> None:
    """Append the rows of a frame to a table, temporary or not, in order.

    Raises `sqlalchemy.exc.DBAPIError` as an INSERT would.
    """
    if conn.dialect.name == "sqlite":
        _fill_sqlite(conn, table, columns, frame)
    else:
        copy_into(conn, table, columns, frame)


def copy_into(
    conn: Connection, table: str, columns: Mapping[str, str], frame: pl.DataFrame
) -> None:
    """COPY a frame in binary format into a table of PostgreSQL, in the frame's order."""
    driver = cast("psycopg.Connection[Any]", conn.connection.driver_connection)
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    with (
        driver_errors(conn, statement),
        driver.cursor() as cursor,
        cursor.copy(statement.encode()) as copy,
    ):
        copy.write(_SIGNATURE)
        for part in frame.iter_slices(100_000):
            copy.write(encoded(columns, part).data)
        copy.write(_TRAILER)


def encoded(columns: Mapping[str, str], frame: pl.DataFrame) -> Bytes:
    """Encode the rows in PostgreSQL's binary COPY format, without header and trailer."""
    fields = [_field(frame[name], kind) for name, kind in columns.items()]
    lengths = np.stack([field.lengths for field in fields])  # (n_fields, n_rows)
    sizes = 4 + np.maximum(lengths, 0)
    ends = np.cumsum(2 + sizes.sum(axis=0))
    out = np.empty(int(ends[-1]) if ends.size else 0, dtype=np.uint8)
    at = np.concatenate([[0], ends[:-1]]) if ends.size else ends
    _scatter(out, at, np.full(at.size, len(fields), dtype=">i2"))
    at = at + 2
    for field, length, size in zip(fields, lengths, sizes, strict=True):
        _scatter(out, at, length.astype(">i4"))
        field.write(out, at + 4)
        at = at + size
    return out


class _Field:
    """One encoded column; a length of -1 means null."""

    def __init__(self, lengths: NDArray[np.int64], data: Bytes, values: Any) -> None:  # noqa: ANN401 - arrays of any width
        self.lengths, self._data, self._values = lengths, data, values

    def write(self, out: Bytes, at: NDArray[np.int64]) -> None:
        present = self.lengths >= 0
        if self._values is not None:
            _scatter(out, at[present], self._values[present])
            return
        lengths = self.lengths[present]
        if lengths.size and (lengths == lengths[0]).all():
            rows = self._data.reshape(lengths.size, -1)
            out[at[present][:, None] + np.arange(rows.shape[1])] = rows
            return
        begins = np.cumsum(lengths) - lengths
        out[np.repeat(at[present] - begins, lengths) + np.arange(self._data.size)] = self._data


def _field(column: pl.Series, kind: str) -> _Field:
    null = np.zeros(len(column), np.bool_)
    if column.null_count():
        null = column.is_null().to_numpy()
    width = _KINDS[kind][2]
    if width is None:
        text = (column.fill_null("") if null.any() else column).to_arrow(compat_level=_PLAIN)
        _, ends, data = text.buffers()
        bounds = np.frombuffer(ends, np.int64)[text.offset : text.offset + len(text) + 1]
        sizes, used = np.where(null, -1, np.diff(bounds)), slice(bounds[0], bounds[-1])
        return _Field(sizes, np.frombuffer(data or b"", np.uint8)[used], None)
    if kind == "moment":
        values = column.to_numpy().astype("datetime64[us]").view(np.int64) - _EPOCH_US
    else:
        values = (column.fill_null(0) if null.any() else column).to_numpy()
    values = values.astype(width)
    return _Field(np.where(null, -1, values.itemsize), np.empty(0, dtype=np.uint8), values)


def _scatter(out: Bytes, at: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Write values of one width to the given positions."""
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(values.size, values.itemsize)
    out[at[:, None] + np.arange(values.itemsize)] = rows


def _fill_sqlite(
    conn: Connection, table: str, columns: Mapping[str, str], frame: pl.DataFrame
) -> None:
    rows = frame.select(
        pl.col(name).dt.strftime(_SQLITE_MOMENT) if kind == "moment" else pl.col(name)
        for name, kind in columns.items()
    )
    marks = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of ours
    if rows.height:
        with driver_errors(conn, statement):
            conn.connection.driver_connection.executemany(  # type: ignore[union-attr] # sqlite3's
                statement, rows.iter_rows()
            )
