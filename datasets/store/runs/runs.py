"""Rows of `bkt_run`: written before a run does anything else, closed when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select, update

from datasets.store.schema.sql import insert_into
from datasets.store.schema.tables import RunRow

if TYPE_CHECKING:
    from datetime import datetime

#: Kinds of runs that hold the run lock; an unfinished one without it is dead.
LOCKING_KINDS = ("retrain", "recompute", "backfill", "activate", "candidate")


class RunStatus(StrEnum):
    """The status of a run; only `running` is unfinished."""

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


def start_run(
    conn: Connection,
    *,
    run_id: str,
    kind: str,
    at: datetime,
    identity: str | None = None,
    manifest: dict[str, Any] | None = None,
) -> None:
    """Write the row of a run; an existing one is set to running and keeps its start."""
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

    `outcome` holds the counts, or the error of a run that failed; it is stored in the manifest
    under the key `outcome`.
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


def note_outcome(conn: Connection, run_id: str, outcome: dict[str, Any]) -> None:
    """Store what an unfinished run found; the run keeps it when it is closed as done."""
    known = conn.execute(
        select(RunRow.manifest).where(RunRow.run_id == run_id)
    ).scalar_one_or_none()
    manifest = {**(known or {}), "outcome": outcome}
    conn.execute(update(RunRow).where(RunRow.run_id == run_id).values(manifest=manifest))


def find_run(conn: Connection, run_id: str) -> Run | None:
    """Return the run with that id; None if there is none."""
    return next(iter(_runs(conn, RunRow.run_id == run_id)), None)


def runs_named(conn: Connection, head: str) -> tuple[Run, ...]:
    """Return runs whose id begins with `head`, newest first; an exact match alone."""
    exact = _runs(conn, RunRow.run_id == head)
    return exact or _runs(conn, RunRow.run_id.startswith(head, autoescape=True))


def list_runs(conn: Connection, *, kind: str | None = None) -> tuple[Run, ...]:
    """Return all runs, newest first."""
    return _runs(conn, *(() if kind is None else (RunRow.kind == kind,)))


def find_unfinished(conn: Connection, *, identity: str) -> Run | None:
    """Return the newest unfinished run with this identity; call it under the run lock."""
    runs = _runs(conn, RunRow.status == RunStatus.RUNNING.value, RunRow.identity == identity)
    return next(iter(runs), None)


def abandon_unfinished(
    conn: Connection, *, kinds: tuple[str, ...] | None, keep: str | None, at: datetime
) -> tuple[str, ...]:
    """Mark unfinished runs of these kinds (None means all) as abandoned, except `keep`."""
    statement = update(RunRow).where(
        RunRow.status == RunStatus.RUNNING.value, RunRow.run_id != (keep or "")
    )
    if kinds is not None:
        statement = statement.where(RunRow.kind.in_(kinds))
    abandoned = conn.execute(
        statement.values(status=RunStatus.ABANDONED.value, finished_at=at).returning(
            RunRow.run_id
        )
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
