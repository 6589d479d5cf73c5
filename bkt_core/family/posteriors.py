"""The posterior of a concept on each training set, as the kernels take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family import kernels
from bkt_core.family.climbing import logit
from bkt_core.family.stamped import StampedSequences
from bkt_core.fitting.likelihood import MARGIN, box_of
from bkt_core.kernels import canonical_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.family.prior import FamilyPrior
    from bkt_core.params import Bounds
    from bkt_core.sequences import AttemptSequences
    from bkt_core.variant import ForgettingBounds

    Floats = NDArray[np.float64]


def posteriors_of(
    sequences: AttemptSequences,
    training_sets: NDArray[np.bool_],
    prior: FamilyPrior | None,
    bounds: Bounds | None,
    forgetting: ForgettingBounds | None,
) -> list[kernels.Posterior]:
    """One per row of `training_sets` (n_sets, n_users); without a prior, the likelihood."""
    lower, upper = logit_box(bounds, forgetting)
    questions, n_questions = np.empty(0, np.int64), 0
    if isinstance(sequences, StampedSequences):
        correct, offsets = sequences.correct, sequences.offsets
        times = training_sets.astype(np.float64)
        questions, covariates = sequences.questions, sequences.covariates
        n_questions = sequences.n_questions if questions.size else 0
    else:
        correct, offsets, times = distinct(sequences, training_sets)
        covariates = np.empty((correct.size, 0))
    n_free = covariates.shape[1] + n_questions
    most = np.full(n_free, np.inf)  # of weights and log odds
    if n_questions and isinstance(sequences, StampedSequences) and sequences.question_ids:
        # Attempts without a question have odds 1, in a replay too.
        nameless = [one is None for one in sequences.question_ids]
        most[covariates.shape[1] :][nameless] = 0.0
    mean, precision = np.zeros(5 + n_free), np.zeros(5 + n_free)
    if prior is not None:
        known = len(prior.mean)
        mean[:known], precision[:known] = prior.mean, np.array(prior.width) ** -2.0
        precision[known:] = prior.question_width**-2.0
        if forgetting is None:
            precision[kernels.F] = 0.0
    return [
        kernels.Posterior(
            correct=correct,
            offsets=offsets,
            times=row,
            questions=questions,
            covariates=covariates,
            mean=mean,
            precision=precision,
            lower=np.append(lower, -most),
            upper=np.append(upper, most),
            forgets=forgetting is not None,
        )
        for row in times
    ]


def logit_box(
    bounds: Bounds | None, forgetting: ForgettingBounds | None
) -> tuple[Floats, Floats]:
    """Lowest and highest logits, (5,) each; F has one point where nothing is forgotten."""
    inner = box_of(bounds)
    low, high = (0.0, 0.0) if forgetting is None else (forgetting.F_min, forgetting.F_max)
    lower = logit(np.array([*inner.lower, max(low, MARGIN)]))
    upper = logit(np.array([*inner.upper, min(max(high, MARGIN), 1.0 - MARGIN)]))
    return lower, upper


def distinct(
    sequences: AttemptSequences, training_sets: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], NDArray[np.int64], Floats]:
    """The distinct sequences (outcomes, offsets), and how often each training set has them.

    The counts have shape (n_sets, n_distinct). Sequences stand in canonical order, so that the
    order of users changes nothing, to the bit.
    """
    order, same = canonical_order(sequences.correct, sequences.offsets)
    heads = np.flatnonzero(~same)
    times = np.add.reduceat(training_sets[:, order].astype(np.float64), heads, axis=1)
    kept = order[heads]
    lengths = sequences.lengths[kept]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.repeat(sequences.offsets[kept] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return sequences.correct[places], offsets, np.ascontiguousarray(times)
