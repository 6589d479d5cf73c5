"""A run's evidence to MLflow; where that fails the run goes on, and says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasets.store.algorithms import algorithm
from datasets.store.session import reading
from datasets.store.skill_params import active_params
from flows.tracking import TrackingUnavailableError, log_retrain, register_parameters

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from flows.run_evidence import RunEvidence
    from flows.run_plan import RunPlan
    from flows.settings import Settings

#: The registered model whose alias `champion` is what is in force.
MODEL_NAME = "bkt-mastery"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What MLflow has of a run."""

    mlflow_run_id: str | None = None
    #: Why it has not all of it; None where it has.
    problem: str | None = None


def deliver(settings: Settings, plan: RunPlan, evidence: RunEvidence) -> Delivery:
    """Log a run, or what has come to it since it was logged."""
    try:
        return Delivery(
            log_retrain(
                settings.tracking_uri,
                settings.mlflow_experiment,
                settings.artifact_root,
                evidence,
                plan.run_dir,
            )
        )
    except TrackingUnavailableError as error:
        return Delivery(problem=str(error).replace("--relog RUN", f"--relog {plan.run_id}"))


def deliver_champion(
    engine: Engine, settings: Settings, plan: RunPlan, delivery: Delivery
) -> Delivery:
    """Register what is in force now; the database has committed it, MLflow follows."""
    if delivery.mlflow_run_id is None:
        return delivery
    with reading(engine) as conn:
        version = algorithm(conn, plan.algo_version)
        active = active_params(conn, version.id)
    try:
        register_parameters(
            settings.tracking_uri,
            delivery.mlflow_run_id,
            MODEL_NAME,
            params={concept: stored.params for concept, stored in active.items()},
            defaults=version.params.defaults,
        )
    except TrackingUnavailableError as error:
        return Delivery(
            delivery.mlflow_run_id, str(error).replace("--relog RUN", f"--relog {plan.run_id}")
        )
    return delivery
