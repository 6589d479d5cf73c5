"""Log a backfill to MLflow: a parent run of its steps, with curves over the days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import runtime

from flows.runs.backfill_plan import KIND, end_of
from flows.runs.plan import PACKAGE_VERSION
from flows.runs.tags import git_commit, trigger
from flows.tracking.client import client_of, experiment_of, run_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from mlflow.tracking import MlflowClient

    from bkt_settings.pipeline import Settings
    from flows.runs.backfill_plan import BackfillPlan
    from flows.runs.summary import RunSummary

_METRICS = ("auc", "log_loss", "rmse", "accuracy", "n")
_COUNTS = ("fitted", "promoted", "rejected", "failed")
#: Longest value of a parameter that MLflow's stores accept.
_MAX_PARAM = 500


def log_backfill(
    settings: Settings, plan: BackfillPlan, steps: Sequence[tuple[date, RunSummary]]
) -> str:
    """Log the parent run with the results of its steps; return its MLflow id.

    The first call creates it, later calls update it. Metrics are indexed by days since the
    first day and have the time of their day. Raises `TrackingUnavailableError`.
    """
    with client_of(settings.tracking_uri) as client:
        experiment = experiment_of(client, settings.mlflow_experiment, settings.artifact_root)
        run_id = run_of(client, experiment, plan.run_id, kind=KIND, name=plan.name)
        if not steps:
            _log_request(client, run_id, plan)
        for day, summary in steps:
            _log_step(client, run_id, plan, day, summary)
        if steps and steps[-1][0] == plan.days[-1]:
            client.set_terminated(run_id, "FINISHED")
        return run_id


def _log_request(client: MlflowClient, run_id: str, plan: BackfillPlan) -> None:
    for name, value in plan.request.model_dump(mode="json").items():
        client.log_param(run_id, f"backfill.{name}", str(value)[:_MAX_PARAM])
    tags = {
        "trigger": trigger(),
        "prefect_flow_run_id": str(runtime.flow_run.root_flow_run_id or ""),
        "git_commit": git_commit(),
        "package_version": PACKAGE_VERSION,
    }
    for name, value in tags.items():
        client.set_tag(run_id, f"bkt.{name}", value)


def _log_step(
    client: MlflowClient, run_id: str, plan: BackfillPlan, day: date, summary: RunSummary
) -> None:
    values = {name: summary.metrics.get(name) for name in _METRICS}
    counts = summary.concepts.as_json()
    values |= {f"concepts_{name}": counts[name] for name in _COUNTS}
    at, step = int(end_of(day).timestamp() * 1000), (day - plan.days[0]).days
    for name, value in values.items():
        if value is not None:
            client.log_metric(run_id, name, value, timestamp=at, step=step)
    if summary.mlflow_run_id is not None:
        client.set_tag(summary.mlflow_run_id, "mlflow.parentRunId", run_id)
