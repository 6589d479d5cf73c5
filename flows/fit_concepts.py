"""Flow: Parquet to fits, gates and verdicts, and their evidence to MLflow."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from bkt_core.errors import BktError
from bkt_core.evaluation.selection import Champion, decide
from datasets.attempt_sequences import Window
from datasets.extract import open_extract
from datasets.store.algorithms import algorithm
from datasets.store.promotion_events import pinned_concepts
from datasets.store.session import reading
from datasets.store.skill_params import active_params
from flows.artifacts import shard_progress
from flows.ballot import Vote, vote_on, write_ballot
from flows.database import open_database
from flows.deliver import Delivery, deliver
from flows.learn_prior import learn_prior_of, prior_facts
from flows.run_events import concepts_judged, shard_done
from flows.run_evidence import RunEvidence, gather_evidence, write_evidence
from flows.run_plan import RunPlan, fit_plan_of, flood_of
from flows.run_tags import tags_of
from flows.settings import Settings
from flows.shard_work import ConceptWork, Incumbent, Origin, ShardJob, fit_shard, read_works

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

    from bkt_core.fitting.shrinkage import Prior
    from datasets.extract import Extract
    from datasets.store.skill_params import StoredParams


class BreakerError(BktError):
    """Too many concepts failed to trust the rest of the run."""

    exit_code = 3

    def __init__(self, *, failed: int, seen: int, limit: float, example: str) -> None:
        super().__init__(
            f"{failed} of {seen} concepts failed, more than the allowed {limit:.0%}, so "
            f"nothing was promoted; the first said: {example}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What the fits of a run came to."""

    works: tuple[ConceptWork, ...]
    votes: tuple[Vote, ...]
    evidence: RunEvidence
    seconds: Mapping[str, float]
    #: Whether attempts have come, or gone, since the last night.
    data_is_new: bool
    delivery: Delivery = field(default_factory=Delivery)
    #: Sentences that a person should read.
    remarks: tuple[str, ...] = ()

    @property
    def has_news(self) -> bool:
        """Whether there is anything to promote, log or snapshot."""
        return not (self.is_empty or self.is_unchanged)

    def goes_to_mlflow(self, plan: RunPlan) -> bool:
        """Whether MLflow hears of the run."""
        return self.has_news and not plan.dry_run

    @property
    def is_empty(self) -> bool:
        """Whether no concept had an attempt in the window."""
        return not self.works

    @property
    def is_unchanged(self) -> bool:
        """Whether the attempts are the last night's, nothing was fitted, failed or won."""
        fresh = any(work.origin in (Origin.FITTED, Origin.FAILED) for work in self.works)
        return (
            not self.data_is_new
            and not fresh
            and all(vote.challenger is None for vote in self.votes)
        )


fit_shard_task = task(name="fit-shard", cache_policy=NO_CACHE)(fit_shard)


@flow(name="fit-concepts")
def fit_concepts(settings: Settings, plan: RunPlan) -> Fitted:
    """Fit and judge every shard, then decide over the whole run and write the ballot."""
    extract = open_extract(plan.extract_root, plan.run_dir)
    jobs = plan_shards(settings, plan, extract)
    reports: list[dict[str, Any]] = []
    with (
        threads_of(settings) as runner,
        shard_progress("fit", len(jobs)) as advance,
    ):
        futures = [runner.submit(fit_shard_task, {"job": job}) for job in jobs]
        for done in as_completed(futures):
            reports.append(done.result())
            shard_done(reports[-1])
            advance(1)
    works = [work for job in jobs for work in read_works(job.out)]
    seconds = {
        stage: sum(report["seconds"][stage] for report in reports) for stage in ("fit", "gate")
    }
    prior = jobs[0].plan.prior if jobs else None
    fitted = conclude(settings, plan, extract, works, seconds, prior)
    concepts_judged(fitted.evidence)
    return log_evidence(settings, plan, fitted)


def log_evidence(settings: Settings, plan: RunPlan, fitted: Fitted) -> Fitted:
    """The evidence to MLflow, before anything is switched."""
    if not fitted.goes_to_mlflow(plan):
        return fitted
    before = time.perf_counter()
    delivery = deliver(settings, plan, fitted.evidence)
    seconds = {**fitted.seconds, "log": time.perf_counter() - before}
    return replace(fitted, delivery=delivery, seconds=seconds)


def threads_of(settings: Settings) -> TaskRunner[PrefectFuture[Any]]:
    """As many threads as the settings allow; the kernels release the GIL."""
    return cast(
        "TaskRunner[PrefectFuture[Any]]",
        ThreadPoolTaskRunner(max_workers=settings.run.n_threads),
    )


def plan_shards(settings: Settings, plan: RunPlan, extract: Extract) -> list[ShardJob]:
    """One job per shard, with the incumbents of its concepts."""
    with open_database(settings) as engine, reading(engine) as conn:
        version = algorithm(conn, plan.algo_version)
        stored = active_params(conn, version.id)
    fit_plan = fit_plan_of(settings, version, seed=plan.seed)
    fit_plan = replace(fit_plan, prior=learn_prior_of(settings, plan, fit_plan, extract))
    last = extract.concepts["last_attempt_at"].to_pylist()
    ends = dict(zip(extract.concepts["concept_id"].to_pylist(), last, strict=True))
    incumbents = {
        concept: incumbent_of(row, newest=ends.get(concept)) for concept, row in stored.items()
    }
    flood = flood_of(settings, extract)
    shards = extract.concepts["shard"].to_pylist()
    by_shard: dict[int, dict[str, Incumbent]] = {}
    for concept, shard in zip(ends, shards, strict=True):
        if not plan.concepts or concept in plan.concepts:
            own = by_shard.setdefault(shard, {})
            if concept in incumbents:
                own[concept] = incumbents[concept]
    return [
        ShardJob(
            extract_root=plan.extract_root,
            shard=shard,
            out=plan.run_dir / "shards" / f"shard-{shard:04d}.json",
            fits_dir=plan.fits_dir,
            engine=plan.engine,
            plan=fit_plan,
            limits=settings.gates,
            window=Window(since=plan.since, until=plan.until),
            settings_digest=plan.settings_digest,
            min_new_share=settings.fit.min_new_share,
            full=plan.full,
            resumed=plan.resumed,
            concepts=frozenset(plan.concepts),
            incumbents=by_shard[shard],
            left_out=None if flood is None else flood.users,
        )
        for shard in sorted(by_shard)
    ]


def flood_remark(settings: Settings, extract: Extract) -> tuple[str, ...]:
    """What a person should know of users that were left out of the fit."""
    flood = flood_of(settings, extract)
    if flood is None or not flood.n_users:
        return ()
    return (
        f"{flood.n_users:,} users with more than {settings.extract.flood_attempts_per_hour:,} "
        f"attempts in an hour, {flood.share:.1%} of the log, were left out of the fits; "
        "their mastery is kept.",
    )


def incumbent_of(row: StoredParams, *, newest: datetime | None) -> Incumbent:
    """The row in force, aged by how far its data ended before the newest attempt."""
    until = row.fitted_on_data_to
    age = None if until is None or newest is None else (newest - until).total_seconds() / 86_400
    champion = Champion.from_metrics(
        row.params, row.metrics, age_days=age, param_id=row.param_id
    )
    return Incumbent(
        champion=champion,
        n_attempts=row.n_attempts,
        fit_key=row.metrics.get("fit_key"),
        settings_digest=row.metrics.get("settings_digest"),
    )


def conclude(
    settings: Settings,
    plan: RunPlan,
    extract: Extract,
    works: Sequence[ConceptWork],
    seconds: Mapping[str, float],
    prior: Prior | None = None,
) -> Fitted:
    """The verdicts of the whole run, and its ballot on disk."""
    known = [work for work in works if work.evidence is not None]
    with open_database(settings) as engine, reading(engine) as conn:
        pinned = pinned_concepts(conn, plan.algo_version_id)
        algo = algorithm(conn, plan.algo_version).params
    evidences = [work.evidence for work in known if work.evidence is not None]
    verdicts = decide(evidences, settings.gates, approved=plan.approve, pinned=pinned)
    spans = _data_spans(extract, plan)
    votes = [
        vote_on(
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
        settings=settings.evidence() | {"prior": prior_facts(prior)},
        origins={work.concept_id: work.origin.value for work in works},
        errors={work.concept_id: work.error for work in works if work.error is not None},
    )
    write_evidence(plan.run_dir, evidence)
    _break_if_too_many_failed(works, settings.run.max_failed_share)
    write_ballot(plan.run_dir / "ballot.json", votes)
    return Fitted(
        works=tuple(works),
        votes=tuple(votes),
        evidence=evidence,
        seconds=seconds,
        data_is_new=plan.data_is_new,
        remarks=flood_remark(settings, extract),
    )


def _data_spans(
    extract: Extract, plan: RunPlan
) -> dict[str, tuple[datetime | None, datetime | None]]:
    """First and last attempt of each concept, cut to the window."""
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


def count_origins(works: Sequence[ConceptWork]) -> dict[str, int]:
    """Concepts by where their fit comes from, as the summary names them."""
    counts = dict.fromkeys(("fitted", "reused", "skipped", "failed"), 0)
    for work in works:
        counts["reused" if work.origin is Origin.KEPT else work.origin.value] += 1
    return counts
