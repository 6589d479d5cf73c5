"""The sign-flip test against enumeration, its laws, and false discovery control."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkt_core.evaluation import comparison
from bkt_core.evaluation.comparison import (
    Comparison,
    Rival,
    adjusted_p,
    compare,
    sign_flip_p,
)
from bkt_core.evaluation.metrics import attempt_losses, score
from bkt_core.replay import predict
from bkt_core.sequences import AttemptSequences
from tests.bkt_core.evaluation.fits import SOUND, simulated

differences = st.lists(st.floats(-3, 3), min_size=1, max_size=8).map(np.array)


def _oracle(values: np.ndarray) -> float:
    """Every pattern of signs, one by one."""
    total, sizes = values.sum(), np.abs(values)
    patterns = list(product([-1.0, 1.0], repeat=sizes.size))
    return sum(np.dot(signs, sizes) >= total - 1e-9 for signs in patterns) / len(patterns)


@given(differences)
def test_few_differences_are_enumerated(values):
    values = np.round(values, 3)
    if np.abs(values).max() > 0:
        assert sign_flip_p(values) == pytest.approx(_oracle(values[values != 0]), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_the_tail_of_many_differences_is_close_to_enumeration(seed, shift, monkeypatch):
    """Eighteen users of unequal size: within a fifth of the exact tail where it decides."""
    rng = np.random.default_rng(seed)
    values = rng.normal(shift, 1.0, 18) * rng.gamma(2.0, 0.5, 18)
    approximate = sign_flip_p(values)
    monkeypatch.setattr(comparison, "MAX_ENUMERATED", 18)
    exact = sign_flip_p(values)
    assert approximate == pytest.approx(exact, rel=0.2 if exact < 0.1 else 0.5)


@pytest.mark.parametrize("z", [3.0, 4.0, 5.0])
def test_the_far_tail_keeps_its_relative_accuracy(z):
    """Equal sizes are a binomial, whose tail is known."""
    n = 400
    positive = round(n / 2 + z * np.sqrt(n) / 2)
    values = np.where(np.arange(n) < positive, 1.0, -1.0)
    exact = sum(math.comb(n, k) for k in range(positive, n + 1)) / 2**n
    # Half of the probability of the value itself is the lattice's, not the approximation's.
    middle = exact - 0.5 * math.comb(n, positive) / 2**n
    assert sign_flip_p(values) == pytest.approx(middle, rel=0.03)


@given(st.lists(st.floats(-3, 3), min_size=13, max_size=60).map(np.array))
def test_turning_all_signs_turns_the_tail(values):
    both = sign_flip_p(values) + sign_flip_p(-values)
    assert both >= 1.0 - 0.05
    assert 0.0 < sign_flip_p(values) <= 1.0


@given(differences, st.floats(0.01, 100.0))
def test_the_unit_of_loss_does_not_matter(values, scale):
    values = np.round(values, 3)
    assert sign_flip_p(values * scale) == pytest.approx(sign_flip_p(values), abs=1e-9)


def test_no_difference_shows_nothing():
    assert sign_flip_p(np.zeros(50)) == 1.0
    assert sign_flip_p(np.array([])) == 1.0


def test_n_users_that_agree_are_no_surer_than_n_coins():
    assert sign_flip_p(np.ones(5)) == 0.5**5
    assert sign_flip_p(np.ones(200)) == 0.5**200


@pytest.mark.parametrize("n", [2, 12, 13, 20, 60])
def test_users_of_unequal_size_that_agree_have_the_exact_tail(n):
    """On either side, and users without a difference are no witnesses."""
    sizes = np.random.default_rng(n).gamma(2.0, 0.5, n)
    assert sign_flip_p(sizes) == sign_flip_p(np.append(sizes, [0.0, 0.0])) == 0.5**n
    assert sign_flip_p(-sizes) >= 1.0 - 0.5**n


def test_the_tail_of_very_many_users_that_agree_is_not_zero():
    assert sign_flip_p(np.ones(1_100)) == 5e-324


@pytest.mark.parametrize("tiny", [1e-3, 1e-6, 1e-10])
def test_a_tiny_difference_to_the_contrary_hardly_counts(tiny, monkeypatch):
    """Fourteen users agree and one does not, by next to nothing."""
    values = np.append(np.random.default_rng(1).uniform(0.2, 3.0, 14), -tiny)
    approximate = sign_flip_p(values)
    monkeypatch.setattr(comparison, "MAX_ENUMERATED", 15)
    assert sign_flip_p(values) / 2 < approximate < 3 * sign_flip_p(values)


def test_the_unit_may_be_as_small_as_it_likes():
    values = np.array([0.7, -0.3, 1.2, 0.4])
    assert sign_flip_p(values * 1e-12) == sign_flip_p(values) == _oracle(values)


def test_up_to_twelve_differences_are_enumerated_and_thirteen_are_not():
    values = np.random.default_rng(4).normal(0.3, 1.0, 13)
    assert sign_flip_p(values[:12]) == pytest.approx(_oracle(values[:12]), abs=1e-15)
    exact = _oracle(values)
    assert sign_flip_p(values) != exact
    assert sign_flip_p(values) == pytest.approx(exact, rel=0.2)


def test_differences_that_cancel_are_even():
    assert sign_flip_p(np.array([1.0, -1.0] * 7)) == 0.5


#: What the approximation gives for 13 differences of which the first k are turned over.
#: Stored verdicts rest on these values.
SIZES = np.array(
    [1.63, 2.86, 0.6, 2.86, 1.07, 1.39, 2.52, 1.35, 1.74, 0.28, 2.31, 1.71, 1.12]
)  # fmt: skip
FROZEN = {
    1: (0.0014723371582619168, 0.9985276628417381),
    2: (0.02806560007611265, 0.9719343999238873),
    3: (0.04345613934251517, 0.9565438606574849),
    4: (0.20566225948634453, 0.7943377405136555),
}


@pytest.mark.parametrize("turned", FROZEN)
def test_the_approximation_does_not_change(turned):
    values = np.where(np.arange(13) < turned, -SIZES, SIZES)
    above, below = FROZEN[turned]
    assert sign_flip_p(values) == pytest.approx(above, rel=1e-9)
    assert sign_flip_p(-values) == pytest.approx(below, rel=1e-9)


def test_equal_predictors_are_told_apart_no_more_often_than_the_level():
    """Of 2,000 null samples of users as unequal as real ones, at most 6 % fall below .05."""
    rng = np.random.default_rng(7)
    values = rng.pareto(2.0, (2_000, 80)) * rng.normal(0.0, 1.0, (2_000, 80))
    assert np.mean([sign_flip_p(row) < 0.05 for row in values]) <= 0.06


def test_a_comparison_is_paired_by_user():
    """The gain is the difference of pooled log losses; swapping the two turns it over."""
    sequences = simulated(SOUND, n_users=300, length=6, seed=3)
    good = predict(sequences, SOUND)
    flat = np.full(sequences.n_attempts, sequences.correct.mean())
    found = compare(Rival.MEAN, sequences, challenger=good, rival_predictions=flat)
    losses = [attempt_losses(sequences.correct, p).mean() for p in (flat, good)]
    assert found.gain == pytest.approx(losses[0] - losses[1], rel=1e-9)
    assert found.p_not_better < 1e-6
    assert found.p_not_worse > 1 - 1e-6
    assert found.rival_scores == score(sequences.correct, flat)
    turned = compare(Rival.MEAN, sequences, challenger=flat, rival_predictions=good)
    assert turned.gain == pytest.approx(-found.gain, rel=1e-12)
    assert turned.p_not_worse == pytest.approx(found.p_not_better, rel=1e-9)


def test_the_standard_error_is_that_of_a_bootstrap_over_users():
    """Within 10 % of 2,000 draws of users."""
    sequences = simulated(SOUND, n_users=300, length=6, seed=3)
    good = predict(sequences, SOUND)
    flat = np.full(sequences.n_attempts, sequences.correct.mean())
    found = compare(Rival.MEAN, sequences, challenger=good, rival_predictions=flat)
    each = attempt_losses(sequences.correct, flat) - attempt_losses(sequences.correct, good)
    by_user = each.reshape(300, 6).sum(axis=1)
    draws = np.random.default_rng(0).integers(0, 300, (2_000, 300))
    spread = (by_user[draws].sum(axis=1) / (300 * 6)).std()
    assert found.standard_error == pytest.approx(spread, rel=0.1)


def _by_hand(correct, challenger, rival, users):
    """The summed differences in log loss, and the attempts, of each user."""
    each = attempt_losses(correct, rival) - attempt_losses(correct, challenger)
    names = sorted(set(users))
    sums = np.array([each[users == name].sum() for name in names])
    return sums, np.array([(users == name).sum() for name in names])


def test_only_what_both_predict_is_compared():
    sequences = simulated(SOUND, n_users=20, length=2, seed=3)
    good, flat = predict(sequences, SOUND), np.full(40, 0.5)
    good[:9], flat[30:] = np.nan, np.nan
    found = compare(Rival.CHAMPION, sequences, challenger=good, rival_predictions=flat)
    assert (found.n_attempts, found.n_users) == (21, 11)
    assert not found.rival_in_sample
    own = slice(9, 30)
    sums, counts = _by_hand(
        sequences.correct[own], good[own], flat[own], np.repeat(np.arange(20), 2)[own]
    )
    assert counts.tolist() == [1] + [2] * 10
    assert found.gain == pytest.approx(sums.sum() / 21, rel=1e-12)
    assert found.p_not_better == pytest.approx(sign_flip_p(sums), rel=1e-12)
    assert found.rival_scores == score(sequences.correct[own], flat[own])


@pytest.mark.parametrize("n_users", [1, 2, 3])
def test_the_standard_error_of_few_users_is_that_of_the_ratio(n_users):
    """Cochran: the spread of each user's sum around its share of the gain; one has none."""
    offsets = np.array([0, 2, 5, 9])[: n_users + 1]
    correct = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1], dtype=np.int8)[: offsets[-1]]
    sequences = AttemptSequences(correct, offsets)
    good = np.linspace(0.3, 0.8, correct.size)
    found = compare(
        Rival.MEAN, sequences, challenger=good, rival_predictions=np.full(correct.size, 0.5)
    )
    if n_users == 1:
        assert found.standard_error is None
        return
    users = np.repeat(np.arange(n_users), sequences.lengths)
    sums, counts = _by_hand(correct, good, np.full(correct.size, 0.5), users)
    squares = sum((d - found.gain * n) ** 2 for d, n in zip(sums, counts, strict=True))
    expected = np.sqrt(squares * n_users / (n_users - 1)) / counts.sum()
    assert found.standard_error == pytest.approx(expected, rel=1e-12)


def test_a_margin_is_per_attempt():
    offsets, correct = np.array([0, 1, 4, 6]), np.array([1, 0, 1, 0, 1, 1], dtype=np.int8)
    sequences = AttemptSequences(correct, offsets)
    good, rival = np.linspace(0.3, 0.8, 6), np.full(6, 0.6)
    users = np.repeat(np.arange(3), sequences.lengths)
    sums, counts = _by_hand(correct, good, rival, users)
    for margin in (0.1, 0.2, 0.5):
        found = compare(
            Rival.MEAN, sequences, challenger=good, rival_predictions=rival, margin=margin
        )
        assert found.p_worse_by_margin == sign_flip_p(sums + margin * counts)


def test_a_margin_forgives_a_small_loss():
    sequences = simulated(SOUND, n_users=300, length=6, seed=3)
    good = predict(sequences, SOUND)
    worse = np.clip(good + 0.01, 0, 1)
    strict = compare(
        Rival.CHAMPION, sequences, challenger=worse, rival_predictions=good, margin=0.0
    )
    kind = compare(
        Rival.CHAMPION, sequences, challenger=worse, rival_predictions=good, margin=0.05
    )
    assert strict.p_worse_by_margin == strict.p_not_better
    assert kind.p_worse_by_margin < 1e-6


def test_adjusted_p_values_are_those_of_the_definition():
    """Benjamini & Hochberg: the least rate q with p <= q x rank / m at its rank or later."""
    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    ranked = sorted(p)
    definition = {
        v: min(min(ranked[j] * 5 / (j + 1) for j in range(i, 5)), 1.0)
        for i, v in enumerate(ranked)
    }
    assert adjusted_p(p) == pytest.approx([definition[v] for v in p], rel=1e-12)
    assert adjusted_p([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusting_never_lowers_a_p_value_and_keeps_the_order(p):
    adjusted = adjusted_p(p)
    ulp = 1e-15
    assert all(q >= raw * (1 - ulp) for q, raw in zip(adjusted, p, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_a_comparison_survives_json():
    sequences = simulated(SOUND, n_users=20, length=3, seed=3)
    good = predict(sequences, SOUND)
    found = compare(
        Rival.MEAN, sequences, challenger=good, rival_predictions=good * 0.9, margin=0.1
    )
    assert Comparison.from_json(found.as_json()) == found
