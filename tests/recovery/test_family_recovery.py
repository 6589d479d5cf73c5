"""Simulate users who forget, fit them, and find F again; intervals cover it as they say."""

from __future__ import annotations

import numpy as np
import pytest

from bkt_core import BktParams
from bkt_core.family.engine import MapEngine
from bkt_core.family.params import FAMILY_NAMES, FamilyParams
from bkt_core.family.prior import FamilyPrior
from bkt_core.family.replay import simulate
from bkt_core.family.variant import WIDE_BOX, ForgettingBounds, Variant
from bkt_core.fitting.engine import FitOutcome
from bkt_core.fitting.options import FitOptions

pytestmark = pytest.mark.slow

#: Concepts are drawn from the prior that they are fitted under, so that its intervals are to
#: cover them exactly.
PRIOR = FamilyPrior((-0.7, -1.7, -2.2, -1.2, -2.9), (0.5, 0.4, 0.3, 0.3, 0.3))


def test_forgetting_is_found_again_and_intervals_cover_it():
    """1,500 concepts of 1,000 users and 20 attempts: no bias, and 93 to 97 % covered."""
    rng = np.random.default_rng(12)
    engine = MapEngine(Variant(forgetting=True), PRIOR, bounds_of_F=ForgettingBounds(0.0, 0.5))
    everyone, away, covered = np.ones((1, 1000), dtype=np.bool_), [], []
    for _ in range(1500):
        truth = 1.0 / (1.0 + np.exp(-rng.normal(PRIOR.mean, PRIOR.width)))
        params = FamilyParams(BktParams(*truth[:4].tolist()), float(truth[4]))
        sequences = simulate(params, lengths=np.full(1000, 20, np.int64), rng=rng)
        fit = engine.fit(sequences, everyone, FitOptions(bounds=WIDE_BOX))[0]
        if fit.outcome is FitOutcome.OK:
            away.append(np.array(fit.params.as_tuple()) - truth)
            ends = np.array([fit.intervals[name] for name in FAMILY_NAMES])
            covered.append((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
    assert len(away) > 1400
    errors = np.std(away, axis=0) / np.sqrt(len(away))
    assert (np.abs(np.mean(away, axis=0)) < 4.0 * errors + 1e-3).all()
    assert (np.mean(covered, axis=0) >= 0.93).all(), np.mean(covered, axis=0)
    assert (np.mean(covered, axis=0) <= 0.97).all(), np.mean(covered, axis=0)
