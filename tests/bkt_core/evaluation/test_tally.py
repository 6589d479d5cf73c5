"""Counts pool to the scores of all attempts as one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bkt_core.evaluation.metrics import score
from bkt_core.evaluation.tally import CURVE_LENGTH, Tally, add_tallies, pool, tally
from bkt_core.params import BktParams
from bkt_core.replay import predict
from bkt_core.sequences import AttemptSequences
from tests.bkt_core.evaluation.fits import simulated

#: Predictions within one width count as ties; of 24,000 attempts that is chance of this size.
AUC_ERROR = 1e-4


def _concepts():
    rng = np.random.default_rng(5)
    for seed in range(12):
        truth = BktParams(*rng.uniform([0.1, 0.05, 0.05, 0.1], [0.5, 0.3, 0.3, 0.3]).tolist())
        sequences = simulated(truth, n_users=80, length=25, seed=seed)
        yield sequences, predict(sequences, truth)


def test_pooled_scores_are_those_of_all_attempts_at_once():
    concepts = list(_concepts())
    whole = score(
        *(
            np.concatenate(part)
            for part in zip(*((s.correct, p) for s, p in concepts), strict=True)
        )
    )
    scores = [score(s.correct, p) for s, p in concepts]
    pooled = pool(scores, [tally(s, p) for s, p in concepts])
    assert pooled.n == whole.n
    assert pooled.auc == pytest.approx(whole.auc, abs=AUC_ERROR)
    assert pooled.accuracy == whole.accuracy
    for name in ("log_loss", "rmse", "calibration_error"):
        assert getattr(pooled, name) == pytest.approx(getattr(whole, name), rel=1e-9)


def test_the_order_of_concepts_does_not_change_a_bit():
    concepts = list(_concepts())
    scores = [score(s.correct, p) for s, p in concepts]
    tallies = [tally(s, p) for s, p in concepts]
    assert pool(scores, tallies) == pool(scores[::-1], tallies[::-1])


def test_nothing_pools_to_nothing():
    assert pool([], []) is None
    assert add_tallies([]).n == 0


def test_the_curve_counts_each_opportunity():
    """Eighty users of 25 attempts: each of the first twenty opportunities has eighty."""
    sequences, p = next(_concepts())
    counted = tally(sequences, p)
    assert counted.curve_counts.sum(axis=1).tolist() == [80] * CURVE_LENGTH
    right = sequences.correct.reshape(80, 25).sum(axis=0)
    assert counted.curve_counts[:, 1].tolist() == right[:CURVE_LENGTH].tolist()
    means = p.reshape(80, 25).sum(axis=0)[:CURVE_LENGTH]
    np.testing.assert_allclose(counted.curve_p_sums, means, rtol=1e-12)


def test_attempts_without_a_prediction_are_not_counted():
    sequences, p = next(_concepts())
    p = np.where(np.arange(p.size) % 3 == 0, np.nan, p)
    assert tally(sequences, p).n == np.count_nonzero(~np.isnan(p))


def test_calibration_counts_are_the_fine_counts_by_width():
    sequences, p = next(_concepts())
    expected = np.bincount(np.minimum((p * 20).astype(int), 19), minlength=20)
    assert tally(sequences, p).calibration_counts.sum(axis=1).tolist() == expected.tolist()


def test_a_tally_survives_json_text():
    sequences, p = next(_concepts())
    counted = tally(sequences, p)
    again = Tally.from_json(json.loads(json.dumps(counted.as_json())))
    for name in Tally.__slots__:
        assert getattr(again, name).tolist() == getattr(counted, name).tolist()


def _pairs(outcomes: list[int], p: list[float]):
    """Two users of the same length."""
    half = len(p) // 2
    sequences = AttemptSequences(np.array(outcomes, np.int8), np.array([0, half, len(p)]))
    return sequences, np.array(p)


def test_keys_are_twice_the_bin_and_one_more_for_right():
    """Stored fits hold these keys: 2^16 bins, and 1 itself is in the last of them."""
    counted = tally(*_pairs([1, 0, 1, 0, 1, 1], [0.25, 0.5, 1.0, 1.0, 0.0, 0.25]))
    assert counted.keys.tolist() == [1, 2 * 16_384 + 1, 2 * 32_768, 131_070, 131_071]
    assert counted.counts.tolist() == [1, 2, 1, 1, 1]
    assert counted.calibration_counts[[0, 5, 10, 19]].tolist() == [
        [0, 1], [0, 2], [1, 0], [1, 1],
    ]  # fmt: skip
    assert (counted.calibration_counts.shape, CURVE_LENGTH) == ((20, 2), 20)


@pytest.mark.parametrize(
    ("outcomes", "p"),
    [
        ([1, 0, 0, 0], [0.2, 0.1, 0.3, 0.2]),
        ([0, 1, 1, 1], [0.2, 0.1, 0.3, 0.2]),
        ([1, 0, 1, 0, 0, 1], [0.5, 0.5, 0.5, 0.25, 0.75, 0.75]),
        ([1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5]),
        ([0, 1], [0.0, 0.0]),
        ([1, 1], [0.3, 0.4]),
        ([0, 0], [0.3, 0.4]),
    ],
)
def test_the_pooled_area_of_a_few_attempts_is_exact(outcomes, p):
    """Ties, a single attempt of one outcome, and only one outcome."""
    sequences, p = _pairs(outcomes, p)
    own = score(sequences.correct, p)
    pooled = pool([own], [tally(sequences, p)])
    assert pooled.auc == own.auc
    assert pooled.accuracy == own.accuracy
    assert pooled.calibration_error == pytest.approx(own.calibration_error, abs=1e-15)


def test_one_attempt_has_scores():
    sequences = AttemptSequences(np.array([1], np.int8), np.array([0, 1]))
    own = score(sequences.correct, np.array([0.75]))
    assert pool([own], [tally(sequences, np.array([0.75]))]) == own
