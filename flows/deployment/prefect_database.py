"""The database of a temporary Prefect server, copied from an empty one with all revisions.

Prefect takes six seconds to apply all revisions to a new database. `make install` does that
once (`python -m flows.deployment.prefect_database`); otherwise the first run of a data folder
does.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from datasets.errors import StorageError
from datasets.whole_files import make_folder, whole_file

#: The migrated database, in the folder in which Numba also caches compiled code.
MIGRATED = Path(__file__).parent / "__pycache__" / f"prefect-{version('prefect')}.db"
DATABASE = "prefect.db"
#: With one of these variables Prefect uses another database, and this one is not used.
_ELSEWHERE = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


def provide_database(home: Path) -> bool:
    """Copy the migrated database to a new home; return whether the home has a migrated one.

    Raises `StorageError` if the home cannot be written.
    """
    if not MIGRATED.is_file() or any(name in os.environ for name in _ELSEWHERE):
        return False
    database = home / DATABASE
    if not database.exists():
        with whole_file(database) as unfinished:
            shutil.copyfile(MIGRATED, unfinished)
            unfinished.chmod(0o600)
        return True
    wanted = revision_of(MIGRATED)
    return wanted is not None and revision_of(database) == wanted


def revision_of(database: Path) -> str | None:
    """Return the revision of Prefect's tables in a SQLite file; None if it has none."""
    uri = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            found = db.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return None
    return None if found is None else str(found[0])


def main() -> int:
    """Create the migrated database if it is missing; return the exit code."""
    if MIGRATED.is_file():
        return 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / DATABASE
        changed = {"PREFECT_HOME": folder, _ELSEWHERE[0]: f"sqlite+aiosqlite:///{file}"}
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
        done = subprocess.run(  # noqa: S603 - our own command
            command, env=os.environ | changed, check=False, stdout=subprocess.DEVNULL
        )
        if done.returncode:
            return done.returncode
        try:
            make_folder(MIGRATED.parent)
            with whole_file(MIGRATED) as unfinished:
                shutil.copyfile(file, unfinished)
        except StorageError as error:
            sys.stderr.write(f"Each data folder will migrate its own: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
