"""Our engine: expectation-maximisation over a prefix tree, finished by Newton steps."""

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
from bkt_core.fitting.engine import (
    FitOptions,
    FitResult,
    Method,
    Stop,
    check_training_sets,
    outcome_of,
)
from bkt_core.fitting.likelihood import box_of, new_lanes
from bkt_core.fitting.starts import draw_starts
from bkt_core.fitting.uncertainty import free_params, uncertainty_of
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
#: The clock is read after about this many steps of one lane along the tree, under a second.
STEPS_BETWEEN_LOOKS = 100_000_000
#: Lanes that walk together: what they keep of a tree's levels stays in a core's cache, so that
#: workers beside each other do not wait for the same memory.
LANES = 32


class EmEngine:
    """Fits by the integer-path EM; `fit` releases the GIL and may run in many threads at once.

    One concept with more than `kernels.BLOCK_ATTEMPTS` attempts left after sharing is walked
    in blocks by `n_threads` threads of its own. Results do not depend on the number of threads.
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
        """One result per row of `training_sets` (n_sets, n_users)."""
        check_training_sets(sequences, training_sets)
        tree = kernels.grow_tree(sequences.correct, sequences.offsets, training_sets)
        rules = _rules(options)
        lanes = new_lanes(
            np.minimum(np.maximum(draw_starts(options), rules.lower), rules.upper),
            n_sets=training_sets.shape[0],
            max_steps=options.max_steps,
        )
        deadline = self.clock() + options.max_seconds
        if tree.blocks.size > 2 and self.n_threads > 1:
            self._climb_in_threads(tree, lanes, rules, deadline)
        else:
            self._climb(tree, lanes, rules, deadline)
        n_starts = lanes.column.size // training_sets.shape[0]
        return tuple(
            _result(totals, lanes, options, range(row * n_starts, (row + 1) * n_starts))
            for row, totals in enumerate(tree.totals.tolist())
        )

    def _climb(
        self, tree: kernels.Tree, lanes: kernels.Climb, rules: kernels.Rules, deadline: float
    ) -> None:
        steps_per_pass = int((tree.length - tree.shared).sum()) * min(lanes.column.size, LANES)
        n_passes = 1 + STEPS_BETWEEN_LOOKS // (1 + steps_per_pass)
        running = _side_by_side(lanes)
        if len(running) > 1:  # whatever the deadline, every lane is evaluated once
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
        """The loop of `kernels.climb`, with the blocks of one walk spread over threads."""
        n_lanes = lanes.column.size
        params, columns = np.empty((n_lanes, 4)), np.empty(n_lanes, dtype=np.int64)

        def walk(block: int) -> NDArray[np.float64]:
            stack = np.empty((tree.n_levels, n_active, kernels.N_STATE))
            part = np.empty((n_active, kernels.N_SUMS))
            kernels.walk(tree, block, params, columns, n_active, stack, part)
            return part

        n_active = kernels.pack(lanes, params, columns)
        with ThreadPoolExecutor(self.n_threads) as threads:
            while n_active and self.clock() < deadline:
                sums = np.zeros((n_lanes, kernels.N_SUMS))
                for part in threads.map(walk, range(tree.blocks.size - 1)):
                    kernels.add_to(sums, part, n_active)
                kernels.advance(tree.totals, lanes, rules, sums)
                n_active = kernels.pack(lanes, params, columns)


def _side_by_side(lanes: kernels.Climb) -> deque[kernels.Climb]:
    """Views of few lanes each: what one walk keeps of each level stays in a core's cache."""
    n_lanes = lanes.column.size
    if n_lanes <= LANES:
        return deque([lanes])
    return deque(
        kernels.Climb._make(part[begin : begin + LANES] for part in lanes)
        for begin in range(0, n_lanes, LANES)
    )


@lru_cache(maxsize=32)
def _rules(options: FitOptions) -> kernels.Rules:
    """The same for every concept of a run; not to be written to."""
    box = box_of(options.bounds)
    return kernels.Rules(
        np.array(box.lower),
        np.array(box.upper),
        options.tolerance,
        options.method is Method.EM,
    )


def _result(
    totals: list[float], lanes: kernels.Climb, options: FitOptions, own: range
) -> FitResult:
    """The best of the lanes of one training set, with what the others say about it."""
    _refuse_falls(lanes, own)
    reached = [float(lanes.history[lane, lanes.steps[lane]]) for lane in own]
    best = own[reached.index(max(reached))]
    history = tuple(lanes.history[best, : lanes.steps[best] + 1].tolist())
    ends = lanes.params[own.start : own.stop].tolist()
    params = BktParams(*ends[best - own.start])
    on_bounds = box_of(options.bounds).touched_by(params)
    known = uncertainty_of(
        lanes.params[best],
        lanes.information[best],
        lanes.complete[best],
        free_params(on_bounds),
    )
    unfinished = (lanes.status[own.start : own.stop] == kernels.RUNNING).any()
    stopped_by = Stop.TIME_LIMIT if unfinished else STOPS[int(lanes.status[best])]
    return FitResult(
        params=params,
        log_likelihood=history[-1],
        log_likelihoods=history,
        stopped_by=stopped_by,
        outcome=outcome_of(stopped_by, known.identifiable, on_bounds),
        n_steps=len(history) - 1,
        n_attempts=int(totals[1]),
        n_users=int(totals[0]),
        on_bounds=on_bounds,
        standard_errors=known.standard_errors,
        intervals=known.intervals,
        start_log_likelihoods=tuple(reached),
        start_spread={
            name: max(values) - min(values)
            for name, values in zip(PARAM_NAMES, zip(*ends, strict=True), strict=True)
        },
    )


def _refuse_falls(lanes: kernels.Climb, own: range) -> None:
    for lane in own:
        if lanes.status[lane] == kernels.FELL:
            step = int(lanes.steps[lane])
            before, after = lanes.history[lane, step - 1 : step + 1].tolist()
            raise LikelihoodFellError(step=step, before=before, after=after)
