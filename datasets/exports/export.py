"""`bkt export`: write one table, read in one snapshot, to a file in one atomic step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import exists, select

from bkt_core.errors import BadInputError, UsageError
from datasets.errors import storage_error
from datasets.exports.files import writer_of
from datasets.exports.tables import batches_of, schema_of
from datasets.store.attempts.erasure import erased_users
from datasets.store.connections.engines import reading
from datasets.store.schema.tables import (
    AttemptRow,
    ErasedUserRow,
    MasteryStateRow,
    SnapshotRow,
)
from datasets.whole_files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from datasets.exports.tables import Filters, Table

ENDINGS = (".csv", ".parquet")


def export_table(
    engine: Engine, table: Table, path: Path, filters: Filters, *, overwrite: bool = False
) -> int:
    """Write the rows of a table, read in one snapshot, to a file; return their number.

    Raises `UsageError` for an unknown file ending, an existing file or a filter that does not
    apply to the table, `BadInputError` while a user is being erased, and `StorageError` if the
    file cannot be written. After an error no file is left.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"An export is a .csv or a .parquet file, got {path.name!r}.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} already exists: name another file, or give --overwrite.")
    n_rows = 0
    try:
        with reading(engine) as conn, whole_file(path) as temporary:
            before = _require_no_erasure(conn)
            with writer_of(temporary, schema_of(table), kind=path.suffix.lower()) as write:
                for batch in batches_of(conn, table, filters):
                    write(batch)
                    n_rows += batch.num_rows
            with reading(engine) as now:
                if _require_no_erasure(now) != before:
                    raise _being_erased()
    except OSError as error:
        raise storage_error(error, path) or error from error
    return n_rows


def _require_no_erasure(conn: Connection) -> frozenset[str]:
    """Return the erased users; raises an error if one of them still has rows."""
    for row in (AttemptRow, MasteryStateRow, SnapshotRow):
        left = select(exists().where(row.user_id == ErasedUserRow.user_id))
        if conn.execute(left).scalar_one():
            raise _being_erased()
    return erased_users(conn)


def _being_erased() -> BadInputError:
    return BadInputError(
        "A user is being erased, so an export could keep data that must be deleted. Repeat it "
        "when `bkt erase` has ended; if it was killed, run the same command again to finish."
    )
