"""How well a fit is known: standard errors and intervals from the observed information."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING

import numpy as np

from bkt_core import kernels
from bkt_core.params import PARAM_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: Two-sided 95 % point of the normal distribution.
Z_95 = 1.959963984540054

#: Where not seeing the paths makes variances this much larger, summed over parameters in units
#: of what known paths would leave, some combination of parameters is not identifiable.
LARGEST_INFLATION = 1e6


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Standard errors and 95 % intervals by parameter; None where there is none to give."""

    identifiable: bool
    standard_errors: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]


UNKNOWN: dict[str, None] = dict.fromkeys(PARAM_NAMES)
NOT_IDENTIFIABLE = Uncertainty(False, UNKNOWN, UNKNOWN)


def free_params(on_bounds: tuple[str, ...]) -> list[bool]:
    """Which parameters no bound such as "L0_max" holds, in the order of `PARAM_NAMES`."""
    held = {f"p_{name.split('_')[0]}" for name in on_bounds}
    return [name not in held for name in PARAM_NAMES]


def uncertainty_of(
    params: NDArray[np.float64],
    information: NDArray[np.float64],
    complete: NDArray[np.float64],
    free: list[bool],
) -> Uncertainty:
    """From the observed information (4, 4), given the parameters that a bound holds.

    `complete` (4,) is the diagonal information that complete data would give. Intervals are
    Wald's on the logit scale, so that they stay inside (0, 1).
    """
    unit, inverse = np.zeros(4), np.empty(4)
    for i, known_paths in enumerate(complete.tolist()):
        if free[i]:
            if known_paths <= 0.0:
                return NOT_IDENTIFIABLE
            unit[i] = known_paths**-0.5
    if not kernels.inverse_diagonal(information, unit, inverse):
        return NOT_IDENTIFIABLE
    if inverse.sum() > LARGEST_INFLATION:
        return NOT_IDENTIFIABLE
    errors: dict[str, float | None] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    rows = zip(params.tolist(), (unit * np.sqrt(inverse)).tolist(), strict=True)
    for name, is_free, (value, error) in zip(PARAM_NAMES, free, rows, strict=True):
        errors[name] = error if is_free else None
        intervals[name] = _interval(value, error) if is_free else None
    return Uncertainty(True, errors, intervals)


def _interval(value: float, error: float) -> tuple[float, float]:
    """Wald's 95 % interval on the logit scale."""
    reach = exp(min(Z_95 * error / (value * (1.0 - value)), 700.0))
    odds = value / (1.0 - value)
    return odds / (reach + odds), odds * reach / (1.0 + odds * reach)
