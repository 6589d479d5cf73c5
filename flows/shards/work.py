"""Process one shard of concepts: fit or reuse, judge, and write the results to a file.

Plain functions without Prefect: the same call runs in a thread, a process or on a cluster.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.engines import engine_named
from bkt_core.evaluation.concept_fit import FitPlan, fit_concept
from bkt_core.fitting.engine import Stop
from bkt_core.judgement.selection import judge_concept, keep_untested
from datasets.errors import StorageError
from datasets.extracts.extraction import open_extract
from datasets.fit_files import fit_key, read_fit, write_fit
from datasets.parquet import read_table
from datasets.sequences.readers import shard_sequences
from flows.shards.works import ConceptWork, Origin, read_works, write_works

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bkt_core.engines import Engine
    from bkt_core.evaluation.concept_fit import ConceptFit
    from bkt_core.evaluation.limits import GateLimits
    from bkt_core.judgement.evidence import Champion
    from datasets.sequences.readers import ConceptAttempts, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """The fitted row in force for one concept, as far as a run needs it."""

    champion: Champion
    n_attempts: int
    #: Keys of the fit that made it and of its settings; None for a row of another origin.
    fit_key: str | None
    settings_digest: str | None

    def champion_with_folds(self, fits_dir: Path) -> Champion:
        """Return the champion with the parameters of its folds, if they are to be had."""
        if not self.champion.lacks_folds or self.fit_key is None:
            return self.champion
        return self.champion.with_folds_of(read_fit(fits_dir, self.fit_key))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """Everything that the fits of one shard depend on."""

    extract_root: Path
    shard: int
    out: Path
    fits_dir: Path
    engine: str
    plan: FitPlan
    limits: GateLimits
    window: Window
    settings_digest: str
    min_new_share: float
    full: bool
    #: Whether the run resumes a killed run of the same identity.
    resumed: bool = False
    #: Only these concepts; if empty, all.
    concepts: frozenset[str] = frozenset()
    incumbents: Mapping[str, Incumbent] = field(default_factory=dict)
    #: File with the codes of users who are left out of fits; None means nobody.
    left_out: Path | None = None


def fit_shard(job: ShardJob) -> dict[str, Any]:
    """Fit and judge every concept of one shard; return the report of the shard.

    The results are written to `job.out` when the shard is complete. A resumed run computes only
    what is missing or failed.
    """
    seconds, n_attempts = {"fit": 0.0, "gate": 0.0}, 0
    if job.resumed and _is_sound(job.out):
        works = read_works(job.out)
    else:
        extract = open_extract(job.extract_root, job.out.parent)
        engine = engine_named(job.engine, job.plan.algo)
        variant = job.plan.algo.variant
        digests = extract.digests_for(variant)
        works = []
        left_out = _left_out(job, extract.users.num_rows)
        for attempts in shard_sequences(
            extract, job.shard, job.window, left_out=left_out, variant=variant
        ):
            if job.concepts and attempts.concept_id not in job.concepts:
                continue
            if attempts.sequences.n_attempts:
                n_attempts += attempts.sequences.n_attempts
                digest = digests[attempts.concept]
                works.append(_work_on(attempts, digest, engine, job, seconds))
        write_works(job.out, works)
    return {
        "shard": job.shard,
        "out": str(job.out),
        "seconds": seconds,
        "attempts": n_attempts,
        "concepts": dict(Counter(work.origin.value for work in works)),
    }


def give_up(job: ShardJob, concepts: Sequence[str], error: str) -> dict[str, Any]:
    """Record a shard that could not be processed as failed concepts; like `fit_shard`."""
    works = [
        ConceptWork(
            concept_id=concept, origin=Origin.FAILED, fit_key=None, evidence=None, error=error
        )
        for concept in concepts
    ]
    write_works(job.out, works)
    return {
        "shard": job.shard,
        "out": str(job.out),
        "seconds": {"fit": 0.0, "gate": 0.0},
        "attempts": 0,
        "concepts": {Origin.FAILED.value: len(works)},
    }


def _left_out(job: ShardJob, n_users: int) -> NDArray[np.bool_] | None:
    """Return the mask over user codes of the users left out of the fit."""
    if job.left_out is None:
        return None
    mask = np.zeros(n_users, np.bool_)
    mask[read_table(job.left_out, ["user"])["user"].to_numpy()] = True
    return mask


def _is_sound(out: Path) -> bool:
    """Return whether a shard is complete and no concept failed."""
    return out.is_file() and all(work.origin is not Origin.FAILED for work in read_works(out))


def _work_on(
    attempts: ConceptAttempts,
    digest: str,
    engine: Engine,
    job: ShardJob,
    seconds: dict[str, float],
) -> ConceptWork:
    """Process one concept; an exception becomes a result with a reason."""
    prior = job.plan.prior_for(attempts.sequences.n_attempts)
    key = fit_key(attempts.concept_id, digest, job.settings_digest, prior=prior)
    try:
        return _kept_untested(attempts, key, job) or _judged(
            attempts, key, engine, job, seconds
        )
    except StorageError:  # a full disk is not an error of this concept
        raise
    except Exception as error:  # noqa: BLE001 - one concept must not fail its shard
        return ConceptWork(
            concept_id=attempts.concept_id,
            origin=Origin.FAILED,
            fit_key=key,
            evidence=None,
            error=f"{type(error).__name__}: {error}",
        )


def keeps_without_a_test(
    job: ShardJob, concept_id: str, key: str, n_attempts: int
) -> tuple[str, str] | None:
    """Return why a concept is kept without a test (name, sentence); None if it is fitted."""
    incumbent = job.incumbents.get(concept_id)
    if incumbent is None or incumbent.fit_key is None:
        return None
    if incumbent.fit_key == key:
        return "unchanged", "The attempts and settings are those of the parameters in force."
    n_new = n_attempts - incumbent.n_attempts
    share = abs(n_new) / max(incumbent.n_attempts, 1)
    same_settings = incumbent.settings_digest == job.settings_digest
    if job.full or not same_settings or share >= job.min_new_share:
        return None
    sentence = f"{n_new} new attempts, {share:.1%} of those fitted for the ones in force."
    return "too_little_new", sentence


def _kept_untested(attempts: ConceptAttempts, key: str, job: ShardJob) -> ConceptWork | None:
    """Return the incumbent if nothing or too little has changed since its fit, else None."""
    why = keeps_without_a_test(job, attempts.concept_id, key, attempts.sequences.n_attempts)
    incumbent = job.incumbents.get(attempts.concept_id)
    if why is None or incumbent is None or incumbent.fit_key is None:
        return None
    name, sentence = why
    fit = read_fit(job.fits_dir, incumbent.fit_key)
    if fit is None:
        return None  # its file was pruned, so that it is judged again
    return ConceptWork(
        concept_id=attempts.concept_id,
        origin=Origin.KEPT,
        fit_key=incumbent.fit_key,
        evidence=keep_untested(fit, incumbent.champion, name=name, sentence=sentence),
    )


def _judged(
    attempts: ConceptAttempts,
    key: str,
    engine: Engine,
    job: ShardJob,
    seconds: dict[str, float],
) -> ConceptWork:
    before = time.perf_counter()
    fit, origin, fit_json = _fit_of(attempts, key, engine, job)
    fitted = time.perf_counter()
    incumbent = job.incumbents.get(attempts.concept_id)
    evidence = judge_concept(
        fit,
        attempts.sequences,
        attempts.user_hashes,
        champion=None if incumbent is None else incumbent.champion_with_folds(job.fits_dir),
        algo=job.plan.algo,
        limits=job.limits,
    )
    seconds["fit"] += fitted - before
    seconds["gate"] += time.perf_counter() - fitted
    return ConceptWork(
        concept_id=attempts.concept_id,
        origin=origin,
        fit_key=key,
        evidence=evidence,
        fit_json=fit_json,
    )


def _fit_of(
    attempts: ConceptAttempts, key: str, engine: Engine, job: ShardJob
) -> tuple[ConceptFit, Origin, bytes | None]:
    fit = None if job.full else read_fit(job.fits_dir, key)
    origin, fit_json = Origin.REUSED, None
    if fit is None:
        origin = Origin.FITTED
        fit = fit_concept(
            attempts.concept_id,
            attempts.sequences,
            attempts.user_hashes,
            engine=engine,
            plan=job.plan,
        )
        if not _ran_out_of_time(fit):  # with more time it may give another result
            fit_json = write_fit(job.fits_dir, key, fit)
    return fit, Origin.SKIPPED if fit.evidence is None else origin, fit_json


def is_repeatable(work: ConceptWork) -> bool:
    """Return whether the same attempts and settings would give the same result again."""
    return work.evidence is not None and not _ran_out_of_time(work.evidence.fit)


def _ran_out_of_time(fit: ConceptFit) -> bool:
    """Return whether a fit stopped at its time limit."""
    if fit.evidence is None:
        return False
    fits = (fit.evidence.final, *fit.evidence.fold_fits)
    return any(one is not None and one.stopped_by is Stop.TIME_LIMIT for one in fits)
