"""Small judged runs for tests of reports and tracking: simulated, fitted, decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from bkt_core.engines import engine_named
from bkt_core.evaluation.concept_fit import FitPlan, fit_concept
from bkt_core.evaluation.limits import GateLimits
from bkt_core.family.prior import usual_prior
from bkt_core.fitting.options import FitOptions
from bkt_core.judgement.evidence import Champion, ConceptEvidence, Verdict
from bkt_core.judgement.selection import decide, judge_concept
from bkt_core.params import AlgoParams, BktParams, Bounds
from bkt_core.sequences import AttemptSequences
from flows.evidence.evidence import RunEvidence, finished, gather_evidence
from flows.shards.prior import prior_facts
from tests.bkt_core.evaluation.fits import hashes, simulated

ALGO = AlgoParams()
LIMITS = GateLimits()
STARTED = datetime(2026, 3, 2, 4, 30, tzinfo=UTC)
SUMMARY = {
    "rows": {"read": 1_010, "accepted": 1_000, "duplicates": 8, "quarantined": 2},
    "states": {"replayed": 321, "snapshotted": 300},
    "seconds": {"extract": 1.0, "fit": 2.0, "total": 5.5},
    "remarks": [],
}
#: Ids that a page or a terminal must not take for markup.
AWKWARD = "<b>Größe & [bold]$x$</b> 'quoted\""


def sequences_of(index: int, n_users: int) -> AttemptSequences:
    """The attempts of one simulated concept."""
    rng = np.random.default_rng(index)
    truth = BktParams(*rng.uniform([0.1, 0.05, 0.05, 0.1], [0.6, 0.3, 0.25, 0.3]).tolist())
    return simulated(truth, n_users=n_users, length=6 + index % 5, seed=index)


def judged(
    n_concepts: int = 8,
    *,
    n_users: int = 120,
    champions: bool = False,
    algo: AlgoParams = ALGO,
) -> list[ConceptEvidence]:
    """Evidence on concepts of which the last has too few attempts."""
    wide = Bounds(L0_max=0.95)
    options = FitOptions(n_starts=2, bounds=algo.bounds)
    prior = None if algo.variant.is_plain else usual_prior(algo.variant)
    plan = FitPlan(
        options=options, algo=algo, n_folds=3, fold_seed=1, wide_bounds=wide, prior=prior
    )
    engine = engine_named("em", algo)
    evidences = []
    for index in range(n_concepts):
        users = 1 if index == n_concepts - 1 else n_users
        sequences, ids = sequences_of(index, users), hashes(users)
        name = AWKWARD if index == 0 else f"concept-{index:03d}"
        fit = fit_concept(name, sequences, ids, engine=engine, plan=plan)
        champion = None
        if champions and index % 2 and fit.params:
            old = BktParams(0.2, 0.05 + 0.04 * (index % 3), 0.2, 0.3)
            champion = Champion(params=old, age_days=4.0 * index, param_id=index)
        evidences.append(
            judge_concept(fit, sequences, ids, champion=champion, algo=algo, limits=LIMITS)
        )
    return evidences


def many(evidences: list[ConceptEvidence], n_concepts: int) -> list[Verdict]:
    """Verdicts on as many concepts as wanted, by repeating evidence under other names."""
    repeated = []
    for index in range(n_concepts):
        one = evidences[index % len(evidences)]
        fit = replace(one.fit, concept_id=f"{one.concept_id}-{index}")
        repeated.append(replace(one, fit=fit))
    return decide(repeated, LIMITS)


def evidence_of(
    verdicts: list[Verdict],
    *,
    run_id: str = "0123456789abcdef0123456789abcdef",
    algo: AlgoParams = ALGO,
) -> RunEvidence:
    """The evidence of a run that has ended."""
    origins = {
        one.concept_id: "skipped" if one.evidence.fit.evidence is None else "fitted"
        for one in verdicts
    }
    prior = None if algo.variant.is_plain else usual_prior(algo.variant)
    facts = prior_facts(prior, algo.variant)
    judged_run = gather_evidence(
        verdicts,
        run_id=run_id,
        kind="retrain",
        started_at=STARTED,
        algo=algo,
        tags={"data_digest": "d" * 64, "algo_version": "v1", "engine": "em"},
        settings={"fit": {"folds": 3, "seed": 1}, "data_dir": "var", "prior": facts},
        origins=origins,
        errors={"broken": "LikelihoodFellError: EM step 3 lowered the log-likelihood."},
    )
    return finished(
        judged_run,
        status="done",
        finished_at=STARTED.replace(minute=31),
        summary=SUMMARY,
        kept_after_all={},
    )
