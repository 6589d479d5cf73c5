"""Flow: fit concepts from Parquet files, judge the fits, and log the evidence to MLflow."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.utilities.annotations import quote

from bkt_core.errors import BktError
from bkt_core.judgement.selection import decide
from bkt_core.judgement.warm_up import compile_kernels
from bkt_settings.pipeline import Settings
from datasets.extracts.extraction import open_extract
from datasets.store.attempts.unstamped import count_unstamped
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import algorithm
from datasets.store.params.events import pinned_concepts
from flows.evidence.decisions import DECISIONS, concept_decision, write_decisions
from flows.evidence.evidence import gather_evidence, write_evidence
from flows.lifecycle.repeats import judged_before
from flows.lifecycle.stages import Fitted
from flows.reports.artifacts import shard_progress
from flows.runs.compiled import announce_variants
from flows.runs.database import open_database
from flows.runs.events import concepts_judged, shard_done
from flows.runs.plan import RunPlan
from flows.runs.summary import Stopwatch
from flows.runs.tags import tags_of
from flows.shards.dask_cluster import require_same_files
from flows.shards.plan import flood_remark, in_order, plan_shards, stamps_remark
from flows.shards.prior import prior_facts
from flows.shards.runners import run_shards
from flows.shards.work import is_repeatable
from flows.shards.works import ConceptWork, Origin, read_works
from flows.tracking.evidence_log import log_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from bkt_core.engines import AnyPrior
    from datasets.extracts.extraction import Extract


class BreakerError(BktError):
    """Too many concepts failed to trust the rest of the run."""

    exit_code = 3

    def __init__(self, *, failed: int, seen: int, limit: float, example: str) -> None:
        super().__init__(
            f"{failed} of {seen} concepts failed, more than the allowed {limit:.0%}, so "
            f"nothing was promoted; the first said: {example}"
        )


@flow(name="fit-concepts", flow_run_name="fit {plan.label}")
def fit_concepts(settings: Settings, plan: RunPlan) -> quote:
    """Fit and judge every shard, then decide over the complete run and write the decisions.

    A run that would repeat a completed run reads the decisions of that run. The result is
    quoted, because Prefect would otherwise search every value of every concept for futures,
    which takes longer than all other work of a run without new attempts.
    """
    extract, watch = open_extract(plan.extract_root, plan.run_dir), Stopwatch()
    repeated = judged_before(settings, plan, flood_remark(settings, extract))
    if repeated is not None:
        concepts_judged(repeated.evidence)
        return quote(repeated)
    with open_database(settings) as engine, reading(engine) as conn:
        algo = algorithm(conn, plan.algo_version).params
    announce_variants(algo)
    with watch.stage("compile"):
        compile_kernels(plan.engine, settings.gates, algo)
    require_same_files(settings, plan.extract_root)
    jobs = plan_shards(settings, plan, extract)
    reports: list[dict[str, Any]] = []
    with shard_progress("fit", len(jobs)) as advance:
        for report in run_shards(settings, jobs, extract):
            reports.append(report)
            shard_done(report)
            advance(1)
    works = [work for job in in_order(jobs) for work in read_works(job.out)]
    seconds = {
        stage: sum(report["seconds"][stage] for report in reports) for stage in ("fit", "gate")
    } | {"compile": watch.seconds["compile"]}
    prior = jobs[0].plan.prior if jobs else None
    fitted = conclude(settings, plan, extract, works, seconds, prior)
    concepts_judged(fitted.evidence)
    return quote(log_evidence(settings, plan, fitted))


def log_evidence(settings: Settings, plan: RunPlan, fitted: Fitted) -> Fitted:
    """Log the evidence to MLflow, before any parameters are switched."""
    if not fitted.goes_to_mlflow(plan):
        return fitted
    before = time.perf_counter()
    logged = log_run(settings, plan, fitted.evidence)
    seconds = {**fitted.seconds, "log": time.perf_counter() - before}
    return replace(fitted, logged=logged, seconds=seconds)


def conclude(
    settings: Settings,
    plan: RunPlan,
    extract: Extract,
    works: Sequence[ConceptWork],
    seconds: Mapping[str, float],
    prior: AnyPrior | None = None,
) -> Fitted:
    """Reach the verdicts of the complete run and write its decisions to disk."""
    known = [work for work in works if work.evidence is not None]
    with open_database(settings) as engine, reading(engine) as conn:
        pinned = pinned_concepts(conn, plan.algo_version_id)
        algo = algorithm(conn, plan.algo_version).params
        unstamped = count_unstamped(conn) if algo.variant.history else 0
    evidences = [work.evidence for work in known if work.evidence is not None]
    verdicts = decide(evidences, settings.gates, approved=plan.approve, pinned=pinned)
    spans = _data_spans(extract, plan)
    decisions = [
        concept_decision(
            verdict,
            untested=work.origin is Origin.KEPT,
            fit_key=work.fit_key,
            settings_digest=plan.settings_digest,
            fitted_at=plan.started_at,
            data_from=spans[work.concept_id][0],
            data_to=spans[work.concept_id][1],
        )
        for work, verdict in zip(known, verdicts, strict=True)
    ]
    evidence = gather_evidence(
        verdicts,
        run_id=plan.run_id,
        kind=plan.kind,
        started_at=plan.started_at,
        algo=algo,
        tags=tags_of(plan),
        settings=settings.evidence() | {"prior": prior_facts(prior, algo.variant)},
        origins={work.concept_id: work.origin.value for work in works},
        errors={work.concept_id: work.error for work in works if work.error is not None},
    )
    write_evidence(plan.run_dir, evidence)
    _break_if_too_many_failed(works, settings.run.max_failed_share)
    write_decisions(
        plan.run_dir / DECISIONS, decisions, is_repeatable=all(map(is_repeatable, works))
    )
    return Fitted(
        origins=tuple(work.origin for work in works),
        decisions=tuple(decisions),
        evidence=evidence,
        seconds=seconds,
        data_is_new=plan.data_is_new,
        remarks=(*flood_remark(settings, extract), *stamps_remark(algo, unstamped)),
    )


def _data_spans(
    extract: Extract, plan: RunPlan
) -> dict[str, tuple[datetime | None, datetime | None]]:
    """Return first and last attempt of each concept, clipped to the window."""
    rows = extract.concepts.select(
        ["concept_id", "first_attempt_at", "last_attempt_at"]
    ).to_pylist()
    return {
        row["concept_id"]: (
            max(filter(None, (row["first_attempt_at"], plan.since))),
            min(filter(None, (row["last_attempt_at"], plan.until))),
        )
        for row in rows
    }


def _break_if_too_many_failed(works: Sequence[ConceptWork], limit: float) -> None:
    failed = [work for work in works if work.origin is Origin.FAILED]
    if failed and len(failed) > limit * len(works):
        raise BreakerError(
            failed=len(failed),
            seen=len(works),
            limit=limit,
            example=f"{failed[0].concept_id}: {failed[0].error}",
        )
