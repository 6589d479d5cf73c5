"""Allow one run at a time and detect live runs, with locks that end with their process.

On PostgreSQL they are advisory locks of a dedicated connection, on SQLite operating system
locks on files beside the database.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from datasets.store.connections.locks import named_key
from datasets.store.errors import LockedError, RunLockLostError
from datasets.store.runs.runs import LOCKING_KINDS, abandon_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime
    from typing import IO

#: Seconds between two attempts to take the run lock.
PATIENCE_SECONDS = 0.2
#: Files beside a SQLite database: for the run lock, and for runs that do not take it.
RUN_FILE, ALONGSIDE_FILE = ".lock", ".alongside.lock"

_RUN_KEY, _ALONGSIDE_KEY = named_key("run"), named_key("runs alongside")
_HOLDER_OF = text(
    "SELECT coalesce(min(nullif(a.application_name, '')), 'another run') FROM pg_locks l "
    "JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (l.classid::bigint << 32 | l.objid::bigint) = :key HAVING count(*) > 0"
)
_IS_MINE = text(
    "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' "
    "AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = :key"
)
_GIVE_BACK = text("SELECT pg_advisory_unlock_all()")
_NAME = text("SELECT set_config('application_name', :name, false)")
#: A server may close idle sessions, and a session that only holds a lock is idle.
_MAY_IDLE = text(
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
)


class RunLock(Protocol):
    """The lock that the current run holds."""

    def check(self) -> None:
        """Raise `RunLockLostError` if the lock is lost, as after a restart of the server."""


@contextmanager
def run_lock(engine: Engine, *, holder: str) -> Iterator[RunLock]:
    """Hold the run lock, which only one run at a time can hold; it ends with its process.

    `holder` names this run to others. Raises `LockedError` if another run holds the lock.
    """
    lock = _FileLock if engine.dialect.name == "sqlite" else _ServerLock
    named = f"{holder} (process {os.getpid()} on {socket.gethostname()})"
    with _patiently(lambda: lock.held(engine, named)) as it:
        yield it


def lock_holder(engine: Engine) -> str | None:
    """Return who holds the run lock; None if nobody does. The lock is not touched."""
    if engine.dialect.name == "sqlite":
        return _file_holder(Path(f"{engine.url.database}{RUN_FILE}"))
    with engine.connect() as conn:
        found = conn.execute(_HOLDER_OF, {"key": _RUN_KEY}).scalar_one_or_none()
        return None if found is None else str(found)


@contextmanager
def alongside(engine: Engine) -> Iterator[None]:
    """Mark a run without the run lock as alive; enter it before the run's row is written."""
    with ExitStack() as stack:
        if engine.dialect.name == "sqlite":
            path = _file_beside(engine, ALONGSIDE_FILE)
            if path is not None:
                fcntl.flock(stack.enter_context(path.open("a+")), fcntl.LOCK_SH)
        else:
            conn = stack.enter_context(_session(engine, "bkt"))
            conn.execute(text("SELECT pg_advisory_lock_shared(:key)"), {"key": _ALONGSIDE_KEY})
        yield


def abandon_dead_runs(engine: Engine, *, keep: str | None, at: datetime) -> tuple[str, ...]:
    """Mark unfinished runs as abandoned, except `keep`; return their ids.

    Call it under the run lock: then every unfinished run of a kind that takes the lock is dead.
    Runs of other kinds are marked only if none of them is alive.
    """
    with _nobody_alongside(engine) as alone, engine.begin() as conn:
        kinds = None if alone else LOCKING_KINDS
        return abandon_unfinished(conn, kinds=kinds, keep=keep, at=at)


@contextmanager
def _patiently(held: Callable[[], AbstractContextManager[RunLock]]) -> Iterator[RunLock]:
    """Try a few times, because a process that checks the lock holds it briefly."""
    with ExitStack() as stack:
        for last in (False, False, True):
            try:
                lock = stack.enter_context(held())
                break
            except LockedError:
                if last:
                    raise
                time.sleep(PATIENCE_SECONDS)
        yield lock


@contextmanager
def _nobody_alongside(engine: Engine) -> Iterator[bool]:
    """Yield whether no run without the run lock is alive; if so, none can begin meanwhile."""
    with ExitStack() as stack:
        if engine.dialect.name == "sqlite":
            path = _file_beside(engine, ALONGSIDE_FILE)
            yield path is None or _taken(stack.enter_context(path.open("a+")))
        else:
            conn = stack.enter_context(_session(engine, "bkt"))
            wanted = text("SELECT pg_try_advisory_lock(:key)")
            yield bool(conn.execute(wanted, {"key": _ALONGSIDE_KEY}).scalar())


@dataclass(frozen=True, slots=True)
class _ServerLock:
    """An advisory lock of a dedicated connection."""

    conn: Connection

    @classmethod
    @contextmanager
    def held(cls, engine: Engine, holder: str) -> Iterator[_ServerLock]:
        with _session(engine, holder) as conn:
            wanted = text("SELECT pg_try_advisory_lock(:key)")
            if not conn.execute(wanted, {"key": _RUN_KEY}).scalar():
                found = conn.execute(_HOLDER_OF, {"key": _RUN_KEY}).scalar_one_or_none()
                raise LockedError(holder=found or "another run")
            yield cls(conn)

    def check(self) -> None:
        """Raise if the lock is lost; a connection that was reopened does not hold it."""
        try:
            held = self.conn.execute(_IS_MINE, {"key": _RUN_KEY}).scalar_one()
        except (DBAPIError, PendingRollbackError) as error:
            raise RunLockLostError from error
        if not held:
            raise RunLockLostError


@dataclass(frozen=True, slots=True)
class _FileLock:
    """An operating system lock on `<database>.lock`."""

    @classmethod
    @contextmanager
    def held(cls, engine: Engine, holder: str) -> Iterator[_FileLock]:
        path = _file_beside(engine, RUN_FILE)
        if path is None:
            yield cls()
            return
        with path.open("a+", encoding="utf-8") as file:
            if not _taken(file):
                file.seek(0)
                raise LockedError(holder=file.read().strip() or "another run")
            file.seek(0)
            file.truncate()
            file.write(holder)
            file.flush()
            yield cls()
            file.seek(0)
            file.truncate()

    def check(self) -> None:
        """Do nothing: an operating system lock cannot be lost while its process lives."""


@contextmanager
def _session(engine: Engine, name: str) -> Iterator[Connection]:
    """Open a dedicated connection and close it at the end, which frees its locks in any case.

    The server frees them some time after the connection is closed. They are released before
    that, so that the next process finds them free.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        try:
            conn.execute(_NAME, {"name": name[:63]})  # the length that PostgreSQL keeps
            conn.execute(_MAY_IDLE)
            yield conn
        finally:
            with suppress(DBAPIError, PendingRollbackError):
                conn.execute(_GIVE_BACK)
            conn.invalidate()


def _file_beside(engine: Engine, ending: str) -> Path | None:
    """Return a file beside a SQLite database; None for a database in memory."""
    database = engine.url.database
    return None if not database or database == ":memory:" else Path(f"{database}{ending}")


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_holder(path: Path) -> str | None:
    """Return the holder of the lock file; None if it is free or missing. It is not created."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "another run"
    return None
