"""Compare two algorithm versions at one concept: held-out predictions and mastery."""

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
    from bkt_core.family.params import Params
    from bkt_core.judgement.evidence import Champion
    from bkt_core.params import AlgoParams
    from bkt_core.sequences import AttemptSequences


class Source(StrEnum):
    """Where the parameters of a version for a concept come from."""

    FITTED = "fitted"  # each fold is scored with parameters fitted without it
    IN_SAMPLE = "in-sample"  # fitted, but parameters without each fold are not available
    DEFAULTS = "defaults"  # the defaults of the version


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionParams:
    """The parameters of one version for one concept."""

    source: Source
    params: Params
    #: The mastery threshold of the version.
    threshold: float
    #: Parameters fitted without each fold of `fold_seed`; None: no prediction for the fold.
    fold_params: tuple[Params | None, ...] = ()
    fold_seed: int = 0

    def predict(
        self, sequences: AttemptSequences, user_hashes: NDArray[np.uint64]
    ) -> NDArray[np.float64]:
        """Predict P(correct) before each attempt, (n_attempts,), out of fold if fitted.

        Predictions are NaN in folds without parameters.
        """
        if self.source is not Source.FITTED:
            return predict(sequences, self.params)
        folds = fold_of(user_hashes, seed=self.fold_seed, n_folds=len(self.fold_params))
        return predict_by_fold(sequences, folds, self.fold_params)


def defaults_of(algo: AlgoParams) -> VersionParams:
    """Return the parameters of a version for a concept without a fit."""
    return VersionParams(
        source=Source.DEFAULTS, params=algo.defaults, threshold=algo.mastery_threshold
    )


def params_of_fit(fit: ConceptFit | None, algo: AlgoParams) -> VersionParams:
    """Return the parameters of a version from a fit; the defaults if there is none."""
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
    """Return the parameters of a version from its stored row.

    A fold without parameters had no users when the row was fitted, so that its users are new
    to the row.
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
    """The comparison of versions A and B at one concept."""

    a: VersionParams
    b: VersionParams
    predicted_by_both: NDArray[np.bool_]  # (n_attempts,)
    p_a: NDArray[np.float64]  # (n_attempts,), P(correct) before each attempt by A
    p_b: NDArray[np.float64]
    #: B as the challenger of A; None if no attempt is predicted by both.
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
    """Predict the held-out attempts with both versions and replay all users with both."""
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
