"""Flow: the four stages in order. `bkt retrain` is this flow, not a second path beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bkt_core.evaluation.warm_up import compile_kernels
from bkt_core.fitting.engines import engine_named
from bkt_settings.pipeline import load_settings
from datasets.sequences.warm_up import compile_row_kernels
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm, algorithm
from datasets.store.runs.run_lock import alongside, run_lock
from flows.actions.known_concepts import refuse_unattempted_concepts
from flows.extract_attempts import Extracted, extract_attempts
from flows.fit_concepts import fit_concepts
from flows.lifecycle.close import close_run
from flows.lifecycle.deployed import deployed, ended
from flows.lifecycle.record import abandon_the_dead, recorded_failure, recorded_refusal
from flows.promote_params import Promoted, promote_params
from flows.recompute_states import Recomputed, recompute_states
from flows.runs.database import open_database
from flows.runs.log import run_log
from flows.runs.plan import RunPlan, begin_run
from flows.runs.requests import FitRequest, RetrainRequest
from flows.runs.summary import RunSummary, Stopwatch
from flows.shards.dask_cluster import require_same_versions

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_core.fitting.engine import FitEngine
    from bkt_settings.pipeline import Settings

NOTHING_PROMOTED = Promoted(promoted=(), kept_after_all={})
NOTHING_RECOMPUTED = Recomputed(replayed=0, snapshotted=0, seconds={})


@deployed("nightly")
def nightly(request: RetrainRequest | None = None) -> RunSummary:
    """Extract, fit, gate, log, promote, recompute, snapshot."""
    settings, request, watch = load_settings(), request or RetrainRequest(), Stopwatch()
    request.check()
    with (
        run_log(settings, "retrain", request) as log,
        open_database(settings) as engine,
        run_lock(engine, holder="bkt retrain") as lock,
    ):
        require_same_versions(settings)
        with watch.stage("compile"):
            compile_kernels(engine_of(settings, request), settings.gates)
            compile_row_kernels()
        with watch.stage("extract"), recorded_refusal(engine, "retrain", request):
            extract = extract_attempts(settings, full=request.full)
        lock.check()
        plan = plan_night(engine, settings, request, extract)
        log.named(plan.run_id, plan.run_dir)
        if not plan.dry_run:
            abandon_the_dead(engine, settings, keep=plan.run_id)
        with recorded_failure(engine, settings, plan):
            fitted = fit_concepts(settings, plan)
            promoted, recomputed = NOTHING_PROMOTED, NOTHING_RECOMPUTED
            if fitted.has_news and not plan.dry_run:
                with watch.stage("promote"):
                    promoted = promote_params(settings, plan, lock.check)
            if not plan.dry_run:  # an unchanged run still mends what a killed one left
                recomputed = recompute_states(
                    settings, plan, lock.check, snapshot=fitted.has_news
                )
            lock.check()
            return ended(close_run(engine, settings, plan, fitted, promoted, recomputed, watch))


@deployed("trial-fit")
def trial_fit(request: FitRequest | None = None) -> RunSummary:
    """Extract, fit, gate and log; nothing is promoted, so no lock is needed."""
    settings, request, watch = load_settings(), request or FitRequest(), Stopwatch()
    request.check()
    with (
        run_log(settings, "fit", request) as log,
        open_database(settings) as engine,
        alongside(engine),
    ):
        require_same_versions(settings)
        with watch.stage("compile"):
            compile_kernels(engine_of(settings, request), settings.gates)
            compile_row_kernels()
        with watch.stage("extract"), recorded_refusal(engine, "fit", request):
            extract = extract_attempts(settings, full=request.full)
        plan = plan_night(engine, settings, request, extract)
        log.named(plan.run_id, plan.run_dir)
        with recorded_failure(engine, settings, plan):
            fitted = fit_concepts(settings, plan)
            nothing = NOTHING_PROMOTED, NOTHING_RECOMPUTED
            return ended(close_run(engine, settings, plan, fitted, *nothing, watch))


def engine_of(settings: Settings, request: RetrainRequest | FitRequest) -> FitEngine:
    """The engine that was asked for, else that of the settings."""
    return engine_named(request.engine or settings.fit.engine)


def plan_night(
    engine: Engine,
    settings: Settings,
    request: RetrainRequest | FitRequest,
    extracted: Extracted,
) -> RunPlan:
    """Name the run and file its extraction under it."""
    extract = extracted.open()
    with reading(engine) as conn:
        asked = request.algo if isinstance(request, FitRequest) else None
        version = active_algorithm(conn) if asked is None else algorithm(conn, asked)
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
    return plan
