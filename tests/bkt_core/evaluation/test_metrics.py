"""Scores against scikit-learn, and the laws that hold whatever the predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from bkt_core.evaluation.metrics import Scores, score

RTOL = 1e-12

#: A coarse grid of probabilities makes ties common.
probabilities = st.one_of(
    st.sampled_from([1e-10, 0.1, 0.25, 0.5, 0.75, 1 - 1e-10]),
    st.floats(1e-10, 1 - 1e-10),
)
predictions = st.lists(st.tuples(st.integers(0, 1), probabilities), min_size=1, max_size=60)


def _arrays(pairs):
    correct, p_correct = zip(*pairs, strict=True)
    return np.array(correct, dtype=np.int8), np.array(p_correct)


@given(predictions)
def test_every_score_is_that_of_scikit_learn(pairs):
    correct, p_correct = _arrays(pairs)
    scores = score(correct, p_correct)
    loss = sklearn_metrics.log_loss(correct, p_correct, labels=[0, 1])
    assert scores.log_loss == pytest.approx(loss, rel=RTOL, abs=1e-15)
    rmse = math.sqrt(sklearn_metrics.mean_squared_error(correct, p_correct))
    assert scores.rmse == pytest.approx(rmse, rel=RTOL)
    assert scores.accuracy == sklearn_metrics.accuracy_score(correct, p_correct >= 0.5)
    if 0 < correct.sum() < correct.size:
        auc = sklearn_metrics.roc_auc_score(correct, p_correct)
        assert scores.auc == pytest.approx(auc, rel=RTOL, abs=1e-15)
    else:
        assert scores.auc is None


@given(predictions)
def test_auc_is_the_share_of_ordered_pairs(pairs):
    """The definition, pair by pair."""
    correct, p_correct = _arrays(pairs)
    right, wrong = p_correct[correct == 1], p_correct[correct == 0]
    if right.size and wrong.size:
        ordered = (right[:, None] > wrong).sum() + 0.5 * (right[:, None] == wrong).sum()
        auc = score(correct, p_correct).auc
        assert auc == pytest.approx(ordered / (right.size * wrong.size), rel=RTOL)


@given(predictions, st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_attempts(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    before, after = score(*_arrays(pairs)), score(*_arrays(shuffled))
    assert after.auc == before.auc
    assert after.log_loss == pytest.approx(before.log_loss, rel=RTOL)


@given(predictions)
def test_attempts_without_a_prediction_are_left_out(pairs):
    correct, p_correct = _arrays(pairs)
    more = np.append(correct, [0, 1]).astype(np.int8)
    assert score(more, np.append(p_correct, [np.nan, np.nan])) == score(correct, p_correct)


@pytest.mark.parametrize("p", [0.5, np.nextafter(0.5, 1.0)])
def test_predictions_that_differ_in_the_last_bit_are_no_tie(p):
    correct = np.array([0, 1], dtype=np.int8)
    assert score(correct, np.array([p, np.nextafter(p, 1.0)])).auc == 1.0
    assert score(correct, np.array([p, p])).auc == 0.5


def test_calibration_error_is_the_mean_gap_over_widths():
    """Ten attempts predicted .30 with five right, ten predicted .70 with seven right."""
    p_correct = np.repeat([0.30, 0.70], 10)
    correct = np.array([1] * 5 + [0] * 5 + [1] * 7 + [0] * 3, dtype=np.int8)
    assert score(correct, p_correct).calibration_error == pytest.approx(0.1, abs=1e-12)


def test_no_predictions_have_no_scores():
    scores = score(np.array([1], dtype=np.int8), np.array([np.nan]))
    assert scores.n == 0
    assert scores.auc is None
    assert math.isnan(scores.log_loss)
    assert score(np.empty(0, dtype=np.int8), np.empty(0)).n == 0


@given(predictions)
def test_scores_survive_json(pairs):
    scores = score(*_arrays(pairs))
    assert Scores.from_json(scores.as_json()) == scores
