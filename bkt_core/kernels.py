"""Every compiled function: the scalar steps of the model, and the loops over attempts.

All of them stand in this one file because Numba's disk cache watches only the file of the
cached function. `fastmath` stays off: the order of operations is part of the contract
(DESIGN section 4), and plain Python gives the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]
    Outcomes = NDArray[np.int8]

F = TypeVar("F", bound="Callable[..., Any]")

#: Probabilities are kept in [P_MIN, P_MAX]; the clamp is part of the model.
P_MIN = 1e-10
P_MAX = 1.0 - 1e-10


def kernel(function: F) -> F:
    """Compile on first use, keep on disk, and release the GIL while running."""
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def ufunc(function: Callable[..., float]) -> Callable[..., Floats]:
    """Compile a scalar function to one over float64 arrays, on first use."""
    vectorize = cast("Callable[..., Any]", numba.vectorize)
    return cast("Callable[..., Floats]", vectorize(cache=True)(function))


# ── The model: one step at a time ────────────────────────────────────────────────────────


@kernel
def clamp(p: float) -> float:
    """The nearest number in [P_MIN, P_MAX]."""
    return min(max(p, P_MIN), P_MAX)


@kernel
def predict_correct(p_L: float, p_S: float, p_G: float) -> float:
    """P(correct) before the attempt; arguments are clamped already."""
    return clamp(p_L * (1.0 - p_S) + (1.0 - p_L) * p_G)


@kernel
def posterior_given_obs(p_L: float, correct: bool, p_S: float, p_G: float) -> float:
    """Mastery after the outcome is seen, before any learning; arguments are clamped already."""
    p_correct = predict_correct(p_L, p_S, p_G)
    if correct:
        return clamp(p_L * (1.0 - p_S) / p_correct)
    return clamp(p_L * p_S / (1.0 - p_correct))


@kernel
def apply_learning_transition(p_L_given_obs: float, p_T: float) -> float:
    """Mastery after the chance to learn; arguments are clamped already."""
    return clamp(p_L_given_obs + (1.0 - p_L_given_obs) * p_T)


@kernel
def update_mastery(p_L: float, correct: bool, p_T: float, p_S: float, p_G: float) -> float:
    """Mastery before the next attempt; arguments are clamped already."""
    return apply_learning_transition(posterior_given_obs(p_L, correct, p_S, p_G), p_T)


# ── The model over arrays: the same steps as ufuncs; NaN where an argument is not usable ──


@ufunc
def predict_correct_each(p_L: float, p_S: float, p_G: float) -> float:
    """`predict_correct` with broadcasting; arguments need not be clamped."""
    if not (np.isfinite(p_L) and np.isfinite(p_S) and np.isfinite(p_G)):
        return np.nan
    return predict_correct(clamp(p_L), clamp(p_S), clamp(p_G))


@ufunc
def posterior_given_obs_each(p_L: float, correct: float, p_S: float, p_G: float) -> float:
    """`posterior_given_obs` with broadcasting; arguments need not be clamped."""
    if not (np.isfinite(p_L) and np.isfinite(p_S) and np.isfinite(p_G)):
        return np.nan
    if not (correct == 0.0 or correct == 1.0):
        return np.nan
    return posterior_given_obs(clamp(p_L), correct == 1.0, clamp(p_S), clamp(p_G))


@ufunc
def apply_learning_transition_each(p_L_given_obs: float, p_T: float) -> float:
    """`apply_learning_transition` with broadcasting; arguments need not be clamped."""
    if not (np.isfinite(p_L_given_obs) and np.isfinite(p_T)):
        return np.nan
    return apply_learning_transition(clamp(p_L_given_obs), clamp(p_T))


# ── Replay: every user's attempts in order ───────────────────────────────────────────────


@kernel
def replay_users(
    correct: Outcomes,
    offsets: Counts,
    p_L0: float,
    p_T: float,
    p_S: float,
    p_G: float,
    out: Floats,
) -> None:
    """Mastery after the last attempt of each user, into `out` (n_users,)."""
    p_T, p_S, p_G = clamp(p_T), clamp(p_S), clamp(p_G)
    for user in range(offsets.size - 1):
        p_L = clamp(p_L0)
        for i in range(offsets[user], offsets[user + 1]):
            p_L = update_mastery(p_L, correct[i] == 1, p_T, p_S, p_G)
        out[user] = p_L


@kernel
def trace_users(
    correct: Outcomes,
    offsets: Counts,
    p_L0: float,
    p_T: float,
    p_S: float,
    p_G: float,
    out: Floats,
) -> None:
    """Mastery after each attempt, into `out` (n_attempts,)."""
    p_T, p_S, p_G = clamp(p_T), clamp(p_S), clamp(p_G)
    for user in range(offsets.size - 1):
        p_L = clamp(p_L0)
        for i in range(offsets[user], offsets[user + 1]):
            p_L = update_mastery(p_L, correct[i] == 1, p_T, p_S, p_G)
            out[i] = p_L


@kernel
def predict_users(
    correct: Outcomes,
    offsets: Counts,
    p_L0: float,
    p_T: float,
    p_S: float,
    p_G: float,
    out: Floats,
) -> None:
    """P(correct) before each attempt, into `out` (n_attempts,)."""
    p_T, p_S, p_G = clamp(p_T), clamp(p_S), clamp(p_G)
    for user in range(offsets.size - 1):
        p_L = clamp(p_L0)
        for i in range(offsets[user], offsets[user + 1]):
            out[i] = predict_correct(p_L, p_S, p_G)
            p_L = update_mastery(p_L, correct[i] == 1, p_T, p_S, p_G)


# ── EM: the hidden path of a user is one integer, the attempts made before learning ──────


@kernel
def expected_counts(
    correct: Outcomes,
    offsets: Counts,
    seen: NDArray[np.bool_],
    p_L0: float,
    p_T: float,
    p_S: float,
    p_G: float,
    out: Floats,
) -> float:
    """The log-likelihood of the users that `seen` marks, and the counts of the M-step.

    `out` (8,): users known at first, users; transitions, chances for one;
    slips, attempts while known; guesses, attempts while unknown.
    """
    q_right = (1.0 - p_T) * p_G / (1.0 - p_S)
    q_wrong = (1.0 - p_T) * (1.0 - p_G) / p_S
    tail = (1.0 - p_L0) / (1.0 - p_T)
    big, small = 2.0**300, 2.0**-300
    out[:] = 0.0
    log_likelihood = 0.0
    for user in range(offsets.size - 1):
        if not seen[user]:
            continue
        w, scale, exponent = 1.0, 1.0, 0
        plain, by_attempts, by_right = 0.0, 0.0, 0.0
        before, right = 0.0, 0.0
        last = offsets[user + 1] - 1
        for i in range(offsets[user], last + 1):
            if w > big:
                w, scale, exponent = w * small, scale * small, exponent + 300
                plain, by_attempts, by_right = (
                    plain * small,
                    by_attempts * small,
                    by_right * small,
                )
            before += 1.0
            if correct[i] == 1:
                right += 1.0
                w *= q_right
            else:
                w *= q_wrong
            weight = w if i == last else w * p_T
            plain += weight
            by_attempts += weight * before
            by_right += weight * right
        known = p_L0 * scale
        total = known + tail * plain
        share = tail / total
        at_end = share * w
        unknown = share * by_attempts
        guessed = share * by_right
        out[0] += known / total
        out[1] += 1.0
        out[2] += share * plain - at_end
        out[3] += unknown - at_end
        out[4] += (before - right) - (unknown - guessed)
        out[5] += before - unknown
        out[6] += guessed
        out[7] += unknown
        log_likelihood += (
            np.log(total)
            + exponent * np.log(2.0)
            + right * np.log(1.0 - p_S)
            + (before - right) * np.log(p_S)
        )
    return log_likelihood
