"""The exact log-likelihood at given parameters, with its derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from bkt_core import kernels
from bkt_core.errors import InvalidSequencesError
from bkt_core.params import Bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.params import BktParams
    from bkt_core.sequences import AttemptSequences

#: Parameters are kept this far inside (0, 1).
MARGIN = 1e-10
#: The box that is used if no bounds are given.
OPEN_BOX = Bounds(*(4 * (MARGIN, 1.0 - MARGIN)))


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The log-likelihood and its derivatives, in the order of `PARAM_NAMES`."""

    log_likelihood: float  # nats
    score: NDArray[np.float64]  # (4,) gradient
    information: NDArray[np.float64]  # (4, 4) negative Hessian
    complete: NDArray[np.float64]  # (4,) diagonal information if the hidden states were known
    em_step: NDArray[np.float64]  # (4,) parameters after one unbounded EM step


@lru_cache(maxsize=32)
def box_of(bounds: Bounds | None) -> Bounds:
    """Return the box of a fit; bounds of 0 and 1 are moved inside by `MARGIN`."""
    return OPEN_BOX if bounds is None else bounds.inside(MARGIN)


def evaluate(sequences: AttemptSequences, params: BktParams) -> Evaluation:
    """Evaluate the exact (unclamped) likelihood of all users; parameters are kept in (0, 1).

    Raises `InvalidSequencesError` if there is no user.
    """
    if not sequences.n_users:
        raise InvalidSequencesError("A likelihood needs at least one user, got none.")
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    tree = kernels.grow_tree(sequences.correct, sequences.offsets, everyone)
    lower, upper = np.array(OPEN_BOX.lower), np.array(OPEN_BOX.upper)
    start = np.clip(params.as_tuple(), lower, upper).reshape(1, 4)
    lane = kernels.new_lanes(start, 1, 1)
    kernels.climb(tree, lane, kernels.Rules(lower, upper, -np.inf, True), 1)
    return Evaluation(
        log_likelihood=float(lane.history[0, 0]),
        score=lane.score[0],
        information=lane.information[0],
        complete=lane.complete[0],
        em_step=lane.trial[0],
    )
