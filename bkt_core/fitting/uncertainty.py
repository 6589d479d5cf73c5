"""Standard errors and confidence intervals from the observed information."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING

from bkt_core import kernels
from bkt_core.params import PARAM_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from bkt_core.params import BktParams

#: Two-sided 95 % point of the normal distribution.
Z_95 = 1.959963984540054

#: Some combination of parameters is not identifiable if unknown hidden states make variances
#: this much larger, summed over parameters in units of the variances with known states.
LARGEST_INFLATION = 1e6


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Standard errors and 95 % intervals by parameter; None where they are undefined."""

    identifiable: bool
    standard_errors: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]


UNKNOWN: dict[str, None] = dict.fromkeys(PARAM_NAMES)
NOT_IDENTIFIABLE = Uncertainty(False, UNKNOWN, UNKNOWN)


def uncertainty_of(
    params: BktParams,
    information: NDArray[np.float64],
    complete: NDArray[np.float64],
    on_bounds: tuple[str, ...],
) -> Uncertainty:
    """Compute uncertainty from the observed information (4, 4), given the active bounds.

    `complete` (4,) is the diagonal information with known hidden states; `on_bounds` names the
    bounds that hold a parameter, such as "L0_max". The intervals are Wald intervals on the
    logit scale, so that they stay inside (0, 1).
    """
    held = {f"p_{name.split('_')[0]}" for name in on_bounds}
    free = tuple(name not in held for name in PARAM_NAMES)
    found, inflation = kernels.standard_errors(information, complete, free)
    if inflation > LARGEST_INFLATION:
        return NOT_IDENTIFIABLE
    errors: dict[str, float | None] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    rows = zip(PARAM_NAMES, free, params.as_tuple(), found.tolist(), strict=True)
    for name, is_free, value, error in rows:
        errors[name] = error if is_free else None
        intervals[name] = _interval(value, error) if is_free else None
    return Uncertainty(True, errors, intervals)


def _interval(value: float, error: float) -> tuple[float, float]:
    """Return the 95 % Wald interval on the logit scale."""
    reach = exp(min(Z_95 * error / (value * (1.0 - value)), 700.0))
    odds = value / (1.0 - value)
    return odds / (reach + odds), odds * reach / (1.0 + odds * reach)
