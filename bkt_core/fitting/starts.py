"""Where fits start: a few regions that lead to different maxima, and points drawn in them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.params import Bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.fitting.options import FitOptions
    from bkt_core.params import BktParams

#: Centres of the first starts, as fractions of the box (L0, T, S, G). The first is near what
#: concepts are like; the others were chosen so that on every concept of two real logs one of
#: the five leads to the best maximum known; five points drawn at random miss it on five to
#: seven of 320 concepts (docs/algorithms.md).
CENTRES = (
    (0.45, 0.20, 0.28, 0.40),  # ordinary
    (0.10, 0.10, 0.10, 0.70),  # guessed, and slowly learned
    (0.10, 0.90, 0.70, 0.70),  # noisy, and quickly learned
    (0.65, 0.90, 0.35, 0.10),  # half known, slips
    (0.90, 0.35, 0.70, 0.10),  # known before, many slips
)
#: A start is drawn within this of its centre, as a fraction of the box.
REACH = 0.03


@lru_cache(maxsize=32)
def draw_starts(options: FitOptions) -> NDArray[np.float64]:
    """The starts of a fit, (n_starts, 4): the given ones, else drawn from the seed alone.

    The same for every concept of a run, so they are drawn once; not to be written to.
    """
    starts = _given(options.starts) if options.starts else _drawn(options)
    starts.flags.writeable = False
    return starts


def _given(starts: tuple[BktParams, ...]) -> NDArray[np.float64]:
    return np.array([start.as_tuple() for start in starts])


def _drawn(options: FitOptions) -> NDArray[np.float64]:
    rng = np.random.default_rng(options.seed)
    fractions = rng.uniform(0.02, 0.98, size=(options.n_starts, 4))
    n_centred = min(options.n_starts, len(CENTRES))
    shift = REACH * (2.0 * fractions[:n_centred] - 1.0)
    fractions[:n_centred] = np.array(CENTRES[:n_centred]) + shift
    box = options.bounds or Bounds()
    lower, upper = np.array(box.lower), np.array(box.upper)
    return np.asarray(lower + (upper - lower) * fractions)
