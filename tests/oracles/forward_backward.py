"""The textbook's forward-backward pass (Rabiner 1989) for two states, no forgetting.

Plain loops in logarithms, so that no length and no parameter inside (0, 1) can under- or
overflow; imports nothing of ours.
"""

from __future__ import annotations

from math import exp, fsum, inf, log

Params = tuple[float, float, float, float]


def log_sum(a: float, b: float) -> float:
    """Logarithm of exp(a) + exp(b)."""
    high, low = max(a, b), min(a, b)
    return high if low == -inf else high + log(1.0 + exp(low - high))


def e_step(outcomes: list[int], params: Params) -> tuple[float, list[float]]:
    """The log-likelihood of one user, and seven expectations.

    Known at first, learned, chances to learn; slips, known; guesses, unknown.
    """
    p_L0, p_T, p_S, p_G = params
    emit = [(log(p_G), log(1.0 - p_S)) if o else (log(1.0 - p_G), log(p_S)) for o in outcomes]
    learn, stay = log(p_T), log(1.0 - p_T)
    forward = [(log(1.0 - p_L0) + emit[0][0], log(p_L0) + emit[0][1])]
    for if_unknown, if_known in emit[1:]:
        unknown, known = forward[-1]
        forward.append(
            (unknown + stay + if_unknown, log_sum(known, unknown + learn) + if_known)
        )
    value = log_sum(*forward[-1])
    counts = [0.0] * 7
    back_unknown, back_known = 0.0, 0.0
    for i in range(len(outcomes) - 1, -1, -1):
        if i < len(outcomes) - 1:
            if_unknown, if_known = emit[i + 1]
            stays, learns = stay + if_unknown + back_unknown, learn + if_known + back_known
            back_unknown, back_known = log_sum(stays, learns), if_known + back_known
            counts[1] += exp(forward[i][0] + learns - value)
            counts[2] += exp(forward[i][0] + back_unknown - value)
        was_unknown = exp(forward[i][0] + back_unknown - value)
        was_known = exp(forward[i][1] + back_known - value)
        counts[4] += was_known
        counts[6] += was_unknown
        counts[5 if outcomes[i] else 3] += was_unknown if outcomes[i] else was_known
        counts[0] = was_known
    return value, counts


def em_step(users: list[list[int]], params: Params) -> tuple[float, Params]:
    """Log-likelihood at `params`, and where one unbounded step of EM leads."""
    each = [e_step(outcomes, params) for outcomes in users]
    value = fsum(one[0] for one in each)
    totals = [fsum(column) for column in zip(*(one[1] for one in each), strict=True)]
    first, learned, chances, slips, known, guesses, unknown = totals
    return value, (
        first / len(users),
        learned / chances if chances else params[1],
        slips / known if known else params[2],
        guesses / unknown if unknown else params[3],
    )
