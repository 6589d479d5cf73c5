"""After the warm-up a night compiles nothing more, wherever its attempts come from."""

from __future__ import annotations

import numpy as np
import pytest

from bkt_core import AttemptSequences, kernels
from bkt_core.evaluation.concept_fit import FitPlan, fit_concept
from bkt_core.evaluation.limits import GateLimits
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.options import FitOptions
from bkt_core.judgement.selection import judge_concept
from bkt_core.judgement.warm_up import compile_kernels
from bkt_core.params import AlgoParams
from tests.bkt_core.evaluation.fits import SOUND, simulated


def compiled() -> dict[str, int]:
    """How many kinds of arguments each kernel has been compiled for."""
    return {
        name: len(k.signatures) for name, k in vars(kernels).items() if hasattr(k, "signatures")
    }


@pytest.mark.parametrize("writable", [True, False])
def test_after_the_warm_up_nothing_is_compiled(writable):
    """Arrays that were read from a file cannot be written to; to Numba that is another type."""
    engine, limits = EmEngine(), GateLimits()
    compile_kernels(engine, limits)
    before = compiled()
    given = simulated(SOUND, n_users=60, length=6, seed=1)
    correct, offsets = given.correct.copy(), given.offsets.copy()
    correct.flags.writeable = offsets.flags.writeable = writable
    sequences = AttemptSequences(correct, offsets)
    hashes = np.arange(60, dtype=np.uint64)
    fit = fit_concept(
        "fractions",
        sequences,
        hashes,
        engine=engine,
        plan=FitPlan(options=FitOptions(), algo=AlgoParams()),
    )
    judge_concept(fit, sequences, hashes, champion=None, algo=AlgoParams(), limits=limits)
    assert compiled() == before
