"""Simulate users who forget, fit them, and find F again; intervals cover it as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bkt_core import BktParams
from bkt_core.family.engine import MapEngine
from bkt_core.family.params import FAMILY_NAMES, FamilyParams
from bkt_core.family.prior import FamilyPrior
from bkt_core.family.replay import multipliers, simulate
from bkt_core.family.stamped import StampedSequences
from bkt_core.fitting.engine import FitOutcome
from bkt_core.fitting.options import FitOptions
from bkt_core.params import WIDE_BOX
from bkt_core.variant import ForgettingBounds, Variant

pytestmark = pytest.mark.slow

#: Concepts are drawn from the prior that they are fitted under, so that its intervals are to
#: cover them exactly.
PRIOR = FamilyPrior((-0.7, -1.7, -2.2, -1.2, -2.9), (0.5, 0.4, 0.3, 0.3, 0.3))


def test_forgetting_is_found_again_and_intervals_cover_it():
    """1,500 concepts of 1,000 users and 20 attempts: no bias, and 93 to 97 % covered."""
    rng = np.random.default_rng(12)
    engine = MapEngine(Variant(forgetting=True), PRIOR, bounds_of_F=ForgettingBounds(0.0, 0.5))
    everyone, away, covered = np.ones((1, 1000), dtype=np.bool_), [], []
    for _ in range(1500):
        truth = 1.0 / (1.0 + np.exp(-rng.normal(PRIOR.mean, PRIOR.width)))
        params = FamilyParams(BktParams(*truth[:4].tolist()), float(truth[4]))
        sequences = simulate(params, lengths=np.full(1000, 20, np.int64), rng=rng)
        fit = engine.fit(sequences, everyone, FitOptions(bounds=WIDE_BOX))[0]
        if fit.outcome is FitOutcome.OK:
            away.append(np.array(fit.params.as_tuple()) - truth)
            ends = np.array([fit.intervals[name] for name in FAMILY_NAMES])
            covered.append((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
    assert len(away) > 1400
    errors = np.std(away, axis=0) / np.sqrt(len(away))
    assert (np.abs(np.mean(away, axis=0)) < 4.0 * errors + 1e-3).all()
    assert (np.mean(covered, axis=0) >= 0.93).all(), np.mean(covered, axis=0)
    assert (np.mean(covered, axis=0) <= 0.97).all(), np.mean(covered, axis=0)


V5 = Variant(forgetting=True, questions=True, history=True, gap=True)
PRIOR_V5 = FamilyPrior(
    (*PRIOR.mean, 1.2, 0.1, 1.5, -0.4, -0.5), (*PRIOR.width, 0.3, 0.3, 0.3, 0.2, 0.3), 0.8
)


def practice(rng: np.random.Generator, n_users: int, n_questions: int, length: int):
    """Users under parameters drawn from the prior: attempts, parameters, questions' odds."""
    x, n = rng.normal(PRIOR_V5.mean, PRIOR_V5.width), n_users * length
    base = 1.0 / (1.0 + np.exp(-x[:5]))
    weights = dict(zip(V5.weight_names, x[5:].tolist(), strict=True))
    truth = FamilyParams(BktParams(*base[:4].tolist()), float(base[4]), weights)
    odds = np.exp(rng.normal(0.0, PRIOR_V5.question_width, n_questions))
    facts = StampedSequences(
        correct=np.zeros(n, np.int8),
        offsets=np.arange(0, n + 1, length),
        questions=rng.integers(0, n_questions, n),
        n_questions=n_questions,
        covariates=rng.uniform(-0.7, 0.7, (n, 5)),
    )
    found = simulate(
        truth,
        lengths=np.full(n_users, length, np.int64),
        rng=rng,
        odds=multipliers(facts, truth, odds),
    )
    return replace(facts, correct=found.correct), truth, odds


def test_odds_and_weights_are_found_again_and_intervals_cover_them():
    """60 concepts of 5,000 users, 20 attempts, 40 questions: no bias, honest intervals."""
    rng = np.random.default_rng(1)
    engine = MapEngine(V5, PRIOR_V5, bounds_of_F=ForgettingBounds(0.0, 0.5))
    everyone, away, covered = np.ones((1, 5000), dtype=np.bool_), [], []
    of_questions, questions_covered = [], []
    for _ in range(60):
        sequences, truth, odds = practice(rng, 5000, 40, 20)
        fit = engine.fit(sequences, everyone, FitOptions(bounds=WIDE_BOX))[0]
        if fit.outcome is not FitOutcome.OK:
            continue
        expected = truth.as_dict()
        found = fit.params.as_dict()
        away.append([found[name] - expected[name] for name in expected])
        ends = [fit.intervals[name] for name in expected]
        covered.append([a <= p <= b for (a, b), p in zip(ends, expected.values(), strict=True)])
        gap = np.log(np.array(fit.question_odds) / odds)
        of_questions.append(gap.mean())
        questions_covered.append(np.abs(gap) <= 1.96 * np.array(fit.question_errors))
    errors = np.std(away, axis=0) / np.sqrt(len(away))
    assert (np.abs(np.mean(away, axis=0)) < 4.0 * errors).all()
    assert abs(np.mean(of_questions)) < 4.0 * np.std(of_questions) / np.sqrt(len(away))
    assert 0.93 <= np.mean(covered) <= 0.97
    assert 0.93 <= np.mean(questions_covered) <= 0.97
