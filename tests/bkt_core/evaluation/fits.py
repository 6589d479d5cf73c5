"""Fits, engines and attempts for tests of the judgement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bkt_core.fitting.engine import FitOutcome, FitResult, Stop
from bkt_core.params import PARAM_NAMES, BktParams
from bkt_core.sequences import AttemptSequences

SOUND = BktParams(p_L0=0.3, p_T=0.15, p_S=0.1, p_G=0.2)


def fit_of(params: BktParams = SOUND, **changes) -> FitResult:
    """A fit without a flaw, but for what is changed."""
    fit = FitResult(
        params=params,
        log_likelihood=-100.0,
        log_likelihoods=(-120.0, -100.0),
        stopped_by=Stop.CONVERGED,
        outcome=FitOutcome.OK,
        n_steps=1,
        n_attempts=200,
        n_users=40,
        on_bounds=(),
        standard_errors=dict.fromkeys(PARAM_NAMES, 0.01),
        intervals=dict.fromkeys(PARAM_NAMES, (0.1, 0.2)),
        start_log_likelihoods=(-100.0,),
        start_spread=dict.fromkeys(PARAM_NAMES, 0.0),
    )
    return replace(fit, **changes)


class MeanEngine:
    """Gives p_G the share of right answers, over 3: what it saw can be read off."""

    name = "mean"

    def __init__(self):
        self.training_sets = []

    def fit(self, sequences, training_sets, options):  # noqa: ARG002 - the protocol's
        """One fit per training set, from its mean alone."""
        self.training_sets.append(training_sets)
        return tuple(
            fit_of(BktParams(0.2, 0.1, 0.1, float(sequences.of_users(seen).correct.mean()) / 3))
            for seen in training_sets
        )


def simulated(params: BktParams, *, n_users: int, length: int, seed: int) -> AttemptSequences:
    """Users of equal length, drawn from the model itself."""
    rng = np.random.default_rng(seed)
    known = rng.random(n_users) < params.p_L0
    outcomes = np.empty((n_users, length), dtype=np.int8)
    for opportunity in range(length):
        p_right = np.where(known, 1.0 - params.p_S, params.p_G)
        outcomes[:, opportunity] = rng.random(n_users) < p_right
        known |= rng.random(n_users) < params.p_T
    offsets = np.arange(0, n_users * length + 1, length, dtype=np.int64)
    return AttemptSequences(outcomes.ravel(), offsets)


def hashes(n_users: int, *, seed: int = 0) -> np.ndarray:
    """Stand-ins for the hashes of user ids."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**64, size=n_users, dtype=np.uint64)
