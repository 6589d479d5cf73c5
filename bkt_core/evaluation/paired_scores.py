"""Compare every score of two sets of predictions of the same attempts, with standard errors.

Attempts of one user are not independent, so a difference of scores varies over users. Each
score is linearised: the influence of an attempt is the change of the score per unit of its
weight, and the influences of one user are added up. The standard error of B minus A comes from
the differences of these sums. For AUC these are the placements of Obuchowski (1997).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.evaluation.comparison import sign_flip_p
from bkt_core.evaluation.metrics import (
    CALIBRATION_BINS,
    area_under_curve,
    attempt_losses,
    score,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

#: Half the width of a 95 % interval in standard errors.
Z_95 = 1.959963984540054
#: The scores, in the order of reports; `within_auc` is the mean AUC within concepts.
SCORES = ("log_loss", "rmse", "accuracy", "auc", "within_auc", "calibration_error")


@dataclass(frozen=True, slots=True, eq=False)
class PairedPredictions:
    """Attempts predicted by both A and B; attempts of one concept are adjacent."""

    users: NDArray[np.int64]  # (n,), codes
    concepts: NDArray[np.int64]  # (n,), codes
    correct: NDArray[np.int8]  # (n,), 0 or 1
    p_a: NDArray[np.float64]  # (n,), P(correct) by A
    p_b: NDArray[np.float64]  # (n,), by B


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDifference:
    """One score of A and of B; None means undefined."""

    a: float | None
    b: float | None
    #: Standard error of B minus A, over users; None for fewer than two users.
    standard_error: float | None

    @property
    def change(self) -> float | None:
        """B minus A."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of B minus A; None without a standard error."""
        if self.change is None or self.standard_error is None:
            return None
        half = Z_95 * self.standard_error
        return self.change - half, self.change + half

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "a": self.a,
            "b": self.b,
            "change": self.change,
            "standard_error": self.standard_error,
            "interval": None if self.interval is None else list(self.interval),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedScores:
    """The scores of two sets of predictions, pooled over concepts."""

    n_attempts: int
    n_users: int
    n_concepts: int
    scores: dict[str, ScoreDifference]  # by the names of `SCORES`
    #: One-sided p-values of the log loss, paired by user; small: B is shown to be better.
    p_not_better: float
    #: Likewise; small: B is shown to be worse.
    p_not_worse: float

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "n_attempts": self.n_attempts,
            "n_users": self.n_users,
            "n_concepts": self.n_concepts,
            "scores": {name: one.as_json() for name, one in self.scores.items()},
            "p_not_better": self.p_not_better,
            "p_not_worse": self.p_not_worse,
        }


def paired_scores(pairs: PairedPredictions) -> PairedScores:
    """Score both sets of predictions; all scores are None if there is no attempt."""
    users, of_user = np.unique(pairs.users, return_inverse=True)
    right = pairs.correct != 0
    differences = {}
    for name in SCORES:
        influence = _INFLUENCES[name]
        (a, moves_a), (b, moves_b) = (
            influence(pairs, right, p) for p in (pairs.p_a, pairs.p_b)
        )
        by_user = _sums(moves_b - moves_a, of_user, users.size)
        known = a is not None and users.size > 1
        differences[name] = ScoreDifference(
            a=a, b=b, standard_error=_standard_error(by_user) if known else None
        )
    losses = attempt_losses(pairs.correct, pairs.p_a) - attempt_losses(pairs.correct, pairs.p_b)
    gains = _sums(losses, of_user, users.size)
    return PairedScores(
        n_attempts=int(right.size),
        n_users=int(users.size),
        n_concepts=int(np.unique(pairs.concepts).size),
        scores=differences,
        p_not_better=sign_flip_p(gains),
        p_not_worse=sign_flip_p(-gains),
    )


def placements(right: NDArray[np.bool_], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of attempts of the other outcome that each attempt ranks correctly.

    Ties count one half; the result is (n,).
    """
    _, place = np.unique(p, return_inverse=True)
    wrongs = np.bincount(place, weights=~right)
    rights = np.bincount(place, weights=right)
    wrongs_below = np.cumsum(wrongs) - wrongs / 2.0
    rights_above = rights.sum() - np.cumsum(rights) + rights / 2.0
    shares: NDArray[np.float64] = np.where(
        right, wrongs_below[place] / wrongs.sum(), rights_above[place] / rights.sum()
    )
    return shares


Influence = tuple[float | None, "NDArray[np.float64]"]


def _log_loss(
    pairs: PairedPredictions, right: NDArray[np.bool_], p: NDArray[np.float64]
) -> Influence:
    if not right.size:
        return _nothing(right)
    losses = attempt_losses(pairs.correct, p)
    value = float(losses.mean())
    return value, (losses - value) / right.size


def _rmse(_: PairedPredictions, right: NDArray[np.bool_], p: NDArray[np.float64]) -> Influence:
    if not right.size:
        return _nothing(right)
    squares = np.square(np.where(right, 1.0 - p, p))
    mean = float(squares.mean())
    value = math.sqrt(mean)
    return value, (squares - mean) / (2.0 * max(value, 1e-300) * right.size)


def _accuracy(
    _: PairedPredictions, right: NDArray[np.bool_], p: NDArray[np.float64]
) -> Influence:
    if not right.size:
        return _nothing(right)
    hits = (p >= 0.5) == right
    value = int(np.count_nonzero(hits)) / right.size
    return value, (hits - value) / right.size


def _auc(_: PairedPredictions, right: NDArray[np.bool_], p: NDArray[np.float64]) -> Influence:
    value = area_under_curve(right, p)
    if value is None:
        return _nothing(right)
    n_right = int(np.count_nonzero(right))
    of_outcome = np.where(right, n_right, right.size - n_right)
    return value, (placements(right, p) - value) / of_outcome


def _within_auc(
    pairs: PairedPredictions, right: NDArray[np.bool_], p: NDArray[np.float64]
) -> Influence:
    """Average the AUC of concepts with both outcomes, weighted by their attempts."""
    value, moves, n = 0.0, np.zeros(right.size), 0
    for begin, end in _blocks(pairs.concepts):
        own, own_moves = _auc(pairs, right[begin:end], p[begin:end])
        if own is not None:
            value += own * (end - begin)
            moves[begin:end] = own_moves * (end - begin)
            n += end - begin
    return (value / n, moves / n) if n else _nothing(right)


def _calibration_error(
    pairs: PairedPredictions, right: NDArray[np.bool_], p: NDArray[np.float64]
) -> Influence:
    if not right.size:
        return _nothing(right)
    value = score(pairs.correct, p).calibration_error
    bins = np.minimum((p * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    sides = np.sign(np.bincount(bins, weights=p - right, minlength=CALIBRATION_BINS))
    return value, (sides[bins] * (p - right) - value) / right.size


_INFLUENCES: dict[
    str,
    Callable[[PairedPredictions, NDArray[np.bool_], NDArray[np.float64]], Influence],
] = {
    "log_loss": _log_loss,
    "rmse": _rmse,
    "accuracy": _accuracy,
    "auc": _auc,
    "within_auc": _within_auc,
    "calibration_error": _calibration_error,
}


def _sums(
    values: NDArray[np.float64], of_user: NDArray[np.intp], n_users: int
) -> NDArray[np.float64]:
    """Add up the values of each user, (n_users,)."""
    return np.bincount(of_user, weights=values, minlength=n_users).astype(np.float64)


def _nothing(right: NDArray[np.bool_]) -> Influence:
    return None, np.zeros(right.size)


def _blocks(concepts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the first and the end index of each concept."""
    if not concepts.size:
        return []
    inner = (np.flatnonzero(np.diff(concepts)) + 1).tolist()
    return list(zip([0, *inner], [*inner, concepts.size], strict=True))


def _standard_error(by_user: NDArray[np.float64]) -> float:
    """Return the standard error of a sum of influences over users, whose mean is 0."""
    n = by_user.size
    return math.sqrt(float(np.square(by_user).sum()) * n / (n - 1))
