"""The model family in plain Python: by definition, and by every path; nothing of ours."""

from __future__ import annotations

import math
from itertools import pairwise, product

LOW, HIGH = 1e-10, 1.0 - 1e-10

Params = tuple[float, float, float, float, float]  # L0, T, S, G, F


#: The values of `params`, in their order.
FORGETTING = ("p_L0", "p_T", "p_S", "p_G", "p_F")


def clamp(p: float) -> float:
    return min(max(p, LOW), HIGH)


def trace(
    outcomes: list[int], params: Params, odds: list[float] | None = None
) -> list[tuple[float, float]]:
    """Mastery stored after each attempt, and P(correct) before it; bits are the contract's."""
    p, t, s, g, f = params
    p, t, s, g = clamp(p), clamp(t), clamp(s), clamp(g)
    found = []
    for i, correct in enumerate(outcomes):
        if i > 0:
            p = clamp(p * (1.0 - f))
        slip, guess = s, g
        if odds is not None:
            m = odds[i]
            slip = clamp(s / (s + (1.0 - s) * m))
            guess = clamp(g * m / ((1.0 - g) + g * m))
        c = clamp(p * (1.0 - slip) + (1.0 - p) * guess)
        q = clamp(p * (1.0 - slip) / c if correct else p * slip / (1.0 - c))
        p = clamp(q + (1.0 - q) * t)
        found.append((p, c))
    return found


def log_likelihood(
    outcomes: list[int], params: Params, odds: list[float] | None = None
) -> float:
    """Of one user, in nats: the sum over all 2 ** n paths of known and unknown."""
    p_L0, p_T, p_S, p_G, p_F = params
    to_known = (p_T * (1.0 - p_F), 1.0 - p_F)  # from unknown, from known
    total = []
    for path in product((0, 1), repeat=len(outcomes)):
        weight = p_L0 if path[0] else 1.0 - p_L0
        for before, after in pairwise(path):
            weight *= to_known[before] if after else 1.0 - to_known[before]
        for i, (state, outcome) in enumerate(zip(path, outcomes, strict=True)):
            ratio = (1.0 - p_S) / p_S if state else p_G / (1.0 - p_G)
            ratio *= 1.0 if odds is None else odds[i]
            weight *= ratio / (1.0 + ratio) if outcome else 1.0 / (1.0 + ratio)
        total.append(weight)
    return math.log(math.fsum(total))
