"""Compile the kernels, or load them from the disk cache, before work that is timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.evaluation.concept_fit import FitPlan, fit_concept
from bkt_core.fitting.options import FitOptions
from bkt_core.judgement.selection import judge_concept
from bkt_core.params import AlgoParams
from bkt_core.sequences import AttemptSequences

if TYPE_CHECKING:
    from bkt_core.evaluation.limits import GateLimits
    from bkt_core.fitting.engine import FitEngine


def compile_kernels(engine: FitEngine, limits: GateLimits) -> None:
    """Fit and judge forty artificial attempts; this calls every kernel that a run needs."""
    algo = AlgoParams()
    outcomes = np.array([0, 1, 0, 1, 1, 0, 0, 1, 1, 1] * 4, dtype=np.int8)
    sequences = AttemptSequences(outcomes, np.arange(0, 41, 5, dtype=np.int64))
    hashes = np.arange(8, dtype=np.uint64)
    plan = FitPlan(options=FitOptions(bounds=algo.bounds, n_starts=2), algo=algo)
    fit = fit_concept("warm-up", sequences, hashes, engine=engine, plan=plan)
    judge_concept(fit, sequences, hashes, champion=None, algo=algo, limits=limits)
