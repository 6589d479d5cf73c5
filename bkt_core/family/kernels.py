"""Compiled functions of the model family: forgetting, and odds multipliers per attempt.

The steps after forgetting and multiplying are those of `bkt_core.kernels`, whose arithmetic
never changes; so Numba's cache, which watches this file alone, cannot go stale. The order of
operations is part of the contract, and plain Python gives the same bits.

`odds` is one multiplier of the odds of P(correct) per attempt, the same in both states, or an
array of size 0 where the version has none; then slip and guess are not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.kernels import clamp, inlined, kernel, predict_correct, update_mastery

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]
    Outcomes = NDArray[np.int8]

# ── The model: one step at a time; arguments are clamped already ─────────────────────────


@kernel
def forget(p_L: float, p_F: float) -> float:
    """Mastery at an attempt, from the mastery stored after the one before."""
    return clamp(p_L * (1.0 - p_F))


@kernel
def slip_at(p_S: float, odds: float) -> float:
    """P(wrong given known) at an attempt whose odds of P(correct) are multiplied."""
    return clamp(p_S / (p_S + (1.0 - p_S) * odds))


@kernel
def guess_at(p_G: float, odds: float) -> float:
    """P(right given unknown) at an attempt whose odds of P(correct) are multiplied."""
    return clamp(p_G * odds / ((1.0 - p_G) + p_G * odds))


# ── Replay: every user's attempts in order ───────────────────────────────────────────────


@kernel
def trace_users(
    correct: Outcomes,
    offsets: Counts,
    odds: Floats,
    params: tuple[float, float, float, float, float],
    mastery: Floats,
    p_correct: Floats,
) -> None:
    """Mastery stored after each attempt and P(correct) before it, each (n_attempts,).

    `params` are L0, T, S, G and F; F of 0 forgets nothing, to the bit.
    """
    p_L0, p_T, p_S, p_G, p_F = params
    p_T, p_S, p_G = clamp(p_T), clamp(p_S), clamp(p_G)
    for user in range(offsets.size - 1):
        p_L = clamp(p_L0)
        for i in range(offsets[user], offsets[user + 1]):
            if i > offsets[user]:
                p_L = forget(p_L, p_F)
            slip, guess = p_S, p_G
            if odds.size > 0:
                slip, guess = slip_at(p_S, odds[i]), guess_at(p_G, odds[i])
            p_correct[i] = predict_correct(p_L, slip, guess)
            p_L = update_mastery(p_L, correct[i] == 1, p_T, slip, guess)
            mastery[i] = p_L


@kernel
def replay_users(
    correct: Outcomes,
    offsets: Counts,
    odds: Floats,
    params: tuple[float, float, float, float, float],
    out: Floats,
) -> None:
    """Mastery stored after the last attempt of each user, into `out` (n_users,)."""
    p_L0, p_T, p_S, p_G, p_F = params
    p_T, p_S, p_G = clamp(p_T), clamp(p_S), clamp(p_G)
    for user in range(offsets.size - 1):
        p_L = clamp(p_L0)
        for i in range(offsets[user], offsets[user + 1]):
            if i > offsets[user]:
                p_L = forget(p_L, p_F)
            slip, guess = p_S, p_G
            if odds.size > 0:
                slip, guess = slip_at(p_S, odds[i]), guess_at(p_G, odds[i])
            p_L = update_mastery(p_L, correct[i] == 1, p_T, slip, guess)
        out[user] = p_L


@kernel
def simulate_users(
    offsets: Counts,
    odds: Floats,
    params: tuple[float, float, float, float, float],
    draws: Floats,
    out: Outcomes,
) -> None:
    """Outcomes of users who follow the model, into `out`; uniform `draws` (n_attempts, 3).

    The three draws of an attempt decide outcome, learning and forgetting before the next; the
    third of a user's first attempt decides whether the concept was known before.
    """
    p_L0, p_T, p_S, p_G, p_F = params
    for user in range(offsets.size - 1):
        known = False
        for i in range(offsets[user], offsets[user + 1]):
            known = draws[i, 2] < p_L0 if i == offsets[user] else known and draws[i, 2] >= p_F
            slip, guess = p_S, p_G
            if odds.size > 0:
                slip, guess = slip_at(p_S, odds[i]), guess_at(p_G, odds[i])
            out[i] = draws[i, 0] < (1.0 - slip if known else guess)
            known = known or draws[i, 1] < p_T


# ── The likelihood and its derivatives (Fisher's identity) ───────────────────────────────

#: Probabilities in the order of `params`.
L0, T, S, G, F = 0, 1, 2, 3, 4


@inlined
def emissions(p_S: float, p_G: float, odds: float) -> tuple[float, float, float, float]:
    """P(right | known), P(wrong | known), P(right | unknown), P(wrong | unknown), unclamped."""
    known, unknown = p_S + (1.0 - p_S) * odds, (1.0 - p_G) + p_G * odds
    return (1.0 - p_S) * odds / known, p_S / known, p_G * odds / unknown, (1.0 - p_G) / unknown


@kernel
def forward_backward(
    correct: Outcomes,
    offsets: Counts,
    times: Floats,
    odds: Floats,
    params: Floats,
    score: Floats,
    complete: Floats,
    pull: Floats,
) -> float:
    """The exact (unclamped) log-likelihood in nats, each user counted `times` (n_users,).

    Into `score` (5,) its derivative by the logit of each of `params` (5,), into `complete`
    (5,) the information about that logit that known paths would give, into `pull`
    (n_attempts,) the derivative by the logarithm of each multiplier.
    Both masses are carried, never one minus the other: on long runs 1 - p rounds to 0.
    """
    p_L0, p_T, p_S, p_G, p_F = params
    longest = 1
    for user in range(offsets.size - 1):
        longest = max(longest, offsets[user + 1] - offsets[user])
    masses = np.empty((longest, 3))  # known and unknown after the outcome, P(outcome)
    score[:], complete[:] = 0.0, 0.0
    total = 0.0
    for user in range(offsets.size - 1):
        weight, first, stop = times[user], offsets[user], offsets[user + 1]
        if weight == 0.0:
            for i in range(first, stop):
                pull[i] = 0.0
            continue
        known, unknown, product = p_L0, 1.0 - p_L0, 1.0
        for i in range(first, stop):
            right_k, wrong_k, right_u, wrong_u = emissions(
                p_S, p_G, odds[i] if odds.size > 0 else 1.0
            )
            known *= right_k if correct[i] == 1 else wrong_k
            unknown *= right_u if correct[i] == 1 else wrong_u
            seen = known + unknown
            known, unknown = known / seen, unknown / seen
            masses[i - first, 0], masses[i - first, 1] = known, unknown
            masses[i - first, 2] = seen
            product *= seen
            if product < 1e-250:
                total += weight * np.log(product)
                product = 1.0
            reached = known + unknown * p_T
            known, unknown = reached * (1.0 - p_F), unknown * (1.0 - p_T) + reached * p_F
        total += weight * np.log(product)
        later_k, later_u = 1.0, 1.0  # P(later outcomes | state after this one), scaled
        for i in range(stop - 1, first - 1, -1):
            filtered_k, filtered_u = masses[i - first, 0], masses[i - first, 1]
            if i < stop - 1:
                # Here `later` is of the attempt after, its own outcome included.
                reached = filtered_k + filtered_u * p_T
                mastered = (1.0 - p_F) * later_k + p_F * later_u
                score[F] += weight * reached * (p_F * later_u - p_F * mastered)
                complete[F] += weight * reached * mastered * p_F * (1.0 - p_F)
                later_k, later_u = mastered, p_T * mastered + (1.0 - p_T) * later_u
                score[T] += weight * filtered_u * p_T * (mastered - later_u)
                complete[T] += weight * filtered_u * later_u * p_T * (1.0 - p_T)
            known, unknown = filtered_k * later_k, filtered_u * later_u
            right_k, wrong_k, right_u, wrong_u = emissions(
                p_S, p_G, odds[i] if odds.size > 0 else 1.0
            )
            pull_k = weight * known * (wrong_k if correct[i] == 1 else -right_k)
            pull_u = weight * unknown * (wrong_u if correct[i] == 1 else -right_u)
            pull[i] = pull_k + pull_u
            score[S] -= pull_k
            score[G] += pull_u
            complete[S] += weight * known * right_k * wrong_k
            complete[G] += weight * unknown * right_u * wrong_u
            if i == first:
                score[L0] += weight * (known * (1.0 - p_L0) - unknown * p_L0)
                complete[L0] += weight * p_L0 * (1.0 - p_L0)
            seen = masses[i - first, 2]
            later_k *= (right_k if correct[i] == 1 else wrong_k) / seen
            later_u *= (right_u if correct[i] == 1 else wrong_u) / seen
    return total
