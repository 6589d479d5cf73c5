"""pyBKT with `forgets=True`: a second opinion on versions with forgetting.

pyBKT learns and forgets in one transition: its learn rate is T (1 - F), its forget rate F.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.errors import BktError
from bkt_core.family.climbing import Climb, curvature_at, logit, look
from bkt_core.family.fit import FamilyFit
from bkt_core.family.params import FAMILY_NAMES, FamilyParams
from bkt_core.family.posteriors import posteriors_of
from bkt_core.family.uncertainty import uncertainty_of
from bkt_core.fitting.engine import Stop, check_training_sets, outcome_of
from bkt_core.fitting.likelihood import MARGIN, box_of
from bkt_core.fitting.pybkt_engine import new_model, run_to_the_end
from bkt_core.fitting.starts import draw_starts
from bkt_core.params import BktParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bkt_core.fitting.options import FitOptions
    from bkt_core.sequences import AttemptSequences
    from bkt_core.variant import ForgettingBounds

#: p_F of every start; the other parameters are those of `draw_starts`.
START_F = 0.05


@dataclass(frozen=True, slots=True)
class _Run:
    """The result of pyBKT from one start."""

    params: FamilyParams  # unbounded
    log_likelihoods: tuple[float, ...]
    stopped_by: Stop


class PyBktForgetsEngine:
    """Fits by pyBKT's EM without bounds or prior; the result is clipped to the bounds."""

    name = "pybkt"

    def __init__(
        self, bounds_of_F: ForgettingBounds, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bounds_of_F, self.clock = bounds_of_F, clock

    def fit(
        self,
        sequences: AttemptSequences,
        training_sets: NDArray[np.bool_],
        options: FitOptions,
    ) -> tuple[FamilyFit, ...]:
        """Fit each row of `training_sets` (n_sets, n_users); return one result per row."""
        check_training_sets(sequences, training_sets)
        deadline = self.clock() + options.max_seconds
        results = []
        for seen in training_sets:
            part, runs = sequences.of_users(seen), list[_Run]()
            for row in draw_starts(options).tolist():
                if runs and runs[-1].stopped_by is Stop.TIME_LIMIT:
                    break
                start = FamilyParams(BktParams(*row), START_F)
                model, history, stopped_by = run_to_the_end(
                    forgetting_model(start),
                    part,
                    options,
                    is_late=lambda: self.clock() >= deadline,
                )
                runs.append(_Run(forgetting_params(model, start), history, stopped_by))
            results.append(_result(part, runs, options, self.bounds_of_F))
        return tuple(results)


def forgetting_model(start: FamilyParams) -> dict[str, Any]:
    """Return a start in the form that pyBKT's EM expects."""
    p_L0, p_T, p_S, p_G, p_F = start.as_tuple()
    learn = p_T * (1.0 - p_F)
    return new_model(BktParams(p_L0, learn, p_S, p_G)) | {
        "forgets": np.array([p_F]),
        "As": np.array([[[1.0 - learn, p_F], [learn, 1.0 - p_F]]]),
    }


def forgetting_params(model: dict[str, Any], start: FamilyParams) -> FamilyParams:
    """Return the fitted parameters.

    Raises an error if pyBKT's E-step did not run (its issue 62: some releases skip it). Where
    its learn rate exceeds 1 - F, T is 1.
    """
    p_F = float(model["forgets"][0])
    found = np.array(
        [
            float(np.asarray(model["prior"]).item()),
            float(model["learns"][0]) / max(1.0 - p_F, MARGIN),
            float(model["slips"][0]),
            float(model["guesses"][0]),
            p_F,
        ]
    )
    if not np.isfinite(found).all() or found.tolist() == list(start.as_tuple()):
        raise BktError(
            f"pyBKT returned {found.tolist()} from the start {start.as_tuple()}: "
            "its E-step did not run. Install pybkt 1.4.3 or newer, or use --engine em."
        )
    *letters, p_F = np.clip(found, 0.0, 1.0).tolist()
    return FamilyParams(BktParams(*letters), p_F)


def _result(
    sequences: AttemptSequences, runs: list[_Run], options: FitOptions, of_F: ForgettingBounds
) -> FamilyFit:
    """Clip the best run to the bounds and add our likelihood and standard errors there."""
    best = max(runs, key=lambda run: run.log_likelihoods[-1])
    unbounded, history, stopped_by = best.params, best.log_likelihoods, best.stopped_by
    if runs[-1].stopped_by is Stop.TIME_LIMIT:
        stopped_by = Stop.TIME_LIMIT
    box = box_of(options.bounds)
    base = box.clip(unbounded.base)
    p_F = min(max(unbounded.as_tuple()[4], of_F.F_min), of_F.F_max)
    if p_F <= MARGIN:  # EM approaches 0 and does not reach it
        p_F = of_F.F_min
    params = FamilyParams(base, p_F)
    on_F = {of_F.F_min: ("F_min",), of_F.F_max: ("F_max",)}.get(p_F, ())
    on_bounds = (*box.touched_by(base), *on_F)
    top = _standing_at(sequences, params, options, of_F, on_bounds)
    columns = {name: k for k, name in enumerate(FAMILY_NAMES)}
    known = uncertainty_of(columns, top, np.zeros(len(FAMILY_NAMES)))
    ends = np.array([run.params.as_tuple() for run in runs])
    return FamilyFit(
        params=params,
        log_likelihood=top.value,
        log_likelihoods=history,
        stopped_by=stopped_by,
        outcome=outcome_of(stopped_by, known.identifiable, on_bounds),
        n_steps=len(history),
        n_attempts=sequences.n_attempts,
        n_users=sequences.n_users,
        on_bounds=on_bounds,
        standard_errors=known.standard_errors,
        intervals=known.intervals,
        start_log_likelihoods=tuple(run.log_likelihoods[-1] for run in runs),
        start_spread=dict(zip(FAMILY_NAMES, np.ptp(ends, axis=0).tolist(), strict=True)),
        clipped=params != unbounded,
    )


def _standing_at(
    sequences: AttemptSequences,
    params: FamilyParams,
    options: FitOptions,
    of_F: ForgettingBounds,
    on_bounds: tuple[str, ...],
) -> Climb:
    """Return the likelihood and its curvature at `params`, in the form of a climb's end."""
    everyone = np.ones((1, sequences.n_users), np.bool_)
    (posterior,) = posteriors_of(sequences, everyone, None, options.bounds, of_F)
    x = logit(np.clip(np.array(params.as_tuple()), MARGIN, 1.0 - MARGIN))
    place = look(posterior, np.clip(x, posterior.lower, posterior.upper))
    held = {f"p_{name.split('_')[0]}" for name in on_bounds}
    return Climb(
        x=place.x,
        value=place.value,
        held=np.array([name in held for name in FAMILY_NAMES]),
        complete=place.complete,
        curvature=curvature_at(posterior, place),
        left=np.inf,
        history=(),
        stopped_by=Stop.CONVERGED,
    )
