"""Real logs with their questions, and with the stamps that a service would have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from bkt_core.family.covariates import covariates_of
from bkt_core.family.stamped import StampedSequences
from bkt_core.standing_log import StandingLog, facts_of_log

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bkt_core.variant import Variant

KEY_ORDER = ("concept_id", "user_id", "attempted_at", "attempt_id")


def stamped_log(path: Path) -> pl.DataFrame:
    """Attempts in the order of keys, with stamp, and seconds since the last of the key.

    Attempts of one moment carry the stamp of the moment before; an attempt at several concepts
    is one.
    """
    frame = pl.read_parquet(path).sort(KEY_ORDER)
    user, concept, attempt = (
        frame[name].rank("dense").cast(pl.Int64).to_numpy()
        for name in ("user_id", "concept_id", "attempt_id")
    )
    facts = facts_of_log(
        StandingLog(
            user=user,
            concept=concept,
            moment=frame["attempted_at"].dt.epoch("us").to_numpy(),
            attempt=attempt,
            correct=frame["correct"].to_numpy(),
        ),
        np.ones(frame.height),
    )
    names = ("recent", "n_before", "n_right_before", "seconds")
    return frame.with_columns(pl.Series(name, getattr(facts, name)) for name in names)


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
