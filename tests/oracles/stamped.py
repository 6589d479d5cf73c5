"""Mastery with questions, history and gap in plain Python, by definition; nothing of ours.

The order of operations is the contract's (docs/algorithms.md, section 13): tests compare bits.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

from tests.oracles.family import trace
from tests.oracles.replay import DEFAULTS
from tests.oracles.replay import mastery as plain_mastery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

WEIGHTS = ("w_recent", "w_long", "w_share", "w_gap", "w_first")
Stamp = tuple[int, int, int]


def exponential(x: float) -> float:
    """Exp of the nearest 64th of x, ties to even, correctly rounded."""
    k = min(max(round(x * 64), -1024), 1024)
    with localcontext() as context:
        context.prec = 60
        return float((Decimal(k) / 64).exp())


def recent(bits: int, fading: float) -> float:
    """Outcomes newest to oldest, +1 and -1, weighted by their age."""
    total, weight = 0.0, 1.0
    for position in range(bits.bit_length() - 1):
        total += weight if bits >> position & 1 else -weight
        weight *= fading
    return total * (1.0 - fading)


def covariates(stamp: Stamp, gap: float | None) -> tuple[float, ...]:
    bits, n, n_right = stamp
    whole = 0 if gap is None else int(gap)
    return (
        recent(bits, 0.9),
        recent(bits, 0.97),
        (2 * n_right - n) / (n + 10),
        min(whole.bit_length(), 31) / 10,
        1.0 if gap is None else 0.0,
    )


def mastery(
    outcomes: list[int],
    moments: Sequence[datetime],
    stamps: Sequence[Stamp],
    odds: Sequence[float] | None,
    row: Mapping[str, Any] | None,
) -> float:
    """After a user's attempts at one concept; without a row from the defaults."""
    if row is None or odds is None:
        return plain_mastery(outcomes, DEFAULTS)
    weights = [row[name] for name in WEIGHTS if row[name] is not None]
    multipliers = []
    for i, own in enumerate(odds):
        gap = None if i == 0 else (moments[i] - moments[i - 1]).total_seconds()
        total = 0.0
        values = covariates(stamps[i], gap)
        for weight, value in zip(weights, values, strict=bool(weights)):
            total += weight * value
        multipliers.append(own * exponential(total))
    params = (row["p_l0"], row["p_t"], row["p_s"], row["p_g"], row["p_f"] or 0.0)
    return trace(outcomes, params, multipliers)[-1][0]
