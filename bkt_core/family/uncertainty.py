"""Standard errors and 95 % intervals of a fit, from the curvature of its posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family.climbing import expit
from bkt_core.fitting.uncertainty import LARGEST_INFLATION, Z_95, Uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.family.climbing import Climb

    Floats = NDArray[np.float64]


def uncertainty_of(names: tuple[str, ...], best: Climb, precision: Floats) -> Uncertainty:
    """Of the probabilities `names`, given those that a bound holds.

    Errors and intervals are those of the posterior; whether the parameters are identifiable is
    asked of the attempts alone, whose curvature is what remains without the prior's
    `precision`. Intervals are Wald's on the logit scale, so that they stay inside (0, 1).
    """
    nothing = Uncertainty(False, dict.fromkeys(names), dict.fromkeys(names))
    if best.curvature is None:
        return nothing
    free = ~best.held
    errors = logit_errors(best.curvature, free)
    if errors is None or not identifiable(best, precision):
        return nothing
    x, p = best.x, expit(best.x)
    deviations = (errors * p * (1.0 - p)).tolist()
    low, high = expit(x - Z_95 * errors).tolist(), expit(x + Z_95 * errors).tolist()
    rows = [(name, k, bool(free[k])) for k, name in enumerate(names)]
    return Uncertainty(
        True,
        {name: deviations[k] if is_free else None for name, k, is_free in rows},
        {name: (low[k], high[k]) if is_free else None for name, k, is_free in rows},
    )


def logit_errors(curvature: Floats, free: NDArray[np.bool_]) -> Floats | None:
    """Standard errors of what is free, 0 elsewhere; None where it is not positive definite."""
    errors = np.zeros(free.size)
    try:
        factor = np.linalg.cholesky(curvature[np.ix_(free, free)])
    except np.linalg.LinAlgError:
        return None
    errors[free] = np.sqrt(np.sum(np.linalg.inv(factor) ** 2, axis=0))
    return errors


def identifiable(best: Climb, precision: Floats) -> bool:
    """Whether the attempts, without the prior, determine every free parameter.

    Not seeing the paths may make variances, in units of what known paths would leave, so much
    larger in sum and no more.
    """
    free = ~best.held
    if best.curvature is None or np.any(best.complete[free] <= 0.0):
        return False
    unit = 1.0 / np.sqrt(best.complete[free])
    information = (best.curvature - np.diag(precision))[np.ix_(free, free)]
    errors = logit_errors(information * np.outer(unit, unit), np.ones(len(unit), np.bool_))
    return errors is not None and float(np.sum(errors**2)) <= LARGEST_INFLATION
