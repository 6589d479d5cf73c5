"""The six functions of the model: their arithmetic, their laws, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bkt_core
from bkt_core.errors import InvalidInputError
from tests.oracles.replay import HIGH, LOW, clamp, step

ROUNDING = 1e-12

anything = st.floats(allow_nan=False, allow_infinity=False)
probability = st.floats(0.0, 1.0)
outcome = st.integers(0, 1)


@given(probability, outcome, probability, probability, probability)
def test_a_step_has_the_bits_of_plain_python(p, correct, t, s, g):
    assert tuple(bkt_core.update_mastery(p, correct, t, s, g)) == step(p, correct, t, s, g)


@given(anything, outcome, anything, anything, anything)
def test_every_finite_input_gives_probabilities_inside_the_clamp(p, correct, t, s, g):
    update = bkt_core.update_mastery(p, correct, t, s, g)
    for value in (
        *update,
        bkt_core.predict_correct(p, s, g),
        bkt_core.posterior_given_obs(p, correct, s, g),
        bkt_core.apply_learning_transition(p, t),
    ):
        assert LOW <= value <= HIGH


@given(probability, st.floats(0.0, 0.499), st.floats(0.0, 0.499))
def test_right_never_lowers_the_posterior_and_wrong_never_raises_it(p, s, g):
    known = clamp(p)
    assert bkt_core.posterior_given_obs(p, 1, s, g) >= known - ROUNDING
    assert bkt_core.posterior_given_obs(p, 0, s, g) <= known + ROUNDING


@given(st.floats(0.01, 0.5), st.floats(0.01, 0.5), st.floats(0.0, 0.4), st.floats(0.0, 0.4))
def test_a_long_run_of_right_answers_converges_to_mastery(p, t, s, g):
    run = bkt_core.AttemptSequences(np.ones(5000, dtype=np.int8), np.array([0, 5000]))
    assert bkt_core.replay(run, bkt_core.BktParams(p, t, s, g))[0] > 0.99


@given(st.lists(st.tuples(probability, outcome, probability, probability, probability)))
def test_arrays_have_the_bits_of_scalars(rows):
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    p, correct, t, s, g = columns
    update = bkt_core.update_mastery(p, correct.astype(np.int8), t, s, g)
    expected = [step(*row) for row in rows]
    assert update.p_L_next.tolist() == [row[0] for row in expected]
    assert update.p_correct.tolist() == [row[1] for row in expected]
    assert bkt_core.predict_correct(p, s, g).tolist() == [row[1] for row in expected]


def test_arrays_broadcast():
    grid = bkt_core.predict_correct(np.array([[0.1], [0.9]]), np.array([0.1, 0.2, 0.3]), 0.25)
    assert grid.shape == (2, 3)
    assert grid[1, 2] == bkt_core.predict_correct(0.9, 0.3, 0.25)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 2, 3, 4])
@pytest.mark.parametrize("correct", [0, 1])
def test_a_number_that_is_not_finite_is_refused_by_name(bad, place, correct):
    arguments = [0.3, correct, 0.1, 0.1, 0.2]
    arguments[place] = bad
    name = ("p_L", "correct", "p_T", "p_S", "p_G")[place]
    with pytest.raises(InvalidInputError, match=f"{name} must be a finite number"):
        bkt_core.update_mastery(*arguments)
    with pytest.raises(InvalidInputError):
        bkt_core.update_mastery(np.array([0.2, 0.3]), *arguments[1:4], np.array([0.2, bad]))


@pytest.mark.parametrize("bad", [2, -1, 0.5, float("nan")])
def test_an_outcome_other_than_0_and_1_is_refused(bad):
    with pytest.raises(InvalidInputError, match="correct must be 0 or 1"):
        bkt_core.posterior_given_obs(0.3, bad, 0.1, 0.2)


@pytest.mark.parametrize(
    ("params", "broken"),
    [
        ((0.1, 0.1, 0.1, 0.25), []),
        ((0.0, 0.1, 0.1, 0.25), ["p_L0_above_0"]),
        ((0.1, 1.0, 0.1, 0.25), ["p_T_below_1"]),
        ((0.1, 0.1, 0.5, 0.25), ["slip_below_half"]),
        ((0.1, 0.1, 0.1, 0.5), ["guess_below_half"]),
        (
            (0.1, 0.1, 0.6, 0.5),
            ["known_better_than_guessing", "slip_below_half", "guess_below_half"],
        ),
        ((0.1, float("nan"), 0.1, 0.25), ["p_T_above_0", "p_T_below_1"]),
    ],
)
def test_validation_names_the_rules_that_fail(params, broken):
    report = bkt_core.validate_bkt_params(*params)
    assert [failure.rule for failure in report.failures] == broken
    assert report.passed == (not broken)


@pytest.mark.parametrize(
    ("params", "broken"),
    [
        ((0.1, 0.1, 0.1, 0.25), []),
        ((0.1, 0.01, 0.1, 0.25), []),
        ((0.1, 0.0099, 0.1, 0.25), ["learning_happens"]),
        ((0.1, 0.1, 0.5, 0.41), ["states_differ"]),
        ((0.95, 0.05, 0.1, 0.25), ["learning_gain"]),
    ],
)
def test_degeneracy_names_the_rules_that_fail(params, broken):
    assert [f.rule for f in bkt_core.check_degeneracy(*params).failures] == broken


def test_the_learning_gain_is_over_ten_opportunities_and_its_limit_is_an_argument():
    failure = bkt_core.check_degeneracy(0.5, 0.1, 0.1, 0.2, min_learning_gain=0.4).failures[0]
    assert failure.measured == pytest.approx(0.5 * (1 - 0.9**10), rel=ROUNDING)
    assert bkt_core.check_degeneracy(0.5, 0.1, 0.1, 0.2, min_learning_gain=0.3).passed


@pytest.mark.parametrize(("p_T", "p_F"), [(0.1, 0.0), (0.1, 0.05), (0.02, 0.5)])
def test_the_gain_with_forgetting_is_that_of_a_user_who_does_not_know(p_T, p_F):
    """From 0 towards T / (T + F - T F), whatever the share that knows before."""
    limit = p_T / (p_T + p_F - p_T * p_F)
    gain = limit * (1 - ((1 - p_T) * (1 - p_F)) ** 10)
    for p_L0 in (0.01, 0.9):
        report = bkt_core.check_degeneracy(p_L0, p_T, 0.1, 0.2, p_F=p_F, min_learning_gain=0.99)
        (failure,) = report.failures
        assert failure.measured == pytest.approx(gain, rel=1e-9)
    assert bkt_core.check_degeneracy(0.9, p_T, 0.1, 0.2, p_F=p_F, min_learning_gain=0.03).passed


def test_rules_over_arrays_report_the_worst_element():
    report = bkt_core.validate_bkt_params(0.1, 0.1, np.array([0.1, 0.7, 0.6]), 0.1)
    assert [(f.rule, f.measured) for f in report.failures] == [("slip_below_half", 0.7)]
