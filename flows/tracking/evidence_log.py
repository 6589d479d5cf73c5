"""Log evidence to MLflow; a failure is returned as a sentence and never stops the run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets.errors import ExtractError
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.skill_params import active_params
from datasets.whole_files import read_json, write_json
from flows.tracking.client import log_monitoring_run, log_retrain, register_parameters
from flows.tracking.store import TrackingUnavailableError, local_alias, local_model_is_unknown
from flows.tracking.values import MonitoringReport, model_content, model_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings
    from flows.evidence.evidence import RunEvidence
    from flows.runs.plan import RunPlan
    from flows.versions.report import VersionReport

#: Concepts of a comparison in the table that MLflow shows; its file holds all.
SHOWN = 100
#: The registered model whose alias `champion` is what is in force.
MODEL_NAME = "bkt-mastery"


@dataclass(frozen=True, slots=True)
class TrackingResult:
    """The MLflow run that holds the evidence, or why there is none."""

    mlflow_run_id: str | None = None
    #: Why it has not all of it; None where it has.
    problem: str | None = None


def log_run(settings: Settings, plan: RunPlan, evidence: RunEvidence) -> TrackingResult:
    """Log a run to MLflow, or update its MLflow run."""
    return log_run_files(settings, plan.run_dir, evidence)


def log_run_files(settings: Settings, run_dir: Path, evidence: RunEvidence) -> TrackingResult:
    """Log a run from its files alone."""
    try:
        return TrackingResult(
            log_retrain(
                settings.tracking_uri,
                settings.mlflow_experiment,
                settings.artifact_root,
                evidence,
                run_dir,
            )
        )
    except TrackingUnavailableError as error:
        run_id = evidence.facts.run_id
        return TrackingResult(problem=str(error).replace("--relog RUN", f"--relog {run_id}"))


def log_monitoring(
    settings: Settings, look: MonitoringReport, files: Sequence[Path]
) -> TrackingResult:
    """Log a monitoring report into an experiment of its own."""
    try:
        return TrackingResult(
            log_monitoring_run(
                settings.tracking_uri,
                f"{settings.mlflow_experiment}-{look.kind}",
                settings.artifact_root,
                look=look,
                files=files,
            )
        )
    except TrackingUnavailableError as error:
        where = ", ".join(str(file) for file in files)
        return TrackingResult(
            problem=f"Not delivered to MLflow: {error.reason} It is kept in {where}."
        )


def log_comparison(
    settings: Settings, report: VersionReport, files: Sequence[Path]
) -> TrackingResult:
    """Log a comparison of versions beside the nights, under their keys."""
    shown = report.comparison.concepts.head(SHOWN)
    look = MonitoringReport(
        run_id=report.run_id,
        kind=report.tags["kind"],
        name=report.name,
        metrics=report.metrics(),
        sentences=report.sentences(),
        table=shown,
        about=report.tags,
    )
    try:
        return TrackingResult(
            log_monitoring_run(
                settings.tracking_uri,
                settings.mlflow_experiment,
                settings.artifact_root,
                look=look,
                files=files,
            )
        )
    except TrackingUnavailableError as error:
        where = ", ".join(str(file) for file in files)
        return TrackingResult(
            problem=f"Not delivered to MLflow: {error.reason} It is kept in {where}."
        )


def update_champion_alias(
    engine: Engine, settings: Settings, *, mlflow_run_id: str | None = None
) -> str | None:
    """Move the alias `champion` to the committed parameters; returns why that failed, or None.

    Repeatable, and to be called whenever something may have been switched: a run that was
    killed before it came here, or a rollback, is made good by whoever calls it next. A run that
    logged nothing does not import MLflow where its store is local, and the alias still names
    the version of these parameters; `<data_dir>/champion.json` says which that is.
    """
    with reading(engine) as conn:
        version = active_algorithm(conn)
        active = active_params(conn, version.id)
    params = {concept: stored.params for concept, stored in active.items()}
    delivered = _delivery(settings, model_content(params, version.params.defaults))
    file = settings.data_dir / "champion.json"
    if not params and local_model_is_unknown(settings.tracking_uri, MODEL_NAME):
        return None  # nothing was ever promoted
    if mlflow_run_id is None and _was_delivered(settings, file, delivered):
        return None
    try:
        number = register_parameters(
            settings.tracking_uri,
            settings.mlflow_experiment,
            MODEL_NAME,
            params=params,
            defaults=version.params.defaults,
            mlflow_run_id=mlflow_run_id,
        )
    except TrackingUnavailableError as error:
        return (
            f"The alias `champion` of MLflow's model {MODEL_NAME} does not follow yet: "
            f"{error.reason} The next night sees to it."
        )
    if number is not None:
        write_json(file, delivered | {"version": number})
    return None


def _delivery(settings: Settings, content: dict[str, Any]) -> dict[str, Any]:
    """Which parameters, and where; the address is hashed, as it may hold a password."""
    uri = hashlib.sha256(settings.tracking_uri.encode()).hexdigest()
    return {"parameters": model_digest(content), "store": uri}


def _was_delivered(settings: Settings, file: Path, delivered: dict[str, Any]) -> bool:
    """Whether the alias names the version that holds these parameters, as far as is known."""
    number = local_alias(settings.tracking_uri, MODEL_NAME, "champion")
    try:
        return number is not None and read_json(file) == delivered | {"version": number}
    except ExtractError:  # there is no such file, or it is broken
        return False
