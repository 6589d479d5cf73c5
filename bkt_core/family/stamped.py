"""Attempts of one concept with their questions and covariates, as v4 and v5 read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.errors import InvalidSequencesError
from bkt_core.sequences import AttemptSequences

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class StampedSequences(AttemptSequences):
    """Attempts, with what was known of each when it was written."""

    questions: NDArray[np.int64]  # (n_attempts,) codes from 0; (0,) where the version has none
    n_questions: int
    covariates: NDArray[np.float64]  # (n_attempts, n_weights)
    #: Id of each question by its code, None for attempts without one; empty: ids are not known.
    question_ids: tuple[str | None, ...] = ()
    #: Names of the weights that the columns of `covariates` go with; empty: those of the fit.
    weight_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        AttemptSequences.__post_init__(self)
        n, codes, rows = self.correct.size, self.questions, self.covariates
        if codes.dtype != np.int64 or codes.shape not in ((n,), (0,)):
            raise InvalidSequencesError(
                f"Questions must be int64 codes of {n} attempts, or none, "
                f"got {codes.dtype} of shape {codes.shape}."
            )
        if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < self.n_questions:
            raise InvalidSequencesError(
                f"Codes of questions must lie in [0, {self.n_questions}), "
                f"got {int(codes.min())} to {int(codes.max())}."
            )
        if self.question_ids and len(self.question_ids) != self.n_questions:
            raise InvalidSequencesError(
                f"There must be one id per question, {self.n_questions}, "
                f"got {len(self.question_ids)}."
            )
        if rows.ndim != 2 or rows.shape[0] != n or not bool(np.isfinite(rows).all()):
            raise InvalidSequencesError(
                f"Covariates must be finite and have {n} rows, got shape {rows.shape}."
            )

    def of_users(self, chosen: NDArray[np.bool_]) -> StampedSequences:
        """The sequences of the users that a mask (n_users,) chooses; codes stay."""
        of_attempt = np.repeat(chosen, self.lengths)
        plain = AttemptSequences(self.correct, self.offsets).of_users(chosen)
        return StampedSequences(
            correct=plain.correct,
            offsets=plain.offsets,
            questions=self.questions[of_attempt] if self.questions.size else self.questions,
            n_questions=self.n_questions,
            covariates=self.covariates[of_attempt],
            question_ids=self.question_ids,
            weight_names=self.weight_names,
        )

    def covariates_for(self, weights: Collection[str]) -> NDArray[np.float64]:
        """Return the columns that go with some weights, (n_attempts, n_weights)."""
        names = self.weight_names or tuple(weights)
        missing = [name for name in weights if name not in names]
        if missing or len(names) != self.covariates.shape[1]:
            raise InvalidSequencesError(
                f"Attempts must have one covariate per weight, {', '.join(weights) or 'none'}, "
                f"got {self.covariates.shape[1]} of {', '.join(names) or 'none'}."
            )
        if tuple(weights) == names:
            return self.covariates
        return np.ascontiguousarray(self.covariates[:, [names.index(one) for one in weights]])

    def odds_for(self, question_odds: Mapping[str, float]) -> NDArray[np.float64]:
        """Return the multiplier of each question by its code, (n_questions,); 1 if unknown."""
        ids = self.question_ids or (None,) * self.n_questions
        return np.array([1.0 if one is None else question_odds.get(one, 1.0) for one in ids])
