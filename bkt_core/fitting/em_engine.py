"""Our engine: E-steps on a prefix tree of sequences, with damped Newton or plain EM steps."""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from bkt_core import kernels
from bkt_core.errors import LikelihoodFellError
from bkt_core.fitting.engine import FitResult, Stop, check_training_sets, outcome_of
from bkt_core.fitting.likelihood import box_of
from bkt_core.fitting.options import FitOptions, Method
from bkt_core.fitting.starts import draw_starts
from bkt_core.fitting.uncertainty import uncertainty_of
from bkt_core.params import PARAM_NAMES, BktParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bkt_core.sequences import AttemptSequences

STOPS = {
    kernels.CONVERGED: Stop.CONVERGED,
    kernels.STALLED: Stop.STALLED,
    kernels.MAX_STEPS: Stop.MAX_STEPS,
}
#: The clock is read after about this many steps of one lane along the tree (under a second).
STEPS_BETWEEN_LOOKS = 100_000_000
#: Number of lanes that walk the tree together: the part of each level that they use stays in
#: a core's cache, so that parallel workers do not compete for memory bandwidth.
LANES = kernels.LANES


class EmEngine:
    """Fits parameters; `fit` releases the GIL and may run in many threads at once.

    If a concept has more than `kernels.BLOCK_ATTEMPTS` attempts left after sequences are
    shared, its tree is walked in blocks by `n_threads` threads. The bits of the result depend
    neither on the order of the users nor on the number of threads.
    """

    name = "em"

    def __init__(
        self, *, n_threads: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.n_threads = n_threads or os.cpu_count() or 1
        self.clock = clock

    def fit(
        self,
        sequences: AttemptSequences,
        training_sets: NDArray[np.bool_],
        options: FitOptions,
    ) -> tuple[FitResult, ...]:
        """Fit each row of `training_sets` (n_sets, n_users); return one result per row."""
        check_training_sets(sequences, training_sets)
        if not training_sets.size:
            return ()
        rules, starts = _plan(options)
        deadline = self.clock() + options.max_seconds
        correct, offsets = sequences.correct, sequences.offsets
        n_lanes = training_sets.shape[0] * starts.shape[0]
        if n_lanes <= LANES and correct.size <= kernels.BLOCK_ATTEMPTS:
            n_passes = _passes_between_looks(correct.size, n_lanes)
            totals, lanes, n_running = kernels.grow_and_climb(
                correct, offsets, training_sets, starts, options.max_steps, rules, n_passes
            )
            if not n_running:
                return _results(totals, lanes, options)
        else:
            lanes = kernels.new_lanes(starts, training_sets.shape[0], options.max_steps)
        tree = kernels.grow_tree(correct, offsets, training_sets)
        if tree.blocks.size > 2 and self.n_threads > 1:
            self._climb_in_threads(tree, lanes, rules, deadline)
        else:
            self._climb(tree, lanes, rules, deadline)
        return _results(tree.totals, lanes, options)

    def _climb(
        self, tree: kernels.Tree, lanes: kernels.Climb, rules: kernels.Rules, deadline: float
    ) -> None:
        n_passes = _passes_between_looks(tree.correct.size, lanes.column.size)
        running = _side_by_side(lanes)
        if len(running) > 1:  # every lane is evaluated once, whatever the deadline
            for some in running:
                kernels.climb(tree, some, rules, 1)
        while running:
            some = running.popleft()
            if kernels.climb(tree, some, rules, n_passes):
                running.append(some)
            if self.clock() >= deadline:
                return

    def _climb_in_threads(
        self, tree: kernels.Tree, lanes: kernels.Climb, rules: kernels.Rules, deadline: float
    ) -> None:
        """Run the loop of `kernels.climb` with the blocks of one walk spread over threads."""
        n_lanes = lanes.column.size
        params, columns = np.empty((n_lanes, 4)), np.empty(n_lanes, dtype=np.int64)

        def walk(block: int) -> NDArray[np.float64]:
            part = np.empty((n_active, kernels.N_SUMS))
            kernels.walk(tree, block, params, columns, n_active, part)
            return part

        n_active = kernels.pack(lanes, params, columns)
        with ThreadPoolExecutor(self.n_threads) as threads:
            while n_active:  # every lane is evaluated once, whatever the deadline
                sums = np.zeros((n_lanes, kernels.N_SUMS))
                for part in threads.map(walk, range(tree.blocks.size - 1)):
                    kernels.add_to(sums, part, n_active)
                kernels.advance(tree.totals, lanes, rules, sums)
                n_active = kernels.pack(lanes, params, columns)
                if self.clock() >= deadline:
                    return


def _passes_between_looks(n_attempts: int, n_lanes: int) -> int:
    """Return the number of walks between two readings of the clock.

    A tree has at most as many steps as there are attempts.
    """
    return 1 + STEPS_BETWEEN_LOOKS // (1 + n_attempts * min(n_lanes, LANES))


def _side_by_side(lanes: kernels.Climb) -> deque[kernels.Climb]:
    """Split the lanes into views of at most `LANES` lanes each (see `LANES`)."""
    n_lanes = lanes.column.size
    if n_lanes <= LANES:
        return deque([lanes])
    return deque(
        kernels.Climb._make(part[begin : begin + LANES] for part in lanes)
        for begin in range(0, n_lanes, LANES)
    )


@lru_cache(maxsize=32)
def _plan(options: FitOptions) -> tuple[kernels.Rules, NDArray[np.float64]]:
    """Return rules and starts (n_starts, 4), the same for every concept; do not modify them."""
    box = box_of(options.bounds)
    lower, upper = np.array(box.lower), np.array(box.upper)
    rules = kernels.Rules(lower, upper, options.tolerance, options.method is Method.EM)
    return rules, np.minimum(np.maximum(draw_starts(options), lower), upper)


def _results(
    totals: NDArray[np.float64], lanes: kernels.Climb, options: FitOptions
) -> tuple[FitResult, ...]:
    """Return one result per training set; the lanes of a training set are adjacent.

    Raises `LikelihoodFellError` if a step lowered the likelihood.
    """
    status, steps, ends = lanes.status.tolist(), lanes.steps.tolist(), lanes.params.tolist()
    if kernels.FELL in status:
        lane = status.index(kernels.FELL)
        before, after = lanes.history[lane, steps[lane] - 1 : steps[lane] + 1].tolist()
        raise LikelihoodFellError(step=steps[lane], before=before, after=after)
    reached = [lanes.history.item(lane, step) for lane, step in enumerate(steps)]
    box, n_starts = box_of(options.bounds), len(ends) // len(totals)
    results = []
    for row, (n_users, n_attempts, _) in enumerate(totals.tolist()):
        own = slice(row * n_starts, (row + 1) * n_starts)
        best = reached.index(max(reached[own]), own.start)
        params = BktParams(*ends[best])
        on_bounds = box.touched_by(params)
        known = uncertainty_of(params, lanes.information[best], lanes.complete[best], on_bounds)
        late = kernels.RUNNING in status[own]
        stopped_by = Stop.TIME_LIMIT if late else STOPS[status[best]]
        history = tuple(lanes.history[best, : steps[best] + 1].tolist())
        results.append(
            FitResult(
                params=params,
                log_likelihood=history[-1],
                log_likelihoods=history,
                stopped_by=stopped_by,
                outcome=outcome_of(stopped_by, known.identifiable, on_bounds),
                n_steps=steps[best],
                n_attempts=int(n_attempts),
                n_users=int(n_users),
                on_bounds=on_bounds,
                standard_errors=known.standard_errors,
                intervals=known.intervals,
                start_log_likelihoods=tuple(reached[own]),
                start_spread={
                    name: max(values) - min(values)
                    for name, values in zip(
                        PARAM_NAMES, zip(*ends[own], strict=True), strict=True
                    )
                },
            )
        )
    return tuple(results)
