"""Compile the kernels, or load them from the disk cache, before work that is timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.engines import engine_named
from bkt_core.evaluation.concept_fit import FitPlan, fit_concept
from bkt_core.family.covariates import covariates_of
from bkt_core.family.stamped import StampedSequences
from bkt_core.fitting.options import FitOptions
from bkt_core.judgement.selection import judge_concept
from bkt_core.params import WIDE_BOX, AlgoParams
from bkt_core.sequences import AttemptSequences
from bkt_core.variant import ForgettingBounds, Variant

if TYPE_CHECKING:
    from bkt_core.engines import Engine
    from bkt_core.evaluation.limits import GateLimits

#: The simplest version with forgetting.
FORGETTING = AlgoParams(
    variant=Variant(forgetting=True), bounds_of_F=ForgettingBounds(), bounds=WIDE_BOX
)


def compile_kernels(engine: str, limits: GateLimits, *algos: AlgoParams) -> None:
    """Fit and judge forty artificial attempts under each version; v1 if none is given.

    This calls every kernel that a run under these versions needs. Versions with the same
    variant share their kernels and count as one.
    """
    for algo in {one.variant: one for one in algos or (AlgoParams(),)}.values():
        _fit_and_judge(engine_named(engine, algo), limits, algo)


def _fit_and_judge(engine: Engine, limits: GateLimits, algo: AlgoParams) -> None:
    sequences = _sequences(algo.variant)
    hashes = np.arange(8, dtype=np.uint64)
    plan = FitPlan(options=FitOptions(bounds=algo.bounds, n_starts=2), algo=algo)
    fit = fit_concept("warm-up", sequences, hashes, engine=engine, plan=plan)
    judge_concept(fit, sequences, hashes, champion=None, algo=algo, limits=limits)


def _sequences(variant: Variant) -> AttemptSequences:
    """Return forty attempts of eight users, with what a version reads of them."""
    outcomes = np.array([0, 1, 0, 1, 1, 0, 0, 1, 1, 1] * 4, dtype=np.int8)
    offsets = np.arange(0, outcomes.size + 1, 5, dtype=np.int64)
    if not variant.multiplies:
        return AttemptSequences(outcomes, offsets)
    n = np.arange(outcomes.size, dtype=np.int64)
    questions = n % 3 if variant.questions else np.empty(0, np.int64)
    return StampedSequences(
        correct=outcomes,
        offsets=offsets,
        questions=questions,
        n_questions=3 if variant.questions else 0,
        covariates=covariates_of(
            variant,
            recent=n % 8 + 1,
            n_before=n,
            n_right_before=n // 2,
            seconds=np.where(n % 5 == 0, -1, 60 * n),
        ),
        question_ids=("a", "b", "c") if variant.questions else (),
        weight_names=variant.weight_names,
    )
