"""Imports by query in `bkt_run`: their positions, committed with the rows they wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from datasets.store.runs.runs import RunStatus, start_run
from datasets.store.schema.tables import RunRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

_KIND = "import"


def begin_import(
    conn: Connection, run_id: str, identity: str, *, source: str, at: datetime
) -> dict[str, Any] | None:
    """Begin a run; return the position that the newest run of this identity reached.

    An earlier run that never ended is marked as abandoned: its committed rows are before its
    position.
    """
    reached = (_last_manifest(conn, identity) or {}).get("reached")
    conn.execute(
        update(RunRow)
        .where(*_of(identity), RunRow.status == RunStatus.RUNNING.value)
        .values(status=RunStatus.ABANDONED.value, finished_at=at)
    )
    manifest = {"source": source, "reached": reached}
    start_run(conn, run_id=run_id, kind=_KIND, at=at, identity=identity, manifest=manifest)
    return reached


def _of(identity: str) -> tuple[ColumnElement[bool], ...]:
    return (RunRow.kind == _KIND, RunRow.identity == identity)


def _last_manifest(conn: Connection, identity: str) -> dict[str, Any] | None:
    newest = (
        select(RunRow.manifest)
        .where(*_of(identity))
        .order_by(RunRow.started_at.desc(), RunRow.run_id)
        .limit(1)
    )
    found: dict[str, Any] | None = conn.execute(newest).scalar_one_or_none()
    return found


def note_import(conn: Connection, run_id: str, noted: dict[str, Any]) -> None:
    """Store the position and the counts, in the same transaction as the rows they describe."""
    own = RunRow.run_id == run_id
    manifest = conn.execute(select(RunRow.manifest).where(own)).scalar_one()
    conn.execute(update(RunRow).where(own).values(manifest={**manifest, **noted}))
