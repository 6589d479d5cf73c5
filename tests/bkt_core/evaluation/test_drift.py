"""Drift: what did not change is not named more often than declared, what did is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bkt_core.evaluation.comparison import sign_flip_p
from bkt_core.evaluation.drift import judge_drift, measure_drift
from bkt_core.params import BktParams
from bkt_core.replay import predict
from bkt_core.simulation import draw_lengths, simulate
from tests.bkt_core.evaluation.fits import SOUND

RATE = 0.05


def drift_between(
    before: BktParams,
    after: BktParams,
    *,
    seed: int,
    n_before: int = 150,
    n_after: int = 100,
    mean_after: float = 8.0,
    in_force: BktParams | None = None,
    name: str = "sums",
):
    """Users of one truth, then other users of another, predicted by the first."""
    rng = np.random.default_rng(seed)
    parts, users, first = [], [], 0
    for truth, n_users, mean in ((before, n_before, 8.0), (after, n_after, mean_after)):
        lengths = draw_lengths(n_users, mean=mean, rng=rng)
        parts.append(simulate(truth, lengths=lengths, rng=rng))
        users.append(np.repeat(np.arange(first, first + n_users), lengths))
        first += n_users
    p_correct = [predict(part, in_force or before) for part in parts]
    return measure_drift(
        name,
        users=np.concatenate(users),
        correct=np.concatenate([part.correct for part in parts]),
        p_correct=np.concatenate(p_correct),
        later=np.repeat([False, True], [part.n_attempts for part in parts]),
    )


@pytest.mark.parametrize("mean_after", [8.0, 2.0, 20.0])
def test_without_drift_p_is_small_no_more_often_than_it_says(mean_after: float):
    """Also where the later users are beginners only, or stay for long."""
    drifts = [
        drift_between(SOUND, SOUND, seed=seed, mean_after=mean_after) for seed in range(200)
    ]
    chance = 3.0 * np.sqrt(RATE * (1.0 - RATE) / len(drifts))
    for name in ("p_loss", "p_bias", "p"):
        share = np.mean([getattr(drift, name) <= RATE for drift in drifts])
        assert share <= RATE + chance, name


def test_a_model_that_never_fitted_well_has_not_drifted():
    """A misfit that was there when it was promised is part of the promise."""
    wrong = BktParams(p_L0=0.1, p_T=0.05, p_S=0.05, p_G=0.3)
    drifts = [drift_between(SOUND, SOUND, seed=seed, in_force=wrong) for seed in range(200)]
    chance = 3.0 * np.sqrt(RATE * (1.0 - RATE) / len(drifts))
    assert np.mean([drift.p <= RATE for drift in drifts]) <= RATE + chance


@pytest.mark.parametrize("changed", ["p_S", "p_G"])
def test_a_concept_whose_slip_or_guess_doubled_is_named_among_many(changed: str):
    """One of twenty, with 600 users before and 600 since; nobody else is."""
    moved = replace(SOUND, **{changed: 2.0 * getattr(SOUND, changed)})
    drifts = [
        drift_between(
            SOUND,
            moved if n == 7 else SOUND,
            seed=n,
            n_before=600,
            n_after=600,
            name=f"concept-{n}",
        )
        for n in range(20)
    ]
    verdicts = judge_drift(drifts, false_discovery_rate=0.01)
    assert [one.drift.concept_id for one in verdicts if one.drifted] == ["concept-7"]


def test_the_expectation_follows_the_opportunities_of_the_later_attempts():
    """Few long sequences are easier to predict: the promised log loss is not what to expect."""
    drift = drift_between(SOUND, SOUND, seed=3, n_before=2_000, n_after=2_000, mean_after=30.0)
    assert drift.promised_log_loss - drift.scores.log_loss > 0.05
    assert drift.excess == pytest.approx(0.0, abs=0.01)
    assert drift.n_users == 2_000


def test_a_user_on_both_sides_is_one_witness():
    """Three users cannot show anything below one half to the third power."""
    correct = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0], dtype=np.int8)
    drift = measure_drift(
        "sums",
        users=np.tile(np.arange(3), 3),
        correct=correct,
        p_correct=np.full(9, 0.9),
        later=np.repeat([False, False, True], 3),
    )
    assert drift.p_loss == pytest.approx(0.5**3)
    assert (drift.n_attempts, drift.n_users) == (3, 3)
    assert drift.bias == pytest.approx(-1.0)


@pytest.mark.parametrize("n_before", [0, 1, 3])
def test_each_user_counts_by_the_share_of_attempts_on_either_side(n_before):
    """The tests are those of sums by hand; with nothing before, nothing is subtracted."""
    users = np.array([0, 0, 1, 1, 2])
    correct = np.array([1, 0, 1, 0, 0], dtype=np.int8)
    p_correct = np.array([0.9, 0.8, 0.6, 0.7, 0.3])
    later = np.arange(5) >= n_before
    drift = measure_drift(
        "sums", users=users, correct=correct, p_correct=p_correct, later=later
    )
    entropy = -(p_correct * np.log(p_correct) + (1 - p_correct) * np.log(1 - p_correct))
    excess = -np.log(np.where(correct == 1, p_correct, 1 - p_correct)) - entropy
    residual = correct - p_correct
    found = {}
    for name, values in (("loss", excess), ("bias", residual)):
        share = np.where(later, 1 / (5 - n_before), -1 / max(n_before, 1))
        centred = (values - (values.mean() if n_before else 0.0)) * share
        found[name] = np.array([centred[users == user].sum() for user in range(3)])
    either = sign_flip_p(found["bias"]), sign_flip_p(-found["bias"])
    assert drift.p_loss == sign_flip_p(found["loss"])
    assert drift.p_bias == min(1.0, 2 * min(either))
    assert drift.p == min(1.0, 2 * min(drift.p_loss, drift.p_bias))
    was_off, was_excess = (
        values[~later].mean() if n_before else 0.0 for values in (residual, excess)
    )
    assert drift.bias == pytest.approx(residual[later].mean() - was_off)
    assert drift.expected_log_loss == pytest.approx(entropy[later].mean() + was_excess)


def test_a_drift_at_the_rate_itself_is_named():
    drift = replace(drift_between(SOUND, SOUND, seed=1), p_loss=0.025, p_bias=1.0)
    (verdict,) = judge_drift([drift], false_discovery_rate=0.05)
    assert (verdict.adjusted_p, verdict.drifted) == (0.05, True)
    (verdict,) = judge_drift([drift], false_discovery_rate=0.049)
    assert not verdict.drifted


def test_nothing_later_is_no_verdict_and_no_promise_is_the_models_own():
    """No later attempt: None. No earlier one: the predictions' own entropy is expected."""
    values = {
        "users": np.arange(4),
        "correct": np.array([1, 1, 0, 1], dtype=np.int8),
        "p_correct": np.full(4, 0.75),
    }
    assert measure_drift("sums", **values, later=np.zeros(4, np.bool_)) is None
    drift = measure_drift("sums", **values, later=np.ones(4, np.bool_))
    assert drift.excess == pytest.approx(0.0, abs=1e-12)
    assert drift.bias == pytest.approx(0.0, abs=1e-12)
    assert judge_drift([], false_discovery_rate=RATE) == ()
