"""Outcomes as files write them: numbers, booleans, words, or two columns that must agree."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Words that mean right (1) and wrong (0), in any case.
WORDS: Mapping[str, float] = MappingProxyType(
    dict.fromkeys(("true", "t", "yes", "y", "correct", "right", "ok", "pass", "passed"), 1.0)
    | dict.fromkeys(("false", "f", "no", "n", "incorrect", "wrong", "fail", "failed"), 0.0)
)
_DECIMAL_COMMA = r"^([+-]?\d+),(\d+)$"


def points_from_text(
    text: pl.Series, words: Mapping[str, float], *, only: Mapping[str, float] | None = None
) -> pl.Series:
    """Points of each text: numbers as they are, words by the mapping; null for all else.

    `only`: the texts that mean an outcome, and nothing else does (for codes such as 1 and 2).
    """
    if only is not None:
        return text.replace_strict(dict(only), default=None, return_dtype=pl.Float64)
    points = text.str.replace(_DECIMAL_COMMA, "$1.$2").cast(pl.Float64, strict=False)
    if points.null_count() == text.null_count():
        return points
    named = text.str.to_lowercase().replace_strict(
        {word.lower(): value for word, value in words.items()},
        default=None,
        return_dtype=pl.Float64,
    )
    return points.to_frame("p").select(pl.col("p").fill_null(named)).to_series()


def graded(points: pl.Series, partial_credit_from: float | None) -> pl.Series:
    """0 or 1 as int8; fractions count as right from the threshold on, else as nothing."""
    p = pl.col("p")
    if partial_credit_from is None:
        known, right = p.is_in([0.0, 1.0]), p == 1.0
    else:
        known, right = p.is_between(0.0, 1.0), p >= partial_credit_from
    return points.to_frame("p").select(pl.when(known).then(right.cast(pl.Int8))).to_series()


def agreement(given: pl.Series, key: pl.Series) -> pl.Series:
    """1 where two texts are equal but for blanks around them, 0 where not, null without one."""
    return (given.str.strip_chars() == key.str.strip_chars()).cast(pl.Int8)
