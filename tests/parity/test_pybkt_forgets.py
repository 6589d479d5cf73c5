"""Our fits with forgetting against pyBKT's EM with `forgets` (Badrinath, Wang & Pardos 2021).

pyBKT learns and forgets in one transition: its learn rate is T (1 - F), its forget rate F.
"""

from __future__ import annotations

import numpy as np
import pytest

from bkt_core import BktParams, Bounds, draw_lengths
from bkt_core.errors import BktError
from bkt_core.family.engine import MapEngine
from bkt_core.family.params import FAMILY_NAMES, FamilyParams
from bkt_core.family.replay import simulate
from bkt_core.fitting.engine import FitOutcome, Stop
from bkt_core.fitting.options import FitOptions
from bkt_core.fitting.pybkt_engine import run_pybkt
from bkt_core.pybkt_forgets import (
    PyBktForgetsEngine,
    forgetting_model,
    forgetting_params,
)
from bkt_core.variant import ForgettingBounds, Variant

pytestmark = pytest.mark.parity

LIKELIHOOD, PARAMETERS = 1e-6, 1e-5
TRUTH = FamilyParams(BktParams(0.3, 0.2, 0.1, 0.2), 0.08)
OPEN = Bounds(*(4 * (1e-6, 1.0 - 1e-6)))


@pytest.mark.parametrize("seed", range(4))
def test_pybkt_stays_where_our_fit_ends(seed):
    """Our most likely parameters are a fixed point of its EM, of the same likelihood."""
    rng = np.random.default_rng(seed)
    sequences = simulate(TRUTH, lengths=draw_lengths(400, rng=rng), rng=rng)
    engine = MapEngine(
        Variant(forgetting=True), flat=True, bounds_of_F=ForgettingBounds(0.0, 0.9)
    )
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    ours = engine.fit(sequences, everyone, FitOptions(bounds=OPEN))[0]
    model, history = run_pybkt(
        forgetting_model(ours.params), sequences, tolerance=-1.0, n_steps=30
    )
    assert history == pytest.approx([ours.log_likelihood] * len(history), rel=LIKELIHOOD)
    assert forgetting_params(model, TRUTH).as_tuple() == pytest.approx(
        ours.params.as_tuple(), abs=PARAMETERS
    )
    far = FamilyParams(BktParams(0.6, 0.05, 0.3, 0.35), 0.3)
    moved, history = run_pybkt(forgetting_model(far), sequences, tolerance=-1.0, n_steps=30)
    assert forgetting_params(moved, far).as_tuple() != pytest.approx(far.as_tuple(), abs=1e-2)
    assert history[0] < history[-1] <= ours.log_likelihood + 1e-6


def test_the_engine_agrees_with_ours_where_both_are_free():
    """Two training sets; the interval of F as ours, without a prior."""
    rng = np.random.default_rng(7)
    sequences = simulate(TRUTH, lengths=draw_lengths(150, rng=rng), rng=rng)
    sets = np.ones((2, sequences.n_users), dtype=np.bool_)
    sets[1, ::5] = False
    of_F, options = ForgettingBounds(0.0, 0.9), FitOptions(bounds=OPEN, starts=(TRUTH.base,))
    ours = MapEngine(Variant(forgetting=True), flat=True, bounds_of_F=of_F)
    theirs = PyBktForgetsEngine(of_F).fit(sequences, sets, options)
    for one, other in zip(ours.fit(sequences, sets, options), theirs, strict=True):
        assert other.stopped_by is Stop.CONVERGED
        assert other.log_likelihood == pytest.approx(one.log_likelihood, rel=LIKELIHOOD)
        assert other.params.as_tuple() == pytest.approx(one.params.as_tuple(), abs=0.01)
        assert other.intervals["p_F"] == pytest.approx(one.intervals["p_F"], abs=0.02)
        assert not other.clipped


def test_a_fit_outside_the_bounds_is_clipped_and_says_so():
    """Our likelihood is that of the clipped parameters."""
    rng = np.random.default_rng(7)
    sequences = simulate(TRUTH, lengths=draw_lengths(100, rng=rng), rng=rng)
    box = Bounds(L0_max=0.1)
    options = FitOptions(bounds=box, starts=(TRUTH.base,), max_steps=30)
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    (fit,) = PyBktForgetsEngine(ForgettingBounds(0.0, 0.01)).fit(sequences, everyone, options)
    assert fit.clipped
    assert {"L0_max", "F_max"} <= set(fit.on_bounds)
    assert (fit.params.p_L0, fit.params.p_F) == (0.1, 0.01)
    assert fit.intervals["p_F"] is None
    assert set(fit.intervals) == set(FAMILY_NAMES)
    assert fit.outcome is FitOutcome.DID_NOT_CONVERGE


def test_a_reference_that_skips_its_e_step_is_refused():
    with pytest.raises(BktError, match="its E-step did not run"):
        forgetting_params(forgetting_model(TRUTH) | {"prior": float("nan")}, TRUTH)
