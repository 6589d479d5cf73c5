"""Read the attempt log as Arrow batches from the database, inside one snapshot.

ADBC reads the wire format of the database into Arrow buffers; no Python object is created per
row. Our own engine provides only the address.
"""

from __future__ import annotations

import errno
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import adbc_driver_manager as adbc
import pyarrow as pa

from datasets.errors import ExtractError, StorageError, storage_error
from datasets.extracts.reading.postgres_log import PostgresSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from datasets.extracts.reading.log_snapshot import LogSnapshot


@contextmanager
def log_snapshot(engine: Engine, folder: Path) -> Iterator[LogSnapshot]:
    """Open a consistent snapshot of the log.

    `folder` is for the private copy from which a SQLite database is read. Raises `ExtractError`
    if the connection is lost.
    """
    try:
        if engine.dialect.name == "sqlite":
            # Each driver is imported only where it is needed, because its import takes a
            # second.
            from datasets.extracts.reading.sqlite_log import sqlite_snapshot

            with sqlite_snapshot(engine, folder) as snapshot:
                yield snapshot
        else:
            import adbc_driver_postgresql.dbapi as postgresql

            url = engine.url.set(drivername="postgresql")
            with postgresql.connect(url.render_as_string(hide_password=False)) as connection:
                yield PostgresSnapshot(connection)
    except (adbc.Error, sqlite3.Error, OSError, pa.ArrowException) as error:
        raise _refused_to_write(error, folder) or _unreadable(error) from error


def _refused_to_write(error: Exception, folder: Path) -> StorageError | None:
    """Return the error of a disk that refused to store what was read, or None."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return storage_error(OSError(errno.ENOSPC, str(error)), folder)
    return storage_error(error, folder) if isinstance(error, OSError) else None


def _unreadable(error: Exception) -> ExtractError:
    said = str(error).strip().splitlines()
    return ExtractError(
        "The attempt log must be readable to the end, the database said: "
        f"{said[0] if said else type(error).__name__}. Nothing was kept; repeat the run."
    )
