"""How large concepts teach the prior: EM over concepts, with Laplace's approximation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family.climbing import Climb, climb, deadline
from bkt_core.family.posteriors import posteriors_of
from bkt_core.family.prior import FamilyPrior, learned_from, usual_prior
from bkt_core.family.uncertainty import logit_errors, without_questions
from bkt_core.fitting.shrinkage import FEWEST_TEACHERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bkt_core.fitting.options import FitOptions
    from bkt_core.sequences import AttemptSequences
    from bkt_core.variant import ForgettingBounds, Variant

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
    starts: list[Floats | None] = [None] * len(usable)
    for _ in range(ROUNDS):
        places, variances, questions = [], [], []
        for i, sequences in enumerate(usable):
            everyone = np.ones((1, sequences.n_users), np.bool_)
            (posterior,) = posteriors_of(
                sequences, everyone, prior, options.bounds, bounds_of_F
            )
            end = climb(
                posterior,
                posterior.mean if (start := starts[i]) is None else start,
                enough=ENOUGH * sequences.n_attempts,
                max_steps=options.max_steps,
                seconds_left=seconds_left,
            )
            starts[i], n = end.x, len(prior.mean)
            if posterior.questions.size:
                end, errors = without_questions(posterior, end)
                questions.append((end.x[n:], errors**2))
            places.append(end.x[:n])
            variances.append(_variances(end, prior))
        prior = learned_from(places, variances, questions)
    return prior


def _variances(end: Climb, prior: FamilyPrior) -> Floats:
    """Posterior variances by Laplace's approximation; the prior's own where there are none."""
    widest = np.array(prior.width) ** 2
    if end.curvature is None:
        return widest
    errors = logit_errors(end.curvature, ~end.held[: len(widest)])
    return widest if errors is None else np.minimum(errors**2, widest)
