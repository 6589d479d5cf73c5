"""The scores of a run: pooled, by fold, against the rivals, and by bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bkt_core.evaluation.metrics import Scores
from bkt_core.evaluation.tally import add_tallies, pool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bkt_core.evaluation.comparison import Comparison
    from bkt_core.evaluation.concept_fit import ConceptFit, Evidence
    from bkt_core.judgement.evidence import ConceptEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundCost:
    """The cost of one bound: fits on it, compared with fits in wider bounds."""

    bound: str  # such as "L0_max"
    n_concepts: int
    n_attempts: int
    auc: float | None  # out of fold, pooled over these concepts
    wide_auc: float | None
    log_loss: float | None
    wide_log_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledScores:
    """Scores over all concepts with a fit, whatever their verdict."""

    pooled: Scores | None
    by_fold: tuple[Scores | None, ...]
    #: Log loss of each rival and of the fits on the same attempts: {"champion": (rival, fit)}.
    log_loss_of: Mapping[str, Sequence[float]]
    #: Per calibration bin: incorrect, correct, sum of predictions.
    calibration: tuple[tuple[float, ...], ...]
    bounds: tuple[BoundCost, ...]


def pooled_scores(evidences: Sequence[ConceptEvidence]) -> PooledScores:
    """Pool the out-of-fold scores of the concepts of a run."""
    fits = [one.fit.evidence for one in evidences if one.fit.evidence is not None]
    champions = [one.against_champion for one in evidences if one.against_champion]
    whole = add_tallies([fit.tally for fit in fits])
    rivals = {
        "defaults": [fit.against_defaults for fit in fits],
        "mean": [fit.against_mean for fit in fits],
        "champion": champions,
    }
    return PooledScores(
        pooled=pool([fit.scores for fit in fits], [fit.tally for fit in fits]),
        by_fold=_by_fold(fits),
        log_loss_of={name: _log_losses(against) for name, against in rivals.items() if against},
        calibration=tuple(
            (float(wrong), float(right), p_sum)
            for (wrong, right), p_sum in zip(
                whole.calibration_counts.tolist(), whole.p_sums.tolist(), strict=True
            )
        ),
        bounds=bound_costs([one.fit for one in evidences]),
    )


def bound_costs(fits: Sequence[ConceptFit]) -> tuple[BoundCost, ...]:
    """Return the cost of each bound that fits hit, most frequent first."""
    names = sorted({name for fit in fits for name in _bounds_of(fit)})
    costs = [
        _bound_cost(name, [fit for fit in fits if name in _bounds_of(fit)]) for name in names
    ]
    return tuple(sorted(costs, key=lambda cost: (-cost.n_concepts, cost.bound)))


def _bounds_of(fit: ConceptFit) -> tuple[str, ...]:
    return () if fit.evidence is None else fit.evidence.final.on_bounds


def _is_widened(fit: ConceptFit, name: str) -> bool:
    """Return whether the wider bounds moved this bound, which the fit hit."""
    if fit.params is None or fit.wide is None:
        return False
    at = fit.params.as_dict()[f"p_{name.split('_')[0]}"]
    return bool(getattr(fit.wide.bounds, name, at) != at)


def _bound_cost(name: str, fits: Sequence[ConceptFit]) -> BoundCost:
    tried = [fit for fit in fits if _is_widened(fit, name)]
    inside = [fit.evidence for fit in tried if fit.evidence is not None]
    wider = [fit.wide for fit in tried if fit.wide is not None]
    here = pool([one.scores for one in inside], [one.tally for one in inside])
    there = pool([one.scores for one in wider], [one.tally for one in wider])
    return BoundCost(
        bound=name,
        n_concepts=len(fits),
        n_attempts=sum(fit.n_attempts for fit in fits),
        auc=here.auc if here else None,
        wide_auc=there.auc if there else None,
        log_loss=here.log_loss if here else None,
        wide_log_loss=there.log_loss if there else None,
    )


def _by_fold(fits: Sequence[Evidence]) -> tuple[Scores | None, ...]:
    """Average the scores of each fold over concepts by attempts (AUC where it exists)."""
    n_folds = max((len(fit.fold_scores) for fit in fits), default=0)
    return tuple(
        weighted_mean([fit.fold_scores[fold] for fit in fits if fold < len(fit.fold_scores)])
        for fold in range(n_folds)
    )


def weighted_mean(scores: Sequence[Scores | None]) -> Scores | None:
    """Return the mean of scores weighted by attempts."""
    known = [one for one in scores if one is not None and one.n]
    n = sum(one.n for one in known)
    if n == 0:
        return None

    def mean(name: str) -> float:
        return math.fsum(one.n * float(getattr(one, name)) for one in known) / n

    ranked = [one for one in known if one.auc is not None]
    n_ranked = sum(one.n for one in ranked)
    auc = math.fsum(one.n * (one.auc or 0.0) for one in ranked) / n_ranked if ranked else None
    return Scores(
        n=n,
        log_loss=mean("log_loss"),
        rmse=mean("rmse"),
        accuracy=mean("accuracy"),
        auc=auc,
        calibration_error=mean("calibration_error"),
    )


def _log_losses(comparisons: Sequence[Comparison]) -> tuple[float, float]:
    """Return the log losses of the rival and of the fits on all compared attempts."""
    n = sum(one.n_attempts for one in comparisons)
    rival = math.fsum(one.n_attempts * one.rival_scores.log_loss for one in comparisons) / n
    gain = math.fsum(one.n_attempts * one.gain for one in comparisons) / n
    return rival, rival - gain
