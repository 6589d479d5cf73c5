"""The exact likelihood at given parameters, with its derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bkt_core import kernels
from bkt_core.params import Bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.params import BktParams
    from bkt_core.sequences import AttemptSequences

#: Parameters stay this far inside (0, 1).
MARGIN = 1e-10
#: Where no bounds are asked for.
OPEN_BOX = Bounds(*(4 * (MARGIN, 1.0 - MARGIN)))


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The likelihood and its derivatives, in the order of `PARAM_NAMES`."""

    log_likelihood: float  # nats
    score: NDArray[np.float64]  # (4,) gradient
    information: NDArray[np.float64]  # (4, 4) minus the Hessian
    complete: NDArray[np.float64]  # (4,) diagonal information that known paths would give
    em_step: NDArray[np.float64]  # (4,) where one unbounded EM step leads


def box_of(bounds: Bounds | None) -> Bounds:
    """The box that a fit moves in: bounds of 0 and 1 are held a hair inside."""
    return OPEN_BOX if bounds is None else bounds.inside(MARGIN)


def evaluate(sequences: AttemptSequences, params: BktParams) -> Evaluation:
    """The exact (unclamped) likelihood of all users; parameters are held inside (0, 1)."""
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    tree = kernels.grow_tree(sequences.correct, sequences.offsets, everyone)
    lower, upper = np.array(OPEN_BOX.lower), np.array(OPEN_BOX.upper)
    start = np.clip(params.as_tuple(), lower, upper).reshape(1, 4)
    lane = new_lanes(start, n_sets=1, max_steps=1)
    kernels.climb(tree, lane, kernels.Rules(lower, upper, -np.inf, True), 1)
    return Evaluation(
        log_likelihood=float(lane.history[0, 0]),
        score=lane.score[0],
        information=lane.information[0],
        complete=lane.complete[0],
        em_step=lane.trial[0],
    )


def new_lanes(starts: NDArray[np.float64], *, n_sets: int, max_steps: int) -> kernels.Climb:
    """One lane per training set and start (n_starts, 4), before the first evaluation."""
    n_starts = starts.shape[0]
    n_lanes = n_sets * n_starts
    trial = np.empty((n_sets, n_starts, 4))
    trial[:] = starts
    return kernels.Climb(
        column=np.arange(n_lanes) // n_starts,
        status=np.full(n_lanes, kernels.RUNNING),
        steps=np.full(n_lanes, -1),
        trial=trial.reshape(n_lanes, 4),
        params=np.zeros((n_lanes, 4)),
        history=np.empty((n_lanes, max_steps + 1)),
        score=np.zeros((n_lanes, 4)),
        information=np.zeros((n_lanes, 4, 4)),
        complete=np.zeros((n_lanes, 4)),
        damping=np.zeros(n_lanes),
    )
