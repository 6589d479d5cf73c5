"""Read a PostgreSQL log in one transaction, with binary COPY."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from datasets.extracts.reading.log_snapshot import (
    DETAILS,
    ERASED,
    NEITHER,
    STATES,
    LogSnapshot,
    batches,
    numbers,
)
from datasets.extracts.reading.positions import (
    FROM_ELSEWHERE,
    POSTGRES_POSITION,
    PostgresPosition,
)
from datasets.row_kernels import NO_MOMENT, RowBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from datasets.extracts.reading.log_snapshot import Connection
    from datasets.extracts.reading.positions import LogPosition


class PostgresSnapshot(LogSnapshot):
    """A REPEATABLE READ, READ ONLY transaction; rows are read by `COPY … (FORMAT binary)`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    @cached_property
    def position(self) -> LogPosition | None:
        """Return the snapshot; None if rows have transaction ids of another server."""
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
        """Return the users with a tombstone."""
        with self._connection.cursor() as cursor:
            cursor.execute(ERASED)
            return [str(row[0]) for row in cursor.fetchall()]

    def continues(self, position: LogPosition) -> bool:
        """Return whether nothing was changed since, on the same server, timeline and table."""
        now = self.position
        if now is None or not position.may_lead_to(now):
            return False
        return not self._row(position.changed)[0]

    def attempts(
        self, since: LogPosition | None = None, *, details: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield attempts in heap order, or new ones by the index on `xact_id`.

        Sequential scans are disabled for new rows: without recent statistics the planner would
        read the complete table for a few rows.
        """
        if since is not None:
            with self._connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_seqscan = off")
        return batches(
            self._connection,
            f"SELECT id, user_id, concept_id, correct, attempted_at{DETAILS * details} "  # noqa: S608 - digits only
            "FROM attempts"
            f" WHERE {since.new_rows if since else 'true'}",
        )

    def states(self) -> Iterator[pa.RecordBatch]:
        """Yield every state."""
        return batches(self._connection, STATES)

    def row_batch(self, batch: pa.RecordBatch) -> RowBatch:
        """Return the columns of a batch.

        `infinity` remains the integer that PostgreSQL sends.
        """
        return RowBatch(
            ids=numbers(batch.column(0), 0),
            times=numbers(batch.column(4), NO_MOMENT),
            correct=numbers(batch.column(3), NEITHER),
        )

    def _row(self, query: str) -> tuple[Any, ...]:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone() or ()
