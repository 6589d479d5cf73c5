"""Which of two sets of predictions is better, paired by user, and how sure that is.

If neither were better, each user's difference in log loss would as likely point the other way:
the sign-flip test (Fisher 1935). It needs no equal variances, which users of 2 and of 3,000
attempts do not have, no seed, and reaches the small p-values that a run over hundreds of
concepts needs, where a bootstrap of a thousand draws ends at 0.001.
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

#: Up to this many users all sign patterns are counted, 2**12 of them.
MAX_ENUMERATED = 12
#: Below this many standard deviations from the centre the normal curve is exact enough.
CENTRAL = 1e-4
NEWTON_STEPS = 60


class Rival(StrEnum):
    """What a challenger is compared with."""

    DEFAULTS = "defaults"
    MEAN = "mean"  # the concept's share of right answers among the training users
    CHAMPION = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A challenger against one rival on the same held-out attempts."""

    rival: Rival
    n_attempts: int
    n_users: int
    gain: float  # nats per attempt by which the challenger is better
    standard_error: float | None  # of the gain, over users; None for a single user
    p_not_better: float  # one-sided; small: the challenger is shown to be better
    p_not_worse: float  # one-sided; small: the challenger is shown to be worse
    #: One-sided, of "worse by the margin or more"; None where no margin was asked for.
    p_worse_by_margin: float | None
    rival_in_sample: bool  # the rival was fitted on users it is scored on
    rival_scores: Scores

    def as_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` makes an equal comparison."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {
            "rival": self.rival.value,
            "rival_scores": self.rival_scores.as_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Comparison:
        """Read what `as_json` wrote."""
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
    incumbent: NDArray[np.float64],  # likewise, of the rival
    margin: float | None = None,
    rival_in_sample: bool = False,
) -> Comparison:
    """Compare two sets of predictions on the attempts that both predict."""
    correct = sequences.correct
    both = ~(np.isnan(challenger) | np.isnan(incumbent))
    differences = attempt_losses(correct, incumbent) - attempt_losses(correct, challenger)
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
        rival_scores=score(correct[both], incumbent[both]),
    )


def sign_flip_p(differences: NDArray[np.float64]) -> float:
    """P(the sum is at least what it is), each difference keeping or turning its sign by chance.

    Few differences are enumerated; for more, the saddlepoint approximation of Lugannani & Rice
    (1980), which keeps its relative accuracy far out in the tail.
    """
    sizes = np.abs(differences)
    largest = float(sizes.max(initial=0.0))
    if largest == 0.0:
        return 1.0
    moving = sizes > 0.0
    sizes, total = sizes[moving] / largest, float(differences[moving].sum()) / largest
    least = 0.5**sizes.size
    if total >= float(sizes.sum()) * (1.0 - 1e-12):
        return max(least, 5e-324)
    if sizes.size <= MAX_ENUMERATED:
        return _enumerated_p(sizes, total)
    if total < 0.0:  # work in the upper tail, where the approximation is evaluated
        return 1.0 - max(least, _saddlepoint_p(sizes, -total))
    return max(least, _saddlepoint_p(sizes, total))


def adjusted_p(p_values: Sequence[float]) -> list[float]:
    """The least false discovery rate at which each is found (Benjamini & Hochberg 1995)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    values: list[float] = adjusted.tolist()
    return values


def _enumerated_p(sizes: NDArray[np.float64], total: float) -> float:
    sums = np.zeros(1)
    for size in sizes.tolist():
        sums = np.concatenate([sums - size, sums + size])
    return float(np.count_nonzero(sums >= total - 1e-9)) / sums.size


def _saddlepoint_p(sizes: NDArray[np.float64], total: float) -> float:
    """P(sum of signs x sizes >= total >= 0), from its cumulants sum(log cosh(t x size))."""
    deviation = math.sqrt(float(np.square(sizes).sum()))
    if total <= CENTRAL * deviation:
        return _normal_tail(total / deviation)
    t = _saddlepoint(sizes, total)
    steep = np.tanh(t * sizes)
    cumulant = float((np.logaddexp(t * sizes, -t * sizes) - math.log(2.0)).sum())
    r = math.sqrt(max(2.0 * (t * total - cumulant), 0.0))
    v = t * math.sqrt(float((np.square(sizes) * (1.0 - np.square(steep))).sum()))
    density = math.exp(-0.5 * r * r) / math.sqrt(2.0 * math.pi)
    p = _normal_tail(r) + density * (1.0 / v - 1.0 / r) if v > 0.0 else 0.0
    return min(max(p, 0.0), 0.5)


def _saddlepoint(sizes: NDArray[np.float64], total: float) -> float:
    """The t > 0 at which sum(size x tanh(t x size)) is the total; the left side is concave."""
    t = total / float(np.square(sizes).sum())  # to the left of the root, so Newton climbs to it
    for _ in range(NEWTON_STEPS):
        steep = np.tanh(t * sizes)
        missing = total - float((sizes * steep).sum())
        slope = float((np.square(sizes) * (1.0 - np.square(steep))).sum())
        if slope <= 0.0 or missing <= 1e-12 * total:
            break
        t += missing / slope
    return t


def _normal_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _standard_error(
    by_user: NDArray[np.float64], attempts: NDArray[np.int64], gain: float
) -> float | None:
    """Of a ratio of sums over users (Cochran 1977, section 6.3)."""
    n = by_user.size
    if n < 2:
        return None
    squares = float(np.square(by_user - gain * attempts).sum())
    return math.sqrt(squares * n / (n - 1)) / int(attempts.sum())
