"""Real logs with their questions, and with the stamps that a service would have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from bkt_core.family.covariates import covariates_of
from bkt_core.family.stamped import StampedSequences

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bkt_core.variant import Variant

KEY_ORDER = ("concept_id", "user_id", "attempted_at", "attempt_id")
#: A stamp holds so many outcomes.
MOST_RECENT = 62


def stamped_log(path: Path) -> pl.DataFrame:
    """Attempts in the order of keys, with stamp, and seconds since the last of the key.

    Attempts of one moment carry the stamp of the moment before; an attempt at several concepts
    is one.
    """
    frame = pl.read_parquet(path).sort("user_id", "attempted_at", "attempt_id")
    stamps = np.empty((frame.height, 3), np.int64)
    user, moment, attempt = None, None, None
    now = following = (1, 0, 0)
    rows = frame.select("user_id", "attempted_at", "attempt_id", "correct").iter_rows()
    for row, (who, when, which, correct) in enumerate(rows):
        if who != user:
            now = following = (1, 0, 0)
        elif when != moment:
            now = following
        if (who, which) != (user, attempt):
            following = _after(following, correct)
        user, moment, attempt = who, when, which
        stamps[row] = now
    gap = pl.col("attempted_at").diff().over("concept_id", "user_id").dt.total_seconds()
    names = ("recent", "n_before", "n_right_before")
    columns = [pl.Series(name, stamps[:, k]) for k, name in enumerate(names)]
    return (
        frame.with_columns(columns)
        .sort(KEY_ORDER)
        .with_columns(gap.fill_null(-1).cast(pl.Int64).alias("seconds"))
    )


def _after(stamp: tuple[int, int, int], correct: int) -> tuple[int, int, int]:
    recent, n, n_right = stamp
    shifted = recent << 1 | correct
    if shifted.bit_length() > MOST_RECENT + 1:
        shifted = shifted & ((1 << MOST_RECENT) - 1) | 1 << MOST_RECENT
    return shifted, n + 1, n_right + correct


def stamped_concepts(
    frame: pl.DataFrame, variant: Variant
) -> dict[str, tuple[StampedSequences, NDArray[np.uint64]]]:
    """Each concept with the ids of its users, as the version reads it."""
    concepts = {}
    for (concept,), rows in frame.group_by("concept_id", maintain_order=True):
        users = rows.group_by("user_id", maintain_order=True).len()
        codes = rows["question_id"].rank("dense").to_numpy().astype(np.int64) - 1
        facts = {
            name: rows[name].to_numpy()
            for name in ("recent", "n_before", "n_right_before", "seconds")
        }
        sequences = StampedSequences(
            correct=rows["correct"].to_numpy().astype(np.int8),
            offsets=np.append(0, np.cumsum(users["len"].to_numpy())).astype(np.int64),
            questions=codes if variant.questions else np.empty(0, np.int64),
            n_questions=int(codes.max()) + 1 if variant.questions else 0,
            covariates=covariates_of(variant, **facts),
        )
        concepts[str(concept)] = (sequences, users["user_id"].to_numpy().astype(np.uint64))
    return concepts
