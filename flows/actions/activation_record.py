"""What is stored of an activation beside its events: files, the row of the run, MLflow.

Everything that MLflow receives stands in the run's row before the switch, so that an activation
that is resumed logs the same.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from datasets.store.connections.engines import reading
from datasets.store.runs.runs import find_run
from flows.reports.versions_page import write_version_page
from flows.runs.plan import PACKAGE_VERSION
from flows.runs.tags import git_commit, trigger
from flows.tracking.evidence_log import log_activation
from flows.tracking.store import is_unused
from flows.tracking.values import MonitoringReport
from flows.versions.files import PAGE, TABLE, write_comparison
from flows.versions.report import version_report

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings
    from flows.versions.comparison import VersionComparison
    from flows.versions.report import VersionReport

#: The kind of the run, and its role among the runs of MLflow.
KIND, ROLE = "activate", "activation"


def judged(found: VersionComparison, *, run_id: str, data_digest: str) -> VersionReport:
    """Return the report of an activation that rests on evidence."""
    return version_report(
        found,
        run_id=run_id,
        tags={"kind": KIND, "role": ROLE, "parameters": "in force", "approved": "false"},
        data_digest=data_digest,
        at=datetime.now(UTC),
    )


def report_json(report: VersionReport) -> dict[str, Any]:
    """Return what MLflow is to receive, as JSON; undefined metrics are None."""
    metrics = {
        key: None if math.isnan(value) else value for key, value in report.metrics().items()
    }
    return {
        "name": report.name,
        "metrics": metrics,
        "sentences": report.sentences(),
        "tags": dict(report.tags),
    }


def approved_json(before: str, after: str, *, run_id: str) -> dict[str, Any]:
    """Return the same of an activation that a person approved, which has no figures."""
    at = datetime.now(UTC)
    return {
        "name": f"{KIND} {before} {after} {at:%Y-%m-%d %H:%M} ({run_id[:8]})",
        "metrics": {},
        "sentences": [f"{after} replaced {before} on a person's approval, without evidence."],
        "tags": {
            "run_id": run_id,
            "kind": KIND,
            "role": ROLE,
            "algo_version": after,
            "rival_version": before,
            "approved": "true",
            "package_version": PACKAGE_VERSION,
            "git_commit": git_commit(),
            "trigger": trigger(),
        },
    }


def write_files(folder: Path, report: VersionReport) -> None:
    """Write the comparison into the folder of the run: facts, concepts, one page."""
    write_comparison(folder, report)
    write_version_page(folder, report)


def page_of(settings: Settings, run_id: str) -> str | None:
    """Return the path of the page of an activation; None if it has none."""
    page = settings.data_dir / "runs" / run_id / PAGE
    return str(page) if page.is_file() else None


def log_to_mlflow(engine: Engine, settings: Settings, run_id: str) -> str | None:
    """Log an activation from its row and its files; return why that failed, or None.

    One without figures creates no local store of MLflow.
    """
    with reading(engine) as conn:
        run = find_run(conn, run_id)
    told = {} if run is None else run.manifest.get("report", {})
    if not told or (not told["metrics"] and is_unused(settings.tracking_uri)):
        return None
    folder = settings.data_dir / "runs" / run_id
    table = folder / TABLE
    report = MonitoringReport(
        run_id=run_id,
        kind=KIND,
        name=told["name"],
        metrics={
            key: math.nan if value is None else value for key, value in told["metrics"].items()
        },
        sentences=told["sentences"],
        table=pl.read_parquet(table) if table.is_file() else pl.DataFrame(),
        about=told["tags"],
    )
    files = [folder / name for name in (TABLE, PAGE) if (folder / name).is_file()]
    return log_activation(settings, report, files).problem
