"""Begin a run of a requested kind: its engine, its algorithm version, its plan."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bkt_core.engines import engine_named
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import asked_algorithm
from flows.lifecycle.stages import Extracted
from flows.runs.events import attempts_read
from flows.runs.known_concepts import refuse_unattempted_concepts
from flows.runs.plan import RunPlan, begin_run
from flows.runs.requests import FitRequest, RetrainRequest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


def require_engine(settings: Settings, request: RetrainRequest | FitRequest) -> None:
    """Raise `UsageError` if the run requests an unknown engine."""
    engine_named(request.engine or settings.fit.engine)


def plan_night(
    engine: Engine,
    settings: Settings,
    request: RetrainRequest | FitRequest,
    extracted: Extracted,
) -> RunPlan:
    """Name the run and move its extraction into its folder.

    Raises `UsageError` if the engine has no fits of the version.
    """
    extract = extracted.open()
    with reading(engine) as conn:
        asked = request.algo if isinstance(request, FitRequest) else None
        version = asked_algorithm(conn, asked)
    engine_named(request.engine or settings.fit.engine, version.params)
    kind = "fit" if isinstance(request, FitRequest) else "retrain"
    refuse_unattempted_concepts(request.concepts, extract.concepts["concept_id"].to_pylist())
    plan = begin_run(
        engine,
        settings,
        request,
        extract,
        version,
        kind=kind,
        at=datetime.now(UTC),
    )
    extract.file_under(plan.run_dir)
    attempts_read(plan.run_id, extract)
    return plan
