"""The definition of mastery in plain Python (docs/algorithms.md, section 1); nothing of ours.

The order of operations is the contract's: tests compare bits.
"""

from __future__ import annotations

LOW, HIGH = 1e-10, 1.0 - 1e-10
#: What a concept without fitted parameters gets.
DEFAULTS = (0.1, 0.1, 0.1, 0.25)

#: L0, T, S, G; where the version forgets F follows, where it does not nothing or None.
Params = tuple[float | None, ...]


def clamp(p: float) -> float:
    return min(max(p, LOW), HIGH)


def step(p: float, correct: int, t: float, s: float, g: float) -> tuple[float, float]:
    """Mastery before the next attempt, and what was predicted before this one."""
    p, t, s, g = clamp(p), clamp(t), clamp(s), clamp(g)
    c = clamp(p * (1.0 - s) + (1.0 - p) * g)
    q = clamp(p * (1.0 - s) / c if correct else p * s / (1.0 - c))
    return clamp(q + (1.0 - q) * t), c


def mastery(outcomes: list[int], params: Params) -> float:
    """After the last of a user's attempts at one concept, from p_L0."""
    p, t, s, g, *more = params
    f = next(iter(more), None)
    p = clamp(p)
    for i, correct in enumerate(outcomes):
        if i > 0 and f is not None:
            p = clamp(p * (1.0 - f))
        p, _ = step(p, correct, t, s, g)
    return p
