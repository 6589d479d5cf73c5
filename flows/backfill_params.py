"""Flow: fit the attempts known at the end of each of several past days, for comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bkt_core.errors import UsageError
from bkt_core.judgement.warm_up import compile_kernels
from bkt_settings.pipeline import load_settings
from datasets.sequences.warm_up import compile_row_kernels
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import asked_algorithm
from datasets.store.runs.run_lock import run_lock
from datasets.store.runs.runs import RunStatus, find_run
from datasets.store.states.past_params import Clock
from flows.actions.backfill_snapshots import first_day_of_log, refuse_future
from flows.evidence.evidence import FACTS, read_evidence
from flows.extract_attempts import extract_attempts
from flows.fit_concepts import fit_concepts
from flows.lifecycle.close import close_run
from flows.lifecycle.deployed import deployed, ended, quiet_subflows
from flows.lifecycle.record import close_dead_runs, recorded, recorded_failure
from flows.lifecycle.stages import NOTHING_PROMOTED, NOTHING_RECOMPUTED
from flows.promote_params import promote_params
from flows.recompute_states import recompute_states
from flows.runs.backfill_plan import (
    KIND,
    STEP_KIND,
    BackfillPlan,
    begin_backfill,
    days_to_fit,
    link_session,
)
from flows.runs.compiled import announce_variants
from flows.runs.database import open_database
from flows.runs.known_concepts import refuse_unattempted_concepts
from flows.runs.log import run_log
from flows.runs.plan import begin_run
from flows.runs.progress import progress
from flows.runs.requests import BackfillParamsRequest
from flows.runs.summary import RunSummary, Stopwatch, summary_from_json
from flows.shards.dask_cluster import require_same_versions
from flows.tracking.backfill import log_backfill
from flows.tracking.evidence_log import log_run_files, update_champion_alias
from flows.tracking.store import TrackingUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from flows.lifecycle.stages import Fitted

#: A step with one of these statuses is not repeated.
ENDED = (RunStatus.DONE, RunStatus.EMPTY, RunStatus.UNCHANGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillStep:
    """The result of one day of a backfill."""

    day: date
    summary: RunSummary
    #: Whether an earlier call had finished it.
    was_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillSummary:
    """The result of a backfill, by day."""

    run_id: str
    name: str
    resumed: bool
    mlflow_run_id: str | None
    steps: tuple[BackfillStep, ...]
    promoted: int
    states: int
    remarks: tuple[str, ...] = ()
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return what `bkt backfill params --json` prints."""
        return {
            "run_id": self.run_id,
            "resumed": self.resumed,
            "mlflow_run_id": self.mlflow_run_id,
            "promoted": self.promoted,
            "states": self.states,
            "steps": [
                {"day": step.day.isoformat(), "was_done": step.was_done}
                | step.summary.as_json()
                for step in self.steps
            ],
            "remarks": list(self.remarks),
        }


@deployed("backfill-params")
def backfill_params(request: BackfillParamsRequest) -> BackfillSummary:
    """Fit each day on one extraction; promote the winners of the last day if requested."""
    request.check()
    settings = load_settings()
    refuse_future(request)
    days = days_to_fit(request)
    with (
        quiet_subflows(),
        run_log(settings, KIND, request) as log,
        open_database(settings) as engine,
        run_lock(engine, holder="bkt backfill") as lock,
    ):
        _refuse_days_before_the_log(engine, request)
        require_same_versions(settings)
        with reading(engine) as conn:
            algo = asked_algorithm(conn, request.algo).params
        announce_variants(algo)
        compile_kernels(request.engine or settings.fit.engine, settings.gates, algo)
        compile_row_kernels()

        def extract_now() -> Extract:
            extract = extract_attempts(settings).open()
            attempted = extract.concepts["concept_id"].to_pylist()
            refuse_unattempted_concepts(request.concepts, attempted)
            return extract

        plan = begin_backfill(engine, settings, request, days, extract_now)
        log.named(plan.run_id, plan.run_dir)
        with recorded(engine, KIND, run_id=plan.run_id):
            close_dead_runs(engine, settings, keep=plan.run_id)
            _tell_mlflow(settings, plan, [])
            steps: list[BackfillStep] = []
            with progress(KIND, len(days)) as advance:
                for day in days:
                    lock.check()
                    steps.append(_run_step(engine, settings, plan, day, lock.check))
                    _tell_mlflow(settings, plan, steps[-1:])
                    advance(1)
            summary = _summarise(settings, plan, steps)
    return ended(summary, told=f"{summary.name}: {' '.join(summary.remarks)}")


def _run_step(
    engine: Engine,
    settings: Settings,
    backfill: BackfillPlan,
    day: date,
    check: Callable[[], None],
) -> BackfillStep:
    """Fit one day as a trial on the shared extraction; a finished day is not repeated."""
    step = backfill.step(day)
    with reading(engine) as conn:
        earlier = find_run(conn, step.run_id)
    if earlier is not None and earlier.status in ENDED:
        summary = summary_from_json(earlier.manifest["outcome"])
        return BackfillStep(day=day, summary=_delivered(settings, summary), was_done=True)
    plan = begin_run(
        engine,
        settings,
        backfill.fit_request(day),
        backfill.extract,
        backfill.version,
        kind=STEP_KIND,
        at=datetime.now(UTC),
        step=step,
    )
    link_session(backfill.extract, plan.run_dir)
    watch = Stopwatch()
    with recorded_failure(engine, settings, plan):
        fitted: Fitted = fit_concepts(settings, plan).unquote()
        promoted, recomputed = NOTHING_PROMOTED, NOTHING_RECOMPUTED
        if backfill.request.promote and day == backfill.days[-1] and fitted.has_news:
            with watch.stage("promote"):
                promoted = promote_params(settings, plan, check)
            recomputed = recompute_states(settings, plan, check, snapshot=True)
        summary = close_run(engine, settings, plan, fitted, promoted, recomputed, watch)
        if promoted.promoted:
            problem = update_champion_alias(
                engine, settings, mlflow_run_id=summary.mlflow_run_id
            )
            summary = replace(summary, remarks=(*summary.remarks, *filter(None, (problem,))))
    return BackfillStep(day=day, summary=summary, was_done=False)


def _delivered(settings: Settings, summary: RunSummary) -> RunSummary:
    """Log a finished step to MLflow if an earlier call could not."""
    folder = settings.data_dir / "runs" / summary.run_id
    if summary.mlflow_run_id is not None or not (folder / FACTS).is_file():
        return summary
    logged = log_run_files(settings, folder, read_evidence(folder))
    code = 6 if logged.problem else 4 if summary.concepts.failed else 0
    return replace(summary, mlflow_run_id=logged.mlflow_run_id, exit_code=code)


def _tell_mlflow(
    settings: Settings, plan: BackfillPlan, steps: list[BackfillStep]
) -> tuple[str | None, str | None]:
    """Return the id of the parent run in MLflow, or why it could not be logged."""
    try:
        named = [(step.day, step.summary) for step in steps]
        return log_backfill(settings, plan, named), None
    except TrackingUnavailableError as error:
        return None, f"The backfill is not fully logged to MLflow: {error.reason} Run it again."


def _summarise(
    settings: Settings, plan: BackfillPlan, steps: list[BackfillStep]
) -> BackfillSummary:
    mlflow_run_id, problem = _tell_mlflow(settings, plan, steps)
    last = steps[-1].summary
    promoted = last.concepts.promoted if plan.request.promote else 0
    codes = {step.summary.exit_code for step in steps} | ({6} if problem else set())
    if plan.request.promote and last.concepts.fitted and not promoted:
        codes.add(3)
    remarks = [f"{step.day}: {one}" for step in steps for one in step.summary.remarks]
    return BackfillSummary(
        run_id=plan.run_id,
        name=plan.name,
        resumed=plan.resumed,
        mlflow_run_id=mlflow_run_id,
        steps=tuple(steps),
        promoted=promoted,
        states=last.states["replayed"],
        remarks=(*remarks, *filter(None, (problem,))),
        exit_code=next((code for code in (4, 3, 6) if code in codes), 0),
    )


def _refuse_days_before_the_log(engine: Engine, request: BackfillParamsRequest) -> None:
    """Raise `UsageError` if the first step is before the first attempt."""
    first = first_day_of_log(engine, Clock.KNOWN if request.as_known else Clock.ANSWERED)
    if request.first_day < first:
        stored = "stored" if request.as_known else "made"
        raise UsageError(
            f"--from must not be before the first attempt, which was {stored} on {first}, "
            f"got {request.first_day}."
        )
