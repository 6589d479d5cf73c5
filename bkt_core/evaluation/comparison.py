"""Compare two sets of predictions, paired by user, and test which one is better.

The test is the sign-flip test (Fisher 1935): if neither set were better, the difference in log
loss of each user would be as likely to have the opposite sign. The test does not assume equal
variances (one user may have 2 attempts and another 3,000), it needs no random seed, and it
reaches the small p-values that a run over hundreds of concepts needs; a bootstrap of a thousand
draws cannot go below 0.001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.evaluation.metrics import Scores, attempt_losses, score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bkt_core.sequences import AttemptSequences

#: Up to this many users, the test enumerates all sign patterns (2**12 for 12 users).
MAX_ENUMERATED = 12
#: Within this many standard deviations of the mean, the normal approximation is used.
NORMAL_BELOW = 1e-4
NEWTON_STEPS = 60


class Rival(StrEnum):
    """What a challenger is compared with."""

    DEFAULTS = "defaults"
    MEAN = "mean"  # the concept's share of correct attempts among the training users
    CHAMPION = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of comparing a challenger with one rival on the same held-out attempts."""

    rival: Rival
    n_attempts: int
    n_users: int
    gain: float  # nats per attempt by which the challenger is better
    standard_error: float | None  # of the gain, over users; None for a single user
    p_not_better: float  # one-sided; small: the challenger is shown to be better
    p_not_worse: float  # one-sided; small: the challenger is shown to be worse
    #: One-sided; small: the challenger is shown not to be worse by the margin or more.
    #: None means that no margin was given.
    p_worse_by_margin: float | None
    rival_in_sample: bool  # the rival was fitted on users it is scored on
    rival_scores: Scores

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values; `from_json` is the inverse."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {
            "rival": self.rival.value,
            "rival_scores": self.rival_scores.as_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """Build a comparison from the values that `as_json` returned."""
        read = dict(values) | {
            "rival": Rival(values["rival"]),
            "rival_scores": Scores.from_json(values["rival_scores"]),
        }
        return cls(**read)


def compare(
    rival: Rival,
    sequences: AttemptSequences,
    *,
    challenger: NDArray[np.float64],  # (n_attempts,) P(correct), NaN where not held out
    rival_predictions: NDArray[np.float64],  # likewise, for the rival
    margin: float | None = None,
    rival_in_sample: bool = False,
) -> Comparison:
    """Compare two sets of predictions on the attempts that have a prediction in both."""
    correct = sequences.correct
    both = ~(np.isnan(challenger) | np.isnan(rival_predictions))
    rival_losses = attempt_losses(correct, rival_predictions)
    differences = rival_losses - attempt_losses(correct, challenger)
    by_user = np.add.reduceat(np.where(both, differences, 0.0), sequences.offsets[:-1])
    attempts = np.add.reduceat(both.astype(np.int64), sequences.offsets[:-1])
    seen = attempts > 0
    by_user, attempts = by_user[seen], attempts[seen]
    n_attempts = int(attempts.sum())
    gain = float(by_user.sum()) / n_attempts
    return Comparison(
        rival=rival,
        n_attempts=n_attempts,
        n_users=int(attempts.size),
        gain=gain,
        standard_error=_standard_error(by_user, attempts, gain),
        p_not_better=sign_flip_p(by_user),
        p_not_worse=sign_flip_p(-by_user),
        p_worse_by_margin=None if margin is None else sign_flip_p(by_user + margin * attempts),
        rival_in_sample=rival_in_sample,
        rival_scores=score(correct[both], rival_predictions[both]),
    )


def sign_flip_p(differences: NDArray[np.float64]) -> float:
    """Return the one-sided p-value of the sign-flip test for a positive sum of differences.

    It is the probability that the sum is at least as large as observed when the sign of each
    difference is random. Up to `MAX_ENUMERATED` differences it is computed by enumeration; for
    more, by the saddlepoint approximation of Lugannani & Rice (1980), which stays accurate, in
    relative terms, far out in the tail. `differences` is (n_users,).
    """
    sizes = np.abs(differences)
    largest = float(sizes.max(initial=0.0))
    if largest == 0.0:
        return 1.0
    moving = sizes > 0.0
    sizes, total = sizes[moving] / largest, float(differences[moving].sum()) / largest
    if total < 0.0 and sizes.size > MAX_ENUMERATED:  # approximated in the upper tail alone
        return 1.0 - _upper_tail(sizes, -total)
    return _upper_tail(sizes, total)


def adjusted_p(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values (Benjamini & Hochberg 1995), in the order of `p_values`.

    The adjusted value is the lowest false discovery rate at which the test is a discovery.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    values: list[float] = adjusted.tolist()
    return values


def _upper_tail(sizes: NDArray[np.float64], total: float) -> float:
    """Return P(sum of signs x sizes >= total)."""
    least = 0.5**sizes.size
    if total >= float(sizes.sum()) * (1.0 - 1e-12):
        return max(least, 5e-324)
    if sizes.size <= MAX_ENUMERATED:
        return _enumerated_p(sizes, total)
    return max(least, _saddlepoint_p(sizes, total))


def _enumerated_p(sizes: NDArray[np.float64], total: float) -> float:
    sums = np.zeros(1)
    for size in sizes.tolist():
        sums = np.concatenate([sums - size, sums + size])
    return float(np.count_nonzero(sums >= total - 1e-9)) / sums.size


def _saddlepoint_p(sizes: NDArray[np.float64], total: float) -> float:
    """Approximate P(sum of signs x sizes >= total) for total >= 0.

    The cumulant generating function of the sum is sum(log cosh(t x size)). The result is at
    most the bound of Chernoff (1952), which the approximation exceeds where a few tiny
    differences oppose all others.
    """
    deviation = math.sqrt(float(np.square(sizes).sum()))
    if total <= NORMAL_BELOW * deviation:
        return _normal_tail(total / deviation)
    t = _saddlepoint(sizes, total)
    tanh = np.tanh(t * sizes)
    cumulant = float((np.logaddexp(t * sizes, -t * sizes) - math.log(2.0)).sum())
    r = math.sqrt(max(2.0 * (t * total - cumulant), 0.0))
    v = t * math.sqrt(float((np.square(sizes) * (1.0 - np.square(tanh))).sum()))
    density = math.exp(-0.5 * r * r) / math.sqrt(2.0 * math.pi)
    p = _normal_tail(r) + density * (1.0 / v - 1.0 / r) if v > 0.0 else 0.0
    return min(max(p, 0.0), 0.5, math.exp(-0.5 * r * r))


def _saddlepoint(sizes: NDArray[np.float64], total: float) -> float:
    """Solve sum(size x tanh(t x size)) = total for t > 0.

    The left side is concave in t and the start lies below the root, so that Newton's method
    converges monotonically from below.
    """
    t = total / float(np.square(sizes).sum())
    for _ in range(NEWTON_STEPS):
        tanh = np.tanh(t * sizes)
        missing = total - float((sizes * tanh).sum())
        slope = float((np.square(sizes) * (1.0 - np.square(tanh))).sum())
        if slope <= 0.0 or missing <= 1e-12 * total:
            break
        t += missing / slope
    return t


def _normal_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _standard_error(
    by_user: NDArray[np.float64], attempts: NDArray[np.int64], gain: float
) -> float | None:
    """Return the standard error of a ratio of sums over users (Cochran 1977, section 6.3).

    It is None for a single user.
    """
    n = by_user.size
    if n < 2:
        return None
    squares = float(np.square(by_user - gain * attempts).sum())
    return math.sqrt(squares * n / (n - 1)) / int(attempts.sum())
