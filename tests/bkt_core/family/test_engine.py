"""MAP fits of the family: the top of the posterior, inside the box, whatever the order."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkt_core import AttemptSequences, BktParams, draw_lengths
from bkt_core.errors import BktError
from bkt_core.family import kernels
from bkt_core.family.climbing import expit, look
from bkt_core.family.engine import MapEngine
from bkt_core.family.fit import FamilyFit
from bkt_core.family.params import FamilyParams
from bkt_core.family.posteriors import distinct, posteriors_of
from bkt_core.family.prior import FamilyPrior, learned_from, usual_prior
from bkt_core.family.replay import simulate
from bkt_core.family.teaching import learn_prior
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.engine import FitOutcome, Stop
from bkt_core.fitting.options import FitOptions
from bkt_core.params import WIDE_BOX
from bkt_core.variant import ForgettingBounds, Variant
from tests.oracles import family as oracle
from tests.strategies import as_lists, as_sequences, users

OPTIONS = FitOptions(bounds=WIDE_BOX, n_starts=1)
TRUTH = FamilyParams(BktParams(0.3, 0.15, 0.1, 0.2), 0.05)
V3 = Variant(forgetting=True)


def simulated(n_users=300, truth=TRUTH, seed=1):
    rng = np.random.default_rng(seed)
    return simulate(truth, lengths=draw_lengths(n_users, rng=rng), rng=rng)


def everyone(sequences):
    return np.ones((1, sequences.n_users), dtype=np.bool_)


def posterior_of(sequences, prior=None):
    (found,) = posteriors_of(
        sequences, everyone(sequences), prior, OPTIONS.bounds, ForgettingBounds()
    )
    return found


@given(users(longest=6).map(as_sequences), st.lists(st.floats(-3, 3), min_size=5, max_size=5))
def test_the_posterior_is_the_enumerated_likelihood_and_the_prior(sequences, logits):
    """And its gradient meets differences."""
    x, prior = np.array(logits), usual_prior(V3)
    nats = sum(
        oracle.log_likelihood(outcomes, tuple(expit(x).tolist()))
        for outcomes in as_lists(sequences)
    )
    nats -= sum(
        0.5 * ((a - m) / w) ** 2
        for a, m, w in zip(logits, prior.mean, prior.width, strict=True)
    )
    posterior = posterior_of(sequences, prior)
    here = look(posterior, x)
    assert here.value == pytest.approx(nats, rel=1e-9)
    for k, move in enumerate(1e-5 * np.eye(5)):
        slope = (look(posterior, x + move).value - look(posterior, x - move).value) / 2e-5
        assert here.gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_no_neighbour_of_a_fit_is_more_probable():
    """Nor is any of many random points of the box."""
    sequences = simulated()
    prior = usual_prior(V3)
    fit = MapEngine(V3, prior).fit(sequences, everyone(sequences), OPTIONS)[0]
    posterior = posterior_of(sequences, prior)
    assert fit.stopped_by is Stop.CONVERGED
    x = np.log(fit.params.as_tuple()) - np.log1p(-np.array(fit.params.as_tuple()))
    top = look(posterior, x).value
    rng = np.random.default_rng(3)
    near = x + 0.01 * rng.standard_normal((200, 5))
    far = rng.uniform(posterior.lower, posterior.upper, (200, 5))
    assert all(look(posterior, other).value < top for other in np.vstack([near, far]))
    assert min(b - a for a, b in pairwise(fit.log_likelihoods)) > -1e-9


def test_without_forgetting_and_prior_it_finds_what_em_finds():
    """Two engines, one likelihood: the four parameters, and their standard errors."""
    sequences = simulated(truth=FamilyParams(BktParams(0.3, 0.15, 0.1, 0.2)))
    fit = MapEngine(Variant(), flat=True, n_starts=4).fit(
        sequences, everyone(sequences), OPTIONS
    )[0]
    em = EmEngine().fit(sequences, everyone(sequences), replace(OPTIONS, n_starts=4))[0]
    assert fit.params.p_F is None
    assert fit.params.base.as_tuple() == pytest.approx(em.params.as_tuple(), abs=1e-5)
    assert fit.log_likelihood == pytest.approx(em.log_likelihood, rel=1e-9)
    assert fit.standard_errors == pytest.approx(em.standard_errors, rel=1e-3)
    for name, interval in em.intervals.items():
        assert fit.intervals[name] == pytest.approx(interval, rel=1e-3)


def test_training_sets_are_fitted_apart_and_order_changes_nothing():
    """A set's fit is that of its users alone; users in another order give the same bits."""
    sequences = simulated(80)
    half = np.arange(80) % 2 == 0
    both = MapEngine().fit(sequences, np.stack([np.ones(80, np.bool_), half]), OPTIONS)
    alone = sequences.of_users(half)
    (again,) = MapEngine().fit(alone, everyone(alone), OPTIONS)
    assert again.params.as_tuple() == pytest.approx(both[1].params.as_tuple(), abs=1e-6)
    assert (both[1].n_users, both[1].n_attempts) == (40, alone.n_attempts)
    turned = as_sequences(as_lists(sequences)[::-1])
    assert MapEngine().fit(turned, everyone(turned), OPTIONS)[0] == both[0]


def test_equal_sequences_are_walked_once():
    """And counted as often as a training set has them."""
    sequences = as_sequences([[1, 0], [1], [1, 0], [1, 0]])
    correct, offsets, times = distinct(sequences, np.array([[True, True, True, False]]))
    found = as_lists(AttemptSequences(correct, offsets))
    assert sorted(zip(found, times[0].tolist(), strict=True)) == [([1], 1.0), ([1, 0], 2.0)]


def test_a_fit_on_a_bound_is_the_bound_and_says_so():
    """To the bit, with no interval for that parameter."""
    sequences = simulated(400)
    box = replace(WIDE_BOX, G_max=0.1)
    fit = MapEngine().fit(sequences, everyone(sequences), replace(OPTIONS, bounds=box))[0]
    assert fit.params.base.p_G == 0.1
    assert fit.on_bounds == ("G_max",)
    assert fit.outcome is FitOutcome.ON_BOUND
    assert fit.intervals["p_G"] is None
    assert fit.standard_errors["p_T"] is not None


@pytest.mark.parametrize("outcomes", [[[1]], [[1, 1, 1], [1, 1]], [[0]] * 2])
def test_attempts_that_determine_nothing_are_said_to(outcomes):
    """The prior makes a fit of them; it does not make them determine the parameters."""
    sequences = as_sequences(outcomes)
    fit = MapEngine().fit(sequences, everyone(sequences), OPTIONS)[0]
    assert fit.outcome is FitOutcome.NOT_IDENTIFIABLE
    assert set(fit.intervals.values()) == {None}


def test_attempts_determine_parameters_where_they_say_as_much_as_the_prior():
    """The same attempts say less than a narrow prior, and more than the usual one."""
    sequences, wide = simulated(60), usual_prior(V3)
    narrow = replace(wide, width=tuple(0.05 * width for width in wide.width))
    outcomes = [
        MapEngine(V3, prior).fit(sequences, everyone(sequences), OPTIONS)[0].outcome
        for prior in (narrow, wide)
    ]
    assert outcomes == [FitOutcome.NOT_IDENTIFIABLE, FitOutcome.OK]


def test_limits_of_steps_and_time_are_said():
    """A fit that is cut short is no converged one."""
    sequences = simulated()
    cut = MapEngine().fit(sequences, everyone(sequences), replace(OPTIONS, max_steps=2))[0]
    assert (cut.stopped_by, cut.n_steps) == (Stop.MAX_STEPS, 2)
    assert cut.outcome is FitOutcome.DID_NOT_CONVERGE


def test_a_fit_survives_json():
    """As plain values and back."""
    sequences = simulated(50)
    fit = MapEngine().fit(sequences, everyone(sequences), OPTIONS)[0]
    assert FamilyFit.from_json(json.loads(json.dumps(fit.as_json()))) == fit


def test_the_prior_is_learned_from_concepts():
    """Its means and widths are those from which the concepts were drawn."""
    rng = np.random.default_rng(5)
    mean, width = np.array([-0.5, -1.8, -2.0, -1.2, -3.2]), np.array([0.8, 0.5, 0.4, 0.4, 0.4])
    teachers = [
        simulated(400, FamilyParams(BktParams(*p[:4]), p[4]), seed)
        for seed, p in enumerate(expit(rng.normal(mean, width, (60, 5))).tolist())
    ]
    prior = learn_prior(teachers, V3, OPTIONS, ForgettingBounds())
    np.testing.assert_allclose(prior.mean, mean, atol=0.3)
    np.testing.assert_allclose(prior.width, width, atol=0.3)
    assert learn_prior(teachers[:3], V3, OPTIONS, ForgettingBounds()) == usual_prior(V3)


def test_a_prior_of_one_place_keeps_a_width():
    """Concepts that agree make no certainty."""
    prior = learned_from([np.zeros(5)] * 10, [np.zeros(5)] * 10)
    assert min(prior.width) == 0.2
    with pytest.raises(BktError, match="prior"):
        FamilyPrior((0.0,), (np.nan,))


def test_held_parameters_do_not_move():
    """A climb from a bound that the posterior presses against stays there."""
    posterior = posterior_of(as_sequences([[1, 1, 1]] * 20))
    x = np.minimum(posterior.upper, 0.0)
    x[0] = posterior.upper[0]
    held = kernels.held_by(posterior, x, look(posterior, x).gradient)
    assert held[0]
