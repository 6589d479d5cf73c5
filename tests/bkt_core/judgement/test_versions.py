"""Where the parameters of a version come from, and how two versions compare at one concept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bkt_core.evaluation.concept_fit import ConceptFit
from bkt_core.evaluation.cross_validation import fold_of
from bkt_core.judgement.evidence import Champion
from bkt_core.judgement.versions import (
    Source,
    VersionParams,
    compare_at_concept,
    defaults_of,
    params_in_force,
    params_of_fit,
)
from bkt_core.params import AlgoParams, BktParams
from bkt_core.replay import predict, replay
from tests.bkt_core.evaluation.fits import SOUND, hashes, simulated

ALGO = AlgoParams(mastery_threshold=0.75)
OTHER = BktParams(0.2, 0.1, 0.2, 0.3)
SEQUENCES = simulated(SOUND, n_users=12, length=5, seed=5)
USERS = hashes(12)


def by_hand(folds: np.ndarray, params: list[BktParams | None]) -> np.ndarray:
    """Predictions of each user with the parameters of its fold, NaN without."""
    found = np.full(SEQUENCES.n_attempts, np.nan)
    for attempt, fold in enumerate(np.repeat(folds, SEQUENCES.lengths)):
        if (own := params[fold]) is not None:
            found[attempt] = predict(SEQUENCES, own)[attempt]
    return found


def test_a_fitted_version_predicts_each_fold_with_what_was_fitted_without_it():
    """The folds are those of its own seed; the seed of a version that has none is 0."""
    for seed in (0, 7):
        version = VersionParams(
            source=Source.FITTED, params=SOUND, threshold=0.9, fold_params=(OTHER, None, SOUND),
            **({"fold_seed": seed} if seed else {}),
        )  # fmt: skip
        folds = fold_of(USERS, seed=seed, n_folds=3)
        np.testing.assert_array_equal(
            version.predict(SEQUENCES, USERS), by_hand(folds, [OTHER, None, SOUND])
        )


@pytest.mark.parametrize("source", [Source.DEFAULTS, Source.IN_SAMPLE])
def test_a_version_that_is_not_held_out_predicts_all_users_alike(source):
    version = VersionParams(source=source, params=OTHER, threshold=0.9, fold_params=(SOUND,))
    found = version.predict(SEQUENCES, USERS)
    assert found.tolist() == predict(SEQUENCES, OTHER).tolist()


def test_without_a_fit_or_a_row_a_version_has_its_defaults():
    empty = ConceptFit(
        concept_id="c", engine="em", fold_seed=3, n_folds=2, n_attempts=1, n_users=1,
        n_correct=1, report=None, evidence=None, wide=None,
    )  # fmt: skip
    defaults = defaults_of(ALGO)
    assert (defaults.source, defaults.params) == (Source.DEFAULTS, ALGO.defaults)
    assert defaults.threshold == 0.75
    assert params_of_fit(None, ALGO) == params_of_fit(empty, ALGO) == defaults
    assert params_in_force(None, ALGO) == defaults


@pytest.mark.parametrize(
    ("seed", "fold_params", "source", "read"),
    [
        (4, (OTHER, None), Source.FITTED, (OTHER, SOUND)),
        (0, (OTHER,), Source.FITTED, (OTHER,)),
        (None, (OTHER, None), Source.IN_SAMPLE, ()),
        (4, (), Source.IN_SAMPLE, ()),
    ],
)
def test_a_row_is_held_out_only_with_its_seed_and_its_folds(seed, fold_params, source, read):
    """A fold without parameters is new to the row, which predicts it with all it has."""
    row = Champion(params=SOUND, fold_seed=seed, fold_params=fold_params)
    found = params_in_force(row, ALGO)
    assert (found.source, found.fold_params, found.fold_seed) == (source, read, seed or 0)
    assert (found.params, found.threshold) == (SOUND, 0.75)


def test_mastery_at_the_threshold_of_its_own_version_is_mastered():
    high = replay(SEQUENCES, SOUND)
    a = VersionParams(source=Source.DEFAULTS, params=SOUND, threshold=float(high.max()))
    b = replace(a, params=OTHER, threshold=float(replay(SEQUENCES, OTHER).max()))
    found = compare_at_concept(a, b, SEQUENCES, USERS)
    assert found.mastered_a.tolist() == (high == high.max()).tolist()
    low = replay(SEQUENCES, OTHER)
    assert found.mastered_b.tolist() == (low == low.max()).tolist()


def test_versions_are_compared_where_both_predict():
    """B is the challenger; attempts that only one of them predicts count for neither."""
    held_out = VersionParams(
        source=Source.FITTED, params=SOUND, threshold=0.9, fold_params=(SOUND, None)
    )
    other_half = replace(held_out, fold_params=(None, SOUND))
    plain = VersionParams(source=Source.IN_SAMPLE, params=OTHER, threshold=0.9)
    found = compare_at_concept(plain, held_out, SEQUENCES, USERS)
    own = np.repeat(fold_of(USERS, seed=0, n_folds=2) == 0, 5)
    assert found.predicted_by_both.tolist() == own.tolist()
    assert found.comparison.n_attempts == own.sum()
    assert found.comparison.rival_in_sample
    turned = compare_at_concept(held_out, plain, SEQUENCES, USERS).comparison
    assert turned.gain == pytest.approx(-found.comparison.gain)
    assert not turned.rival_in_sample
    assert compare_at_concept(held_out, other_half, SEQUENCES, USERS).comparison is None
