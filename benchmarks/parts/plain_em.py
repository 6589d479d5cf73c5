"""The opponent: a plain scaled forward-backward EM, compiled, without anything clever.

Every user is walked on their own, forwards and backwards, at every step of every fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba  # noqa: TID251 - the opponent is no part of the product
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core import AttemptSequences, Bounds


@numba.njit(cache=True, nogil=True, error_model="numpy")
def em_step(correct, offsets, seen, params, forward, norms, counts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, D103
    p_L0, p_T, p_S, p_G = params
    counts[:] = 0.0
    log_likelihood = 0.0
    for user in range(offsets.size - 1):
        if not seen[user]:
            continue
        first, last = offsets[user], offsets[user + 1] - 1
        unknown, known = 1.0 - p_L0, p_L0
        for i in range(first, last + 1):
            right = correct[i] == 1
            unknown *= p_G if right else 1.0 - p_G
            known *= 1.0 - p_S if right else p_S
            norm = unknown + known
            unknown, known = unknown / norm, known / norm
            forward[i - first, 0], forward[i - first, 1] = unknown, known
            norms[i - first] = norm
            log_likelihood += np.log(norm)
            unknown, known = unknown * (1.0 - p_T), known + unknown * p_T
        back_unknown, back_known = 1.0, 1.0
        for i in range(last, first - 1, -1):
            j = i - first
            if i < last:
                right = correct[i + 1] == 1
                stay = (1.0 - p_T) * (p_G if right else 1.0 - p_G) * back_unknown
                back_known *= (1.0 - p_S if right else p_S) / norms[j + 1]
                learn = p_T * back_known
                back_unknown = stay / norms[j + 1] + learn
                counts[2] += forward[j, 0] * learn
                counts[3] += forward[j, 0] * back_unknown
            was_unknown = forward[j, 0] * back_unknown
            was_known = forward[j, 1] * back_known
            counts[5] += was_known
            counts[7] += was_unknown
            if correct[i] == 1:
                counts[6] += was_unknown
            else:
                counts[4] += was_known
        counts[0] += was_known
        counts[1] += 1.0
    return log_likelihood


def fit_plainly(
    sequences: AttemptSequences,
    seen: NDArray[np.bool_],
    start: NDArray[np.float64],
    bounds: Bounds,
    tolerance: float,
) -> tuple[NDArray[np.float64], float]:
    """Bounded EM until a step gains less than `tolerance` nats per attempt."""
    longest = int(sequences.lengths.max())
    forward, norms, counts = np.empty((longest, 2)), np.empty(longest), np.empty(8)
    n_attempts = int(sequences.lengths[seen].sum())
    params, before = start.copy(), -np.inf
    for _ in range(5000):
        value = em_step(
            sequences.correct, sequences.offsets, seen, params, forward, norms, counts
        )
        if value - before < tolerance * n_attempts:
            break
        before = value
        params = np.clip(counts[0::2] / counts[1::2], bounds.lower, bounds.upper)
    return params, value
