"""Starting points of fits: a few regions that lead to different maxima, with random points."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.params import Bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.fitting.options import FitOptions
    from bkt_core.params import BktParams

#: Centres of the first starts, as fractions of the box (L0, T, S, G). The first is close to
#: typical concepts. The others were chosen so that, for every concept of two real logs, one of
#: the five leads to the best known maximum; five points drawn uniformly miss it for five to
#: seven of 320 concepts (docs/algorithms.md).
CENTRES = (
    (0.45, 0.20, 0.28, 0.40),  # ordinary
    (0.10, 0.10, 0.10, 0.70),  # many guesses, slow learning
    (0.10, 0.90, 0.70, 0.70),  # noisy, fast learning
    (0.65, 0.90, 0.35, 0.10),  # half known at first, some slips
    (0.90, 0.35, 0.70, 0.10),  # known at first, many slips
)
#: Starts are drawn within this distance of their centre, as a fraction of the box.
REACH = 0.03


@lru_cache(maxsize=32)
def draw_starts(options: FitOptions) -> NDArray[np.float64]:
    """Return the starts of a fit, (n_starts, 4): the given ones, or ones drawn from the seed.

    They are the same for every concept of a run and therefore cached; do not modify them.
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
