"""Predictions of one concept counted so that any number of concepts pools by adding counts.

A run scores ten million predictions that lie in as many shards as there are tasks, some of them
years old; counts add up to the same whole number in any order, and need no prediction kept.
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

#: Equal widths of prediction that count as ties when AUC is pooled; errors stay below 1e-5.
TALLY_BINS = 16_384
#: Opportunities of a learning curve; later ones are left out.
CURVE_LENGTH = 20


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Right and wrong attempts by prediction, and the course over opportunities."""

    counts: NDArray[np.int64]  # (TALLY_BINS, 2): wrong, right
    p_sums: NDArray[np.float64]  # (CALIBRATION_BINS,): sums of predictions
    curve_counts: NDArray[np.int64]  # (CURVE_LENGTH, 2): wrong, right
    curve_p_sums: NDArray[np.float64]  # (CURVE_LENGTH,)

    @property
    def n(self) -> int:
        """Attempts counted."""
        return int(self.counts.sum())

    @property
    def calibration_counts(self) -> NDArray[np.int64]:
        """Wrong and right attempts by width of prediction, (CALIBRATION_BINS, 2)."""
        edges = -(-np.arange(CALIBRATION_BINS) * TALLY_BINS // CALIBRATION_BINS)
        return np.add.reduceat(self.counts, edges, axis=0)

    def as_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` makes an equal tally."""
        occupied = np.flatnonzero(self.counts.any(axis=1))
        return {
            "bins": _packed(occupied),
            "counts": _packed(self.counts[occupied]),
            "p_sums": self.p_sums.tolist(),
            "curve_counts": self.curve_counts.tolist(),
            "curve_p_sums": self.curve_p_sums.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tally:
        """Read what `as_json` wrote."""
        counts = np.zeros((TALLY_BINS, 2), dtype=np.int64)
        counts[_unpacked(values["bins"])] = _unpacked(values["counts"]).reshape(-1, 2)
        return cls(
            counts,
            np.array(values["p_sums"], dtype=np.float64),
            np.array(values["curve_counts"], dtype=np.int64).reshape(CURVE_LENGTH, 2),
            np.array(values["curve_p_sums"], dtype=np.float64),
        )


def tally(sequences: AttemptSequences, p_correct: NDArray[np.float64]) -> Tally:
    """Count predictions (n_attempts,); attempts without one (NaN) are left out."""
    starts = np.repeat(sequences.offsets[:-1], sequences.lengths)
    opportunity = np.arange(sequences.n_attempts) - starts
    predicted = ~np.isnan(p_correct)
    p, right = p_correct[predicted], sequences.correct[predicted]
    opportunity = opportunity[predicted]
    fine = np.minimum((p * TALLY_BINS).astype(np.int64), TALLY_BINS - 1)
    coarse = fine * CALIBRATION_BINS // TALLY_BINS
    early = opportunity < CURVE_LENGTH
    when = opportunity[early]
    return Tally(
        np.bincount(fine * 2 + right, minlength=2 * TALLY_BINS).reshape(-1, 2),
        np.bincount(coarse, weights=p, minlength=CALIBRATION_BINS).astype(np.float64),
        np.bincount(when * 2 + right[early], minlength=2 * CURVE_LENGTH).reshape(-1, 2),
        np.bincount(when, weights=p[early], minlength=CURVE_LENGTH).astype(np.float64),
    )


def add_tallies(tallies: Sequence[Tally]) -> Tally:
    """The tally of all attempts; float sums are exact, so their order does not matter."""
    counts = np.zeros((TALLY_BINS, 2), dtype=np.int64)
    curve = np.zeros((CURVE_LENGTH, 2), dtype=np.int64)
    for one in tallies:
        counts += one.counts
        curve += one.curve_counts
    return Tally(
        counts,
        _exact_sums([one.p_sums for one in tallies], CALIBRATION_BINS),
        curve,
        _exact_sums([one.curve_p_sums for one in tallies], CURVE_LENGTH),
    )


def pool(scores: Iterable[Scores], tallies: Sequence[Tally]) -> Scores | None:
    """The scores of the attempts of many concepts as one; None without any attempt."""
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
        auc=_area(whole.counts),
        calibration_error=math.fsum(np.abs(whole.p_sums - rights)) / n,
    )


def _area(counts: NDArray[np.int64]) -> float | None:
    """P(a right attempt was given more than a wrong one), attempts of one width half each."""
    wrong, right = counts[:, 0], counts[:, 1]
    pairs = int(wrong.sum()) * int(right.sum())
    if pairs == 0:
        return None
    below = np.cumsum(wrong) - wrong
    return int((right * (2 * below + wrong)).sum()) / (2 * pairs)


def _exact_sums(rows: Sequence[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    columns = np.array(rows).reshape(-1, width).T
    return np.array([math.fsum(column) for column in columns])


def _packed(values: NDArray[np.int64]) -> str:
    return base64.b64encode(zlib.compress(values.astype("<i4").tobytes(), 6)).decode("ascii")


def _unpacked(text: str) -> NDArray[np.int64]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i4").astype(np.int64)
