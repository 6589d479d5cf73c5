"""Mastery and predictions of any version; these functions define every stored state.

Parameters of four probabilities are replayed by `kernels.py`, those of the family by
`family/kernels.py`. Where parameters have question odds or weights, sequences are
`StampedSequences` with ids of questions, or `facts` are given, as the store reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core import kernels, model
from bkt_core.family import replay as family
from bkt_core.family.facts import multipliers_of
from bkt_core.family.params import FamilyParams
from bkt_core.family.stamped import StampedSequences

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.family.facts import AttemptFacts
    from bkt_core.family.params import Params
    from bkt_core.sequences import AttemptSequences


def replay(
    sequences: AttemptSequences, params: Params, facts: AttemptFacts | None = None
) -> NDArray[np.float64]:
    """Return mastery of each user after the last attempt, (n_users,)."""
    if isinstance(params, FamilyParams):
        return family.replay(sequences, params, _odds(sequences, params, facts))
    out = np.empty(sequences.n_users, dtype=np.float64)
    kernels.replay_users(sequences.correct, sequences.offsets, *params.as_tuple(), out)
    return out


def trace(
    sequences: AttemptSequences, params: Params, facts: AttemptFacts | None = None
) -> NDArray[np.float64]:
    """Return mastery stored after each attempt, (n_attempts,)."""
    if isinstance(params, FamilyParams):
        return family.trace(sequences, params, _odds(sequences, params, facts))[0]
    out = np.empty(sequences.n_attempts, dtype=np.float64)
    kernels.trace_users(sequences.correct, sequences.offsets, *params.as_tuple(), out)
    return out


def predict(
    sequences: AttemptSequences, params: Params, facts: AttemptFacts | None = None
) -> NDArray[np.float64]:
    """Return P(correct) before each attempt, (n_attempts,), from the clamped replay."""
    if isinstance(params, FamilyParams):
        return family.predict(sequences, params, _odds(sequences, params, facts))
    out = np.empty(sequences.n_attempts, dtype=np.float64)
    kernels.predict_users(sequences.correct, sequences.offsets, *params.as_tuple(), out)
    return out


def step(
    p_L: float | None, correct: int, params: Params, facts: AttemptFacts | None = None
) -> model.Update:
    """Process one attempt as `replay` does; return the new mastery and the prediction.

    `p_L` is the mastery stored after the previous attempt of the key, None at its first.
    """
    if isinstance(params, FamilyParams):
        odds = multipliers_of(params, facts)
        multiplier = None if odds is None else float(odds[0])
        return model.Update(*family.step(p_L, bool(correct), params, multiplier))
    before = params.p_L0 if p_L is None else p_L
    return model.update_mastery(before, correct, params.p_T, params.p_S, params.p_G)


def _odds(
    sequences: AttemptSequences, params: FamilyParams, facts: AttemptFacts | None
) -> NDArray[np.float64] | None:
    """Return the multiplier of each attempt, (n_attempts,); None if there is none."""
    if params.multiplies and facts is None and isinstance(sequences, StampedSequences):
        return family.multipliers(sequences, params)
    return multipliers_of(params, facts)
