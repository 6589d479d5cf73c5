"""Our fits with forgetting against pyBKT's EM with `forgets` (Badrinath, Wang & Pardos 2021).

pyBKT learns and forgets in one transition: its learn rate is T (1 - F), its forget rate F.
"""

from __future__ import annotations

import numpy as np
import pytest

from bkt_core import BktParams, Bounds, draw_lengths
from bkt_core.family.engine import MapEngine
from bkt_core.family.params import FamilyParams
from bkt_core.family.replay import simulate
from bkt_core.fitting.options import FitOptions
from bkt_core.fitting.pybkt_engine import new_model, run_pybkt
from bkt_core.variant import ForgettingBounds, Variant

pytestmark = pytest.mark.parity

LIKELIHOOD, PARAMETERS = 1e-6, 1e-5
TRUTH = FamilyParams(BktParams(0.3, 0.2, 0.1, 0.2), 0.08)
OPEN = Bounds(*(4 * (1e-6, 1.0 - 1e-6)))


def forgetting_model(params: FamilyParams) -> dict:
    """A start of pyBKT's that forgets."""
    p_L0, p_T, p_S, p_G, p_F = params.as_tuple()
    learn = p_T * (1.0 - p_F)
    return new_model(BktParams(p_L0, learn, p_S, p_G)) | {
        "forgets": np.array([p_F]),
        "As": np.array([[[1.0 - learn, p_F], [learn, 1.0 - p_F]]]),
    }


def params_of(model: dict) -> list[float]:
    """L0, T, S, G and F of a model of pyBKT's."""
    p_F = float(model["forgets"][0])
    return [
        float(np.asarray(model["prior"]).item()),
        float(model["learns"][0]) / (1.0 - p_F),
        float(model["slips"][0]),
        float(model["guesses"][0]),
        p_F,
    ]


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
    assert params_of(model) == pytest.approx(list(ours.params.as_tuple()), abs=PARAMETERS)
    far = FamilyParams(BktParams(0.6, 0.05, 0.3, 0.35), 0.3)
    moved, history = run_pybkt(forgetting_model(far), sequences, tolerance=-1.0, n_steps=30)
    assert params_of(moved) != pytest.approx(list(far.as_tuple()), abs=1e-2)
    assert history[0] < history[-1] <= ours.log_likelihood + 1e-6
