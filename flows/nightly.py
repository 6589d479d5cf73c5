"""Flow: the four stages in order. `bkt retrain` is this flow, not a second path beside it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy.exc import SQLAlchemyError

from bkt_core.errors import BktError, UsageError
from bkt_core.evaluation.warm_up import compile_kernels
from bkt_core.fitting.engines import engine_named
from datasets.errors import QuarantineLimitError
from datasets.store.algorithms import active_algorithm, algorithm
from datasets.store.runs import RunStatus, finish_run, run_lock, start_run
from datasets.store.session import reading
from flows.close_run import close_run
from flows.database import open_database
from flows.deployed import deployed, ended
from flows.extract_attempts import Extracted, extract_attempts
from flows.fit_concepts import fit_concepts
from flows.promote_params import Promoted, promote_params
from flows.recompute_states import Recomputed, recompute_states
from flows.requests import FitRequest, RetrainRequest
from flows.run_plan import PACKAGE_VERSION, RunPlan, begin_run
from flows.settings import load_settings
from flows.summary import RunSummary, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from bkt_core.fitting.engine import FitEngine
    from datasets.extract import Extract
    from flows.settings import Settings

NOTHING_PROMOTED = Promoted(promoted=(), kept_after_all={})
NOTHING_RECOMPUTED = Recomputed(replayed=0, snapshotted=0, seconds={})


@deployed("nightly")
def nightly(request: RetrainRequest | None = None) -> RunSummary:
    """Extract, fit, gate, log, promote, recompute, snapshot."""
    settings, request, watch = load_settings(), request or RetrainRequest(), Stopwatch()
    with open_database(settings) as engine, run_lock(engine, holder="bkt retrain") as lock:
        with watch.stage("compile"):
            compile_kernels(engine_of(settings, request), settings.gates)
        with watch.stage("extract"), recorded_refusal(engine, "retrain", request):
            extract = extract_attempts(settings, full=request.full)
        plan = plan_night(engine, settings, request, extract)
        with recorded_failure(engine, plan):
            fitted = fit_concepts(settings, plan)
            promoted, recomputed = NOTHING_PROMOTED, NOTHING_RECOMPUTED
            if fitted.has_news and not plan.dry_run:
                with watch.stage("promote"):
                    promoted = promote_params(settings, plan, lock.check)
            if not plan.dry_run:  # an unchanged run still mends what a killed one left
                recomputed = recompute_states(
                    settings, plan, lock.check, snapshot=fitted.has_news
                )
            return ended(close_run(engine, settings, plan, fitted, promoted, recomputed, watch))


@deployed("trial-fit")
def trial_fit(request: FitRequest | None = None) -> RunSummary:
    """Extract, fit, gate and log; nothing is promoted, so no lock is needed."""
    settings, request, watch = load_settings(), request or FitRequest(), Stopwatch()
    with open_database(settings) as engine:
        with watch.stage("compile"):
            compile_kernels(engine_of(settings, request), settings.gates)
        with watch.stage("extract"), recorded_refusal(engine, "fit", request):
            extract = extract_attempts(settings, full=request.full)
        plan = plan_night(engine, settings, request, extract)
        with recorded_failure(engine, plan):
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
    refuse_unknown_concepts(request.concepts, extract)
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


def refuse_unknown_concepts(asked: tuple[str, ...], extract: Extract) -> None:
    """A concept that nobody attempted is a misspelling."""
    unknown = sorted(set(asked) - set(extract.concepts["concept_id"].to_pylist()))
    if unknown:
        raise UsageError(
            f"--concept must name concepts with attempts, got {unknown[0]!r}, which has none."
        )


@contextmanager
def recorded_refusal(
    engine: Engine, kind: str, request: RetrainRequest | FitRequest
) -> Iterator[None]:
    """A run that ends before it has a name leaves a failed row all the same."""
    run_id, began = uuid4().hex, datetime.now(UTC)
    try:
        yield
    except BktError as error:
        asked = request.model_dump(mode="json")
        if not asked.get("dry_run"):
            with suppress(SQLAlchemyError), engine.begin() as conn:
                manifest = {"request": asked, "package_version": PACKAGE_VERSION}
                start_run(conn, run_id=run_id, kind=kind, at=began, manifest=manifest)
                _finish_failed(conn, run_id, error)
        raise


@contextmanager
def recorded_failure(engine: Engine, plan: RunPlan) -> Iterator[None]:
    """A run that refuses to go on is `failed`; one that was killed stays `running`."""
    try:
        yield
    except BktError as error:
        if not plan.dry_run:  # a database that went away cannot hold why
            with suppress(SQLAlchemyError), engine.begin() as conn:
                _finish_failed(conn, plan.run_id, error)
        raise


def _finish_failed(conn: Connection, run_id: str, error: BktError) -> None:
    """Close a row with what the run said when it gave up."""
    said: dict[str, Any] = {"error": str(error), "exit_code": error.exit_code}
    if isinstance(error, QuarantineLimitError):
        said["rows"] = {"read": error.read, "quarantined": error.quarantined}
    finish_run(conn, run_id=run_id, status=RunStatus.FAILED, at=datetime.now(UTC), outcome=said)
