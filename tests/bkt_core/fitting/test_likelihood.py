"""The fast likelihood, its EM step and its derivatives against three slow computations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkt_core import AttemptSequences, BktParams, Bounds
from bkt_core.errors import InvalidSequencesError
from bkt_core.fitting.likelihood import evaluate
from bkt_core.params import PARAM_NAMES
from tests.oracles import enumeration, forward_backward
from tests.strategies import as_lists, as_sequences, attempt_sequences, bkt_params, users

ROUNDING = 1e-9
inside = bkt_params(0.001, 0.999)


@given(outcomes=users(max_users=5, longest=7), params=inside)
def test_likelihood_and_em_step_are_those_of_every_hidden_path(outcomes, params):
    fast = evaluate(as_sequences(outcomes), params)
    slow = enumeration.log_likelihood(outcomes, params.as_tuple())
    assert fast.log_likelihood == pytest.approx(slow, rel=ROUNDING, abs=ROUNDING)
    step = enumeration.em_step(outcomes, params.as_tuple())
    assert fast.em_step == pytest.approx(np.array(step), rel=1e-8, abs=ROUNDING)


CORNERS = list(itertools.product(*zip(Bounds().lower, Bounds().upper, strict=True)))


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("length", [1, 2, 63, 64, 400, 3585])
def test_any_length_and_every_corner_of_the_bounds_agree_with_forward_backward(corner, length):
    rng = np.random.default_rng(length)
    outcomes = [
        [0] * length,
        [1] * length,
        rng.integers(0, 2, length).tolist(),
        ([0] * (length // 2) + [1] * length)[:length],
        ([1] * (length // 2) + [0] * length)[:length],
    ]
    value, step = forward_backward.em_step(outcomes, corner)
    fast = evaluate(as_sequences(outcomes), BktParams(*corner))
    assert fast.log_likelihood == pytest.approx(value, rel=1e-12, abs=1e-12)
    assert fast.em_step == pytest.approx(np.array(step), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 1e-10, 1.0 - 1e-10, 1.0])
@pytest.mark.parametrize("place", range(4))
def test_the_edges_of_the_unit_box_give_numbers(place, value):
    params = [0.3, 0.1, 0.1, 0.2]
    params[place] = value
    outcomes = [[0] * 3000, [1] * 3000, [0, 1] * 1500, [0], [1]]
    fast = evaluate(as_sequences(outcomes), BktParams(*params))
    assert np.isfinite(fast.log_likelihood)
    assert np.isfinite(fast.score).all()
    assert np.isfinite(fast.information).all()


EDGE = 1e-10
EDGES = list(itertools.product((0.3, EDGE, 1.0 - EDGE), repeat=4))


@pytest.mark.parametrize("edge", EDGES)
def test_every_corner_of_the_unit_box_agrees_with_forward_backward(edge):
    """A weight that all but vanished in a run of right answers comes back in one of wrong."""
    outcomes = [
        [1] * 32 + [0] * 1_200,
        [0] * 32 + [1] * 1_200,
        [0] * 400,
        [1] * 400,
        [0, 1] * 100,
    ]
    for one in outcomes:
        value, _ = forward_backward.e_step(one, edge)
        fast = evaluate(as_sequences([one]), BktParams(*edge))
        assert fast.log_likelihood == pytest.approx(value, rel=1e-11, abs=1e-11)


def test_the_likelihood_of_nobody_is_refused():
    nobody = AttemptSequences(correct=np.empty(0, np.int8), offsets=np.zeros(1, np.int64))
    with pytest.raises(InvalidSequencesError, match="at least one user"):
        evaluate(nobody, BktParams(0.3, 0.1, 0.1, 0.2))


@given(sequences=attempt_sequences(max_users=20, longest=30), params=bkt_params(0.05, 0.9))
def test_score_and_information_are_the_differences_of_the_likelihood(sequences, params):
    here, h = evaluate(sequences, params), 1e-5
    scale = max(1.0, float(np.abs(here.information).max()))
    for i in range(4):
        at = list(params.as_tuple())
        at[i] += h
        above = evaluate(sequences, BktParams(*at))
        at[i] -= 2 * h
        below = evaluate(sequences, BktParams(*at))
        slope = (above.log_likelihood - below.log_likelihood) / (2 * h)
        bend = -(above.score - below.score) / (2 * h)
        assert here.score[i] == pytest.approx(slope, rel=1e-5, abs=1e-6 * scale)
        assert here.information[i] == pytest.approx(bend, rel=1e-4, abs=1e-5 * scale)


@given(sequences=attempt_sequences(max_users=12, longest=20), params=inside, data=st.data())
def test_the_order_of_users_does_not_change_a_bit(sequences, params, data):
    shuffled = data.draw(st.permutations(as_lists(sequences)))
    first, second = evaluate(sequences, params), evaluate(as_sequences(shuffled), params)
    assert first.log_likelihood == second.log_likelihood
    assert first.score.tolist() == second.score.tolist()
    assert first.information.tolist() == second.information.tolist()


def test_swapping_slip_and_guess_is_noticed():
    sequences = as_sequences([[0, 0, 1, 1, 1], [0, 1, 1, 0, 1]])
    assert len(PARAM_NAMES) == 4
    right = evaluate(sequences, BktParams(0.2, 0.3, 0.1, 0.25)).log_likelihood
    assert evaluate(sequences, BktParams(0.2, 0.3, 0.25, 0.1)).log_likelihood != right
