"""Close a run: sum up its counts, complete and log its evidence, close its row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bkt_core.evaluation.checks import Decision
from datasets.extracts.extraction import open_extract
from datasets.store.connections.engines import reading
from datasets.store.runs.runs import RunStatus, finish_run
from flows.evidence.evidence import PAGE, finished, write_evidence
from flows.lifecycle.stages import SNAPSHOT_MARK, count_decisions, count_origins
from flows.reports.artifacts import publish_run
from flows.reports.page import write_page
from flows.runs.events import run_ended
from flows.runs.summary import ConceptCounts, RunSummary
from flows.tracking.evidence_log import log_run, update_champion_alias

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_core.evaluation.metrics import Scores
    from bkt_settings.pipeline import Settings
    from flows.lifecycle.stages import Fitted, Promoted, Recomputed
    from flows.runs.plan import RunPlan
    from flows.runs.summary import Stopwatch
    from flows.tracking.evidence_log import TrackingResult


def close_run(
    engine: Engine,
    settings: Settings,
    plan: RunPlan,
    fitted: Fitted,
    promoted: Promoted,
    recomputed: Recomputed,
    watch: Stopwatch,
) -> RunSummary:
    """Sum up the stages, log the evidence, and close the row of the run."""
    for stage, seconds in {**fitted.seconds, **recomputed.seconds}.items():
        watch.seconds[stage] += seconds
    status = status_of(fitted)
    summary = summarise(plan, fitted, promoted, recomputed, status)
    logged = fitted.logged
    with watch.stage("log"):
        evidence = finished(
            fitted.evidence,
            status=status.value,
            finished_at=datetime.now(UTC),
            summary=replace(summary, seconds=watch.as_json()).as_json(),
            kept_after_all=promoted.kept_after_all,
        )
        write_evidence(plan.run_dir, evidence)
        if fitted.goes_to_mlflow(plan):
            show_data(engine, plan)
        # The page of the run links the page of the data, if that exists.
        write_page(plan.run_dir, evidence, redraw=status is not RunStatus.UNCHANGED)
        if fitted.goes_to_mlflow(plan):
            logged = log_run(settings, plan, evidence)
        logged = update_alias(engine, settings, plan, logged)
        publish_run(settings, plan, evidence, logged)
    summary = replace(
        summary,
        mlflow_run_id=logged.mlflow_run_id,
        seconds=watch.as_json(),
        remarks=(*summary.remarks, *filter(None, (logged.problem,))),
        exit_code=exit_code_of(plan, summary.concepts, logged),
    )
    if not plan.dry_run:
        outcome = summary.as_json() | {"exit_code": summary.exit_code}
        if recomputed.mark is not None:
            outcome[SNAPSHOT_MARK] = recomputed.mark.as_json()
        with engine.begin() as conn:
            finish_run(
                conn,
                run_id=plan.run_id,
                status=status,
                at=datetime.now(UTC),
                outcome=outcome,
            )
    run_ended(summary, plan.run_dir / PAGE)
    return summary


def show_data(engine: Engine, plan: RunPlan) -> None:
    """Write the page of the attempts; only runs that write one import Matplotlib."""
    from datasets.sequences.data_report import describe
    from datasets.store.attempts.retries import retry_share
    from flows.reports.data_page import write_data_page

    extract = open_extract(plan.extract_root, plan.run_dir)
    with reading(engine) as conn:
        retries = retry_share(conn, extract.users["user_id"].to_pylist())
    write_data_page(plan.run_dir, describe(extract), retries)


def update_alias(
    engine: Engine, settings: Settings, plan: RunPlan, logged: TrackingResult
) -> TrackingResult:
    """Point the alias of the registered model to the parameters in force."""
    if plan.kind != "retrain" or plan.dry_run or logged.problem:
        return logged
    problem = update_champion_alias(engine, settings, mlflow_run_id=logged.mlflow_run_id)
    return replace(logged, problem=problem)


def status_of(fitted: Fitted) -> RunStatus:
    """Return `empty` without attempts, `unchanged` if nothing was fitted or switched."""
    if fitted.is_empty:
        return RunStatus.EMPTY
    return RunStatus.UNCHANGED if fitted.is_unchanged else RunStatus.DONE


def summarise(
    plan: RunPlan,
    fitted: Fitted,
    promoted: Promoted,
    recomputed: Recomputed,
    status: RunStatus,
) -> RunSummary:
    """Build the summary of a run before its evidence is logged."""
    decisions = count_decisions(fitted.decisions, promoted)
    concepts = ConceptCounts(
        promoted=decisions[Decision.PROMOTED],
        kept=decisions[Decision.KEPT],
        rejected=decisions[Decision.REJECTED],
        **count_origins(fitted.origins),
    )
    extract = open_extract(plan.extract_root, plan.run_dir)
    remarks = [*fitted.remarks]
    if extract.rows.quarantined:
        told = ", ".join(f"{rule} {count:,}" for rule, count in extract.reasons.items())
        where = plan.run_dir / "quarantine"
        remarks.append(f"{extract.rows.quarantined:,} rows were quarantined ({told}): {where}.")
    if fitted.is_empty:
        remarks.append("There are no attempts in the window, so nothing was fitted.")
    if plan.dry_run:
        remarks.append("A dry run: neither the database nor MLflow was written.")
    return RunSummary(
        run_id=plan.run_id,
        status=status.value,
        mlflow_run_id=None,
        rows=extract.rows.as_dict(),
        reasons=extract.reasons,
        concepts=concepts,
        metrics=metrics_of(fitted.evidence.facts.scores.pooled),
        states={"replayed": recomputed.replayed, "snapshotted": recomputed.snapshotted},
        seconds={},
        remarks=tuple(remarks),
    )


def metrics_of(scores: Scores | None) -> dict[str, float | int | None]:
    """Return the pooled scores that `--json` prints; null if no concept has a fit."""
    names = ("auc", "rmse", "log_loss", "accuracy")
    if scores is None:
        return {**dict.fromkeys(names), "n": 0}
    return {name: getattr(scores, name) for name in (*names, "n")}


def exit_code_of(plan: RunPlan, concepts: ConceptCounts, logged: TrackingResult) -> int:
    """4: concepts failed; 3: fits but no promotion; 6: MLflow lacks evidence; otherwise 0."""
    if concepts.failed:
        return 4
    if (
        plan.kind == "retrain"
        and not plan.dry_run
        and concepts.fitted
        and not concepts.promoted
    ):
        return 3
    return 6 if logged.problem else 0
