"""Two algorithm versions at one concept: predictions of held-out attempts, and mastery."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.evaluation.comparison import Rival, compare
from bkt_core.evaluation.cross_validation import fold_of, predict_by_fold
from bkt_core.replay import predict, replay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.evaluation.comparison import Comparison
    from bkt_core.evaluation.concept_fit import ConceptFit
    from bkt_core.judgement.evidence import Champion
    from bkt_core.params import AlgoParams, BktParams
    from bkt_core.sequences import AttemptSequences


class Source(StrEnum):
    """Where a version's parameters of a concept come from."""

    FITTED = "fitted"  # scored on users whom each fold's parameters have not seen
    IN_SAMPLE = "in-sample"  # fitted, but the parameters without each fold are not known
    DEFAULTS = "defaults"  # of the version


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionParams:
    """What one version has for one concept."""

    source: Source
    params: BktParams
    #: A user has mastered the concept from this probability on.
    threshold: float
    #: Fitted without each fold of `fold_seed`; None: the fold has no prediction.
    fold_params: tuple[BktParams | None, ...] = ()
    fold_seed: int = 0

    def predict(
        self, sequences: AttemptSequences, user_hashes: NDArray[np.uint64]
    ) -> NDArray[np.float64]:
        """P(correct) before each attempt, out of fold where it was fitted; NaN: none."""
        if self.source is not Source.FITTED:
            return predict(sequences, self.params)
        folds = fold_of(user_hashes, seed=self.fold_seed, n_folds=len(self.fold_params))
        return predict_by_fold(sequences, folds, self.fold_params)


def defaults_of(algo: AlgoParams) -> VersionParams:
    """What a version has for a concept without a fit."""
    return VersionParams(
        source=Source.DEFAULTS, params=algo.defaults, threshold=algo.mastery_threshold
    )


def params_of_fit(fit: ConceptFit | None, algo: AlgoParams) -> VersionParams:
    """What a version has for a concept by a fit of it; the defaults where there is none."""
    if fit is None or fit.params is None:
        return defaults_of(algo)
    return VersionParams(
        source=Source.FITTED,
        params=fit.params,
        threshold=algo.mastery_threshold,
        fold_params=fit.fold_params,
        fold_seed=fit.fold_seed,
    )


def params_in_force(row: Champion | None, algo: AlgoParams) -> VersionParams:
    """What a version has for a concept by its row of parameters.

    A fold without parameters had no users then: whoever is in it now is new to the row.
    """
    if row is None:
        return defaults_of(algo)
    known = row.fold_seed is not None and bool(row.fold_params)
    fold_params = tuple(own or row.params for own in row.fold_params) if known else ()
    return VersionParams(
        source=Source.FITTED if known else Source.IN_SAMPLE,
        params=row.params,
        threshold=algo.mastery_threshold,
        fold_params=fold_params,
        fold_seed=row.fold_seed or 0,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VersionsAtConcept:
    """Versions A and B at one concept."""

    a: VersionParams
    b: VersionParams
    predicted_by_both: NDArray[np.bool_]  # (n_attempts,)
    p_a: NDArray[np.float64]  # (n_attempts,), P(correct) before each attempt by A
    p_b: NDArray[np.float64]
    #: B as the challenger of A; None where no attempt is predicted by both.
    comparison: Comparison | None
    mastery_a: NDArray[np.float64]  # (n_users,), after the last attempt
    mastery_b: NDArray[np.float64]

    @property
    def mastered_a(self) -> NDArray[np.bool_]:
        """Users at or above the threshold of A."""
        mastered: NDArray[np.bool_] = self.mastery_a >= self.a.threshold
        return mastered

    @property
    def mastered_b(self) -> NDArray[np.bool_]:
        """Users at or above the threshold of B."""
        mastered: NDArray[np.bool_] = self.mastery_b >= self.b.threshold
        return mastered


def compare_at_concept(
    a: VersionParams,
    b: VersionParams,
    sequences: AttemptSequences,
    user_hashes: NDArray[np.uint64],  # (n_users,)
) -> VersionsAtConcept:
    """Predict the held-out attempts by both, and replay everybody under both."""
    p_a, p_b = (side.predict(sequences, user_hashes) for side in (a, b))
    both = ~(np.isnan(p_a) | np.isnan(p_b))
    comparison = None
    if both.any():
        comparison = compare(
            Rival.CHAMPION,
            sequences,
            challenger=p_b,
            rival_predictions=p_a,
            rival_in_sample=a.source is Source.IN_SAMPLE,
        )
    return VersionsAtConcept(
        a=a,
        b=b,
        predicted_by_both=both,
        p_a=p_a,
        p_b=p_b,
        comparison=comparison,
        mastery_a=replay(sequences, a.params),
        mastery_b=replay(sequences, b.params),
    )
