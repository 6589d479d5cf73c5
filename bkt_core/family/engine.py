"""Bounded MAP fits of one concept: the engine of versions beyond v1."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family.climbing import Climb, climb, deadline, expit, logit
from bkt_core.family.fit import FamilyFit
from bkt_core.family.params import FAMILY_NAMES, FamilyParams
from bkt_core.family.posteriors import posteriors_of
from bkt_core.family.prior import FamilyPrior, usual_prior
from bkt_core.family.stamped import StampedSequences
from bkt_core.family.uncertainty import uncertainty_of, without_questions
from bkt_core.fitting.engine import check_training_sets, outcome_of
from bkt_core.fitting.likelihood import MARGIN, box_of
from bkt_core.fitting.starts import draw_starts
from bkt_core.params import BktParams
from bkt_core.variant import ForgettingBounds, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.family import kernels
    from bkt_core.fitting.options import FitOptions
    from bkt_core.sequences import AttemptSequences

    Floats = NDArray[np.float64]

#: v3.
FORGETTING = Variant(forgetting=True)


class MapEngine:
    """The most probable parameters under a prior; without one, the most likely.

    Versions with questions, history or gap are fitted to `StampedSequences`. With questions
    the first training set alone has standard errors and intervals.

    The first start is the prior's mean; `n_starts` - 1 more are drawn, or `options.starts`
    take the place of all.
    """

    name = "map"

    def __init__(
        self,
        variant: Variant = FORGETTING,
        prior: FamilyPrior | None = None,
        *,
        bounds_of_F: ForgettingBounds | None = None,
        flat: bool = False,
        n_starts: int = 1,
    ) -> None:
        self.variant, self.n_starts = variant, n_starts
        self.typical = prior or usual_prior(variant)
        self.prior = None if flat else self.typical
        self.forgetting = (bounds_of_F or ForgettingBounds()) if variant.forgetting else None

    def under(self, prior: FamilyPrior) -> MapEngine:
        """Return an engine of the same version that fits under a prior, from one start."""
        return MapEngine(self.variant, prior, bounds_of_F=self.forgetting)

    def fit(
        self,
        sequences: AttemptSequences,
        training_sets: NDArray[np.bool_],
        options: FitOptions,
    ) -> tuple[FamilyFit, ...]:
        """One fit per row of `training_sets` (n_sets, n_users)."""
        check_training_sets(sequences, training_sets)
        seconds_left = deadline(options.max_seconds)
        posteriors = posteriors_of(
            sequences, training_sets, self.prior, options.bounds, self.forgetting
        )
        ids = sequences.question_ids if isinstance(sequences, StampedSequences) else ()
        fits = []
        for row, (posterior, seen) in enumerate(zip(posteriors, training_sets, strict=True)):
            n_attempts = int(sequences.lengths[seen].sum())
            climbs = [
                climb(
                    posterior,
                    start,
                    enough=options.tolerance * n_attempts,
                    max_steps=options.max_steps,
                    seconds_left=seconds_left,
                )
                for start in self._starts(options, posterior.mean.size)
            ]
            n_users, first = int(seen.sum()), row == 0
            fits.append(
                self._fit_of(posterior, climbs, options, ids, n_attempts, n_users, first)
            )
        return tuple(fits)

    def _starts(self, options: FitOptions, n_parameters: int) -> list[Floats]:
        typical = np.zeros(n_parameters)
        typical[: len(self.typical.mean)] = self.typical.mean
        if not options.starts and self.n_starts == 1:
            return [typical]
        starts = []
        for drawn in draw_starts(options)[: None if options.starts else self.n_starts - 1]:
            start = typical.copy()
            start[:4] = logit(np.clip(drawn, MARGIN, 1.0 - MARGIN))
            starts.append(start)
        return starts if options.starts else [typical, *starts]

    def _fit_of(
        self,
        posterior: kernels.Posterior,
        climbs: list[Climb],
        options: FitOptions,
        question_ids: tuple[str | None, ...],
        n_attempts: int,
        n_users: int,
        with_errors: bool,
    ) -> FamilyFit:
        best = max(climbs, key=lambda one: one.value)
        names = FAMILY_NAMES if posterior.forgets else FAMILY_NAMES[:4]
        on_bounds = tuple(
            f"{name.removeprefix('p_')}_{'min' if best.x[k] <= posterior.lower[k] else 'max'}"
            for k, name in enumerate(names)
            if best.x[k] <= posterior.lower[k] or best.x[k] >= posterior.upper[k]
        )
        question_errors: tuple[float, ...] = ()
        if with_errors and posterior.questions.size:
            best, errors = without_questions(posterior, best)
            question_errors = tuple(errors.tolist())
        columns = {name: k for k, name in enumerate(names)}
        columns |= {name: 5 + k for k, name in enumerate(self.variant.weight_names)}
        known = uncertainty_of(columns, best, posterior.precision)
        away = best.x - posterior.mean
        ends = expit(np.array([one.x[: len(names)] for one in climbs]))
        question_odds = np.exp(best.x[5 + posterior.covariates.shape[1] :]).tolist()
        question_attempts = _question_attempts(posterior, len(question_odds))
        rows = zip(question_ids, question_odds, question_attempts, strict=bool(question_ids))
        odds_by_id = {name: odds for name, odds, n in rows if name is not None and n}
        params = self._params(posterior, best.x, options)
        if self.variant.questions:
            params = replace(params, question_odds=odds_by_id)
        return FamilyFit(
            question_odds=tuple(question_odds),
            question_errors=question_errors,
            question_attempts=question_attempts,
            question_ids=question_ids,
            params=params,
            log_likelihood=best.value + 0.5 * float(posterior.precision @ away**2),
            log_likelihoods=best.history,
            stopped_by=best.stopped_by,
            outcome=outcome_of(best.stopped_by, known.identifiable, on_bounds),
            n_steps=len(best.history) - 1,
            n_attempts=n_attempts,
            n_users=n_users,
            on_bounds=on_bounds,
            standard_errors=known.standard_errors,
            intervals=known.intervals,
            start_log_likelihoods=tuple(one.value for one in climbs),
            start_spread=dict(zip(names, np.ptp(ends, axis=0).tolist(), strict=True)),
        )

    def _params(
        self, posterior: kernels.Posterior, x: Floats, options: FitOptions
    ) -> FamilyParams:
        """The probabilities; one on a bound is the bound, to the bit."""
        box = box_of(options.bounds)
        forgetting = self.forgetting or ForgettingBounds()
        lower = np.array([*box.lower, forgetting.F_min])
        upper = np.array([*box.upper, forgetting.F_max])
        values = np.clip(expit(x[:5]), lower, upper)
        values = np.where(x[:5] <= posterior.lower[:5], lower, values)
        values = np.where(x[:5] >= posterior.upper[:5], upper, values).tolist()
        names = self.variant.weight_names
        weights = dict(zip(names, x[5 : 5 + len(names)].tolist(), strict=True))
        p_F = values[4] if self.forgetting else None
        return FamilyParams(BktParams(*values[:4]), p_F, weights)


def _question_attempts(posterior: kernels.Posterior, n_questions: int) -> tuple[int, ...]:
    """Attempts of the training set at each question."""
    if n_questions == 0:
        return ()
    of_attempt = np.repeat(posterior.times, np.diff(posterior.offsets))
    counts = np.bincount(posterior.questions, weights=of_attempt, minlength=n_questions)
    return tuple(int(n) for n in counts.tolist())
