"""Plain bounded EM from several starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core import kernels
from bkt_core.errors import LikelihoodFellError
from bkt_core.fitting.engine import FitOptions, FitResult, Outcome, Stop
from bkt_core.params import PARAM_NAMES, BktParams, Bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.sequences import AttemptSequences

ROUNDING = 1e-10  # nats per attempt
OPEN_BOX = Bounds(1e-10, 1 - 1e-10, 1e-10, 1 - 1e-10, 1e-10, 1 - 1e-10, 1e-10, 1 - 1e-10)


class EmEngine:
    """Expectation-maximisation."""

    name = "em"

    def fit(
        self,
        sequences: AttemptSequences,
        training_sets: NDArray[np.bool_],
        options: FitOptions,
    ) -> tuple[FitResult, ...]:
        """One result per training set."""
        return tuple(_fit(sequences, seen, options) for seen in training_sets)


def _fit(
    sequences: AttemptSequences, seen: NDArray[np.bool_], options: FitOptions
) -> FitResult:
    box = options.bounds or OPEN_BOX
    rng = np.random.default_rng(options.seed)
    low, high = np.array(box.lower), np.array(box.upper)
    low_start, high_start = np.maximum(low, 0.02), np.minimum(high, [0.9, 0.5, 0.4, 0.4])
    starts = [np.array(start.as_tuple()) for start in options.starts] or [
        rng.uniform(low_start, high_start) for _ in range(options.n_starts)
    ]
    counts = np.zeros(8)
    lengths = sequences.lengths
    n_attempts = int(lengths[seen].sum())
    ends = []
    for start in starts:
        theta, history, stop = start, [], Stop.MAX_STEPS
        for step in range(options.max_steps + 1):
            value = kernels.expected_counts(
                sequences.correct, sequences.offsets, seen, *theta.tolist(), counts
            )
            history.append(value)
            gain = (value - history[-2]) / n_attempts if step else np.inf
            if gain < -ROUNDING:
                raise LikelihoodFellError(step=step, before=history[-2], after=value)
            if gain < max(options.tolerance, 1e-9):
                stop = Stop.CONVERGED
                break
            if step == options.max_steps:
                break
            yes, total = counts[0::2], counts[1::2]
            theta = np.where(total > 0, yes / np.where(total > 0, total, 1.0), theta)
            theta = np.minimum(np.maximum(theta, low), high)
        ends.append((history[-1], theta, history, stop))
    best = max(ends, key=lambda end: end[0])
    params = BktParams(*best[1].tolist())
    on_bounds = options.bounds.touched_by(params) if options.bounds else ()
    outcome = Outcome.ON_BOUND if on_bounds else Outcome.OK
    if best[3] is not Stop.CONVERGED:
        outcome = Outcome.DID_NOT_CONVERGE
    spread = np.ptp([end[1] for end in ends], axis=0)
    return FitResult(
        params=params,
        log_likelihood=best[0],
        log_likelihoods=tuple(best[2]),
        stopped_by=best[3],
        outcome=outcome,
        n_steps=len(best[2]) - 1,
        n_attempts=n_attempts,
        n_users=int(np.count_nonzero(seen)),
        on_bounds=on_bounds,
        standard_errors=dict.fromkeys(PARAM_NAMES),
        intervals=dict.fromkeys(PARAM_NAMES),
        start_log_likelihoods=tuple(end[0] for end in ends),
        start_spread=dict(zip(PARAM_NAMES, spread.tolist(), strict=True)),
    )
