"""Synthetic users follow the model, and depend on the generator alone."""

from __future__ import annotations

import numpy as np
import pytest

from bkt_core import BktParams, draw_lengths, draw_params, simulate
from bkt_core.errors import UsageError

TRUTH = BktParams(0.3, 0.1, 0.15, 0.2)
#: Standard errors that a share may be away from what is expected.
FAR = 4.5


def test_the_share_of_right_answers_at_each_opportunity_is_what_the_model_says():
    n_users, n_opportunities = 40_000, 6
    lengths = np.full(n_users, n_opportunities)
    sequences = simulate(TRUTH, lengths=lengths, rng=np.random.default_rng(0))
    shares = sequences.correct.reshape(n_users, n_opportunities).mean(axis=0)
    p_L = TRUTH.p_L0
    for share in shares:
        expected = p_L * (1 - TRUTH.p_S) + (1 - p_L) * TRUTH.p_G
        assert abs(share - expected) < FAR * np.sqrt(expected * (1 - expected) / n_users)
        p_L += (1 - p_L) * TRUTH.p_T


def test_lengths_are_geometric_within_their_limits():
    lengths = draw_lengths(100_000, rng=np.random.default_rng(1))
    assert (lengths.min(), lengths.max()) == (2, 60)
    assert lengths.mean() == pytest.approx(8.1, abs=0.1)


def test_the_same_generator_gives_the_same_attempts():
    one, two = (
        simulate(TRUTH, lengths=draw_lengths(50, rng=rng), rng=rng)
        for rng in (np.random.default_rng(9), np.random.default_rng(9))
    )
    assert np.array_equal(one.correct, two.correct)
    assert np.array_equal(one.offsets, two.offsets)


@pytest.mark.parametrize(
    "limits", [{"mean": 0.5}, {"shortest": 0}, {"shortest": 5, "longest": 4}]
)
def test_limits_that_cannot_hold_are_refused(limits):
    with pytest.raises(UsageError, match="Lengths need a mean"):
        draw_lengths(3, rng=np.random.default_rng(0), **limits)


def test_drawn_parameters_lie_where_the_benchmark_wants_them():
    drawn = draw_params(1000, rng=np.random.default_rng(2))
    assert (drawn >= [0.05, 0.02, 0.02, 0.05]).all()
    assert (drawn <= [0.5, 0.3, 0.25, 0.3]).all()
