"""BKT by summing over every path of hidden states: slow, short, and beside nothing of ours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise, product


@dataclass(frozen=True)
class Expected:
    """The likelihood of one user's attempts, and what is expected given them."""

    likelihood: float
    known_at_first: float
    transitions: float
    chances: float  # attempts, but the last, at which the concept was unknown
    slips: float
    known: float  # attempts while known
    guesses: float
    unknown: float  # attempts while unknown


def expect(outcomes: list[int], p_L0: float, p_T: float, p_S: float, p_G: float) -> Expected:
    """Sum over all 2 ** n paths; nothing that is known is ever forgotten."""
    sums = [0.0] * 8
    for path in product((0, 1), repeat=len(outcomes)):
        weight = p_L0 if path[0] else 1.0 - p_L0
        for before, after in pairwise(path):
            if before:
                weight *= 1.0 if after else 0.0
            else:
                weight *= p_T if after else 1.0 - p_T
        for state, outcome in zip(path, outcomes, strict=True):
            right = 1.0 - p_S if state else p_G
            weight *= right if outcome else 1.0 - right
        pairs = list(zip(path, outcomes, strict=True))
        counts = (
            1.0,
            path[0],
            sum(a == 0 and b == 1 for a, b in pairwise(path)),
            sum(a == 0 for a in path[:-1]),
            sum(s == 1 and o == 0 for s, o in pairs),
            sum(path),
            sum(s == 0 and o == 1 for s, o in pairs),
            len(path) - sum(path),
        )
        sums = [total + weight * count for total, count in zip(sums, counts, strict=True)]
    likelihood = sums[0]
    return Expected(likelihood, *(total / likelihood for total in sums[1:]))


def log_likelihood(users: list[list[int]], params: tuple[float, float, float, float]) -> float:
    """Of all users, in nats."""
    return math.fsum(math.log(expect(outcomes, *params).likelihood) for outcomes in users)


def em_step(
    users: list[list[int]], params: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """The parameters after one step of EM; a parameter without chances keeps its value."""
    each = [expect(outcomes, *params) for outcomes in users]

    def share(yes: str, chances: str, otherwise: float) -> float:
        total = math.fsum(getattr(one, chances) for one in each)
        return math.fsum(getattr(one, yes) for one in each) / total if total else otherwise

    p_L0, p_T, p_S, p_G = params
    return (
        math.fsum(one.known_at_first for one in each) / len(each) if each else p_L0,
        share("transitions", "chances", p_T),
        share("slips", "known", p_S),
        share("guesses", "unknown", p_G),
    )
