"""Fit small concepts with a prior learned from the large ones (empirical Bayes).

Each parameter has a Beta prior whose mean and strength are estimated from concepts with enough
data (`prior_from`). MAP-EM adds the prior's pseudo-observations to the expected counts of the
E-step. With more data, the weight of the prior, a few dozen observations, becomes negligible.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bkt_core import kernels
from bkt_core.fitting.engine import FitOutcome, Stop, outcome_of
from bkt_core.fitting.likelihood import box_of
from bkt_core.fitting.uncertainty import uncertainty_of
from bkt_core.params import BktParams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from bkt_core.fitting.engine import FitEngine, FitResult
    from bkt_core.fitting.options import FitOptions
    from bkt_core.sequences import AttemptSequences

#: Limits of the number of pseudo-observations of one parameter.
LEAST_STRENGTH, MOST_STRENGTH = 2.0, 50.0
#: Concepts with more attempts than this keep the plain fit, which is almost the same.
SHRUNK_BELOW = 2_000
#: Smallest number of attempts of a concept from which the prior is learned.
TEACHES_FROM = 300
#: With fewer such concepts there is no prior: each would weigh too much in it. More of them
#: cost time and do not change the prior.
FEWEST_TEACHERS, MOST_TEACHERS = 10, 100
#: Suffix of the name of an engine whose fits use the prior.
SHRUNK = "+prior"
#: MAP-EM stops when no parameter changes by more than this.
SMALLEST_MOVE = 1e-7


@dataclass(frozen=True, slots=True)
class Prior:
    """A Beta distribution for each parameter, given as a mean and a number of observations."""

    mean: BktParams
    strength: tuple[float, ...]  # (4,) in the order of `PARAM_NAMES`

    @staticmethod
    def reaches(n_attempts: int) -> bool:
        """Return whether the prior is used for a concept with this many attempts."""
        return n_attempts <= SHRUNK_BELOW

    def curvature(self, params: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return minus the second derivative of `log_density` by each parameter, (4,)."""
        mean, strength = np.array(self.mean.as_tuple()), np.array(self.strength)
        curvature: NDArray[np.float64] = strength * (
            mean / params**2 + (1.0 - mean) / (1.0 - params) ** 2
        )
        return curvature

    def log_density(self, params: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log density of each row of `params` (n, 4), up to a constant, in nats."""
        mean, strength = np.array(self.mean.as_tuple()), np.array(self.strength)
        logs: NDArray[np.float64] = mean * np.log(params) + (1.0 - mean) * np.log1p(-params)
        density: NDArray[np.float64] = logs @ strength
        return density


def choose_teachers(n_attempts: Mapping[str, int]) -> list[str]:
    """Choose the concepts from whose fits the prior is learned; the argument is their sizes.

    They are drawn by a hash of the id, so that a run with a few new attempts chooses the same.
    """
    large = [concept for concept, n in n_attempts.items() if n >= TEACHES_FROM]
    drawn = sorted(large, key=lambda concept: (zlib.crc32(concept.encode()), concept))
    return drawn[:MOST_TEACHERS]


def prior_from(
    teachers: Iterable[AttemptSequences], engine: FitEngine, options: FitOptions
) -> Prior | None:
    """Learn the prior from the plain fits of these concepts; None if there are too few."""
    fits = []
    for sequences in teachers:
        one_sided = sequences.n_correct in (0, sequences.n_attempts)
        if sequences.n_attempts >= TEACHES_FROM and not one_sided:
            everyone = np.ones((1, sequences.n_users), np.bool_)
            fits.append(engine.fit(sequences, everyone, options)[0].params)
    return learn_prior(fits) if len(fits) >= FEWEST_TEACHERS else None


def learn_prior(fits: Sequence[BktParams]) -> Prior:
    """Return the prior with the mean and the variance of the fits (at least one).

    The variance includes the estimation error of the fits, which makes the prior slightly
    weaker than it could be. Values are rounded, so that a run with a few new attempts finds the
    same prior.
    """
    values = np.array([params.as_tuple() for params in fits])
    mean = values.mean(axis=0)
    variance = values.var(axis=0, ddof=1) if len(values) > 1 else np.zeros(4)
    with np.errstate(divide="ignore"):
        strength = mean * (1.0 - mean) / variance - 1.0
    bounded = np.clip(strength, LEAST_STRENGTH, MOST_STRENGTH).round()
    return Prior(BktParams(*mean.round(2).tolist()), tuple(bounded.tolist()))


class ShrinkingEngine:
    """Fits with another engine, then moves the result to the posterior mode under the prior.

    It follows the engine protocol, so that folds, gates and comparisons treat it as an engine.
    """

    def __init__(self, base: FitEngine, prior: Prior) -> None:
        self.base, self.prior = base, prior
        self.name = f"{base.name}{SHRUNK}"

    def fit(
        self,
        sequences: AttemptSequences,
        training_sets: NDArray[np.bool_],
        options: FitOptions,
    ) -> tuple[FitResult, ...]:
        """Fit each row of `training_sets` (n_sets, n_users); return one result per row."""
        plain = self.base.fit(sequences, training_sets, options)
        tree = kernels.grow_tree(sequences.correct, sequences.offsets, training_sets)
        own = np.array([fit.params.as_tuple() for fit in plain])
        typical = np.tile(self.prior.mean.as_tuple(), (len(own), 1))
        from_own = _climb(tree, own, self.prior, options)
        from_prior = _climb(tree, typical, self.prior, options)
        first_wins = from_own.log_posterior >= from_prior.log_posterior
        return tuple(
            _result(fit, from_own if wins else from_prior, row, self.prior, options)
            for row, (fit, wins) in enumerate(zip(plain, first_wins, strict=True))
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """Where MAP-EM stopped, one row per training set."""

    params: NDArray[np.float64]  # (n_sets, 4)
    log_likelihood: NDArray[np.float64]  # (n_sets,)
    log_posterior: NDArray[np.float64]  # (n_sets,)
    information: NDArray[np.float64]  # (n_sets, 4, 4), of the attempts without the prior
    complete: NDArray[np.float64]  # (n_sets, 4)
    converged: NDArray[np.bool_]  # (n_sets,)


def _climb(
    tree: kernels.Tree, starts: NDArray[np.float64], prior: Prior, options: FitOptions
) -> _Ends:
    """Run MAP-EM for all training sets at once, each from its row of `starts` (n_sets, 4)."""
    box = box_of(options.bounds)
    lower, upper = np.array(box.lower), np.array(box.upper)
    strength = np.array(prior.strength)
    pseudo_yes = strength * np.array(prior.mean.as_tuple())
    lanes = kernels.new_lanes(starts[:1], len(starts), 1)
    rules = kernels.Rules(lower, upper, -np.inf, True)
    params = np.clip(starts, lower, upper)
    moved = np.full(len(starts), np.inf)
    for _ in range(max(1, options.max_steps)):
        lanes.status[:], lanes.steps[:], lanes.trial[:] = kernels.RUNNING, -1, params
        kernels.climb(tree, lanes, rules, 1)
        variance = params * (1.0 - params)
        chances = lanes.complete * variance
        yes = lanes.score * variance + params * chances
        after = np.clip((yes + pseudo_yes) / (chances + strength), lower, upper)
        moved = np.abs(after - params).max(axis=1)
        if moved.max() <= SMALLEST_MOVE:
            break
        params = after
    found = lanes.history[:, 0].copy()
    return _Ends(
        params=params,
        log_likelihood=found,
        log_posterior=found + prior.log_density(params),
        information=lanes.information,
        complete=lanes.complete,
        converged=moved <= SMALLEST_MOVE,
    )


def _result(
    plain: FitResult, ends: _Ends, row: int, prior: Prior, options: FitOptions
) -> FitResult:
    """Return the plain fit's record with the shrunk parameters and their uncertainty.

    The history (log-likelihoods, steps, values reached by the starts) stays the plain fit's.
    """
    values = ends.params[row]
    params = BktParams(*values.tolist())
    on_bounds = box_of(options.bounds).touched_by(params)
    known = uncertainty_of(
        params,
        ends.information[row] + np.diag(prior.curvature(values)),
        ends.complete[row] + np.array(prior.strength) / (values * (1.0 - values)),
        on_bounds,
    )
    stopped_by = Stop.CONVERGED if ends.converged[row] else Stop.MAX_STEPS
    if plain.stopped_by is Stop.TIME_LIMIT:
        stopped_by = plain.stopped_by
    # With a prior, even uninformative attempts would seem to determine the parameters.
    identifiable = known.identifiable and plain.outcome is not FitOutcome.NOT_IDENTIFIABLE
    return replace(
        plain,
        params=params,
        log_likelihood=float(ends.log_likelihood[row]),
        stopped_by=stopped_by,
        outcome=outcome_of(stopped_by, identifiable, on_bounds),
        on_bounds=on_bounds,
        standard_errors=known.standard_errors,
        intervals=known.intervals,
    )
