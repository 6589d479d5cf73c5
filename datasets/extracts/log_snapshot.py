"""What every snapshot of the attempt log offers, whichever database it reads from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from datasets.extracts.positions import LogPosition
    from datasets.row_kernels import RowBatch

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


def batches(
    connection: Connection, query: str, options: Mapping[str, str] | None = None
) -> Iterator[pa.RecordBatch]:
    """What a query gives, a batch at a time; the driver is told the options first."""
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**(options or {}))
        cursor.execute(query)
        yield from cursor.fetch_record_batch()


def numbers(array: pa.Array, missing: int) -> NDArray[np.int64]:
    """Whole numbers or times as int64, `missing` for null."""
    if not pa.types.is_int64(array.type):
        array = array.cast(pa.int64())
    if array.null_count:
        array = array.fill_null(missing)
    numbers: NDArray[np.int64] = array.to_numpy(zero_copy_only=True)
    return numbers
