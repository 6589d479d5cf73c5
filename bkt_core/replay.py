"""Compute mastery of users from attempts and parameters; this defines every stored state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core import kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.params import BktParams
    from bkt_core.sequences import AttemptSequences


def replay(sequences: AttemptSequences, params: BktParams) -> NDArray[np.float64]:
    """Return mastery of each user after the last attempt, (n_users,)."""
    out = np.empty(sequences.n_users, dtype=np.float64)
    kernels.replay_users(sequences.correct, sequences.offsets, *params.as_tuple(), out)
    return out


def trace(sequences: AttemptSequences, params: BktParams) -> NDArray[np.float64]:
    """Return mastery after each attempt, (n_attempts,)."""
    out = np.empty(sequences.n_attempts, dtype=np.float64)
    kernels.trace_users(sequences.correct, sequences.offsets, *params.as_tuple(), out)
    return out


def predict(sequences: AttemptSequences, params: BktParams) -> NDArray[np.float64]:
    """Return P(correct) before each attempt, (n_attempts,), from the clamped replay."""
    out = np.empty(sequences.n_attempts, dtype=np.float64)
    kernels.predict_users(sequences.correct, sequences.offsets, *params.as_tuple(), out)
    return out
