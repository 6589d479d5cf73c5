"""The attempt log as Arrow batches, read from the database inside one snapshot.

ADBC speaks the wire format of the database and builds Arrow buffers from it: no Python object
is made for a row. Our own engine is asked only for its address.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from datasets.errors import ExtractError
from datasets.id_codes import text_column
from datasets.row_kernels import NO_MOMENT, RowBatch, times_from_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from sqlalchemy import Engine

_ATTEMPTS = "SELECT id, user_id, concept_id, correct, attempted_at FROM attempts"
_STATES = (
    "SELECT user_id, concept_id, version, is_stale, algo_version_id, param_id "
    "FROM bkt_user_skill_state"
)
#: A value of `correct` that is neither 0 nor 1.
NEITHER = 2


class _Cursor(Protocol):
    """What we use of an ADBC cursor."""

    adbc_statement: Any

    def __enter__(self) -> _Cursor: ...
    def __exit__(self, *error: object) -> None: ...
    def execute(self, query: str) -> object: ...
    def fetch_record_batch(self) -> pa.RecordBatchReader: ...


class _Connection(Protocol):
    """What we use of an ADBC connection."""

    def cursor(self) -> _Cursor: ...


class LogSnapshot(ABC):
    """One moment of the database, readable until the connection closes."""

    #: What the driver is told before each statement.
    statement_options: Mapping[str, str] = MappingProxyType({})

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    @abstractmethod
    def attempts(self) -> Iterator[pa.RecordBatch]:
        """id, user_id, concept_id, correct, attempted_at of every attempt, in any order."""

    @abstractmethod
    def states(self) -> Iterator[pa.RecordBatch]:
        """user_id, concept_id, version, is_stale, algo_version_id, param_id of every state."""

    @abstractmethod
    def row_batch(self, batch: pa.RecordBatch) -> RowBatch:
        """The columns of a batch of attempts that are no text."""

    def _batches(self, query: str) -> Iterator[pa.RecordBatch]:
        with self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**self.statement_options)
            cursor.execute(query)
            yield from cursor.fetch_record_batch()


class PostgresSnapshot(LogSnapshot):
    """A REPEATABLE READ, READ ONLY transaction; rows come by `COPY … (FORMAT binary)`."""

    def attempts(self) -> Iterator[pa.RecordBatch]:
        """Every attempt, in the order of the heap."""
        return self._batches(_ATTEMPTS)

    def states(self) -> Iterator[pa.RecordBatch]:
        """Every state."""
        return self._batches(_STATES)

    def row_batch(self, batch: pa.RecordBatch) -> RowBatch:
        """The columns of a batch; `infinity` stays as the wrapped number it arrives as."""
        return RowBatch(
            ids=_numbers(batch.column(0), 0),
            times=_numbers(batch.column(4), NO_MOMENT),
            correct=_numbers(batch.column(3), NEITHER),
        )


class SqliteSnapshot(LogSnapshot):
    """One read transaction; a first row of the right types keeps the driver from guessing."""

    statement_options = MappingProxyType({"adbc.sqlite.query.batch_rows": "65536"})

    def attempts(self) -> Iterator[pa.RecordBatch]:
        """Every attempt, in the order of ids."""
        return self._typed("SELECT -1, '', '', 0, ''", _ATTEMPTS)

    def states(self) -> Iterator[pa.RecordBatch]:
        """Every state."""
        return self._typed("SELECT '', '', 0, 0, 0, 0", _STATES)

    def _typed(self, first_row: str, query: str) -> Iterator[pa.RecordBatch]:
        for i, batch in enumerate(self._batches(f"{first_row} UNION ALL {query}")):
            yield batch if i else batch.slice(1)

    def row_batch(self, batch: pa.RecordBatch) -> RowBatch:
        """The columns of a batch; times come as text."""
        times = np.empty(batch.num_rows, np.int64)
        times_from_text(text_column(batch.column(4)), times)
        return RowBatch(
            ids=_numbers(batch.column(0), 0),
            times=times,
            correct=_numbers(batch.column(3), NEITHER),
        )


@contextmanager
def log_snapshot(engine: Engine) -> Iterator[LogSnapshot]:
    """Open one consistent moment of the log; a connection that is cut ends in a clear error."""
    driver, address, snapshot = _dialect(engine)
    try:
        connection = driver.connect(address)
    except driver.Error as error:
        raise _unreadable(error) from error
    try:
        with connection:
            if snapshot is PostgresSnapshot:
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield snapshot(connection)
    except (driver.Error, OSError, pa.ArrowException) as error:
        raise _unreadable(error) from error


def _dialect(engine: Engine) -> tuple[Any, str, type[LogSnapshot]]:
    """The driver, which is imported only here: it costs a second."""
    if engine.dialect.name == "sqlite":
        import adbc_driver_sqlite.dbapi as sqlite

        path = engine.url.database
        if not path or path == ":memory:":
            raise ExtractError(
                "An extraction reads a database in a file, got one in memory; "
                "use sqlite:///file.db."
            )
        return sqlite, path, SqliteSnapshot
    import adbc_driver_postgresql.dbapi as postgresql

    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return postgresql, url, PostgresSnapshot


def _unreadable(error: Exception) -> ExtractError:
    said = str(error).strip().splitlines()
    return ExtractError(
        f"The attempt log must be readable to the end, the database said: "
        f"{said[0] if said else type(error).__name__}. Nothing was kept; repeat the run."
    )


def _numbers(array: pa.Array, missing: int) -> NDArray[np.int64]:
    """Whole numbers or times as int64, `missing` for null."""
    if not pa.types.is_int64(array.type):
        array = array.cast(pa.int64())
    if array.null_count:
        array = array.fill_null(missing)
    numbers: NDArray[np.int64] = array.to_numpy(zero_copy_only=True)
    return numbers
