"""How large concepts teach the prior: EM over concepts, with Laplace's approximation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family.climbing import Climb, climb, deadline
from bkt_core.family.posteriors import posteriors_of
from bkt_core.family.prior import FamilyPrior, learned_from, usual_prior
from bkt_core.family.uncertainty import logit_errors
from bkt_core.fitting.shrinkage import FEWEST_TEACHERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bkt_core.family.variant import ForgettingBounds, Variant
    from bkt_core.fitting.options import FitOptions
    from bkt_core.sequences import AttemptSequences

    Floats = NDArray[np.float64]

#: Rounds of EM over concepts; each begins where the round before left a teacher.
ROUNDS = 6
#: Nats per attempt that may be left to gain by a teacher's fit.
ENOUGH = 1e-7


def learn_prior(
    teachers: Sequence[AttemptSequences],
    variant: Variant,
    options: FitOptions,
    bounds_of_F: ForgettingBounds | None,
) -> FamilyPrior:
    """The prior that these concepts make; the usual one where too few can teach."""
    prior = usual_prior(variant)
    usable = [one for one in teachers if 0 < one.n_correct < one.n_attempts]
    if len(usable) < FEWEST_TEACHERS:
        return prior
    seconds_left = deadline(options.max_seconds)
    starts = [np.array(prior.mean)] * len(usable)
    for _ in range(ROUNDS):
        ends = []
        for sequences, start in zip(usable, starts, strict=True):
            everyone = np.ones((1, sequences.n_users), np.bool_)
            (posterior,) = posteriors_of(
                sequences, everyone, prior, options.bounds, bounds_of_F
            )
            ends.append(
                climb(
                    posterior,
                    start,
                    enough=ENOUGH * sequences.n_attempts,
                    max_steps=options.max_steps,
                    seconds_left=seconds_left,
                )
            )
        starts = [end.x for end in ends]
        prior = learned_from(starts, [_variances(end, prior) for end in ends])
    return prior


def _variances(end: Climb, prior: FamilyPrior) -> Floats:
    """Posterior variances by Laplace's approximation; the prior's own where there are none."""
    widest = np.array(prior.width) ** 2
    if end.curvature is None:
        return widest
    errors = logit_errors(end.curvature, ~end.held)
    return widest if errors is None else np.minimum(errors**2, widest)
