"""Our EM against pyBKT's (Badrinath, Wang & Pardos 2021), step by step, and the adapter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bkt_core import AttemptSequences, BktParams, Bounds, draw_lengths, simulate
from bkt_core.engines import engine_named
from bkt_core.errors import BktError, UsageError
from bkt_core.fitting import pybkt_engine
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.engine import FitOutcome, FitResult, Stop
from bkt_core.fitting.likelihood import evaluate
from bkt_core.fitting.options import FitOptions, Method
from bkt_core.fitting.pybkt_engine import PyBktEngine, new_model, params_of, run_pybkt

pytestmark = pytest.mark.parity

#: What two codes may differ by after the same number of steps.
PARITY = 1e-9
FROZEN = Path(__file__).with_name("pybkt_1_4_3.json")
START, TRUTH = BktParams(0.4, 0.2, 0.15, 0.3), BktParams(0.3, 0.1, 0.1, 0.2)


def simulated(n_users: int = 60) -> AttemptSequences:
    """Two attempts or more each: pyBKT does not count single ones towards slip and guess."""
    rng = np.random.default_rng(21)
    return simulate(TRUTH, lengths=draw_lengths(n_users, rng=rng), rng=rng)


def everyone(sequences: AttemptSequences) -> np.ndarray:
    return np.ones((1, sequences.n_users), dtype=np.bool_)


@pytest.fixture(scope="module")
def fitted() -> FitResult:
    sequences = simulated()
    options = FitOptions(n_starts=2)
    return PyBktEngine().fit(sequences, everyone(sequences), options)[0]


@pytest.mark.parametrize("n_steps", [1, 2, 5, 20])
@pytest.mark.parametrize("start", [START, BktParams(0.05, 0.4, 0.3, 0.1)])
def test_both_are_at_the_same_parameters_after_the_same_steps(start, n_steps):
    sequences = simulated()
    model, history = run_pybkt(new_model(start), sequences, tolerance=-1.0, n_steps=n_steps)
    options = FitOptions(
        bounds=None, starts=(start,), method=Method.EM, max_steps=n_steps, tolerance=-1.0
    )
    ours = EmEngine().fit(sequences, everyone(sequences), options)[0]
    assert ours.params.as_tuple() == pytest.approx(
        params_of(model, start).as_tuple(), abs=PARITY
    )
    assert ours.log_likelihoods[:-1] == pytest.approx(history, rel=PARITY)


def test_the_reference_is_alive_and_says_what_it_said():
    """Frozen results of pyBKT 1.4.3: finite, away from the start, and unchanged."""
    frozen = json.loads(FROZEN.read_text())
    start = BktParams(**frozen["start"])
    model, _ = run_pybkt(
        new_model(start), simulated(), tolerance=-1.0, n_steps=frozen["n_steps"]
    )
    found = params_of(model, start)
    assert np.isfinite(found.as_tuple()).all()
    assert found != start
    assert found.as_dict() == pytest.approx(frozen["params"], abs=PARITY)


def test_a_reference_that_skips_its_e_step_is_refused():
    with pytest.raises(BktError, match="its E-step did not run"):
        params_of(new_model(START), START)
    dead = new_model(START) | {"prior": float("nan")}
    with pytest.raises(BktError, match="its E-step did not run"):
        params_of(dead, START)


def test_both_engines_find_the_same_maximum(fitted):
    sequences = simulated()
    ours = EmEngine().fit(sequences, everyone(sequences), FitOptions())[0]
    assert fitted.stopped_by is Stop.CONVERGED
    assert fitted.log_likelihood == pytest.approx(ours.log_likelihood, rel=1e-5)
    assert fitted.log_likelihood <= ours.log_likelihood + 1e-9
    assert not fitted.clipped
    assert FitResult.from_json(json.loads(json.dumps(fitted.as_json()))) == fitted


def test_a_result_outside_the_bounds_is_moved_into_them_and_says_so():
    sequences = simulated()
    box = replace(Bounds(), L0_max=0.2)
    options = FitOptions(n_starts=1, bounds=box)
    result = PyBktEngine().fit(sequences, everyone(sequences), options)[0]
    assert result.clipped
    assert result.on_bounds == ("L0_max",)
    assert result.outcome is FitOutcome.ON_BOUND
    assert result.log_likelihood == evaluate(sequences, result.params).log_likelihood


def test_it_fits_each_training_set_and_does_not_touch_what_it_is_given():
    sequences = simulated()
    before = sequences.correct.copy(), sequences.offsets.copy()
    sets = np.stack([np.ones(60, dtype=np.bool_), np.arange(60) % 3 > 0])
    both = PyBktEngine().fit(sequences, sets, FitOptions(n_starts=1))
    assert [result.n_users for result in both] == [60, 40]
    assert both[0].params != both[1].params
    assert np.array_equal(sequences.correct, before[0])
    assert np.array_equal(sequences.offsets, before[1])


def test_reaching_the_cap_is_said():
    sequences = simulated()
    options = FitOptions(n_starts=1, max_steps=4)
    capped = PyBktEngine().fit(sequences, everyone(sequences), options)[0]
    assert (capped.stopped_by, capped.outcome) == (Stop.MAX_STEPS, FitOutcome.DID_NOT_CONVERGE)
    assert capped.n_steps == 4


def test_the_time_limit_is_kept(monkeypatch):
    """One round past it, no further start, and the least that a further set needs."""
    monkeypatch.setattr(pybkt_engine, "ROUND", 4)
    sequences = simulated()
    ticks = iter([0.0, 10.0, 10.0])
    engine = PyBktEngine(clock=lambda: next(ticks))
    options = FitOptions(starts=(START, TRUTH), max_seconds=1.0)
    sets = np.repeat(everyone(sequences), 2, axis=0)
    for late in engine.fit(sequences, sets, options):
        assert (late.stopped_by, late.outcome) == (Stop.TIME_LIMIT, FitOutcome.DID_NOT_CONVERGE)
        assert late.n_steps == pybkt_engine.ROUND
        assert len(late.start_log_likelihoods) == 1


def test_a_large_concept_looks_at_the_clock_more_often(monkeypatch):
    sequences = simulated()
    monkeypatch.setattr(pybkt_engine, "ATTEMPTS_PER_ROUND", 5 * sequences.n_attempts)
    ticks = iter([0.0, 10.0])
    options = FitOptions(starts=(START,), max_seconds=1.0)
    engine = PyBktEngine(clock=lambda: next(ticks))
    assert engine.fit(sequences, everyone(sequences), options)[0].n_steps == 5


def test_no_process_is_started(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a pool of processes was made")

    monkeypatch.setattr("pyBKT.fit.EM_fit.Pool", refuse)
    run_pybkt(new_model(START), simulated(5), tolerance=-1.0, n_steps=2)


def test_engines_are_found_by_name():
    assert engine_named("em").name == "em"
    assert engine_named("pybkt").name == "pybkt"
    with pytest.raises(UsageError, match="em, pybkt, got 'hmm'"):
        engine_named("hmm")
