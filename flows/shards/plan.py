"""The jobs of a run, one per shard, most expensive first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from bkt_core.judgement.evidence import Champion
from datasets.fit_files import fit_key
from datasets.parquet import write_frame
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import algorithm
from datasets.store.params.skill_params import active_params, with_question_odds
from flows.runs.database import open_database
from flows.runs.plan import fit_plan_of, flood_of
from flows.shards.prior import learn_prior_of
from flows.shards.work import Incumbent, ShardJob, keeps_without_a_test

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from bkt_core.params import AlgoParams
    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from datasets.store.params.skill_params import StoredParams
    from flows.runs.plan import RunPlan


def plan_shards(settings: Settings, plan: RunPlan, extract: Extract) -> list[ShardJob]:
    """Build one job per shard, with the incumbents of its concepts, most expensive first.

    A run waits for a large shard that starts late. If the largest starts first, a concept with
    a third of all attempts is fitted while the other workers share the rest.
    """
    with open_database(settings) as engine, reading(engine) as conn:
        version = algorithm(conn, plan.algo_version)
        stored = with_question_odds(conn, active_params(conn, version.id))
    fit_plan = fit_plan_of(settings, version, seed=plan.seed)
    fit_plan = replace(fit_plan, prior=learn_prior_of(settings, plan, fit_plan, extract))
    last = extract.concepts["last_attempt_at"].to_pylist()
    ends = dict(zip(extract.concepts["concept_id"].to_pylist(), last, strict=True))
    incumbents = {
        concept: incumbent_of(row, newest=ends.get(concept)) for concept, row in stored.items()
    }
    left_out = write_left_out(settings, plan, extract)
    by_shard: dict[int, dict[str, Incumbent]] = {}
    for concept, shard in zip(ends, extract.concepts["shard"].to_pylist(), strict=True):
        if not plan.concepts or concept in plan.concepts:
            own = by_shard.setdefault(shard, {})
            if concept in incumbents:
                own[concept] = incumbents[concept]
    jobs = [
        ShardJob(
            extract_root=plan.extract_root.absolute(),  # workers have other working directories
            shard=shard,
            out=(plan.run_dir / "shards" / f"shard-{shard:04d}.json").absolute(),
            fits_dir=plan.fits_dir.absolute(),
            engine=plan.engine,
            plan=fit_plan,
            limits=settings.gates,
            window=plan.window,
            settings_digest=plan.settings_digest,
            min_new_share=settings.fit.min_new_share,
            full=plan.full,
            resumed=plan.resumed,
            concepts=frozenset(plan.concepts),
            incumbents=by_shard[shard],
            left_out=left_out,
        )
        for shard in sorted(by_shard)
    ]
    costs = costs_of(jobs, extract)
    return sorted(jobs, key=lambda job: (-costs[job.shard], job.shard))


def in_order(jobs: Iterable[ShardJob]) -> list[ShardJob]:
    """Sort jobs by the number of their shard, the order of every report."""
    return sorted(jobs, key=lambda job: job.shard)


def costs_of(jobs: Iterable[ShardJob], extract: Extract) -> Mapping[int, int]:
    """Return the number of attempts that each shard will fit; the other factors are equal.

    A concept that will be kept without a test costs almost nothing.
    """
    by_shard = {job.shard: job for job in jobs}
    costs = dict.fromkeys(by_shard, 0)
    columns = ("concept_id", "shard", "digest", "n_attempts")
    for concept, shard, digest, n_attempts in zip(
        *(extract.concepts[name].to_pylist() for name in columns), strict=True
    ):
        job = by_shard.get(shard)
        if job is None or (job.concepts and concept not in job.concepts):
            continue
        prior = job.plan.prior_for(n_attempts)
        key = fit_key(concept, digest, job.settings_digest, prior=prior)
        if keeps_without_a_test(job, concept, key, n_attempts) is None:
            costs[shard] += n_attempts
    return costs


def write_left_out(settings: Settings, plan: RunPlan, extract: Extract) -> Path | None:
    """Write the codes of users who are left out to a file for all shards; None without any."""
    flood = flood_of(settings, extract)
    if flood is None or not flood.n_users:
        return None
    path = (plan.run_dir / "left_out.parquet").absolute()
    codes = pl.Series("user", flood.users).arg_true().cast(pl.Int32).alias("user")
    write_frame(path, codes.to_frame())
    return path


def flood_remark(settings: Settings, extract: Extract) -> tuple[str, ...]:
    """Return a remark on users left out of the fit because of their attempt rate."""
    flood = flood_of(settings, extract)
    if flood is None or not flood.n_users:
        return ()
    return (
        f"{flood.n_users:,} users with more than {settings.extract.flood_attempts_per_hour:,} "
        f"attempts in an hour, {flood.share:.1%} of the log, were left out of the fits; "
        "their mastery is kept.",
    )


def stamps_remark(algo: AlgoParams, n_unstamped: int) -> tuple[str, ...]:
    """Return a remark on attempts without the stamp that a version with history reads."""
    if not algo.variant.history or not n_unstamped:
        return ()
    return (
        f"{n_unstamped:,} attempts have no stamp and were fitted as if nothing were known of "
        "their users; run `bkt stamp`, then fit again.",
    )


def incumbent_of(row: StoredParams, *, newest: datetime | None) -> Incumbent:
    """Return the row in force; its age is how far its data ends before the newest attempt."""
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
