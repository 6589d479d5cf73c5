"""The status of the installation, read from the database and the Prefect server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from datasets.store.attempts.unstamped import count_unstamped
from datasets.store.connections.engines import reading, redacted
from datasets.store.params.algorithms import active_algorithm
from datasets.store.runs.run_lock import lock_holder
from datasets.store.runs.runs import RunStatus
from datasets.store.runs.status import last_runs, params_and_states_status
from flows.deployment.api import ask_server
from flows.health.versions import versions_status
from flows.runs.database import open_database

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bkt_settings.pipeline import Settings
    from datasets.store.runs.status import ParamsStatus, RunOverview, StatesStatus
    from flows.deployment.api import PrefectServer
    from flows.health.versions import VersionsStatus

#: Decisions in the order of a run's counts.
COUNTED = (
    "promoted",
    "kept",
    "rejected",
    "skipped",
    "failed",
    "rolled_back",
    "released",
    "activated",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Everything that `bkt status` shows."""

    at: datetime
    database: str
    #: The holder of the run lock.
    holder: str | None
    runs: tuple[RunOverview, ...]
    algo_version: str
    in_force: ParamsStatus
    states: StatesStatus
    #: Number of attempts without a stamp, which a version with history needs.
    unstamped: int
    versions: VersionsStatus
    prefect: PrefectServer

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "at": self.at.isoformat(),
            "database": self.database,
            "running": self.holder,
            "runs": [run_json(run) for run in self.runs],
            "in_force": {
                "algo_version": self.algo_version,
                "concepts": self.in_force.concepts,
                "fitted": self.in_force.fitted,
                "pinned": self.in_force.pinned,
                "at_defaults": self.in_force.at_defaults,
                "newest_fit": _iso(self.in_force.newest_fit),
                "data_until": _iso(self.in_force.data_until),
            },
            "states": asdict(self.states),
            "attempts": {"without_stamp": self.unstamped},
            "versions": self.versions.as_json(),
            "schedule": {
                "server": self.prefect.url,
                "problem": self.prefect.problem,
                "workers_online": self.prefect.workers_online,
                "deployments": [
                    asdict(one) | {"next_at": _iso(one.next_at)} for one in self.prefect.planned
                ],
            },
        }


def gather_status(settings: Settings, *, n_runs: int) -> StatusReport:
    """Read the status from one database snapshot and from the Prefect server."""
    with open_database(settings) as engine:
        holder = lock_holder(engine)
        with reading(engine) as conn:
            version = active_algorithm(conn)
            in_force, states = params_and_states_status(conn, version.id)
            versions = versions_status(conn, settings.fit.candidates)
            runs = last_runs(conn, n_runs)
            unstamped = count_unstamped(conn)
    return StatusReport(
        at=datetime.now(UTC),
        database=redacted(settings.database),
        holder=holder,
        runs=runs,
        algo_version=version.version,
        in_force=in_force,
        states=states,
        unstamped=unstamped,
        versions=versions,
        prefect=ask_server(),
    )


def run_json(run: RunOverview) -> dict[str, Any]:
    """Return one run with its counts and, if it failed, its error."""
    rows = rows_of(run)
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "status": run.status.value,
        "started_at": run.started_at.isoformat(),
        "finished_at": _iso(run.finished_at),
        "seconds": seconds_of(run),
        "concepts": counts_of(run),
        "rows": dict(rows),
        "reasons": dict(run.manifest.get("reasons", {})),
        "exit_code": outcome_of(run).get("exit_code"),
        "error": outcome_of(run).get("error"),
    }


def outcome_of(run: RunOverview) -> Mapping[str, Any]:
    """Return the outcome of a finished run; empty while it runs."""
    if run.status is RunStatus.RUNNING:
        return {}
    outcome: dict[str, Any] = run.manifest.get("outcome", {})
    return outcome


def counts_of(run: RunOverview) -> dict[str, int]:
    """Return concepts by decision: as the run counted them, otherwise from its events."""
    counted = outcome_of(run).get("concepts", run.decisions)
    return {name: counted[name] for name in COUNTED if counted.get(name)}


def rows_of(run: RunOverview) -> Mapping[str, int]:
    """Return the numbers of rows that the run read and quarantined."""
    rows: dict[str, int] = outcome_of(run).get("rows") or run.manifest.get("rows", {})
    return rows


def seconds_of(run: RunOverview) -> float | None:
    """Return how long the run worked; for a resumed run, its last part."""
    timed = outcome_of(run).get("seconds", {}).get("total")
    if timed is not None:
        return float(timed)
    if run.finished_at is None:
        return None
    return round((run.finished_at - run.started_at).total_seconds(), 3)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
