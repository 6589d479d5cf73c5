"""Scores of predictions: log loss, RMSE, accuracy, AUC, calibration error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: Predictions are clamped this far from 0 and 1, as the model clamps them.
EPSILON = 1e-10
#: Number of equally wide bins of predictions for the calibration error.
CALIBRATION_BINS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of the predictions of `n` attempts."""

    n: int
    log_loss: float  # nats per attempt
    rmse: float
    accuracy: float  # share of attempts whose outcome is on the predicted side of 0.5
    auc: float | None  # None where only one outcome occurs
    calibration_error: float  # mean |predicted - observed| over equally wide bins

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values; `from_json` is the inverse."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scores:
        """Build the object from the values that `as_json` returned."""
        return cls(**values)


def score(correct: NDArray[np.int8], p_correct: NDArray[np.float64]) -> Scores:
    """Score predictions; attempts without a prediction (NaN) are left out.

    All scores are NaN if no attempt has a prediction.
    """
    predicted = ~np.isnan(p_correct)
    if not predicted.all():
        correct, p_correct = correct[predicted], p_correct[predicted]
    n = int(correct.size)
    if n == 0:
        nothing = math.nan
        return Scores(
            n=0,
            log_loss=nothing,
            rmse=nothing,
            accuracy=nothing,
            auc=None,
            calibration_error=nothing,
        )
    right = correct != 0
    error = np.where(right, 1.0 - p_correct, p_correct)
    return Scores(
        n=n,
        log_loss=float(np.add.reduce(attempt_losses(correct, p_correct))) / n,
        rmse=math.sqrt(float(np.add.reduce(error * error)) / n),
        accuracy=int(np.count_nonzero((p_correct >= 0.5) == right)) / n,
        auc=area_under_curve(right, p_correct),
        calibration_error=_calibration_error(right, p_correct),
    )


def attempt_losses(
    correct: NDArray[np.int8], p_correct: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return -log P(observed outcome) of each attempt, (n_attempts,), in nats."""
    p_outcome = np.where(correct != 0, p_correct, 1.0 - p_correct)
    losses: NDArray[np.float64] = -np.log(np.minimum(np.maximum(p_outcome, EPSILON), 1.0))
    return losses


def area_under_curve(right: NDArray[np.bool_], p_correct: NDArray[np.float64]) -> float | None:
    """Return the AUC: P(a correct attempt was predicted higher than an incorrect one).

    Ties count one half (Hanley & McNeil 1982). The bits of a probability sort as its value does
    and leave the top bit free, so that one integer sort carries the outcome along; the counts
    are exact integers. The AUC is None if only one outcome occurs.
    """
    n_right = int(np.count_nonzero(right))
    n_wrong = right.size - n_right
    if n_right == 0 or n_wrong == 0:
        return None
    # Adding zero turns -0.0, whose bits would sort last, into 0.0.
    bits = (np.asarray(p_correct, dtype=np.float64) + 0.0).view(np.uint64)
    keys = (bits << np.uint64(1)) | right
    keys.sort()
    sorted_p = keys >> np.uint64(1)
    ends_tie = np.empty(keys.size, np.bool_)
    ends_tie[-1] = True
    np.not_equal(sorted_p[1:], sorted_p[:-1], out=ends_tie[:-1])
    last_of_tie = np.flatnonzero(ends_tie)
    rights = np.cumsum(keys & np.uint64(1), dtype=np.int64)[last_of_tie]
    wrongs = last_of_tie + 1 - rights
    # Twice the number of (right, wrong) pairs in order: each tie adds below + half of its own.
    own, below = rights.copy(), wrongs.copy()
    own[1:] -= rights[:-1]
    below[1:] += wrongs[:-1]
    return int(own @ below) / (2 * n_right * n_wrong)


def _calibration_error(right: NDArray[np.bool_], p_correct: NDArray[np.float64]) -> float:
    bins = np.minimum((p_correct * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=p_correct - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum()) / right.size
