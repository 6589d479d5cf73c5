"""Counts pool to the scores of all attempts as one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bkt_core.evaluation.metrics import score
from bkt_core.evaluation.tally import CURVE_LENGTH, Tally, add_tallies, pool, tally
from bkt_core.params import BktParams
from bkt_core.replay import predict
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
