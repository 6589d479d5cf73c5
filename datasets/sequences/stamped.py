"""Attempts with questions and covariates, as versions with odds multipliers read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family.covariates import NO_STAMP, covariates_of, seconds_since_previous
from bkt_core.family.stamped import StampedSequences
from datasets.errors import ExtractError
from datasets.extracts.details import QUESTIONS_FILE, DetailReader, details_file
from datasets.parquet import read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.variant import Variant
    from datasets.extracts.details import Details
    from datasets.extracts.files import Extract
    from datasets.sequences.shard_rows import ShardRows


class StampReader:
    """Gives the attempts of concepts of one shard what a version reads beside outcomes."""

    def __init__(self, extract: Extract, shard: int, variant: Variant) -> None:
        self._variant = variant
        self._reader: DetailReader | None = None
        if not variant.reads_details:
            return  # times suffice
        if not extract.details:
            raise ExtractError(
                f"The extraction {extract.digest} has no questions and stamps, which a version "
                "with questions or history reads; extract again with --full."
            )
        file = extract.shards[shard]
        delta = None if file.delta is None else extract.root / details_file(file.delta)
        self._reader = DetailReader(extract.shard_root / details_file(file.name), delta)
        self._questions = read_table(extract.root / QUESTIONS_FILE)["question_id"]

    def read(self, rows: ShardRows, span: tuple[int, int, int, int]) -> StampedSequences:
        """Return what the version reads of some of a concept's rows.

        `span` is the place of all rows of the concept in the shard and its delta. Attempts
        without a question have one code of their own, the last, whose id is None; where no
        attempt has a question there are no codes.
        """
        variant, n = self._variant, rows.users.size
        details = None if self._reader is None else self._reader.concept(*span)
        at = np.zeros(0, np.int64)
        if details is not None:
            at = np.searchsorted(details.ids, rows.ids)
        codes, ids = np.empty(0, np.int64), tuple[str | None, ...]()
        if variant.questions and details is not None:
            codes, ids = self._codes(details.questions[at])
        recent, n_before, n_right = _stamps(details if variant.history else None, at, n)
        return StampedSequences(
            correct=rows.correct,
            offsets=rows.offsets,
            questions=codes,
            n_questions=len(ids),
            covariates=covariates_of(
                variant,
                recent=recent,
                n_before=n_before,
                n_right_before=n_right,
                seconds=seconds_since_previous(rows.times, rows.offsets[:-1]),
            ),
            question_ids=ids,
            weight_names=variant.weight_names,
        )

    def _codes(
        self, questions: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], tuple[str | None, ...]]:
        """Return codes from 0 within the concept, and the id of each."""
        used, codes = np.unique(questions, return_inverse=True)
        if not (used >= 0).any():
            return np.empty(0, np.int64), ()
        ids: list[str | None] = self._questions.take(used[used >= 0]).to_pylist()
        if used[0] < 0:  # what has no question comes last
            return (codes - 1) % used.size, (*ids, None)
        return codes, tuple(ids)


def _stamps(
    details: Details | None, at: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The stamps of n rows, as int64; a row without one gets `NO_STAMP`."""
    if details is None:
        recent, n_before, n_right = (np.full(n, value, np.int64) for value in NO_STAMP)
        return recent, n_before, n_right
    recent = details.recent[at]
    return (
        np.where(recent == 0, NO_STAMP[0], recent),
        details.n_before[at].astype(np.int64),
        details.n_right_before[at].astype(np.int64),
    )
