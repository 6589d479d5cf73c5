"""A concept's fit: what it is compared with, and what it is when nothing was fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bkt_core.evaluation.concept_fit import FitPlan, fit_concept
from bkt_core.evaluation.cross_validation import fold_of
from bkt_core.evaluation.metrics import EPSILON, score
from bkt_core.fitting.options import FitOptions
from bkt_core.params import AlgoParams, BktParams, Bounds
from bkt_core.sequences import AttemptSequences
from tests.bkt_core.evaluation.fits import SOUND, MeanEngine, fit_of, hashes, simulated

PLAN = FitPlan(options=FitOptions(), algo=AlgoParams())


class OnBounds:
    """Finds parameters on the bounds that it is given the names of."""

    name = "on bounds"

    def __init__(self, *names: str) -> None:
        self.names, self.boxes = names, []

    def fit(self, sequences, training_sets, options):  # noqa: ARG002 - the protocol's
        """One fit per training set; the box is remembered."""
        self.boxes.append(options.bounds)
        return tuple(fit_of(SOUND, on_bounds=self.names) for _ in training_sets)


def test_five_folds_of_seed_0_unless_the_plan_says_otherwise():
    """Stored fits rest on both."""
    assert (PLAN.n_folds, PLAN.fold_seed) == (5, 0)
    assert PLAN.prior_for(1) is None


@pytest.mark.parametrize("first", [0, 1])
def test_the_mean_is_that_of_the_other_folds_inside_the_clamp(first):
    """Two users in two folds: each is predicted by the other's share, be it one attempt."""
    plan = replace(PLAN, n_folds=2)
    users = next(
        pair
        for seed in range(50)
        if np.diff(fold_of(pair := hashes(2, seed=seed), seed=0, n_folds=2))[0] != 0
    )
    correct = np.array([first, *[1, 0, 1] * 5], dtype=np.int8)
    sequences = AttemptSequences(correct, np.array([0, 1, 16]))
    fit = fit_concept("c", sequences, users, engine=MeanEngine(), plan=plan)
    clamped = min(max(float(first), EPSILON), 1.0 - EPSILON)
    expected = np.array([10 / 15] + [clamped] * 15)
    assert fit.evidence.against_mean.rival_scores == score(correct, expected)
    for fold, one in enumerate(fit.evidence.fold_scores):
        assert one.n == {0: 1, 1: 15}[int(fold != fold_of(users, seed=0, n_folds=2)[0])]


def test_a_fold_without_users_has_no_scores():
    plan, users = replace(PLAN, n_folds=40), hashes(6)
    sequences = simulated(SOUND, n_users=6, length=6, seed=2)
    fit = fit_concept("c", sequences, users, engine=MeanEngine(), plan=plan)
    there = set(fold_of(users, seed=0, n_folds=40).tolist())
    scores = fit.evidence.fold_scores
    assert [one is not None for one in scores] == [fold in there for fold in range(40)]
    assert [one is not None for one in fit.fold_params] == [f in there for f in range(40)]


def test_nothing_fitted_has_neither_parameters_nor_metrics():
    sequences = simulated(SOUND, n_users=1, length=3, seed=2)
    fit = fit_concept("c", sequences, hashes(1), engine=MeanEngine(), plan=PLAN)
    assert (fit.evidence, fit.wide, fit.params, fit.fold_params) == (None, None, None, ())
    assert fit.metrics() == {}


@pytest.mark.parametrize(
    ("bounds", "wide", "on_bounds", "repeated"),
    [
        (Bounds(), Bounds(L0_max=0.9), ("L0_max",), True),
        (Bounds(), Bounds(L0_max=0.9), ("S_max", "L0_max"), True),
        (Bounds(), Bounds(L0_max=0.9), ("S_max",), False),
        (Bounds(), Bounds(L0_max=0.9), (), False),
        (Bounds(), None, ("L0_max",), False),
        (None, Bounds(L0_max=0.9), ("L0_max",), False),
    ],
)
def test_a_fit_is_repeated_only_where_a_bound_it_is_on_gets_wider(
    bounds, wide, on_bounds, repeated
):
    engine = OnBounds(*on_bounds)
    plan = replace(PLAN, options=FitOptions(bounds=bounds), wide_bounds=wide)
    sequences = simulated(SOUND, n_users=12, length=4, seed=2)
    fit = fit_concept("c", sequences, hashes(12), engine=engine, plan=plan)
    assert (fit.wide is not None) is repeated
    assert engine.boxes == ([bounds, wide] if repeated else [bounds])


def test_the_metrics_of_a_row_hold_the_folds_that_were_fitted():
    plan, users = replace(PLAN, n_folds=40), hashes(6)
    sequences = simulated(SOUND, n_users=6, length=6, seed=2)
    fit = fit_concept("c", sequences, users, engine=MeanEngine(), plan=plan)
    stored = fit.metrics()["fold_params"]
    assert [None if row is None else BktParams(*row) for row in stored] == list(fit.fold_params)
