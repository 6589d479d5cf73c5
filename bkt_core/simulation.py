"""Simulate users who follow the BKT model with known parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core import kernels
from bkt_core.errors import UsageError
from bkt_core.sequences import AttemptSequences

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.params import BktParams


def draw_lengths(
    n_users: int,
    *,
    mean: float = 8.0,
    shortest: int = 2,
    longest: int = 60,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw the number of attempts of each user, (n_users,) int64.

    The numbers follow a geometric distribution with the given mean and are then clipped to
    [shortest, longest]. Raises `UsageError` unless mean >= 1 and 1 <= shortest <= longest.
    """
    if not (mean >= 1.0 and 1 <= shortest <= longest):
        raise UsageError(
            "Lengths need a mean of at least 1 and 1 <= shortest <= longest, "
            f"got mean {mean!r}, shortest {shortest!r} and longest {longest!r}."
        )
    return np.clip(rng.geometric(1.0 / mean, n_users), shortest, longest).astype(np.int64)


def simulate(
    params: BktParams, *, lengths: NDArray[np.int64], rng: np.random.Generator
) -> AttemptSequences:
    """Simulate the attempts of users who follow the model exactly.

    `lengths`, (n_users,), holds the number of attempts of each user.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n_attempts = int(offsets[-1])
    correct = np.empty(n_attempts, dtype=np.int8)
    known_at_first = rng.random(lengths.size) < params.p_L0
    kernels.simulate_users(
        offsets,
        known_at_first,
        rng.random(n_attempts),
        rng.random(n_attempts),
        *params.as_tuple()[1:],
        correct,
    )
    return AttemptSequences(correct=correct, offsets=offsets)


def draw_params(n: int, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw plausible parameters of `n` concepts, (n, 4) in the order of `PARAM_NAMES`."""
    lower, upper = np.array([0.05, 0.02, 0.02, 0.05]), np.array([0.5, 0.3, 0.25, 0.3])
    return np.asarray(rng.uniform(lower, upper, size=(n, 4)))
