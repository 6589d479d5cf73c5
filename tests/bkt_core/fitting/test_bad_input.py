"""Attempts that say little or too much: a named outcome, never NaN, never a hang."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bkt_core import AttemptSequences, Bounds, kernels
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.engine import FitOutcome, FitResult, Stop
from bkt_core.fitting.options import FitOptions
from tests.strategies import as_sequences

ONE_OUTCOME = {
    "all right": [[1] * n for n in (1, 2, 5, 9)] * 5,
    "all wrong": [[0] * n for n in (1, 2, 5, 9)] * 5,
}
FEW = {
    "one user": [[0, 0, 1, 0, 1, 1, 1, 1]],
    "one user, all right": [[1] * 8],
    "single attempts only": [[0], [1], [1]] * 10,
    "one attempt in all": [[1]],
    "one wrong attempt in all": [[0]],
    "twins": [[0, 1]] * 50,
}


def fit(sequences: AttemptSequences, bounds: Bounds | None) -> FitResult:
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    return EmEngine().fit(sequences, everyone, FitOptions(bounds=bounds))[0]


def assert_sound(result: FitResult) -> None:
    assert np.isfinite(result.params.as_tuple()).all()
    assert np.isfinite(result.log_likelihoods).all()
    assert result.log_likelihood <= 0.0
    assert result.stopped_by is Stop.CONVERGED


@pytest.mark.parametrize("bounds", [Bounds(), None], ids=["bounded", "unbounded"])
@pytest.mark.parametrize("name", [*ONE_OUTCOME, *FEW])
def test_attempts_that_say_little_end_in_a_named_outcome(name, bounds):
    result = fit(as_sequences((ONE_OUTCOME | FEW)[name]), bounds)
    assert_sound(result)
    assert result.outcome in {FitOutcome.NOT_IDENTIFIABLE, FitOutcome.ON_BOUND}


@pytest.mark.parametrize("name", ["single attempts only", "one attempt in all"])
def test_single_attempts_cannot_tell_whether_anything_is_learned(name):
    assert fit(as_sequences(FEW[name]), Bounds()).outcome is FitOutcome.NOT_IDENTIFIABLE


def test_a_sequence_of_100_000_attempts():
    rng = np.random.default_rng(0)
    outcomes = [[0] * 50_000 + [1] * 50_000, rng.integers(0, 2, 100_000).tolist(), [0, 1, 1]]
    for bounds in (Bounds(), None):
        result = fit(as_sequences(outcomes), bounds)
        assert_sound(result)
        assert result.outcome in {
            FitOutcome.NOT_IDENTIFIABLE,
            FitOutcome.ON_BOUND,
            FitOutcome.OK,
        }


def test_many_sequences_that_branch_at_every_depth_need_little_memory():
    """The deepest nesting of branches that so many attempts can buy."""
    outcomes = [[1] * n for n in range(1, 600)] + [[1] * n + [0] for n in range(1, 600)]
    sequences = as_sequences(outcomes)
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    tree = kernels.grow_tree(sequences.correct, sequences.offsets, everyone)
    assert tree.n_levels <= 2 + math.sqrt(2 * sequences.n_attempts)
    assert_sound(fit(sequences, Bounds()))


@pytest.mark.slow
def test_a_concept_of_three_million_attempts():
    rng = np.random.default_rng(1)
    sequences = AttemptSequences(
        correct=(rng.random(3_000_000) < 0.7).astype(np.int8),
        offsets=np.arange(0, 3_000_001, 10, dtype=np.int64),
    )
    assert_sound(fit(sequences, Bounds()))
