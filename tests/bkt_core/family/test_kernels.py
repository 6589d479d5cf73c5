"""The kernels of the family against plain Python, every path, and differences."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkt_core import BktParams
from bkt_core import replay as replay_v1
from bkt_core.errors import InvalidInputError, InvalidSequencesError
from bkt_core.family import kernels
from bkt_core.family.params import FamilyParams
from bkt_core.family.replay import NO_ODDS, predict, replay, simulate, step, trace
from tests.oracles import family as oracle
from tests.strategies import as_lists, as_sequences, bkt_params, users

probabilities = st.floats(0.01, 0.9)
inner_params = st.tuples(*(5 * [probabilities]))
any_params = st.tuples(*(5 * [st.floats(0.0, 1.0)]))


@st.composite
def attempts_with_odds(draw, longest=8):
    outcomes = draw(users(max_users=4, longest=longest))
    n = sum(map(len, outcomes))
    odds = draw(st.lists(st.floats(0.05, 20.0), min_size=n, max_size=n))
    return as_sequences(outcomes), np.array(odds)


def per_user(sequences, odds):
    cuts = pairwise(sequences.offsets.tolist())
    return [None if odds is None else odds[a:b].tolist() for a, b in cuts]


def family(values):
    return FamilyParams(BktParams(*values[:4]), values[4])


def evaluated(sequences, odds, values, times=None):
    score, complete = np.empty(5), np.empty(5)
    pull, bend = np.empty(sequences.n_attempts), np.empty(sequences.n_attempts)
    times = np.ones(sequences.n_users) if times is None else times
    total = kernels.forward_backward(
        sequences.correct,
        sequences.offsets,
        times,
        odds,
        np.array(values),
        score,
        complete,
        pull,
        bend,
    )
    return total, score, complete, pull


@given(attempts_with_odds(longest=30), any_params, st.booleans())
def test_replay_trace_and_steps_equal_plain_python_to_the_bit(
    given_attempts, values, multiplied
):
    """Batch, trace and the step of the online path are one arithmetic."""
    sequences, odds = given_attempts
    odds = odds if multiplied else None
    params = family(values)
    expected = [
        oracle.trace(outcomes, values, m)
        for outcomes, m in zip(as_lists(sequences), per_user(sequences, odds), strict=True)
    ]
    flat = [pair for user in expected for pair in user]
    mastery, p_correct = trace(sequences, params, odds)
    assert list(zip(mastery.tolist(), p_correct.tolist(), strict=True)) == flat
    assert replay(sequences, params, odds).tolist() == [user[-1][0] for user in expected]
    for outcomes, m, user in zip(
        as_lists(sequences), per_user(sequences, odds), expected, strict=True
    ):
        p = None
        for i, correct in enumerate(outcomes):
            p, c = step(p, bool(correct), params, None if m is None else m[i])
            assert (p, c) == user[i]


@given(users(longest=20).map(as_sequences), bkt_params(), st.sampled_from([0.0, None]))
def test_without_forgetting_it_is_v1_to_the_bit(sequences, base, p_F):
    """F of 0, and none, leave the four-parameter model."""
    found = replay(sequences, FamilyParams(base, p_F))
    assert found.tolist() == replay_v1(sequences, base).tolist()


@given(users(longest=20).map(as_sequences), inner_params)
def test_multipliers_of_one_change_nothing(sequences, values):
    """But for the rounding of slip and guess."""
    ones = np.ones(sequences.n_attempts)
    plain, multiplied = (
        predict(sequences, family(values)),
        predict(sequences, family(values), ones),
    )
    np.testing.assert_allclose(multiplied, plain, rtol=1e-9)


@given(attempts_with_odds(longest=40), any_params)
def test_probabilities_stay_inside_the_clamp(given_attempts, values):
    """Whatever parameters and multipliers are."""
    sequences, odds = given_attempts
    for found in trace(sequences, family(values), odds):
        assert found.min() >= oracle.LOW
        assert found.max() <= oracle.HIGH


@given(attempts_with_odds(longest=6), inner_params, st.booleans())
def test_likelihood_is_the_sum_over_every_path(given_attempts, values, multiplied):
    """The oracle enumerates hidden states."""
    sequences, odds = given_attempts
    odds = odds if multiplied else None
    expected = math.fsum(
        oracle.log_likelihood(outcomes, values, m)
        for outcomes, m in zip(as_lists(sequences), per_user(sequences, odds), strict=True)
    )
    found, *_ = evaluated(sequences, NO_ODDS if odds is None else odds, values)
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-11)


@given(attempts_with_odds(longest=6), inner_params)
def test_derivatives_meet_differences(given_attempts, values):
    """By the logit of each probability, and by the logarithm of each multiplier."""
    sequences, odds = given_attempts
    _, score, _, pull = evaluated(sequences, odds, values)
    logits, h = np.log(values) - np.log1p(-np.array(values)), 1e-5

    def at(logits, logs):
        return evaluated(sequences, np.exp(logs), 1.0 / (1.0 + np.exp(-logits)))[0]

    logs = np.log(odds)
    for k in range(5):
        move = h * np.eye(5)[k]
        slope = (at(logits + move, logs) - at(logits - move, logs)) / (2 * h)
        assert score[k] == pytest.approx(slope, rel=1e-5, abs=1e-6)
    for i in range(sequences.n_attempts):
        move = h * np.eye(sequences.n_attempts)[i]
        slope = (at(logits, logs + move) - at(logits, logs - move)) / (2 * h)
        assert pull[i] == pytest.approx(slope, rel=1e-5, abs=1e-6)


@given(attempts_with_odds(), inner_params)
def test_times_count_users(given_attempts, values):
    """A user counted twice is two users; one counted 0 times is none."""
    sequences, odds = given_attempts
    times = np.arange(sequences.n_users) % 3.0
    total, score, complete, pull = evaluated(sequences, odds, values, times)
    alone = [
        evaluated(sequences, odds, values, np.eye(sequences.n_users)[user])
        for user in range(sequences.n_users)
    ]
    for found, column in ((total, 0), (score, 1), (complete, 2), (pull, 3)):
        expected = sum(n * one[column] for n, one in zip(times, alone, strict=True))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_long_runs_do_not_lose_the_likelihood():
    """After thousands of right answers a run of wrong ones still has a finite likelihood."""
    sequences = as_sequences([[1] * 3000 + [0] * 3000])
    total, score, *_ = evaluated(sequences, NO_ODDS, (0.5, 0.3, 0.001, 0.2, 1e-10))
    assert np.isfinite(total)
    assert np.isfinite(score).all()


def test_simulated_users_follow_the_model():
    """Shares of right answers by opportunity are those of the model."""
    params = FamilyParams(BktParams(0.4, 0.2, 0.1, 0.2), 0.1)
    found = simulate(params, lengths=np.full(40_000, 6, np.int64), rng=np.random.default_rng(1))
    known, expected = 0.4, []
    for _ in range(6):
        expected.append(known * 0.9 + (1 - known) * 0.2)
        known = (known + (1 - known) * 0.2) * 0.9
    shares = found.correct.reshape(-1, 6).mean(axis=0)
    np.testing.assert_allclose(shares, expected, atol=0.01)


@pytest.mark.parametrize("odds", [[1.0], [1.0, 0.0], [1.0, math.nan], [1.0, math.inf]])
def test_multipliers_that_are_none_are_refused(odds):
    """Of another length, not finite, or not above 0."""
    params = FamilyParams(BktParams(0.4, 0.2, 0.1, 0.2), 0.1)
    with pytest.raises(InvalidSequencesError, match="ultiplier"):
        replay(as_sequences([[1, 0]]), params, np.array(odds))
    with pytest.raises(InvalidInputError, match="odds"):
        step(0.5, True, params, math.nan)
