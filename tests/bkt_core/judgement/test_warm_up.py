"""After the warm-up a night compiles nothing more, wherever its attempts come from."""

from __future__ import annotations

import numpy as np
import pytest

from bkt_core import AttemptSequences, kernels
from bkt_core.engines import engine_named
from bkt_core.evaluation.concept_fit import FitPlan, fit_concept
from bkt_core.evaluation.limits import GateLimits
from bkt_core.family import kernels as family_kernels
from bkt_core.family.teaching import learn_prior
from bkt_core.fitting.options import FitOptions
from bkt_core.judgement.selection import judge_concept
from bkt_core.judgement.warm_up import FORGETTING, compile_kernels
from bkt_core.params import AlgoParams
from tests.bkt_core.evaluation.fits import SOUND, simulated


def compiled() -> dict[str, int]:
    """How many kinds of arguments each kernel has been compiled for."""
    return {
        name: len(k.signatures)
        for module in (kernels, family_kernels)
        for name, k in vars(module).items()
        if hasattr(k, "signatures")
    }


@pytest.mark.parametrize("algo", [AlgoParams(), FORGETTING], ids=["v1", "forgetting"])
@pytest.mark.parametrize("writable", [True, False])
def test_after_the_warm_up_nothing_is_compiled(writable, algo):
    """Arrays that were read from a file cannot be written to; to Numba that is another type."""
    limits = GateLimits()
    compile_kernels("em", limits, algo)
    before = compiled()
    given = simulated(SOUND, n_users=60, length=6, seed=1)
    correct, offsets = given.correct.copy(), given.offsets.copy()
    correct.flags.writeable = offsets.flags.writeable = writable
    sequences = AttemptSequences(correct, offsets)
    hashes = np.arange(60, dtype=np.uint64)
    options, prior = FitOptions(bounds=algo.bounds), None
    if not algo.variant.is_plain:
        prior = learn_prior([sequences] * 10, algo.variant, options, algo.bounds_of_F)
    fit = fit_concept(
        "fractions",
        sequences,
        hashes,
        engine=engine_named("em", algo),
        plan=FitPlan(options=options, algo=algo, prior=prior),
    )
    judge_concept(fit, sequences, hashes, champion=None, algo=algo, limits=limits)
    assert compiled() == before
