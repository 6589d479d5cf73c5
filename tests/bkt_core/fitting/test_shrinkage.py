"""Shrunk fits are the most probable ones, and data outweighs the prior as it comes."""

from __future__ import annotations

import numpy as np
import pytest

from bkt_core.evaluation.cross_validation import cross_validate
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.engine import FitOutcome, Stop
from bkt_core.fitting.likelihood import evaluate
from bkt_core.fitting.options import FitOptions, Method
from bkt_core.fitting.shrinkage import (
    FEWEST_TEACHERS,
    LEAST_STRENGTH,
    MOST_STRENGTH,
    MOST_TEACHERS,
    TEACHES_FROM,
    Prior,
    ShrinkingEngine,
    choose_teachers,
    learn_prior,
    prior_from,
)
from bkt_core.params import BktParams, Bounds
from tests.bkt_core.evaluation.fits import SOUND, simulated
from tests.strategies import as_sequences

PRIOR = Prior(BktParams(0.3, 0.15, 0.12, 0.2), (10.0, 20.0, 20.0, 20.0))
OPTIONS = FitOptions()
ENGINE = ShrinkingEngine(EmEngine(), PRIOR)


def _fit(engine, sequences, options=OPTIONS):
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    return engine.fit(sequences, everyone, options)[0]


def _log_posterior(sequences, values) -> float:
    """Written out: the likelihood and four Beta densities."""
    total = evaluate(sequences, BktParams(*values)).log_likelihood
    for p, m, k in zip(values, PRIOR.mean.as_tuple(), PRIOR.strength, strict=True):
        total += k * (m * np.log(p) + (1 - m) * np.log(1 - p))
    return total


@pytest.mark.parametrize("seed", range(4))
def test_no_step_away_raises_the_posterior(seed):
    """Along each letter inside the box, and at random."""
    sequences = simulated(SOUND, n_users=8, length=5, seed=seed)
    fit = _fit(ENGINE, sequences)
    best = np.array(fit.params.as_tuple())
    here = _log_posterior(sequences, best)
    steps = 1e-3 * np.vstack([np.eye(4), -np.eye(4)])
    steps = np.vstack([steps, 0.05 * np.random.default_rng(seed).normal(size=(40, 4))])
    box = Bounds()
    for step in steps:
        there = np.clip(best + step, box.lower, box.upper)
        assert _log_posterior(sequences, there) <= here + 1e-9
    assert fit.stopped_by is Stop.CONVERGED


def test_a_concept_moves_from_the_prior_to_its_own_fit():
    """Four users stay near the prior; 250 come within .02 of the plain fit."""
    far = BktParams(0.05, 0.4, 0.3, 0.05)
    few, many = (simulated(far, n_users=n, length=7, seed=2) for n in (4, 250))
    distances = []
    for sequences in (few, many):
        shrunk, plain = _fit(ENGINE, sequences).params, _fit(EmEngine(), sequences).params
        to_prior = np.abs(np.subtract(shrunk.as_tuple(), PRIOR.mean.as_tuple())).max()
        to_plain = np.abs(np.subtract(shrunk.as_tuple(), plain.as_tuple())).max()
        distances.append((to_prior, to_plain))
    (few_prior, few_plain), (many_prior, many_plain) = distances
    assert few_prior < few_plain
    assert many_plain < many_prior
    assert many_plain < 0.06


def test_standard_errors_are_those_of_the_bend_of_the_posterior():
    sequences = simulated(SOUND, n_users=60, length=5, seed=5)
    fit = _fit(ENGINE, sequences)
    assert fit.on_bounds == ()
    best, h = np.array(fit.params.as_tuple()), 1e-4
    bend = np.empty((4, 4))
    for i, j in np.ndindex(4, 4):
        a, b = h * np.eye(4)[i], h * np.eye(4)[j]
        bend[i, j] = (
            _log_posterior(sequences, best + a + b)
            - _log_posterior(sequences, best + a - b)
            - _log_posterior(sequences, best - a + b)
            + _log_posterior(sequences, best - a - b)
        ) / (4 * h * h)
    expected = np.sqrt(np.diag(np.linalg.inv(-bend)))
    assert list(fit.standard_errors.values()) == pytest.approx(expected.tolist(), rel=1e-3)


def test_a_prior_does_not_make_attempts_tell_what_they_do_not():
    """Single attempts say nothing of learning, whatever others are like."""
    once = as_sequences([[0], [1], [1]] * 20)
    assert _fit(EmEngine(), once).outcome is FitOutcome.NOT_IDENTIFIABLE
    assert _fit(ENGINE, once).outcome is FitOutcome.NOT_IDENTIFIABLE


def test_what_ran_out_of_time_before_it_was_shrunk_says_so():
    ticks = iter([0.0, 10.0])
    late = ShrinkingEngine(EmEngine(clock=lambda: next(ticks)), PRIOR)
    options = FitOptions(max_seconds=1.0, method=Method.EM, tolerance=-1.0, max_steps=10**6)
    sequences = simulated(SOUND, n_users=20, length=5, seed=5)
    assert _fit(late, sequences, options).stopped_by is Stop.TIME_LIMIT


def test_teachers_are_large_and_stay_the_same_when_others_grow():
    sizes = {f"c{i}": TEACHES_FROM + i for i in range(3 * MOST_TEACHERS)}
    chosen = choose_teachers(sizes | {"small": TEACHES_FROM - 1})
    assert len(chosen) == len(set(chosen)) == MOST_TEACHERS
    assert "small" not in chosen
    assert choose_teachers({name: 2 * n for name, n in reversed(sizes.items())}) == chosen


def test_too_few_or_one_sided_teachers_make_no_prior():
    """Nine large concepts do not; a tenth that is all right, or too short, does not help."""
    nine = [
        simulated(SOUND, n_users=TEACHES_FROM // 5, length=5, seed=seed)
        for seed in range(FEWEST_TEACHERS - 1)
    ]
    offsets = nine[0].offsets
    all_right = type(nine[0])(np.ones(offsets[-1], np.int8), offsets)
    short = simulated(SOUND, n_users=4, length=5, seed=1)
    assert prior_from([*nine, all_right, short], EmEngine(), OPTIONS) is None
    tenth = simulated(SOUND, n_users=TEACHES_FROM // 5, length=5, seed=99)
    prior = prior_from([*nine, tenth], EmEngine(), OPTIONS)
    plain = [_fit(EmEngine(), one).params for one in [*nine, tenth]]
    assert prior == learn_prior(plain)


def test_users_in_another_order_give_the_same_bits():
    sequences = simulated(SOUND, n_users=30, length=4, seed=1)
    turned = type(sequences)(
        sequences.correct.reshape(30, 4)[::-1].ravel().copy(), sequences.offsets
    )
    assert _fit(ENGINE, sequences) == _fit(ENGINE, turned)


def test_bounds_hold_and_are_named():
    box = Bounds(S_max=0.05)
    fit = _fit(ENGINE, simulated(SOUND, n_users=30, length=6, seed=1), FitOptions(bounds=box))
    assert box.clip(fit.params) == fit.params
    assert "S_max" in fit.on_bounds
    assert fit.intervals["p_S"] is None


def test_folds_are_shrunk_as_the_whole_is():
    sequences = simulated(SOUND, n_users=30, length=5, seed=1)
    folds = (np.arange(30) % 3).astype(np.int8)
    found = cross_validate(ENGINE, sequences, folds, n_folds=3, options=OPTIONS)
    alone = _fit(ENGINE, sequences.of_users(folds != 1))
    assert found.fold_fits[1].params.as_tuple() == pytest.approx(
        alone.params.as_tuple(), abs=1e-5
    )


def test_the_prior_is_that_of_the_concepts_it_was_learned_from():
    """Two thousand draws of known Beta distributions: mean to .01, strength to a fifth."""
    rng = np.random.default_rng(3)
    mean, strength = np.array(PRIOR.mean.as_tuple()), np.array(PRIOR.strength)
    draws = rng.beta(mean * strength, (1 - mean) * strength, size=(2_000, 4))
    learned = learn_prior([BktParams(*row) for row in draws.tolist()])
    np.testing.assert_allclose(learned.mean.as_tuple(), mean, atol=0.011)
    np.testing.assert_allclose(learned.strength, strength, rtol=0.2)


def test_a_prior_is_never_dead_weight_nor_weightless():
    one = learn_prior([SOUND])
    assert one.strength == (MOST_STRENGTH,) * 4
    apart = learn_prior([BktParams(0.01, 0.01, 0.01, 0.01), BktParams(0.99, 0.99, 0.99, 0.99)])
    assert apart.strength == (LEAST_STRENGTH,) * 4
