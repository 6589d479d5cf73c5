"""Log evidence to MLflow; a failure is returned as a sentence and never stops the run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from datasets.errors import ExtractError
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.skill_params import active_params, with_question_odds
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

#: Number of concepts in the table of a comparison in MLflow; its file has all of them.
SHOWN = 100
#: The registered model whose alias `champion` has the parameters in force.
MODEL_NAME = "bkt-mastery"


@dataclass(frozen=True, slots=True)
class TrackingResult:
    """The MLflow run with the evidence, or why there is none."""

    mlflow_run_id: str | None = None
    #: Why the evidence is incomplete there; None if it is complete.
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
    settings: Settings, report: MonitoringReport, files: Sequence[Path]
) -> TrackingResult:
    """Log a monitoring report to an experiment of its own."""
    return _logged(settings, f"{settings.mlflow_experiment}-{report.kind}", report, files)


def log_comparison(
    settings: Settings, report: VersionReport, files: Sequence[Path]
) -> TrackingResult:
    """Log a comparison of versions beside the nightly runs, with the same keys."""
    shown = report.comparison.concepts.head(SHOWN)
    as_run = MonitoringReport(
        run_id=report.run_id,
        kind=report.tags["kind"],
        name=report.name,
        metrics=report.metrics(),
        sentences=report.sentences(),
        table=shown,
        about=report.tags,
    )
    return _logged(settings, settings.mlflow_experiment, as_run, files)


def log_activation(
    settings: Settings, report: MonitoringReport, files: Sequence[Path]
) -> TrackingResult:
    """Log an activation beside the nightly runs and the comparisons, with the same keys."""
    shown = replace(report, table=report.table.head(SHOWN))
    return _logged(settings, settings.mlflow_experiment, shown, files)


def _logged(
    settings: Settings, experiment: str, report: MonitoringReport, files: Sequence[Path]
) -> TrackingResult:
    """Log a report that fits nothing; say where it is kept if MLflow does not take it."""
    try:
        return TrackingResult(
            log_monitoring_run(
                settings.tracking_uri,
                experiment,
                settings.artifact_root,
                report=report,
                files=files,
            )
        )
    except TrackingUnavailableError as error:
        where = ", ".join(str(file) for file in files) or "the row of the run"
        return TrackingResult(
            problem=f"Not delivered to MLflow: {error.reason} It is kept in {where}."
        )


def update_champion_alias(
    engine: Engine, settings: Settings, *, mlflow_run_id: str | None = None
) -> str | None:
    """Point the alias `champion` to the parameters in force; return why that failed, or None.

    It may be repeated and must be called whenever parameters may have changed; a call that was
    missed, as by a killed run, is made up for by the next one. If nothing changed and the store
    is local, MLflow is not imported; `<data_dir>/champion.json` records the delivered version.
    """
    with reading(engine) as conn:
        version = active_algorithm(conn)
        active = with_question_odds(conn, active_params(conn, version.id))
    params = {concept: stored.params for concept, stored in active.items()}
    delivered = _delivery(settings, model_content(params, version.params.defaults))
    file = settings.data_dir / "champion.json"
    if not params and local_model_is_unknown(settings.tracking_uri, MODEL_NAME):
        return None  # nothing has ever been promoted
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
            f"The alias `champion` of MLflow's model {MODEL_NAME} is not updated yet: "
            f"{error.reason} The next nightly run updates it."
        )
    if number is not None:
        write_json(file, delivered | {"version": number})
    return None


def _delivery(settings: Settings, content: dict[str, Any]) -> dict[str, Any]:
    """Return which parameters were delivered where; the address is hashed, it may be secret."""
    uri = hashlib.sha256(settings.tracking_uri.encode()).hexdigest()
    return {"parameters": model_digest(content), "store": uri}


def _was_delivered(settings: Settings, file: Path, delivered: dict[str, Any]) -> bool:
    """Return whether the alias is known to name the version with these parameters."""
    number = local_alias(settings.tracking_uri, MODEL_NAME, "champion")
    try:
        return number is not None and read_json(file) == delivered | {"version": number}
    except ExtractError:  # the file is missing or corrupt
        return False
