"""Read a SQLite log from a private copy.

ADBC has its own copy of the SQLite library. Two copies in one process do not see each other's
locks, and one that closes the live database would delete the write-ahead log that the other one
uses. Therefore only Python's SQLite opens the live file, as our engines do; ADBC reads a copy.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import adbc_driver_sqlite.dbapi as adbc_sqlite
import numpy as np

from datasets.errors import ExtractError
from datasets.extracts.reading.log_snapshot import (
    DETAILS,
    ERASED,
    NEITHER,
    STATES,
    LogSnapshot,
    batches,
    numbers,
)
from datasets.extracts.reading.positions import SQLITE_POSITION, SqlitePosition
from datasets.id_codes import text_column
from datasets.row_kernels import RowBatch, read_only, times_from_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa
    from sqlalchemy import Engine

    from datasets.extracts.reading.log_snapshot import Connection
    from datasets.extracts.reading.positions import LogPosition

#: Invalid outcomes of any type become a value that no rule accepts.
_COLUMNS = f"id, user_id, concept_id, iif(correct IN (0, 1), correct, {NEITHER}), attempted_at"
#: A first row with the right types keeps the driver from guessing types from the data.
_FIRST, _FIRST_DETAILS = "SELECT -1, '', '', 0, ''", ", '', 0, 0, 0"
_TYPED_STATES = f"SELECT '', '', 0 UNION ALL {STATES}"
_OPTIONS = {"adbc.sqlite.query.batch_rows": "65536"}
_BUSY_SECONDS = 60.0


class SqliteSnapshot(LogSnapshot):
    """One read transaction; the first read of attempts copies what is needed and ends it."""

    def __init__(self, source: sqlite3.Connection, folder: Path, stack: ExitStack) -> None:
        self._source, self._folder, self._stack = source, folder, stack
        self._copy: Connection | None = None

    @cached_property
    def position(self) -> LogPosition | None:
        """Return the last row; SQLite has a single writer, so that rows have one order."""
        last_id, last_key, rewrites = self._row(SQLITE_POSITION)
        return SqlitePosition(last_id=last_id, last_key=last_key, rewrites=rewrites)

    def erased_users(self) -> list[str]:
        """Return the users with a tombstone."""
        return [str(row[0]) for row in self._source.execute(ERASED)]

    def continues(self, position: LogPosition) -> bool:
        """Return whether only rows were added to the same file since `position`."""
        now = self.position
        if now is None or not position.may_lead_to(now):
            return False
        return not self._row(position.changed)[0]

    def attempts(
        self, since: LogPosition | None = None, *, details: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield attempts in the order of ids."""
        path = self._folder / "copy.db"
        if since is None:
            with closing(sqlite3.connect(path)) as target:
                target.execute("PRAGMA journal_mode = OFF")
                target.execute("PRAGMA synchronous = OFF")
                self._source.backup(target)
            self._source.execute("COMMIT")
        else:
            path = self._folder / "new.db"
            self._copy_new(since, details=details)
        opened = self._stack.enter_context(adbc_sqlite.connect(str(path)))
        self._copy = cast("Connection", opened)
        return _behind_first(batches(self._copy, _typed_attempts(details=details), _OPTIONS))

    def states(self) -> Iterator[pa.RecordBatch]:
        """Yield every state."""
        if self._copy is None:
            raise ExtractError("States must be read after the attempts; this is a defect.")
        return _behind_first(batches(self._copy, _TYPED_STATES, _OPTIONS))

    def row_batch(self, batch: pa.RecordBatch) -> RowBatch:
        """Return the columns of a batch; times are text in SQLite."""
        times = np.empty(batch.num_rows, np.int64)
        times_from_text(text_column(batch.column(4)), times)
        return RowBatch(
            ids=numbers(batch.column(0), 0),
            times=read_only(times),
            correct=numbers(batch.column(3), NEITHER),
        )

    def _copy_new(self, since: LogPosition, *, details: bool) -> None:
        """Copy only the rows after a position, and the states."""
        self._source.execute(
            "CREATE TABLE new.attempts AS "  # noqa: S608 - digits only
            f"SELECT id, user_id, concept_id, correct, attempted_at{DETAILS * details} "
            f"FROM main.attempts WHERE {since.new_rows}"
        )
        copied = STATES.replace("FROM ", "FROM main.")
        self._source.execute(f"CREATE TABLE new.bkt_user_skill_state AS {copied}")
        self._source.execute("COMMIT")

    def _row(self, query: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._source.execute(query).fetchone()
        return found


@contextmanager
def sqlite_snapshot(engine: Engine, folder: Path) -> Iterator[SqliteSnapshot]:
    """Open a read transaction on the database file of an engine."""
    path = engine.url.database
    if not path or path == ":memory:":
        raise ExtractError(
            "An extraction reads a database in a file, got one in memory; "
            "use sqlite:///file.db."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name in ("copy.db", "new.db"):
            stack.callback((folder / name).unlink, missing_ok=True)
        source = stack.enter_context(
            closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None))
        )
        source.execute("ATTACH ? AS new", (str(folder / "new.db"),))
        source.execute("PRAGMA new.journal_mode = OFF")
        source.execute("PRAGMA new.synchronous = OFF")
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM attempts LIMIT 1").fetchall()  # takes the snapshot
        yield SqliteSnapshot(source, folder, stack)


def _typed_attempts(*, details: bool) -> str:
    first = _FIRST + _FIRST_DETAILS * details
    return f"{first} UNION ALL SELECT {_COLUMNS}{DETAILS * details} FROM attempts"  # noqa: S608 - constants


def _behind_first(found: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for i, batch in enumerate(found):
        yield batch if i else batch.slice(1)
