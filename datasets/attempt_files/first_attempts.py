"""Rows that are no first answer of their user to their question, found over a whole file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Retries:
    """Rows, rising, whose user had answered their question before."""

    rows: pl.Series
    #: Rows that name a user, a question and a time.
    n_answers: int

    def marked(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The frames with those rows skipped."""
        for frame in frames:
            is_retry = frame["row"].is_in(self.rows.implode())
            yield frame.with_columns(is_skipped=frame["is_skipped"] | is_retry)


def retries_of(frames: Iterable[pl.DataFrame], within: timedelta | None) -> Retries:
    """Answers after the first one to the same question; first again after `within` without one.

    Rows of one attempt, such as one per concept, are first together. Rows without a question
    are always first. Holds some forty bytes a row.
    """
    kept = [
        frame.filter(
            ~pl.col("is_skipped")
            & pl.col("question_id").is_not_null()
            & pl.col("user_id").is_not_null()
            & pl.col("attempted_at").is_not_null()
        ).select(
            "row",
            key=pl.struct("user_id", "question_id").hash(),
            attempt=pl.when(pl.col("attempt_id").is_not_null())
            .then(pl.col("attempt_id").hash())
            .otherwise(pl.col("row").cast(pl.UInt64)),
            at="attempted_at",
        )
        for frame in frames
    ]
    answers = pl.concat(kept) if kept else pl.DataFrame()
    if answers.is_empty():
        return Retries(pl.Series([], dtype=pl.Int64), 0)
    ordered = answers.sort("key", "at", "row")
    first_of_attempt = ordered.unique(["key", "attempt"], keep="first", maintain_order=True)
    gap = pl.col("at").diff().over("key")
    is_first = gap.is_null() if within is None else gap.is_null() | (gap > within)
    first = first_of_attempt.filter(is_first).select("key", "attempt")
    retried = ordered.join(first, on=["key", "attempt"], how="anti")["row"].sort()
    return Retries(retried, answers.height)
