"""The attempt log as Arrow batches, read from the database inside one snapshot.

ADBC speaks the wire format of the database and builds Arrow buffers from it: no Python object
is made for a row. Our own engine is asked only for its address.
"""

from __future__ import annotations

import errno
import sqlite3
from abc import ABC, abstractmethod
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import adbc_driver_manager as adbc
import pyarrow as pa

from datasets.errors import ExtractError, StorageError, storage_error
from datasets.extracts.positions import FROM_ELSEWHERE, POSTGRES_POSITION, PostgresPosition
from datasets.row_kernels import NO_MOMENT, RowBatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Engine

    from datasets.extracts.positions import LogPosition

STATES = "SELECT user_id, concept_id, version FROM bkt_user_skill_state"
ERASED = "SELECT user_id FROM erased_user"
#: A value of `correct` that is neither 0 nor 1.
NEITHER = 2


class Cursor(Protocol):
    """What we use of an ADBC cursor."""

    adbc_statement: Any

    def __enter__(self) -> Cursor: ...

    def __exit__(self, *error: object) -> None: ...

    def execute(self, query: str) -> object:
        """Run one statement."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""

    def fetch_record_batch(self) -> pa.RecordBatchReader:
        """All rows as a stream."""


class Connection(Protocol):
    """What we use of an ADBC connection."""

    def cursor(self) -> Cursor:
        """A cursor of the one transaction."""


class LogSnapshot(ABC):
    """One moment of the database; the states are to be read behind the attempts."""

    @property
    @abstractmethod
    def position(self) -> LogPosition | None:
        """What this snapshot has seen; None where a later one could not continue from it."""

    @abstractmethod
    def erased_users(self) -> list[str]:
        """Users with a tombstone."""

    @abstractmethod
    def continues(self, position: LogPosition) -> bool:
        """Whether the log of this snapshot is that of the position, with rows added only."""

    @abstractmethod
    def attempts(self, since: LogPosition | None = None) -> Iterator[pa.RecordBatch]:
        """id, user_id, concept_id, correct, attempted_at: all, or those behind a position."""

    @abstractmethod
    def states(self) -> Iterator[pa.RecordBatch]:
        """user_id, concept_id and version of every state."""

    @abstractmethod
    def row_batch(self, batch: pa.RecordBatch) -> RowBatch:
        """The columns of a batch of attempts that are no text."""


class PostgresSnapshot(LogSnapshot):
    """A REPEATABLE READ, READ ONLY transaction; rows come by `COPY … (FORMAT binary)`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    @cached_property
    def position(self) -> LogPosition | None:
        """The snapshot; None where rows carry transactions of another server."""
        system, timeline, database, table, snapshot = self._row(POSTGRES_POSITION)
        if self._row(FROM_ELSEWHERE)[0]:
            return None
        return PostgresPosition(
            system=system,
            timeline=timeline,
            database=int(database),
            table=int(table),
            snapshot=snapshot,
        )

    def erased_users(self) -> list[str]:
        """Users with a tombstone."""
        with self._connection.cursor() as cursor:
            cursor.execute(ERASED)
            return [str(row[0]) for row in cursor.fetchall()]

    def continues(self, position: LogPosition) -> bool:
        """Whether nothing was changed since, on the same server, timeline and table."""
        now = self.position
        if now is None or not position.may_lead_to(now):
            return False
        return not self._row(position.changed)[0]

    def attempts(self, since: LogPosition | None = None) -> Iterator[pa.RecordBatch]:
        """Attempts in the order of the heap, or new ones by the index on `xact_id`.

        Where the table was not analysed lately, the planner would read all of it for a few.
        """
        if since is not None:
            with self._connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_seqscan = off")
        return batches(
            self._connection,
            "SELECT id, user_id, concept_id, correct, attempted_at FROM attempts"  # noqa: S608 - digits only
            f" WHERE {since.new_rows if since else 'true'}",
        )

    def states(self) -> Iterator[pa.RecordBatch]:
        """Every state."""
        return batches(self._connection, STATES)

    def row_batch(self, batch: pa.RecordBatch) -> RowBatch:
        """The columns of a batch; `infinity` stays as the wrapped number it arrives as."""
        return RowBatch(
            ids=numbers(batch.column(0), 0),
            times=numbers(batch.column(4), NO_MOMENT),
            correct=numbers(batch.column(3), NEITHER),
        )

    def _row(self, query: str) -> tuple[Any, ...]:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone() or ()


@contextmanager
def log_snapshot(engine: Engine, folder: Path) -> Iterator[LogSnapshot]:
    """Open one consistent moment of the log; a connection that is cut ends in a clear error.

    `folder` takes the private copy from which a SQLite database is read.
    """
    try:
        if engine.dialect.name == "sqlite":
            from datasets.extracts.sqlite_log import sqlite_snapshot

            with sqlite_snapshot(engine, folder) as snapshot:
                yield snapshot
        else:
            # The driver is imported only here: it costs a second.
            import adbc_driver_postgresql.dbapi as postgresql

            url = engine.url.set(drivername="postgresql")
            with postgresql.connect(url.render_as_string(hide_password=False)) as connection:
                yield PostgresSnapshot(connection)
    except (adbc.Error, sqlite3.Error, OSError, pa.ArrowException) as error:
        raise _refused_to_write(error, folder) or _unreadable(error) from error


def batches(
    connection: Connection, query: str, options: Mapping[str, str] | None = None
) -> Iterator[pa.RecordBatch]:
    """What a query gives, a batch at a time; the driver is told the options first."""
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**(options or {}))
        cursor.execute(query)
        yield from cursor.fetch_record_batch()


def _refused_to_write(error: Exception, folder: Path) -> StorageError | None:
    """A disk that did not take what was read."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return storage_error(OSError(errno.ENOSPC, str(error)), folder)
    return storage_error(error, folder) if isinstance(error, OSError) else None


def _unreadable(error: Exception) -> ExtractError:
    said = str(error).strip().splitlines()
    return ExtractError(
        "The attempt log must be readable to the end, the database said: "
        f"{said[0] if said else type(error).__name__}. Nothing was kept; repeat the run."
    )


def numbers(array: pa.Array, missing: int) -> NDArray[np.int64]:
    """Whole numbers or times as int64, `missing` for null."""
    if not pa.types.is_int64(array.type):
        array = array.cast(pa.int64())
    if array.null_count:
        array = array.fill_null(missing)
    numbers: NDArray[np.int64] = array.to_numpy(zero_copy_only=True)
    return numbers
