"""How well a fit is known: standard errors and intervals from the observed information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.params import PARAM_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: Two-sided 95 % point of the normal distribution.
Z_95 = 1.959963984540054

#: Where attempts tell less than this share of what known paths would tell about some
#: combination of parameters, that combination is not identifiable.
LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Standard errors and 95 % intervals by parameter; None where there is none to give."""

    identifiable: bool
    standard_errors: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]


UNKNOWN = dict.fromkeys(PARAM_NAMES)


def free_params(on_bounds: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which parameters (4,) no bound such as "L0_max" holds."""
    held = {name.split("_")[0] for name in on_bounds}
    return np.array([name.removeprefix("p_") not in held for name in PARAM_NAMES])


def uncertainty_of(
    params: NDArray[np.float64],
    information: NDArray[np.float64],
    complete: NDArray[np.float64],
    free: NDArray[np.bool_],
) -> Uncertainty:
    """From the observed information (4, 4), given the parameters that a bound holds.

    `complete` (4,) is the diagonal information that complete data would give. Intervals are
    Wald's on the logit scale, so that they stay inside (0, 1).
    """
    if not free.any():
        return Uncertainty(identifiable=True, standard_errors=UNKNOWN, intervals=UNKNOWN)
    if complete[free].min() <= 0.0:
        return Uncertainty(identifiable=False, standard_errors=UNKNOWN, intervals=UNKNOWN)
    unit = 1.0 / np.sqrt(complete[free])
    shares, axes = np.linalg.eigh(information[np.ix_(free, free)] * np.outer(unit, unit))
    if not shares[0] > LEAST_SHARE:
        return Uncertainty(identifiable=False, standard_errors=UNKNOWN, intervals=UNKNOWN)
    errors = unit * np.sqrt((axes * axes / shares).sum(axis=1))
    inside = params[free]
    reach = np.exp(np.minimum(Z_95 * errors / (inside * (1.0 - inside)), 700.0))
    odds = inside / (1.0 - inside)
    lows, highs = odds / (reach + odds), odds * reach / (1.0 + odds * reach)
    standard_errors: dict[str, float | None] = dict(UNKNOWN)
    intervals: dict[str, tuple[float, float] | None] = dict(UNKNOWN)
    names = [name for name, is_free in zip(PARAM_NAMES, free.tolist(), strict=True) if is_free]
    for name, error, low, high in zip(
        names, errors.tolist(), lows.tolist(), highs.tolist(), strict=True
    ):
        standard_errors[name], intervals[name] = error, (low, high)
    return Uncertainty(True, standard_errors, intervals)
