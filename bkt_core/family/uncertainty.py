"""Standard errors and 95 % intervals of a fit, from the curvature of its posterior."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family.climbing import curvature_at, expit, gradient_falls, look
from bkt_core.fitting.uncertainty import LARGEST_INFLATION, Z_95, Uncertainty

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from bkt_core.family import kernels
    from bkt_core.family.climbing import Climb

    Floats = NDArray[np.float64]

#: L0, T, S, G and F stand first in `x`, as logits.
N_LOGITS = 5
#: Information of the attempts, in units of the prior's, about the combination of parameters
#: that they determine best.
LEAST_DETERMINED = 1.0
#: Up to so many parameters the whole Hessian is made by differences.
WHOLE = 100


def uncertainty_of(columns: Mapping[str, int], best: Climb, precision: Floats) -> Uncertainty:
    """Of the parameters in these columns of `x`, given those that a bound holds.

    Errors and intervals are those of the posterior, whose prior has this `precision`.
    Intervals are Wald's, of probabilities on the logit scale, so that they stay inside (0, 1).
    Where no curvature was made there are none, and nothing is said against it.
    """
    nothing: dict[str, None] = dict.fromkeys(columns)
    if best.curvature is None:
        return Uncertainty(True, nothing, nothing)
    n = len(best.curvature)
    free = ~best.held[:n]
    errors = logit_errors(best.curvature, free)
    if errors is None or not identifiable(best, errors, precision[:n]):
        return Uncertainty(False, nothing, nothing)
    deviations: dict[str, float | None] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    for name, k in columns.items():
        at = np.array([best.x[k], best.x[k] - Z_95 * errors[k], best.x[k] + Z_95 * errors[k]])
        slope = 1.0
        if k < N_LOGITS:
            at = expit(at)
            slope = at[0] * (1.0 - at[0])
        deviations[name] = float(errors[k] * slope) if free[k] else None
        intervals[name] = (float(at[1]), float(at[2])) if free[k] else None
    return Uncertainty(True, deviations, intervals)


def logit_errors(curvature: Floats, free: NDArray[np.bool_]) -> Floats | None:
    """Standard errors of what is free, 0 elsewhere; None where it is not positive definite."""
    errors = np.zeros(free.size)
    try:
        factor = np.linalg.cholesky(curvature[np.ix_(free, free)])
    except np.linalg.LinAlgError:
        return None
    errors[free] = np.sqrt(np.sum(np.linalg.inv(factor) ** 2, axis=0))
    return errors


def identifiable(best: Climb, errors: Floats, precision: Floats) -> bool:
    """Whether the attempts determine parameters, beyond what the prior says.

    Under a prior they must say as much as it does about some combination of the parameters;
    the prior answers for the rest. Without one every free parameter must be determined: not
    seeing the paths may make variances, in units of what known paths would leave, so much
    larger in sum and no more.
    """
    free = ~best.held[: errors.size]
    if precision.any() and best.curvature is not None:
        free &= precision > 0.0
        width = precision[free] ** -0.5
        ratios = np.linalg.eigvalsh(best.curvature[np.ix_(free, free)] * np.outer(width, width))
        return bool(ratios.size) and float(ratios[-1]) - 1.0 >= LEAST_DETERMINED
    complete = best.complete[: errors.size][free]
    return bool(np.all(complete > 0.0)) and (
        float(np.sum(errors[free] ** 2 * complete)) <= LARGEST_INFLATION
    )


def without_questions(posterior: kernels.Posterior, best: Climb) -> tuple[Climb, Floats]:
    """The climb with the curvature that remains when questions adapt, and their errors.

    The Schur complement over the questions: curvature (5 + n_weights, 5 + n_weights), and the
    standard error of the logarithm of each question's multiplier. Of more than `WHOLE`
    parameters the questions' own block is taken as the diagonal that known paths would give,
    which makes these errors a little too small.
    """
    n, n_all = N_LOGITS + posterior.covariates.shape[1], best.x.size
    place = look(posterior, best.x)
    if n_all <= WHOLE:
        rows = curvature_at(posterior, place)
        own, beside = rows[n:, n:], rows[n:, :n]
        adapted = np.linalg.solve(own, beside)
        variances = np.diag(np.linalg.inv(own))
    else:
        rows = gradient_falls(posterior, place, n)
        beside = rows[:, n:].T
        variances = 1.0 / (best.complete[n:] + posterior.precision[n:])
        adapted = beside * variances[:, None]
    reduced = rows[:n, :n] - beside.T @ adapted
    reduced = 0.5 * (reduced + reduced.T)
    free = ~best.held[:n]
    spread = adapted[:, free]
    if logit_errors(reduced, free) is not None:
        carried = np.linalg.solve(reduced[np.ix_(free, free)], spread.T).T
        variances = variances + np.sum(carried * spread, axis=1)
    return replace(best, curvature=reduced), np.sqrt(variances)
