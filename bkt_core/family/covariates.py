"""What an attempt's stamp and times say, as covariates of its multiplier.

The order of operations is part of the contract (docs/algorithms.md): these numbers decide
stored bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family import kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.variant import Variant

#: The column of an attempt without a stamp: no outcome, nothing before.
NO_STAMP = (1, 0, 0)


def seconds_since_previous(
    microseconds: NDArray[np.int64], firsts: NDArray[np.int64] | NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return whole seconds since the attempt before of the same key, (n_attempts,).

    `microseconds` are times sorted by key and time; `firsts` marks, or has the positions of,
    the first attempt of each key, which gets -1.
    """
    seconds = np.diff(microseconds, prepend=0) // 1_000_000
    seconds[firsts] = -1
    return seconds


def covariates_of(
    variant: Variant,
    *,
    recent: NDArray[np.int64],  # outcomes as bits, newest lowest, a 1 above the oldest
    n_before: NDArray[np.int64],
    n_right_before: NDArray[np.int64],
    seconds: NDArray[np.int64],  # since the last attempt of the key; -1 at its first
) -> NDArray[np.float64]:
    """Columns in the order of `variant.weight_names`, (n_attempts, n_weights)."""
    every = np.empty((recent.size, 5))
    kernels.covariates(recent, n_before, n_right_before, seconds, every)
    columns = [*range(3)] * variant.history + [3, 4] * variant.gap
    return np.ascontiguousarray(every[:, columns])
