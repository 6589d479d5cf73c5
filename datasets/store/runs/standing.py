"""How nights and states stand, as numbers to be watched: for metrics and alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select

from datasets.store.params.algorithms import active_algorithm
from datasets.store.runs.runs import RunStatus
from datasets.store.runs.status import params_and_states_status
from datasets.store.schema.tables import RunRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

    from datasets.store.runs.status import ParamsStatus, StatesStatus

#: Statuses of runs that did what was requested.
GOOD = (RunStatus.DONE.value, RunStatus.UNCHANGED.value, RunStatus.EMPTY.value)
#: The kind of nights, and the kind of runs that look for drift.
NIGHT, MONITOR = "retrain", "monitor"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindStanding:
    """When runs of one kind ended."""

    kind: str
    #: End of the last run that did what was requested.
    last_success: datetime | None
    #: End of the last run, however it ended.
    last_end: datetime | None
    unfinished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Numbers of one database snapshot."""

    kinds: tuple[KindStanding, ...]
    #: What the last finished night and the last finished monitoring said; empty without one.
    night: Mapping[str, Any]
    monitoring: Mapping[str, Any]
    in_force: ParamsStatus
    states: StatesStatus


def read_standing(conn: Connection) -> Standing:
    """Read everything from one connection; the states are scanned once."""
    in_force, states = params_and_states_status(conn, active_algorithm(conn).id)
    return Standing(
        kinds=_kinds(conn),
        night=_last_outcome(conn, NIGHT),
        monitoring=_last_outcome(conn, MONITOR),
        in_force=in_force,
        states=states,
    )


def _kinds(conn: Connection) -> tuple[KindStanding, ...]:
    succeeded = case((RunRow.status.in_(GOOD), RunRow.finished_at))
    unfinished = case((RunRow.status == RunStatus.RUNNING.value, 1))
    rows = conn.execute(
        select(
            RunRow.kind,
            func.max(succeeded).label("last_success"),
            func.max(RunRow.finished_at).label("last_end"),
            func.count(unfinished).label("unfinished"),
        )
        .group_by(RunRow.kind)
        .order_by(RunRow.kind)
    )
    return tuple(KindStanding(**row) for row in rows.mappings())


def _last_outcome(conn: Connection, kind: str) -> Mapping[str, Any]:
    manifest = conn.execute(
        select(RunRow.manifest)
        .where(RunRow.kind == kind, RunRow.finished_at.is_not(None))
        .order_by(RunRow.finished_at.desc(), RunRow.run_id)
        .limit(1)
    ).scalar_one_or_none()
    outcome: Mapping[str, Any] = (manifest or {}).get("outcome", {})
    return outcome
