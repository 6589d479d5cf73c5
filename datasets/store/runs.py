"""Runs: a row before anything else, and one run at a time."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection, Engine, select, text, update
from sqlalchemy.exc import DBAPIError

from datasets.store.errors import DatabaseError, LockedError
from datasets.store.locks import named_key
from datasets.store.sql import insert_into
from datasets.store.tables import RunRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime

_HOLDER_OF = text(
    "SELECT coalesce(min(nullif(a.application_name, '')), 'another run') FROM pg_locks l "
    "JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (l.classid::bigint << 32 | l.objid::bigint) = :key HAVING count(*) > 0"
)


#: Between two tries to take the run lock.
PATIENCE_SECONDS = 0.2


class RunStatus(StrEnum):
    """How a run stands; `running` alone is unfinished."""

    RUNNING = "running"
    DONE = "done"
    UNCHANGED = "unchanged"
    EMPTY = "empty"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Run:
    """One row of `bkt_run`."""

    run_id: str
    kind: str
    status: RunStatus
    identity: str | None
    started_at: datetime
    finished_at: datetime | None
    manifest: dict[str, Any]


class RunLock(Protocol):
    """The lock of the run that is going on."""

    def check(self) -> None:
        """Raise `DatabaseError` if the lock was lost, as when the server restarted."""


def start_run(
    conn: Connection,
    *,
    run_id: str,
    kind: str,
    at: datetime,
    identity: str | None = None,
    manifest: dict[str, Any] | None = None,
) -> None:
    """Write the row of a run; one that is there already runs again and keeps its start."""
    conn.execute(
        insert_into(conn, RunRow)
        .values(
            run_id=run_id,
            kind=kind,
            status=RunStatus.RUNNING.value,
            identity=identity,
            started_at=at,
            finished_at=None,
            manifest=manifest or {},
        )
        .on_conflict_do_update(
            index_elements=["run_id"],
            set_={"status": RunStatus.RUNNING.value, "finished_at": None},
        )
    )


def finish_run(
    conn: Connection,
    *,
    run_id: str,
    status: RunStatus,
    at: datetime,
    manifest: dict[str, Any] | None = None,
    outcome: dict[str, Any] | None = None,
) -> None:
    """Close the row of a run; a manifest given here replaces the first one.

    `outcome`, its counts or what it said when it gave up, goes into the manifest under that
    name.
    """
    values: dict[str, Any] = {"status": status.value, "finished_at": at}
    if outcome is not None:
        if manifest is None:
            manifest = conn.execute(
                select(RunRow.manifest).where(RunRow.run_id == run_id)
            ).scalar_one_or_none()
        manifest = {**(manifest or {}), "outcome": outcome}
    if manifest is not None:
        values["manifest"] = manifest
    conn.execute(update(RunRow).where(RunRow.run_id == run_id).values(**values))


def find_run(conn: Connection, run_id: str) -> Run | None:
    """The run of that id."""
    return next(iter(_runs(conn, RunRow.run_id == run_id)), None)


def list_runs(conn: Connection, *, kind: str | None = None) -> tuple[Run, ...]:
    """All runs, the newest first."""
    return _runs(conn, *(() if kind is None else (RunRow.kind == kind,)))


def find_unfinished(conn: Connection, *, identity: str) -> Run | None:
    """The newest run with this identity that began and never ended. Ask under the run lock."""
    runs = _runs(conn, RunRow.status == RunStatus.RUNNING.value, RunRow.identity == identity)
    return next(iter(runs), None)


def abandon_unfinished(conn: Connection, *, kinds: tuple[str, ...], keep: str | None, at:
datetime) -> tuple[str, ...]:  # fmt: skip
    """Mark other unfinished runs of these kinds `abandoned`. Call under the run lock."""
    abandoned = conn.execute(
        update(RunRow)
        .where(
            RunRow.status == RunStatus.RUNNING.value,
            RunRow.kind.in_(kinds),
            RunRow.run_id != (keep or ""),
        )
        .values(status=RunStatus.ABANDONED.value, finished_at=at)
        .returning(RunRow.run_id)
    )
    return tuple(sorted(abandoned.scalars()))


def _runs(conn: Connection, *conditions: Any) -> tuple[Run, ...]:  # noqa: ANN401 - SQLAlchemy's expressions
    rows = conn.execute(
        select(
            RunRow.run_id,
            RunRow.kind,
            RunRow.status,
            RunRow.identity,
            RunRow.started_at,
            RunRow.finished_at,
            RunRow.manifest,
        )
        .where(*conditions)
        .order_by(RunRow.started_at.desc(), RunRow.run_id)
    )
    return tuple(
        Run(
            row.run_id,
            row.kind,
            RunStatus(row.status),
            row.identity,
            row.started_at,
            row.finished_at,
            row.manifest,
        )
        for row in rows
    )


@contextmanager
def run_lock(engine: Engine, *, holder: str) -> Iterator[RunLock]:
    """Hold the lock that one run at a time may hold; it goes with its process.

    `holder` names the run to a second one, which gets `LockedError`.
    """
    lock = _FileLock if engine.dialect.name == "sqlite" else _ServerLock
    named = f"{holder} (process {os.getpid()} on {socket.gethostname()})"
    with _patiently(lambda: lock.held(engine, named)) as it:
        yield it


@contextmanager
def _patiently(held: Callable[[], AbstractContextManager[RunLock]]) -> Iterator[RunLock]:
    """Ask a few times: who only looks at the lock holds it for a moment."""
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


def lock_holder(engine: Engine) -> str | None:
    """Who holds the run lock now; None if nobody does. Looks without touching it."""
    if engine.dialect.name == "sqlite":
        return _file_holder(Path(f"{engine.url.database}.lock"))
    with engine.connect() as conn:
        found = conn.execute(_HOLDER_OF, {"key": named_key("run")}).scalar_one_or_none()
        return None if found is None else str(found)


def _file_holder(path: Path) -> str | None:
    """A shared lock that many may try at once; nothing is made where there is no file."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "another run"
    return None


@dataclass(frozen=True, slots=True)
class _ServerLock:
    """An advisory lock of a connection that does nothing else."""

    conn: Connection
    key: int

    @classmethod
    @contextmanager
    def held(cls, engine: Engine, holder: str) -> Iterator[_ServerLock]:
        key = named_key("run")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            name = {"name": holder[:63]}  # what PostgreSQL keeps
            conn.execute(text("SELECT set_config('application_name', :name, false)"), name)
            if not conn.execute(
                text("SELECT pg_try_advisory_lock(:key)"), {"key": key}
            ).scalar():
                found = conn.execute(_HOLDER_OF, {"key": key}).scalar_one_or_none()
                raise LockedError(holder=found or "another run")
            try:
                yield cls(conn, key)
            finally:
                conn.invalidate()  # closing the connection frees the lock, come what may

    def check(self) -> None:
        """Raise if the connection, and with it the lock, is gone."""
        try:
            self.conn.execute(text("SELECT 1"))
        except DBAPIError as error:
            raise DatabaseError(
                "The connection with the run lock was lost, so another run may have begun; "
                "run the command again."
            ) from error


@dataclass(frozen=True, slots=True)
class _FileLock:
    """A lock of the operating system on `<database>.lock`."""

    path: Path | None

    @classmethod
    @contextmanager
    def held(cls, engine: Engine, holder: str) -> Iterator[_FileLock]:
        database = engine.url.database
        if not database or database == ":memory:":
            yield cls(None)
            return
        path = Path(f"{database}.lock")
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as taken:
                file.seek(0)
                raise LockedError(holder=file.read().strip() or "another run") from taken
            file.seek(0)
            file.truncate()
            file.write(holder)
            file.flush()
            yield cls(path)
            file.seek(0)
            file.truncate()

    def check(self) -> None:
        """A lock of the operating system is not lost while its process lives."""
