"""Fit and score one concept; the result depends only on its attempts and the settings.

A `ConceptFit` is stored as a file and reused by any run over the same attempts and settings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.engines import AnyPrior, under_prior
from bkt_core.evaluation.checks import Decision, GateReport
from bkt_core.evaluation.comparison import Comparison, Rival, compare
from bkt_core.evaluation.cross_validation import (
    MIN_USABLE_FOLDS,
    cross_validate,
    fold_of,
    predict_by_fold,
    usable_folds,
)
from bkt_core.evaluation.gates import data_checks, folds_check
from bkt_core.evaluation.metrics import EPSILON, Scores, score
from bkt_core.evaluation.tally import Tally, tally
from bkt_core.family.fit import FamilyFit, Fit
from bkt_core.family.params import FamilyParams, Params, params_as_stored
from bkt_core.params import Bounds
from bkt_core.replay import predict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.engines import Engine
    from bkt_core.evaluation.cross_validation import CrossValidation
    from bkt_core.fitting.options import FitOptions
    from bkt_core.params import AlgoParams
    from bkt_core.sequences import AttemptSequences


@dataclass(frozen=True, slots=True, kw_only=True)
class FitPlan:
    """The settings with which a concept is fitted and scored."""

    options: FitOptions
    algo: AlgoParams
    n_folds: int = 5
    fold_seed: int = 0
    #: Wider bounds in which a fit on a bound is repeated, to measure the cost of the bound.
    wide_bounds: Bounds | None = None
    #: Prior of small concepts, or in the family of all; None: every concept is fitted alone.
    prior: AnyPrior | None = None

    def prior_for(self, n_attempts: int) -> AnyPrior | None:
        """Return the prior for a concept with this many attempts, or None."""
        reached = self.prior is not None and self.prior.reaches(n_attempts)
        return self.prior if reached else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A fit, its cross-validation, and comparisons with the simplest rivals."""

    final: Fit
    fold_fits: tuple[Fit | None, ...]  # (n_folds,); None: the fold cannot be held out
    scores: Scores  # of the out-of-fold predictions, all folds pooled
    fold_scores: tuple[Scores | None, ...]
    tally: Tally
    against_defaults: Comparison
    against_mean: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class WideFit:
    """The fit of the same concept in wider bounds, scored on the same folds."""

    bounds: Bounds
    params: Params
    scores: Scores
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptFit:
    """The fit of one concept on one data digest with one plan."""

    concept_id: str
    engine: str
    fold_seed: int
    n_folds: int
    n_attempts: int
    n_users: int
    n_correct: int
    report: GateReport  # the checks of the data; if one failed, nothing was fitted
    evidence: Evidence | None
    wide: WideFit | None  # only if the fit is on a bound and wider bounds were requested

    @property
    def params(self) -> Params | None:
        """The parameters fitted on all users; None if nothing was fitted."""
        return None if self.evidence is None else self.evidence.final.params

    @property
    def question_attempts(self) -> dict[str, int]:
        """The attempts of each question that the fit has odds for, by id."""
        final = None if self.evidence is None else self.evidence.final
        if not isinstance(final, FamilyFit):
            return {}
        rows = zip(final.question_ids, final.question_attempts, strict=False)
        return {name: n for name, n in rows if name is not None and n}

    @property
    def fold_params(self) -> tuple[Params | None, ...]:
        """The parameters fitted without each fold, (n_folds,)."""
        fits = () if self.evidence is None else self.evidence.fold_fits
        return tuple(None if fit is None else fit.params for fit in fits)

    @property
    def _stored_fold_params(self) -> tuple[Params | None, ...]:
        """Those that are stored with the row; odds of questions stay in the fit's file."""
        params = self.params
        if isinstance(params, FamilyParams) and params.question_odds is not None:
            return ()
        return self.fold_params

    def metrics(self) -> dict[str, Any]:
        """Return the value of `bkt_skill_params.metrics`.

        It holds the scores and what a later run needs to compare itself with this fit.
        """
        if self.evidence is None:
            return {}
        final = self.evidence.final
        return self.evidence.scores.as_json() | {
            "engine": self.engine,
            "fold_seed": self.fold_seed,
            "fold_params": [
                None if p is None else params_as_stored(p) for p in self._stored_fold_params
            ],
            "intervals": final.as_json()["intervals"],
            "standard_errors": dict(final.standard_errors),
            "on_bounds": list(final.on_bounds),
            "outcome": final.outcome.value,
            "log_likelihood": final.log_likelihood,
        }


def fit_concept(
    concept_id: str,
    sequences: AttemptSequences,
    user_hashes: NDArray[np.uint64],  # (n_users,)
    *,
    engine: Engine,
    plan: FitPlan,
) -> ConceptFit:
    """Fit and score one concept, or report why there is nothing to fit."""
    engine = under_prior(engine, plan.prior_for(sequences.n_attempts))
    folds = fold_of(user_hashes, seed=plan.fold_seed, n_folds=plan.n_folds)
    report = data_checks(sequences, plan.algo)
    n_usable = len(usable_folds(folds, n_folds=plan.n_folds))
    report = report.with_checks(folds_check(n_usable, needed=MIN_USABLE_FOLDS))
    evidence = wide = None
    if report.decision is not Decision.SKIPPED:
        found = cross_validate(
            engine, sequences, folds, n_folds=plan.n_folds, options=plan.options
        )
        evidence = _evidence(sequences, folds, found, plan)
        wide = _wide_fit(sequences, folds, found.final, engine, plan)
    return ConceptFit(
        concept_id=concept_id,
        engine=engine.name,
        fold_seed=plan.fold_seed,
        n_folds=plan.n_folds,
        n_attempts=sequences.n_attempts,
        n_users=sequences.n_users,
        n_correct=sequences.n_correct,
        report=report,
        evidence=evidence,
        wide=wide,
    )


def held_out_predictions(
    fit: ConceptFit, sequences: AttemptSequences, user_hashes: NDArray[np.uint64]
) -> NDArray[np.float64]:
    """Compute the out-of-fold predictions on which a fit was scored again, (n_attempts,)."""
    folds = fold_of(user_hashes, seed=fit.fold_seed, n_folds=fit.n_folds)
    return predict_by_fold(sequences, folds, fit.fold_params)


def _evidence(
    sequences: AttemptSequences,
    folds: NDArray[np.int8],
    found: CrossValidation,
    plan: FitPlan,
) -> Evidence:
    held_out = found.p_correct
    of_attempt = np.repeat(folds, sequences.lengths)
    fold_scores = []
    for fold, fit in enumerate(found.fold_fits):
        own = of_attempt == fold
        known = fit is not None
        fold_scores.append(score(sequences.correct[own], held_out[own]) if known else None)
    defaults = predict(sequences, plan.algo.defaults)
    return Evidence(
        final=found.final,
        fold_fits=found.fold_fits,
        scores=score(sequences.correct, held_out),
        fold_scores=tuple(fold_scores),
        tally=tally(sequences, held_out),
        against_defaults=compare(
            Rival.DEFAULTS, sequences, challenger=held_out, rival_predictions=defaults
        ),
        against_mean=compare(
            Rival.MEAN,
            sequences,
            challenger=held_out,
            rival_predictions=_held_out_mean(sequences.correct, of_attempt, plan.n_folds),
        ),
    )


def _held_out_mean(
    correct: NDArray[np.int8], of_attempt: NDArray[np.int8], n_folds: int
) -> NDArray[np.float64]:
    """Return the share of correct attempts outside the fold of each attempt, (n_attempts,)."""
    totals = np.bincount(of_attempt, minlength=n_folds)
    rights = np.bincount(of_attempt, weights=correct, minlength=n_folds)
    outside = np.maximum(totals.sum() - totals, 1)
    means = (rights.sum() - rights) / outside
    clamped: NDArray[np.float64] = np.clip(means, EPSILON, 1.0 - EPSILON)
    return clamped[of_attempt]


def _wide_fit(
    sequences: AttemptSequences,
    folds: NDArray[np.int8],
    final: Fit,
    engine: Engine,
    plan: FitPlan,
) -> WideFit | None:
    """Repeat the fit in the wider bounds if a bound that was hit becomes wider there."""
    box, wide = plan.options.bounds, plan.wide_bounds
    if box is None or wide is None:
        return None
    widened = [name for name, edge in asdict(wide).items() if edge != getattr(box, name)]
    if not set(widened) & set(final.on_bounds):
        return None
    options = replace(plan.options, bounds=wide)
    found = cross_validate(engine, sequences, folds, n_folds=plan.n_folds, options=options)
    return WideFit(
        bounds=wide,
        params=found.final.params,
        scores=score(sequences.correct, found.p_correct),
        tally=tally(sequences, found.p_correct),
    )
