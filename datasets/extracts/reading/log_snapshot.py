"""The interface of snapshots of the attempt log, for both databases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from datasets.extracts.reading.positions import LogPosition
    from datasets.row_kernels import RowBatch

STATES = "SELECT user_id, concept_id, version FROM bkt_user_skill_state"
ERASED = "SELECT user_id FROM erased_user"
#: Columns of a log's rows with details, after the others.
DETAILS = ", question_id, recent_outcomes, n_before, n_right_before"
#: Code for a value of `correct` that is neither 0 nor 1.
NEITHER = 2


class Cursor(Protocol):
    """The part of an ADBC cursor that we use."""

    adbc_statement: Any

    def __enter__(self) -> Cursor: ...

    def __exit__(self, *error: object) -> None: ...

    def execute(self, query: str) -> object:
        """Run one statement."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all remaining rows."""

    def fetch_record_batch(self) -> pa.RecordBatchReader:
        """Return all rows as a stream."""


class Connection(Protocol):
    """The part of an ADBC connection that we use."""

    def cursor(self) -> Cursor:
        """Return a cursor in the transaction of the snapshot."""


class LogSnapshot(ABC):
    """One snapshot of the database; read the states after the attempts."""

    @property
    @abstractmethod
    def position(self) -> LogPosition | None:
        """Return the position of this snapshot; None if a later one cannot continue from it."""

    @abstractmethod
    def erased_users(self) -> list[str]:
        """Return the users with a tombstone."""

    @abstractmethod
    def continues(self, position: LogPosition) -> bool:
        """Return whether the log only had rows added since `position`."""

    @abstractmethod
    def attempts(
        self, since: LogPosition | None = None, *, details: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield all rows, or the rows added since a position.

        The columns are id, user_id, concept_id, correct and attempted_at; with `details` also
        question_id, recent_outcomes, n_before and n_right_before.
        """

    @abstractmethod
    def states(self) -> Iterator[pa.RecordBatch]:
        """Yield user_id, concept_id and version of every state."""

    @abstractmethod
    def row_batch(self, batch: pa.RecordBatch) -> RowBatch:
        """Return the columns of a batch of attempts that are not text."""


def batches(
    connection: Connection, query: str, options: Mapping[str, str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the result of a query in batches, after setting options of the driver."""
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**(options or {}))
        cursor.execute(query)
        yield from cursor.fetch_record_batch()


def numbers(array: pa.Array, missing: int) -> NDArray[np.int64]:
    """Return whole numbers or times as int64, with `missing` for null."""
    if not pa.types.is_int64(array.type):
        array = array.cast(pa.int64())
    if array.null_count:
        array = array.fill_null(missing)
    numbers: NDArray[np.int64] = array.to_numpy(zero_copy_only=True)
    return numbers
