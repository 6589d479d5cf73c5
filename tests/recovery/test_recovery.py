"""Simulate, fit, find the truth again; and intervals that cover it as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from bkt_core import BktParams, draw_lengths, draw_params, simulate
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.engine import FitOutcome, FitResult
from bkt_core.fitting.options import FitOptions
from bkt_core.params import PARAM_NAMES

pytestmark = pytest.mark.slow

#: Mean absolute errors over 200 concepts of 5,000 users, in the order of `PARAM_NAMES`.
LARGEST_ERRORS = np.array([0.009, 0.004, 0.003, 0.005])


def fit_simulated(
    truth: np.ndarray, *, n_users: int, rng: np.random.Generator, n_starts: int
) -> FitResult:
    lengths = draw_lengths(n_users, rng=rng)
    sequences = simulate(BktParams(*truth.tolist()), lengths=lengths, rng=rng)
    everyone = np.ones((1, n_users), dtype=np.bool_)
    return EmEngine().fit(sequences, everyone, FitOptions(n_starts=n_starts))[0]


def test_known_parameters_are_found_again():
    """Eight million attempts, 200 concepts: the errors that the issue allows."""
    rng = np.random.default_rng(7)
    truths = draw_params(200, rng=rng)
    found = np.array(
        [
            fit_simulated(truth, n_users=5000, rng=rng, n_starts=2).params.as_tuple()
            for truth in truths
        ]
    )
    errors = np.abs(found - truths).mean(axis=0)
    assert (errors <= LARGEST_ERRORS).all(), dict(zip(PARAM_NAMES, errors, strict=True))


def test_intervals_cover_the_truth_as_often_as_they_say():
    """95 % intervals, 93 to 97 % of the time, where no parameter is on a bound."""
    rng = np.random.default_rng(8)
    covered = []
    for truth in draw_params(700, rng=rng):
        result = fit_simulated(truth, n_users=1500, rng=rng, n_starts=2)
        if result.outcome is FitOutcome.OK:
            pairs = zip(result.intervals.values(), truth, strict=True)
            covered.append([low <= value <= high for (low, high), value in pairs])
    assert len(covered) > 500
    coverage = np.mean(covered, axis=0)
    assert (coverage >= 0.93).all(), dict(zip(PARAM_NAMES, coverage, strict=True))
    assert (coverage <= 0.97).all(), dict(zip(PARAM_NAMES, coverage, strict=True))
