"""pyBKT with our engine protocol: a reference for comparisons, never the default.

Badrinath, Wang & Pardos 2021. Only pyBKT's EM loop is called, on arrays that are built here.
That avoids its data handling, which reads skill names as regular expressions, sorts the frame
of the caller, drops users and starts a process pool.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.errors import BktError
from bkt_core.fitting.engine import FitResult, Stop, check_training_sets, outcome_of
from bkt_core.fitting.likelihood import box_of, evaluate
from bkt_core.fitting.starts import draw_starts
from bkt_core.fitting.uncertainty import uncertainty_of
from bkt_core.params import PARAM_NAMES, BktParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from bkt_core.fitting.options import FitOptions
    from bkt_core.sequences import AttemptSequences

#: pyBKT's EM stops at this gain per attempt, in nats, or above; it has no Newton steps.
LEAST_TOLERANCE = 1e-8
#: Iterations, and attempts processed, between two readings of the clock.
ROUND, ATTEMPTS_PER_ROUND = 25, 1_000_000
#: With fewer consecutive iterations pyBKT cannot detect convergence.
LEAST_ROUND = 3


@dataclass(frozen=True, slots=True)
class _Climb:
    """The result of pyBKT from one start."""

    params: BktParams  # unbounded
    log_likelihoods: tuple[float, ...]
    stopped_by: Stop


class PyBktEngine:
    """Fits with pyBKT without bounds; the result is clipped to the bounds and marked so."""

    name = "pybkt"

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock

    def fit(
        self,
        sequences: AttemptSequences,
        training_sets: NDArray[np.bool_],
        options: FitOptions,
    ) -> tuple[FitResult, ...]:
        """Fit each row of `training_sets` (n_sets, n_users); return one result per row."""
        check_training_sets(sequences, training_sets)
        deadline = self.clock() + options.max_seconds
        results = []
        for seen in training_sets:
            part, climbs = sequences.of_users(seen), list[_Climb]()
            for row in draw_starts(options).tolist():
                if climbs and climbs[-1].stopped_by is Stop.TIME_LIMIT:
                    break
                start = BktParams(*row)
                model, history, stopped_by = run_to_the_end(
                    new_model(start), part, options, is_late=lambda: self.clock() >= deadline
                )
                climbs.append(_Climb(params_of(model, start), history, stopped_by))
            results.append(_result(part, climbs, options))
        return tuple(results)


def run_to_the_end(
    model: dict[str, Any],
    sequences: AttemptSequences,
    options: FitOptions,
    *,
    is_late: Callable[[], bool],
) -> tuple[dict[str, Any], tuple[float, ...], Stop]:
    """Run pyBKT's EM from a start until it converges or meets a limit.

    Return the model, its log-likelihoods and why it stopped.
    """
    tolerance = max(options.tolerance, LEAST_TOLERANCE) * sequences.n_attempts
    history: list[float] = []
    for n_steps in _rounds(options.max_steps, sequences.n_attempts):
        model, gained = run_pybkt(model, sequences, tolerance=tolerance, n_steps=n_steps)
        history += gained
        if gained[1:] and abs(gained[-1] - gained[-2]) <= tolerance:
            return model, tuple(history), Stop.CONVERGED
        if is_late():
            return model, tuple(history), Stop.TIME_LIMIT
    return model, tuple(history), Stop.MAX_STEPS


def _rounds(max_steps: int, n_attempts: int) -> Iterator[int]:
    """Yield numbers of iterations that add up to `max_steps`."""
    size = max(LEAST_ROUND, min(ROUND, ATTEMPTS_PER_ROUND // n_attempts))
    left = max(max_steps, 1)
    while left > 0:
        now = left if left < size + LEAST_ROUND else size
        yield now
        left -= now


def run_pybkt(
    model: dict[str, Any], sequences: AttemptSequences, *, tolerance: float, n_steps: int
) -> tuple[dict[str, Any], list[float]]:
    """Run up to `n_steps` iterations; return the model and the log-likelihood before each.

    `tolerance` is absolute, in nats, as in pyBKT; a negative one never stops early.
    """
    from pyBKT.fit import EM_fit

    data = {
        "data": (sequences.correct.astype(np.int64) + 1).reshape(1, -1),  # 1 wrong, 2 right
        "starts": sequences.offsets[:-1] + 1,
        "lengths": sequences.lengths,
        "resources": np.ones(sequences.n_attempts, dtype=np.int64),
    }
    with np.errstate(all="ignore"):  # `params_of` checks the result for NaN
        model, history = EM_fit.EM_fit(
            model, data, tol=tolerance, maxiter=n_steps, parallel=False
        )
    return model, history[:, 0].tolist()


def new_model(start: BktParams) -> dict[str, Any]:
    """Return a start in the form that pyBKT's EM expects."""
    p_L0, p_T, p_S, p_G = start.as_tuple()
    return {
        "prior": p_L0,
        "pi_0": np.array([[1.0 - p_L0], [p_L0]]),
        "learns": np.array([p_T]),
        "forgets": np.array([0.0]),
        "As": np.array([[[1.0 - p_T, 0.0], [p_T, 1.0]]]),
        "slips": np.array([p_S]),
        "guesses": np.array([p_G]),
        "emissions": np.array([[[1.0 - p_G, p_G], [p_S, 1.0 - p_S]]]),
    }


def params_of(model: dict[str, Any], start: BktParams) -> BktParams:
    """Return the fitted parameters.

    Raises an error if pyBKT's E-step did not run (its issue 62: some releases skip it).
    """
    found = np.array(
        [
            float(np.asarray(model["prior"]).item()),
            float(model["learns"][0]),
            float(model["slips"][0]),
            float(model["guesses"][0]),
        ]
    )
    if not np.isfinite(found).all() or found.tolist() == list(start.as_tuple()):
        raise BktError(
            f"pyBKT returned {found.tolist()} from the start {start.as_tuple()}: "
            "its E-step did not run. Install pybkt 1.4.3 or newer, or use --engine em."
        )
    return BktParams(*np.clip(found, 0.0, 1.0).tolist())


def _result(
    sequences: AttemptSequences, climbs: list[_Climb], options: FitOptions
) -> FitResult:
    """Clip the best climb to the bounds and add our likelihood and standard errors there."""
    best = max(climbs, key=lambda climb: climb.log_likelihoods[-1])
    late = climbs[-1].stopped_by is Stop.TIME_LIMIT
    stopped_by = Stop.TIME_LIMIT if late else best.stopped_by
    box = box_of(options.bounds)
    params = box.clip(best.params)
    on_bounds = box.touched_by(params)
    here = evaluate(sequences, params)
    known = uncertainty_of(params, here.information, here.complete, on_bounds)
    ends = np.array([climb.params.as_tuple() for climb in climbs])
    return FitResult(
        params=params,
        log_likelihood=here.log_likelihood,
        log_likelihoods=best.log_likelihoods,
        stopped_by=stopped_by,
        outcome=outcome_of(stopped_by, known.identifiable, on_bounds),
        n_steps=len(best.log_likelihoods),
        n_attempts=sequences.n_attempts,
        n_users=sequences.n_users,
        on_bounds=on_bounds,
        standard_errors=known.standard_errors,
        intervals=known.intervals,
        start_log_likelihoods=tuple(climb.log_likelihoods[-1] for climb in climbs),
        start_spread=dict(zip(PARAM_NAMES, np.ptp(ends, axis=0).tolist(), strict=True)),
        clipped=params != best.params,
    )
