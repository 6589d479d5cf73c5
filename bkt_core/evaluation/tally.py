"""Count the predictions of one concept, so that concepts can be pooled by adding the counts.

A run scores ten million predictions in as many shards as there are tasks, and some were made
in earlier runs. Counts add up to the same numbers in any order, and no prediction is kept.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.evaluation.metrics import CALIBRATION_BINS, Scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from bkt_core.sequences import AttemptSequences

#: Number of equally wide bins whose predictions count as ties in the pooled AUC. Closer
#: predictions occur only where mastery is almost certain, and the order of their outcomes is
#: random (the AUC of 24,000 attempts changes by 6e-5).
TALLY_BINS = 1 << 16
#: Number of opportunities in a learning curve; later opportunities are left out.
CURVE_LENGTH = 20


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts of correct and incorrect attempts, by prediction and by opportunity."""

    #: (n_keys,), increasing: twice the bin of the prediction, plus 1 if correct; only nonzero
    #: ones.
    keys: NDArray[np.int64]
    counts: NDArray[np.int64]  # (n_keys,): attempts of each key
    p_sums: NDArray[np.float64]  # (CALIBRATION_BINS,): sums of predictions
    curve_counts: NDArray[np.int64]  # (CURVE_LENGTH, 2): incorrect, correct
    curve_p_sums: NDArray[np.float64]  # (CURVE_LENGTH,): sums of predictions

    @property
    def n(self) -> int:
        """The number of attempts counted."""
        return int(self.counts.sum())

    @property
    def calibration_counts(self) -> NDArray[np.int64]:
        """Incorrect and correct attempts per calibration bin, (CALIBRATION_BINS, 2)."""
        coarse = (self.keys >> 1) * CALIBRATION_BINS // TALLY_BINS * 2 + (self.keys & 1)
        counts = np.zeros(2 * CALIBRATION_BINS, dtype=np.int64)
        np.add.at(counts, coarse, self.counts)
        return counts.reshape(-1, 2)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values; `from_json` is the inverse."""
        return {
            "keys": _packed(np.diff(self.keys, prepend=0)),
            "counts": _packed(self.counts),
            "p_sums": self.p_sums.tolist(),
            "curve_counts": self.curve_counts.tolist(),
            "curve_p_sums": self.curve_p_sums.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tally:
        """Build the object from the values that `as_json` returned."""
        return cls(
            np.cumsum(_unpacked(values["keys"])),
            _unpacked(values["counts"]),
            np.array(values["p_sums"], dtype=np.float64),
            np.array(values["curve_counts"], dtype=np.int64).reshape(CURVE_LENGTH, 2),
            np.array(values["curve_p_sums"], dtype=np.float64),
        )


def tally(sequences: AttemptSequences, p_correct: NDArray[np.float64]) -> Tally:
    """Count predictions (n_attempts,); attempts without a prediction (NaN) are left out."""
    starts = np.repeat(sequences.offsets[:-1], sequences.lengths)
    opportunity = np.arange(sequences.n_attempts) - starts
    predicted = ~np.isnan(p_correct)
    p, right = p_correct[predicted], sequences.correct[predicted]
    opportunity = opportunity[predicted]
    fine = np.minimum((p * TALLY_BINS).astype(np.int64), TALLY_BINS - 1)
    keys, counts = np.unique(fine * 2 + right, return_counts=True)
    coarse = fine * CALIBRATION_BINS // TALLY_BINS
    early = opportunity < CURVE_LENGTH
    when = opportunity[early]
    return Tally(
        keys,
        counts,
        np.bincount(coarse, weights=p, minlength=CALIBRATION_BINS).astype(np.float64),
        np.bincount(when * 2 + right[early], minlength=2 * CURVE_LENGTH).reshape(-1, 2),
        np.bincount(when, weights=p[early], minlength=CURVE_LENGTH).astype(np.float64),
    )


def add_tallies(tallies: Sequence[Tally]) -> Tally:
    """Add tallies; sums of floats are exact, so that their order does not matter."""
    whole = np.zeros(2 * TALLY_BINS, dtype=np.int64)
    curve = np.zeros((CURVE_LENGTH, 2), dtype=np.int64)
    for one in tallies:
        whole[one.keys] += one.counts
        curve += one.curve_counts
    keys = np.flatnonzero(whole)
    return Tally(
        keys,
        whole[keys],
        _exact_sums([one.p_sums for one in tallies], CALIBRATION_BINS),
        curve,
        _exact_sums([one.curve_p_sums for one in tallies], CURVE_LENGTH),
    )


def pool(scores: Iterable[Scores], tallies: Sequence[Tally]) -> Scores | None:
    """Return the scores of the attempts of many concepts together; None without attempts."""
    kept = [one for one in scores if one.n]
    n = sum(one.n for one in kept)
    if n == 0:
        return None
    whole = add_tallies(tallies)
    rights = whole.calibration_counts[:, 1]
    return Scores(
        n=n,
        log_loss=math.fsum(one.n * one.log_loss for one in kept) / n,
        rmse=math.sqrt(math.fsum(one.n * one.rmse**2 for one in kept) / n),
        accuracy=sum(round(one.n * one.accuracy) for one in kept) / n,
        auc=_area(whole),
        calibration_error=math.fsum(np.abs(whole.p_sums - rights)) / n,
    )


def _area(whole: Tally) -> float | None:
    """Return the AUC; attempts in the same bin count as ties."""
    right = np.where(whole.keys & 1, whole.counts, 0)
    wrong = whole.counts - right
    n_right, n_wrong = int(right.sum()), int(wrong.sum())
    if n_right == 0 or n_wrong == 0:
        return None
    below = np.cumsum(wrong)  # includes the incorrect attempts of the same bin
    own = np.where(np.diff(whole.keys >> 1, prepend=-1) == 0, np.roll(wrong, 1), 0)
    return int((right * (2 * below - own)).sum()) / (2 * n_right * n_wrong)


def _exact_sums(rows: Sequence[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    columns = np.array(rows).reshape(-1, width).T
    return np.array([math.fsum(column) for column in columns])


def _packed(values: NDArray[np.int64]) -> str:
    return base64.b64encode(zlib.compress(values.astype("<i4").tobytes(), 6)).decode("ascii")


def _unpacked(text: str) -> NDArray[np.int64]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i4").astype(np.int64)
