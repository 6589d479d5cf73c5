"""Scores of two sets of predictions against plain sums and the jackknife."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bkt_core.evaluation.comparison import sign_flip_p
from bkt_core.evaluation.paired_scores import (
    SCORES,
    PairedPredictions,
    ScoreDifference,
    paired_scores,
    placements,
)


def drawn(*, n_users: int = 40, seed: int = 3) -> PairedPredictions:
    """Attempts of users of very different lengths at four concepts, with ties."""
    rng = np.random.default_rng(seed)
    parts = []
    for concept in range(4):
        users = np.sort(rng.choice(n_users, size=300, p=rng.dirichlet(np.ones(n_users))))
        p = rng.uniform(0.1, 0.9, size=300)
        correct = (rng.uniform(size=300) < p).astype(np.int8)
        if concept == 3:
            correct[:] = 1  # without an AUC of its own
        a, b = np.clip(p + rng.normal(0, 0.2, 300), 0.02, 0.98), np.round(p, 2)
        parts.append((users, np.full(300, concept), correct, a, b))
    return PairedPredictions(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def plain(pairs: PairedPredictions, p: np.ndarray) -> dict[str, float]:
    """Each score by its definition."""
    rows = list(zip(pairs.concepts.tolist(), pairs.correct.tolist(), p.tolist(), strict=True))
    losses = [-math.log(q if right else 1 - q) for _, right, q in rows]
    squares = [(q - right) ** 2 for _, right, q in rows]
    within, n = 0.0, 0
    for concept in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == concept]
        if len({right for _, right, _ in own}) == 2:
            within += len(own) * roc_auc_score([r for _, r, _ in own], [q for *_, q in own])
            n += len(own)
    gaps: dict[int, float] = {}
    for _, right, q in rows:
        gaps[min(int(q * 20), 19)] = gaps.get(min(int(q * 20), 19), 0.0) + q - right
    return {
        "log_loss": math.fsum(losses) / len(rows),
        "rmse": math.sqrt(math.fsum(squares) / len(rows)),
        "accuracy": sum((q >= 0.5) == bool(right) for _, right, q in rows) / len(rows),
        "auc": roc_auc_score([right for _, right, _ in rows], p),
        "within_auc": within / n,
        "calibration_error": math.fsum(abs(gap) for gap in gaps.values()) / len(rows),
    }


def without(pairs: PairedPredictions, user: int) -> PairedPredictions:
    kept = pairs.users != user
    columns = ("users", "concepts", "correct", "p_a", "p_b")
    return PairedPredictions(*(getattr(pairs, name)[kept] for name in columns))


def test_every_score_is_that_of_its_definition_and_b_minus_a_its_change():
    pairs = drawn()
    found = paired_scores(pairs)
    assert (found.n_attempts, found.n_concepts) == (1200, 4)
    assert found.n_users == len(set(pairs.users.tolist()))
    a, b = plain(pairs, pairs.p_a), plain(pairs, pairs.p_b)
    for name in SCORES:
        one = found.scores[name]
        assert one.a == pytest.approx(a[name], abs=1e-12)
        assert one.b == pytest.approx(b[name], abs=1e-12)
        assert one.change == pytest.approx(b[name] - a[name], abs=1e-12)
        low, high = one.interval
        assert (low + high) / 2 == pytest.approx(one.change, abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_standard_errors_are_those_of_the_jackknife_over_users(name):
    """Leaving each user out in turn gives the same spread, up to terms of second order."""
    pairs = drawn(n_users=150, seed=8)
    users = sorted(set(pairs.users.tolist()))
    left_out = [paired_scores(without(pairs, user)).scores[name].change for user in users]
    n = len(users)
    jackknife = math.sqrt((n - 1) / n * sum((x - np.mean(left_out)) ** 2 for x in left_out))
    assert paired_scores(pairs).scores[name].standard_error == pytest.approx(jackknife, rel=0.1)


def test_intervals_hold_the_true_change_as_often_as_they_say():
    """200 draws of users; the truth is the mean of all draws. 95 % +- 3 standard errors."""
    found = [paired_scores(drawn(n_users=60, seed=seed)).scores["auc"] for seed in range(200)]
    truth = np.mean([one.change for one in found])
    held = sum(one.interval[0] <= truth <= one.interval[1] for one in found)
    assert 0.90 * 200 <= held <= 200


def test_p_values_are_those_of_sign_flips_of_each_users_summed_difference():
    pairs = drawn(n_users=9)
    found = paired_scores(pairs)
    sums: dict[int, float] = {}
    columns = (pairs.users, pairs.correct, pairs.p_a, pairs.p_b)
    for user, right, a, b in zip(*(column.tolist() for column in columns), strict=True):
        gain = math.log(b if right else 1 - b) - math.log(a if right else 1 - a)
        sums[user] = sums.get(user, 0.0) + gain
    assert found.p_not_better == pytest.approx(sign_flip_p(np.array(list(sums.values()))))
    assert found.p_not_better < 0.05 < found.p_not_worse


def test_placements_average_to_the_auc_on_either_side():
    pairs = drawn()
    right = pairs.correct != 0
    auc = roc_auc_score(right, pairs.p_b)
    shares = placements(right, pairs.p_b)
    assert shares[right].mean() == pytest.approx(auc, abs=1e-12)
    assert shares[~right].mean() == pytest.approx(auc, abs=1e-12)


def test_equal_predictions_differ_nowhere_and_nothing_is_defined_without_attempts():
    pairs = drawn()
    same = paired_scores(
        PairedPredictions(pairs.users, pairs.concepts, pairs.correct, pairs.p_a, pairs.p_a)
    )
    assert {(one.change, one.standard_error) for one in same.scores.values()} == {(0.0, 0.0)}
    assert (same.p_not_better, same.p_not_worse) == (1.0, 1.0)
    none = paired_scores(
        PairedPredictions(*(getattr(pairs, name)[:0] for name in PairedPredictions.__slots__))
    )
    assert none.n_attempts == 0
    assert {(one.a, one.b, one.interval) for one in none.scores.values()} == {(None,) * 3}


@pytest.mark.parametrize(("a", "b"), [(0.5, None), (None, 0.5), (None, None)])
def test_a_score_that_one_side_lacks_has_no_change(a, b):
    one = ScoreDifference(a=a, b=b, standard_error=0.1)
    assert (one.change, one.interval) == (None, None)
    assert one.as_json()["interval"] is None


def test_one_user_has_scores_but_no_errors():
    pairs = without_others(drawn(), 0)
    found = paired_scores(pairs)
    assert found.n_users == 1
    assert {one.standard_error for one in found.scores.values()} == {None}
    assert {one.interval for one in found.scores.values()} == {None}
    assert found.scores["log_loss"].a == pytest.approx(plain(pairs, pairs.p_a)["log_loss"])


def without_others(pairs: PairedPredictions, user: int) -> PairedPredictions:
    own = pairs.users == user
    return PairedPredictions(*(getattr(pairs, name)[own] for name in pairs.__slots__))
