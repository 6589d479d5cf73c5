"""Compiled functions of the model family: forgetting, and odds multipliers per attempt.

The steps after forgetting and multiplying are those of `bkt_core.kernels`, whose arithmetic
never changes; so Numba's cache, which watches this file alone, cannot go stale. The order of
operations is part of the contract, and plain Python gives the same bits.

`odds` is one multiplier of the odds of P(correct) per attempt, the same in both states, or an
array of size 0 where the version has none; then slip and guess are not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


@kernel
def recent_share(recent: int, fading: float) -> float:
    """Outcomes (right +1, wrong -1) weighted by `fading` to the power of their age.

    `recent` holds them as bits, newest lowest, a 1 above the oldest.
    """
    total, weight = 0.0, 1.0
    while recent > 1:
        total += weight if recent & 1 else -weight
        weight *= fading
        recent >>= 1
    return total * (1.0 - fading)


@kernel
def covariates(
    recent: Counts, n_before: Counts, n_right_before: Counts, seconds: Counts, out: Floats
) -> None:
    """The five covariates of each attempt, into `out` (n_attempts, 5).

    `seconds` is the time since the last attempt of the key, -1 at its first.
    """
    for i in range(recent.size):
        out[i, 0] = recent_share(recent[i], 0.9)
        out[i, 1] = recent_share(recent[i], 0.97)
        out[i, 2] = (2 * n_right_before[i] - n_before[i]) / (n_before[i] + 10)
        bits, left = 0, seconds[i]
        while left > 0 and bits < 31:
            left >>= 1
            bits += 1
        out[i, 3] = bits / 10
        out[i, 4] = 1.0 if seconds[i] < 0 else 0.0


@kernel
def multiply_out(
    questions: Counts,
    question_odds: Floats,
    covariates: Floats,
    weights: Floats,
    exponentials: Floats,
    out: Floats,
) -> None:
    """Multiplier of each attempt as replay takes it, into `out` (n_attempts,).

    Its question's odds times exp of the weighted covariates, summed from left to right and
    rounded to the nearest 64th, ties to even; `exponentials` is the table of those.
    """
    middle = exponentials.size // 2
    for i in range(out.size):
        total = 0.0
        for j in range(weights.size):
            total += weights[j] * covariates[i, j]
        nearest = min(max(np.rint(total * 64.0), -float(middle)), float(middle))
        factor = exponentials[int(nearest) + middle]
        out[i] = question_odds[questions[i]] * factor if questions.size > 0 else factor


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
    bend: Floats,
) -> float:
    """The exact (unclamped) log-likelihood in nats, each user counted `times` (n_users,).

    Into `score` (5,) its derivative by the logit of each of `params` (5,), into `complete`
    (5,) the information about that logit that known paths would give; into `pull` and `bend`
    (n_attempts,) the same two for the logarithm of each multiplier, where there are any.
    Both masses are carried, never one minus the other: on long runs 1 - p rounds to 0.
    """
    p_L0, p_T, p_S, p_G, p_F = params
    longest = 1
    for user in range(offsets.size - 1):
        longest = max(longest, offsets[user + 1] - offsets[user])
    masses = np.empty((longest, 3))  # known and unknown after the outcome, 1 / P(outcome)
    score[:], complete[:] = 0.0, 0.0
    total = 0.0
    right_k, wrong_k, right_u, wrong_u = emissions(p_S, p_G, 1.0)
    for user in range(offsets.size - 1):
        weight, first, stop = times[user], offsets[user], offsets[user + 1]
        if weight == 0.0:
            if odds.size > 0:
                pull[first:stop], bend[first:stop] = 0.0, 0.0
            continue
        known, unknown, product = p_L0, 1.0 - p_L0, 1.0
        for i in range(first, stop):
            if odds.size > 0:
                right_k, wrong_k, right_u, wrong_u = emissions(p_S, p_G, odds[i])
            known *= right_k if correct[i] == 1 else wrong_k
            unknown *= right_u if correct[i] == 1 else wrong_u
            seen = known + unknown
            scale = 1.0 / seen
            known, unknown = known * scale, unknown * scale
            masses[i - first, 0], masses[i - first, 1] = known, unknown
            masses[i - first, 2] = scale
            product *= seen
            if product < 1e-250:
                total += weight * np.log(product)
                product = 1.0
            reached = known + unknown * p_T
            known, unknown = reached * (1.0 - p_F), unknown * (1.0 - p_T) + reached * p_F
        total += weight * np.log(product)
        later_k, later_u = 1.0, 1.0  # P(later outcomes | state after this one), scaled
        pull_T, pull_S, pull_G, pull_F = 0.0, 0.0, 0.0, 0.0
        bend_T, bend_S, bend_G, bend_F = 0.0, 0.0, 0.0, 0.0
        for i in range(stop - 1, first - 1, -1):
            filtered_k, filtered_u = masses[i - first, 0], masses[i - first, 1]
            if i < stop - 1:
                # Here `later` is of the attempt after, its own outcome included.
                reached = filtered_k + filtered_u * p_T
                mastered = (1.0 - p_F) * later_k + p_F * later_u
                pull_F += reached * (later_u - mastered)
                bend_F += reached * mastered
                later_k, later_u = mastered, p_T * mastered + (1.0 - p_T) * later_u
                pull_T += filtered_u * (mastered - later_u)
                bend_T += filtered_u * later_u
            known, unknown = filtered_k * later_k, filtered_u * later_u
            if odds.size > 0:
                right_k, wrong_k, right_u, wrong_u = emissions(p_S, p_G, odds[i])
            pull_k = known * (wrong_k if correct[i] == 1 else -right_k)
            pull_u = unknown * (wrong_u if correct[i] == 1 else -right_u)
            bend_k, bend_u = known * right_k * wrong_k, unknown * right_u * wrong_u
            pull_S -= pull_k
            pull_G += pull_u
            bend_S += bend_k
            bend_G += bend_u
            if odds.size > 0:
                pull[i] = weight * (pull_k + pull_u)
                bend[i] = weight * (bend_k + bend_u)
            scale = masses[i - first, 2]
            later_k *= (right_k if correct[i] == 1 else wrong_k) * scale
            later_u *= (right_u if correct[i] == 1 else wrong_u) * scale
        score[L0] += weight * (known * (1.0 - p_L0) - unknown * p_L0)
        complete[L0] += weight * p_L0 * (1.0 - p_L0)
        score[T] += weight * p_T * pull_T
        complete[T] += weight * p_T * (1.0 - p_T) * bend_T
        score[S] += weight * pull_S
        complete[S] += weight * bend_S
        score[G] += weight * pull_G
        complete[G] += weight * bend_G
        score[F] += weight * p_F * pull_F
        complete[F] += weight * p_F * (1.0 - p_F) * bend_F
    return total


# ── The posterior of one concept, and the climb to its top ───────────────────────────────


class Posterior(NamedTuple):
    """Attempts of a concept and a prior, as functions of `x` (5 + n_weights + n_questions,).

    `x` holds the logits of L0, T, S, G and F, the weights of the covariates, and the logarithm
    of each question's multiplier.
    """

    correct: Outcomes  # (n_attempts,)
    offsets: Counts  # (n_users + 1,)
    times: Floats  # (n_users,) how often each user counts
    questions: Counts  # (n_attempts,) codes from 0, or (0,) without questions
    covariates: Floats  # (n_attempts, n_weights)
    mean: Floats  # of the prior, as `x`
    precision: Floats  # likewise; 0 where the prior says nothing
    lower: Floats  # the box, as `x`; lower is upper where a logit is not fitted
    upper: Floats
    forgets: bool


class Pairs(NamedTuple):
    """The last steps of a climb and how the gradient fell along them, oldest overwritten."""

    steps: Floats  # (N_PAIRS, x.size)
    falls: Floats  # (N_PAIRS, x.size)
    n_stored: Counts  # (1,) since the climb began anew


#: Pairs that a quasi-Newton direction rests on.
N_PAIRS = 20
CONVERGED, STALLED, MAX_STEPS = 0, 1, 2
#: No component of a step is longer.
LONGEST = 4.0
#: A step must gain this share of what the gradient promises.
ARMIJO = 1e-4


@kernel
def multipliers(posterior: Posterior, x: Floats, odds: Floats) -> None:
    """Multiplier of each attempt, into `odds` (n_attempts,)."""
    n_weights = posterior.covariates.shape[1]
    for i in range(odds.size):
        total = 0.0
        for j in range(n_weights):
            total += posterior.covariates[i, j] * x[5 + j]
        if posterior.questions.size > 0:
            total += x[5 + n_weights + posterior.questions[i]]
        odds[i] = np.exp(total)


@kernel
def evaluate(
    posterior: Posterior, x: Floats, gradient: Floats, complete: Floats, work: Floats
) -> float:
    """Log posterior up to a constant, its gradient, and the information of known paths.

    `work` is (3, n_attempts) where attempts have multipliers, else (3, 0). `complete` holds
    the diagonal alone, without the prior.
    """
    params = 1.0 / (1.0 + np.exp(-x[:5]))
    if not posterior.forgets:
        params[F] = 0.0
    multipliers(posterior, x, work[0])
    gradient[:], complete[:] = 0.0, 0.0
    nats = forward_backward(
        posterior.correct,
        posterior.offsets,
        posterior.times,
        work[0],
        params,
        gradient[:5],
        complete[:5],
        work[1],
        work[2],
    )
    n_weights = posterior.covariates.shape[1]
    for i in range(work.shape[1]):
        for j in range(n_weights):
            r = posterior.covariates[i, j]
            gradient[5 + j] += r * work[1, i]
            complete[5 + j] += r * r * work[2, i]
        if posterior.questions.size > 0:
            at = 5 + n_weights + posterior.questions[i]
            gradient[at] += work[1, i]
            complete[at] += work[2, i]
    for k in range(x.size):
        away = x[k] - posterior.mean[k]
        nats -= 0.5 * posterior.precision[k] * away * away
        gradient[k] -= posterior.precision[k] * away
    return nats


@kernel
def held_by(posterior: Posterior, x: Floats, gradient: Floats) -> NDArray[np.bool_]:
    """Which of `x` a bound holds: it is reached, and the posterior rises beyond it."""
    lower, upper = posterior.lower, posterior.upper
    held = np.empty(x.size, dtype=np.bool_)
    for k in range(x.size):
        held[k] = lower[k] == upper[k]
        held[k] |= (x[k] <= lower[k] and gradient[k] <= 0.0) or (
            x[k] >= upper[k] and gradient[k] >= 0.0
        )
    return held


@kernel
def direction_of(
    pairs: Pairs, gradient: Floats, curvature: Floats, held: NDArray[np.bool_]
) -> Floats:
    """The quasi-Newton direction upwards, where nothing holds (Nocedal 1980).

    The pairs correct a diagonal `curvature`; only their free parts count.
    """
    way = np.where(held, 0.0, gradient)
    oldest = max(0, pairs.n_stored[0] - N_PAIRS)
    alpha, along = np.zeros(N_PAIRS), np.zeros(N_PAIRS)
    for n in range(pairs.n_stored[0] - 1, oldest - 1, -1):
        step, fall = pairs.steps[n % N_PAIRS], pairs.falls[n % N_PAIRS]
        size = 0.0
        for k in range(way.size):
            if not held[k]:
                along[n % N_PAIRS] += step[k] * fall[k]
                alpha[n % N_PAIRS] += step[k] * way[k]
                size += fall[k] * fall[k] / curvature[k]
        if along[n % N_PAIRS] <= 1e-10 * size:
            along[n % N_PAIRS] = 0.0
            continue
        alpha[n % N_PAIRS] /= along[n % N_PAIRS]
        for k in range(way.size):
            if not held[k]:
                way[k] -= alpha[n % N_PAIRS] * fall[k]
    way /= curvature
    for n in range(oldest, pairs.n_stored[0]):
        if along[n % N_PAIRS] == 0.0:
            continue
        step, fall = pairs.steps[n % N_PAIRS], pairs.falls[n % N_PAIRS]
        beta = 0.0
        for k in range(way.size):
            if not held[k]:
                beta += fall[k] * way[k]
        beta /= along[n % N_PAIRS]
        for k in range(way.size):
            if not held[k]:
                way[k] += (alpha[n % N_PAIRS] - beta) * step[k]
    return way


@kernel
def climb(
    posterior: Posterior,
    x: Floats,
    pairs: Pairs,
    enough: float,
    max_steps: int,
    work: Floats,
    history: Floats,
) -> tuple[int, int]:
    """Quasi-Newton steps inside the box, `x` moved in place; how it ended, and steps taken.

    It has converged when the direction promises `enough` nats or less. `history`
    (max_steps + 1,) takes the log posterior at the start and after each step.
    """
    gradient, complete = np.empty(x.size), np.empty(x.size)
    gradient_after, complete_after = np.empty(x.size), np.empty(x.size)
    value = evaluate(posterior, x, gradient, complete, work)
    history[0] = value
    n_steps = 0
    while True:
        held = held_by(posterior, x, gradient)
        curvature = np.maximum(complete + posterior.precision, 1e-8)
        way = direction_of(pairs, gradient, curvature, held)
        slope = 0.0
        for k in range(x.size):
            slope += gradient[k] * way[k]
        if slope <= 0.0 and pairs.n_stored[0] > 0:
            pairs.n_stored[0] = 0
            continue
        if 0.5 * slope <= enough:
            return CONVERGED, n_steps
        if n_steps >= max_steps:
            return MAX_STEPS, n_steps
        length, risen = min(1.0, LONGEST / np.abs(way).max()), False
        for _ in range(30):
            after = np.minimum(np.maximum(x + length * way, posterior.lower), posterior.upper)
            found = evaluate(posterior, after, gradient_after, complete_after, work)
            promised = 0.0
            for k in range(x.size):
                promised += gradient[k] * (after[k] - x[k])
            if promised > 0.0 and found >= value + ARMIJO * promised:
                risen = True
                break
            # The top of the parabola through what is known, within a tenth and a half.
            lack = slope * length - (found - value)
            top = 0.5 * slope * length * length / lack if lack > 0.0 else 0.5 * length
            length = min(max(top, 0.1 * length), 0.5 * length)
        if not risen:
            if pairs.n_stored[0] == 0:
                return STALLED, n_steps
            pairs.n_stored[0] = 0
            continue
        at = pairs.n_stored[0] % N_PAIRS
        pairs.steps[at], pairs.falls[at] = after - x, gradient - gradient_after
        pairs.n_stored[0] += 1
        x[:], value = after, found
        gradient[:], complete[:] = gradient_after, complete_after
        n_steps += 1
        history[n_steps] = value
