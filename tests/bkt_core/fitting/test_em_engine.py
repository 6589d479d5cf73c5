"""The engine: EM's laws, what it promises of a result, and what cannot change one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bkt_core import AttemptSequences, BktParams, Bounds, draw_lengths, kernels, simulate
from bkt_core.errors import InvalidSequencesError, LikelihoodFellError, UsageError
from bkt_core.fitting import em_engine
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.engine import FitOutcome, FitResult, Stop
from bkt_core.fitting.likelihood import MARGIN, evaluate
from bkt_core.fitting.options import FitOptions, Method
from bkt_core.fitting.starts import draw_starts
from tests.oracles import forward_backward
from tests.strategies import as_lists, as_sequences, attempt_sequences, params_inside

#: An EM step may lose this much to rounding, in nats per attempt.
ROUNDING = 1e-12
TRUTH = BktParams(0.3, 0.1, 0.1, 0.2)


def everyone(sequences: AttemptSequences) -> np.ndarray:
    return np.ones((1, sequences.n_users), dtype=np.bool_)


def fit(sequences: AttemptSequences, options: FitOptions | None = None) -> FitResult:
    return EmEngine().fit(sequences, everyone(sequences), options or FitOptions())[0]


@pytest.fixture(scope="module")
def simulated() -> AttemptSequences:
    rng = np.random.default_rng(11)
    return simulate(TRUTH, lengths=draw_lengths(600, rng=rng), rng=rng)


@given(
    sequences=attempt_sequences(max_users=12, longest=25),
    start=params_inside(Bounds()),
    bounded=st.booleans(),
)
def test_no_step_lowers_the_likelihood(sequences, start, bounded):
    for method in Method:
        options = FitOptions(
            method=method, starts=(start,), max_steps=30, bounds=Bounds() if bounded else None
        )
        steps = np.diff(fit(sequences, options).log_likelihoods)
        least = 0.0 if method is Method.ACCELERATED else -ROUNDING * sequences.n_attempts
        assert steps.min(initial=0.0) >= least


@given(sequences=attempt_sequences(max_users=6, longest=12), start=params_inside(Bounds()))
def test_plain_em_takes_the_steps_of_forward_backward_clipped_to_the_bounds(sequences, start):
    options = FitOptions(method=Method.EM, starts=(start,), max_steps=3, tolerance=-np.inf)
    result, params = fit(sequences, options), start
    for value in result.log_likelihoods:
        slow, step = forward_backward.em_step(as_lists(sequences), params.as_tuple())
        assert value == pytest.approx(slow, rel=1e-8)
        here, params = params, Bounds().clip(BktParams(*step))
    assert result.params.as_tuple() == pytest.approx(here.as_tuple(), rel=1e-6)


@given(sequences=attempt_sequences(max_users=15, longest=25), seed=st.integers(0, 10))
@settings(max_examples=60)
def test_the_fast_method_ends_no_lower_than_plain_em(sequences, seed):
    fast = fit(sequences, FitOptions(seed=seed))
    plain = fit(
        sequences, FitOptions(seed=seed, method=Method.EM, tolerance=1e-9, max_steps=5000)
    )
    assert fast.stopped_by is Stop.CONVERGED
    assert fast.log_likelihood >= plain.log_likelihood - 1e-6 * abs(plain.log_likelihood)


@given(sequences=attempt_sequences(max_users=15, longest=25), data=st.data())
def test_parameters_lie_in_the_bounds_exactly(sequences, data):
    low = [data.draw(st.floats(0.0, 0.3)) for _ in range(4)]
    high = [data.draw(st.floats(0.4, 1.0)) for _ in range(4)]
    pairs = zip(low, high, strict=True)
    box = Bounds(*(value for pair in pairs for value in pair))
    result = fit(sequences, FitOptions(bounds=box))
    inside = box.inside(MARGIN)
    assert inside.clip(result.params) == result.params
    assert result.on_bounds == inside.touched_by(result.params)


def test_the_maximum_is_one(simulated):
    """At the end the score is zero, the information positive, and all starts agree."""
    result = fit(simulated)
    here = evaluate(simulated, result.params)
    assert result.outcome is FitOutcome.OK
    assert np.linalg.eigvalsh(here.information).min() > 0
    assert 0.5 * here.score @ np.linalg.solve(here.information, here.score) < 1e-8
    assert max(result.start_spread.values()) < 1e-5
    assert np.ptp(result.start_log_likelihoods) < 1e-6


def test_standard_errors_are_those_of_the_inverse_information(simulated):
    result = fit(simulated)
    inverse = np.linalg.inv(evaluate(simulated, result.params).information)
    errors = list(result.standard_errors.values())
    assert errors == pytest.approx(np.sqrt(np.diag(inverse)), rel=1e-6)
    for name, value in result.params.as_dict().items():
        low, high = result.intervals[name]
        assert 0.0 < low < value < high < 1.0


def test_a_parameter_on_a_bound_has_no_error_and_says_so(simulated):
    box = replace(Bounds(), L0_max=0.2)
    result = fit(simulated, FitOptions(bounds=box))
    assert result.on_bounds == ("L0_max",)
    assert result.outcome is FitOutcome.ON_BOUND
    assert result.standard_errors["p_L0"] is None
    assert result.intervals["p_L0"] is None
    assert result.standard_errors["p_T"] > 0


@pytest.mark.parametrize("bound", ["S_min", "G_min"])
def test_a_bound_of_0_is_a_bound(bound):
    """Nobody slips after one right answer, nobody guesses: the fit ends on that edge."""
    outcomes = [[0] * n + [1] * (6 - n) for n in range(1, 6)] * 20
    box = replace(Bounds(), **{bound: 0.0})
    result = fit(as_sequences(outcomes), FitOptions(bounds=box))
    assert bound in result.on_bounds
    assert result.standard_errors[f"p_{bound[0]}"] is None
    assert result.outcome is FitOutcome.ON_BOUND


@given(sequences=attempt_sequences(max_users=15, longest=20), data=st.data())
@settings(max_examples=50)
def test_the_order_of_users_does_not_change_a_bit_of_a_fit(sequences, data):
    order = data.draw(st.permutations(range(sequences.n_users)))
    outcomes = as_lists(sequences)
    sets = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    )
    sets = np.stack([np.ones(len(order), dtype=np.bool_), sets | ~sets.any()])
    shuffled = as_sequences([outcomes[i] for i in order])
    assert EmEngine().fit(sequences, sets, FitOptions()) == EmEngine().fit(
        shuffled, sets[:, list(order)], FitOptions()
    )


def test_a_training_set_is_fitted_as_if_nobody_else_were_there(simulated):
    seen = np.arange(simulated.n_users) % 3 > 0
    sets = np.stack([np.ones_like(seen), seen])
    among = EmEngine().fit(simulated, sets, FitOptions())[1]
    alone = fit(simulated.of_users(seen))
    assert among.params.as_tuple() == pytest.approx(alone.params.as_tuple(), rel=1e-9)
    assert among.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-12)
    assert (among.n_users, among.n_attempts) == (alone.n_users, alone.n_attempts)


def test_threads_do_not_change_a_bit():
    """Neither those that walk the blocks of one large concept, nor those that fit many."""
    rng = np.random.default_rng(3)
    large = AttemptSequences(
        correct=rng.integers(0, 2, 900_000).astype(np.int8),
        offsets=np.arange(0, 900_001, 30, dtype=np.int64),
    )
    assert kernels.grow_tree(large.correct, large.offsets, everyone(large)).blocks.size > 3
    options = FitOptions(n_starts=2)
    one, two, three = (
        EmEngine(n_threads=n).fit(large, everyone(large), options) for n in (1, 2, 3)
    )
    assert one == two == three
    many = [simulate(TRUTH, lengths=draw_lengths(50, rng=rng), rng=rng) for _ in range(20)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(fit, many)) == [fit(sequences) for sequences in many]


def test_a_limit_that_is_over_at_once_leaves_a_named_outcome_on_any_number_of_threads(
    monkeypatch,
):
    monkeypatch.setattr(em_engine, "STEPS_BETWEEN_LOOKS", 0)  # the clock is read at each pass
    rng = np.random.default_rng(4)
    large = AttemptSequences(
        correct=rng.integers(0, 2, 300_000).astype(np.int8),
        offsets=np.arange(0, 300_001, 30, dtype=np.int64),
    )
    assert kernels.grow_tree(large.correct, large.offsets, everyone(large)).blocks.size > 2
    for n_threads in (1, 2):
        engine, options = EmEngine(n_threads=n_threads), FitOptions(max_seconds=1e-9)
        late = engine.fit(large, everyone(large), options)[0]
        assert (late.stopped_by, late.outcome) == (Stop.TIME_LIMIT, FitOutcome.DID_NOT_CONVERGE)
        assert np.isfinite(late.start_log_likelihoods).all()


def test_no_training_set_gives_no_fit(simulated):
    assert EmEngine().fit(simulated, everyone(simulated)[:0], FitOptions()) == ()


def test_a_likelihood_that_falls_raises(simulated, monkeypatch):
    """Plain EM whose M-step is broken by hand: the worst value in place of the best."""

    def broken(correct, offsets, training_sets, starts, max_steps, rules, n_passes):
        tree = kernels.grow_tree(correct, offsets, training_sets)
        lanes = kernels.new_lanes(starts, len(training_sets), max_steps)
        left = kernels.climb(tree, lanes, rules, 1)
        lanes.trial[:] = np.array([0.5, 0.001, 0.4, 0.001])
        return tree.totals, lanes, left and kernels.climb(tree, lanes, rules, n_passes)

    monkeypatch.setattr(kernels, "grow_and_climb", broken)
    with pytest.raises(LikelihoodFellError) as caught:
        fit(simulated, FitOptions(method=Method.EM))
    assert caught.value.step == 1
    assert caught.value.after < caught.value.before


def test_limits_are_named(simulated):
    capped = fit(simulated, FitOptions(max_steps=2))
    assert (capped.stopped_by, capped.outcome) == (Stop.MAX_STEPS, FitOutcome.DID_NOT_CONVERGE)
    assert capped.n_steps == 2
    ticks = iter([0.0, 10.0, 20.0])
    engine = EmEngine(clock=lambda: next(ticks))
    options = FitOptions(max_seconds=1.0, method=Method.EM, tolerance=-1.0, max_steps=10**6)
    late = engine.fit(simulated, everyone(simulated), options)[0]
    assert (late.stopped_by, late.outcome) == (Stop.TIME_LIMIT, FitOutcome.DID_NOT_CONVERGE)


@pytest.mark.parametrize("width", [1, 7, 10**9])
def test_how_many_lanes_walk_together_changes_no_bit(
    simulated: AttemptSequences, width: int, monkeypatch: pytest.MonkeyPatch
):
    sets = np.ones((3, simulated.n_users), dtype=np.bool_)
    sets[0, ::2] = sets[1, 1::2] = False
    options = FitOptions(n_starts=5)
    usual = EmEngine().fit(simulated, sets, options)
    monkeypatch.setattr(em_engine, "LANES", width)
    assert EmEngine().fit(simulated, sets, options) == usual


def test_a_start_that_ran_out_of_time_is_said_though_another_was_done(simulated, monkeypatch):
    """The unfinished one might have won: how far it came is the machine's doing."""
    monkeypatch.setattr(em_engine, "STEPS_BETWEEN_LOOKS", 0)  # the clock is read at each pass
    ticks = iter([0.0, 0.5, 10.0])
    options = FitOptions(
        starts=(fit(simulated).params, BktParams(0.4, 0.4, 0.39, 0.39)),
        max_seconds=1.0,
        method=Method.EM,
        tolerance=1e-9,
    )
    engine = EmEngine(clock=lambda: next(ticks))
    late = engine.fit(simulated, everyone(simulated), options)[0]
    assert late.log_likelihoods[-1] == late.start_log_likelihoods[0]
    assert late.start_log_likelihoods[0] > late.start_log_likelihoods[1]
    assert (late.stopped_by, late.outcome) == (Stop.TIME_LIMIT, FitOutcome.DID_NOT_CONVERGE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_starts": 0},
        {"max_steps": -1},
        {"max_seconds": 0.0},
        {"max_seconds": float("nan")},
        {"tolerance": float("nan")},
    ],
    ids=str,
)
def test_options_that_ask_for_no_fit_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        FitOptions(**wrong)


def test_a_result_survives_json(simulated):
    for options in (FitOptions(), FitOptions(bounds=replace(Bounds(), L0_max=0.2))):
        result = fit(simulated, options)
        assert FitResult.from_json(json.loads(json.dumps(result.as_json()))) == result


@pytest.mark.parametrize(
    "sets", [np.ones((1, 3)), np.ones((1, 2), dtype=np.bool_), np.ones(3, dtype=np.bool_)]
)
def test_training_sets_that_do_not_match_the_users_are_refused(sets):
    with pytest.raises(InvalidSequencesError, match="Training sets must be"):
        EmEngine().fit(as_sequences([[1], [0], [1, 0]]), sets, FitOptions())


def test_a_training_set_without_users_is_refused():
    sets = np.array([[True, True], [False, False]])
    with pytest.raises(InvalidSequencesError, match="Training set 1 has no user"):
        EmEngine().fit(as_sequences([[1], [0]]), sets, FitOptions())


def test_starts_depend_on_seed_and_box_alone():
    options = FitOptions(n_starts=8, seed=4)
    starts = draw_starts(options)
    assert starts.tolist() == draw_starts(options).tolist()
    assert starts.tolist() != draw_starts(replace(options, seed=5)).tolist()
    assert (starts > Bounds().lower).all()
    assert (starts < Bounds().upper).all()
    assert draw_starts(replace(options, starts=(TRUTH,))).tolist() == [[*TRUTH.as_tuple()]]
