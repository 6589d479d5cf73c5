"""Folds are whole users, fixed for ever, and no prediction saw its own user."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkt_core.errors import InsufficientDataError
from bkt_core.evaluation.cross_validation import cross_validate, fold_of, predict_by_fold
from bkt_core.fitting.options import FitOptions
from bkt_core.replay import predict
from bkt_core.sequences import AttemptSequences
from tests.bkt_core.evaluation.fits import SOUND, MeanEngine, hashes, simulated

OPTIONS = FitOptions(n_starts=1)


def test_folds_never_change():
    """Frozen: another value here would score champions on users they were fitted on."""
    users = np.array([0, 1, 2**63, 2**64 - 1, 0xDEADBEEF], dtype=np.uint64)
    assert fold_of(users, seed=0, n_folds=5).tolist() == FROZEN_SEED_0
    assert fold_of(users, seed=20_261, n_folds=10).tolist() == FROZEN_SEED_20261


FROZEN_SEED_0 = [3, 0, 1, 0, 1]
FROZEN_SEED_20261 = [5, 8, 4, 4, 0]


def test_folds_are_even_and_depend_on_the_seed():
    """Each of five folds gets a fifth of 100,000 users, within five standard deviations."""
    users = np.arange(100_000, dtype=np.uint64)
    folds = fold_of(users, seed=1, n_folds=5)
    deviation = np.sqrt(100_000 * 0.2 * 0.8)
    assert np.abs(np.bincount(folds, minlength=5) - 20_000).max() < 5 * deviation
    same = (folds == fold_of(users, seed=2, n_folds=5)).mean()
    assert same == pytest.approx(0.2, abs=0.01)


def test_no_prediction_saw_its_own_user():
    """Turning one user's outcomes over changes no fit that predicts that user."""
    sequences = simulated(SOUND, n_users=60, length=5, seed=1)
    folds = fold_of(hashes(60), seed=0, n_folds=5)
    before = cross_validate(MeanEngine(), sequences, folds, n_folds=5, options=OPTIONS)
    for user in (0, 17, 59):
        correct = sequences.correct.copy()
        own = slice(sequences.offsets[user], sequences.offsets[user + 1])
        correct[own] = 1 - correct[own]
        changed = AttemptSequences(correct, sequences.offsets)
        after = cross_validate(MeanEngine(), changed, folds, n_folds=5, options=OPTIONS)
        assert after.fold_fits[folds[user]] == before.fold_fits[folds[user]]
        assert after.p_correct[own.start] == before.p_correct[own.start]
        others = np.delete(np.arange(60), np.flatnonzero(folds == folds[user]))
        moved = sequences.offsets[others]
        assert (after.p_correct[moved] != before.p_correct[moved]).all()


def test_one_call_of_the_engine_fits_all_users_and_all_folds():
    engine, folds = MeanEngine(), fold_of(hashes(60), seed=0, n_folds=5)
    sequences = simulated(SOUND, n_users=60, length=5, seed=1)
    cross_validate(engine, sequences, folds, n_folds=5, options=OPTIONS)
    (training_sets,) = engine.training_sets
    assert training_sets[0].all()
    assert training_sets[1:].sum(axis=0).tolist() == [4] * 60


def test_out_of_fold_predictions_are_the_replay_under_that_fold():
    sequences = simulated(SOUND, n_users=60, length=5, seed=1)
    folds = fold_of(hashes(60), seed=0, n_folds=5)
    result = cross_validate(MeanEngine(), sequences, folds, n_folds=5, options=OPTIONS)
    for user in range(60):
        alone = np.arange(60) == user
        expected = predict(sequences.of_users(alone), result.fold_fits[folds[user]].params)
        own = slice(sequences.offsets[user], sequences.offsets[user + 1])
        assert result.p_correct[own].tolist() == expected.tolist()


def test_a_fold_without_users_is_left_out():
    sequences = simulated(SOUND, n_users=4, length=3, seed=1)
    folds = np.array([0, 2, 2, 0], dtype=np.int8)
    result = cross_validate(MeanEngine(), sequences, folds, n_folds=5, options=OPTIONS)
    assert [fit is not None for fit in result.fold_fits] == [True, False, True, False, False]
    assert not np.isnan(result.p_correct).any()


def test_users_in_a_single_fold_are_insufficient_data():
    sequences = simulated(SOUND, n_users=4, length=3, seed=1)
    folds = np.full(4, 3, dtype=np.int8)
    with pytest.raises(InsufficientDataError):
        cross_validate(MeanEngine(), sequences, folds, n_folds=5, options=OPTIONS)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=20))
def test_attempts_of_a_fold_without_parameters_are_not_predicted(folds):
    folds = np.array(folds, dtype=np.int8)
    sequences = simulated(SOUND, n_users=folds.size, length=2, seed=1)
    p_correct = predict_by_fold(sequences, folds, [SOUND, None, SOUND])
    assert np.isnan(p_correct).tolist() == np.repeat(folds == 1, 2).tolist()
