"""What large concepts have in common, as a prior for the fit of every concept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.errors import BktError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bkt_core.variant import Variant

    Floats = NDArray[np.float64]

#: A prior is never narrower or wider than this, in logits.
LEAST_WIDTH, MOST_WIDTH = 0.2, 3.0


@dataclass(frozen=True, slots=True)
class FamilyPrior:
    """Independent normal distributions, with means and standard deviations.

    Of the logits of L0, T, S, G and F, then of the weights that the version has. Logarithms of
    questions' multipliers have mean 0.
    """

    mean: tuple[float, ...]  # (5 + n_weights,)
    width: tuple[float, ...]  # (5 + n_weights,)
    question_width: float = 1.0

    def __post_init__(self) -> None:
        widths = (*self.width, self.question_width)
        usable = np.isfinite(self.mean).all() and np.isfinite(widths).all()
        if not usable or min(widths) <= 0.0 or len(self.mean) != len(self.width):
            raise BktError(
                "A prior needs finite means and as many finite widths above 0, "
                f"got {self.mean!r}, {self.width!r} and {self.question_width!r}."
            )

    @staticmethod
    def reaches(n_attempts: int) -> bool:  # noqa: ARG004 - as `fitting.shrinkage.Prior`
        """Return whether the prior is used for a concept of this size: for every concept."""
        return True


#: Untuned, for where too few concepts can teach: one logit around usual probabilities.
_USUAL = {
    "p_L0": (0.0, 1.5),
    "p_T": (-2.0, 1.0),
    "p_S": (-2.0, 1.0),
    "p_G": (-1.0, 1.0),
    "p_F": (-3.5, 1.0),
    "w_recent": (1.0, 0.5),
    "w_long": (0.0, 0.5),
    "w_share": (1.0, 0.5),
    "w_gap": (-0.3, 0.5),
    "w_first": (-0.3, 0.5),
}


def usual_prior(variant: Variant) -> FamilyPrior:
    """The prior of a version before any concept has taught it."""
    names = ("p_L0", "p_T", "p_S", "p_G", "p_F", *variant.weight_names)
    mean, width = zip(*(_USUAL[name] for name in names), strict=True)
    return FamilyPrior(mean, width)


def learned_from(
    places: Sequence[Floats],
    variances: Sequence[Floats],
    questions: Sequence[tuple[Floats, Floats]] = (),
) -> FamilyPrior:
    """The prior under which teachers' parameters are most probable: an M-step over concepts.

    `places` and `variances` (5 + n_weights,) of each teacher's posterior by Laplace's
    approximation, `questions` the same of the logarithms of its multipliers. Rounded, so that
    a night with a few new attempts finds the same prior.
    """
    x, spread = np.array(places), np.array(variances)
    mean = x.mean(axis=0)
    width = np.sqrt(((x - mean) ** 2 + spread).mean(axis=0))
    width = np.clip(width, LEAST_WIDTH, MOST_WIDTH)
    squares = [one**2 + variance for one, variance in questions]
    tau = 1.0
    if squares and (every := np.concatenate(squares)).size > 0:
        tau = float(np.clip(np.sqrt(every.mean()), LEAST_WIDTH, MOST_WIDTH).round(2))
    return FamilyPrior(tuple(mean.round(2).tolist()), tuple(width.round(2).tolist()), tau)
