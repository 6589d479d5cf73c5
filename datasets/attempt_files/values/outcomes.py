"""Outcomes as files write them: numbers, booleans, words, or two columns that must agree."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Words for correct (1) and incorrect (0), in any case.
WORDS: Mapping[str, float] = MappingProxyType(
    dict.fromkeys(("true", "t", "yes", "y", "correct", "right", "ok", "pass", "passed"), 1.0)
    | dict.fromkeys(("false", "f", "no", "n", "incorrect", "wrong", "fail", "failed"), 0.0)
)
_DECIMAL_COMMA = r"^([+-]?\d+),(\d+)$"


def points_from_text(
    text: pl.Series, words: Mapping[str, float], *, only: Mapping[str, float] | None = None
) -> pl.Series:
    """Convert texts to points: numbers by value, words by the mapping, everything else null.

    If `only` is given, its texts alone have points (for codes such as 1 and 2).
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
    """Return int8 0 or 1; fractions from the threshold on are correct, otherwise null."""
    p = pl.col("p")
    if partial_credit_from is None:
        known, right = p.is_in([0.0, 1.0]), p == 1.0
    else:
        known, right = p.is_between(0.0, 1.0), p >= partial_credit_from
    return points.to_frame("p").select(pl.when(known).then(right.cast(pl.Int8))).to_series()


def agreement(given: pl.Series, key: pl.Series) -> pl.Series:
    """Return 1 where two stripped texts are equal, 0 where not, null where one is missing."""
    return (given.str.strip_chars() == key.str.strip_chars()).cast(pl.Int8)
