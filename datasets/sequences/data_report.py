"""Descriptive statistics of one extraction, for people and for the figures of reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from datasets.row_kernels import count_lengths, measure_lateness
from datasets.sequences.readers import shard_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datasets.extracts.files import Extract

#: Upper edges, in seconds, of the bins of lateness. Each bin starts at the edge before it (the
#: first at 0 s); one more bin holds everything from the last edge on.
LATENESS_EDGES = (1, 60, 3_600, 86_400, 604_800, 2_592_000)
#: Number of bins of sequence lengths; bin k holds sequences of 2^k to 2^(k+1) - 1 attempts.
LENGTH_BINS = 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataReport:
    """The statistics of one extraction."""

    n_attempts: int
    n_users: int
    n_concepts: int
    share_correct: float
    #: concept_id, n_attempts, n_users, share_correct, first_attempt_at, last_attempt_at.
    concepts: pl.DataFrame
    #: (LENGTH_BINS,) number of sequences (user x concept) by floor(log2(length)).
    length_counts: NDArray[np.int64]
    longest: int
    #: Late attempts: stored after a later attempt of the same user and concept (out of order).
    n_late: int
    #: (len(LATENESS_EDGES) + 1,) number of late attempts by how far they are behind the latest
    #: attempt of the same user and concept that was stored before them.
    lateness_counts: NDArray[np.int64]

    def as_json(self) -> dict[str, Any]:
        """Return the statistics as plain values, without the table of concepts.

        In `lateness_seconds` a key such as "<60" names the bin that ends there: 1 s to 60 s.
        """
        per_concept = self.concepts["n_attempts"]
        quantiles = {
            f"{share:.0%}": per_concept.quantile(share, interpolation="nearest")
            for share in (0.05, 0.5, 0.95)
        }
        return {
            "attempts": self.n_attempts,
            "users": self.n_users,
            "concepts": self.n_concepts,
            "share_correct": self.share_correct,
            "attempts_per_concept": {**quantiles, "max": per_concept.max()},
            "sequence_lengths": {
                f"{1 << k}-{(1 << k + 1) - 1}": int(n)
                for k, n in enumerate(self.length_counts)
                if n
            },
            "longest_sequence": self.longest,
            "late": self.n_late,
            "late_share": self.n_late / self.n_attempts if self.n_attempts else 0.0,
            "lateness_seconds": {
                **{
                    f"<{edge}": int(n)
                    for edge, n in zip(LATENESS_EDGES, self.lateness_counts, strict=False)
                },
                f">={LATENESS_EDGES[-1]}": int(self.lateness_counts[-1]),
            },
        }


def describe(extract: Extract) -> DataReport:
    """Compute the statistics of an extraction; every shard is read once."""
    lengths = np.zeros(LENGTH_BINS, np.int64)
    lateness = np.zeros(len(LATENESS_EDGES) + 1, np.int64)
    edges = np.array(LATENESS_EDGES, np.int64) * 1_000_000
    longest = 0
    for shard in range(len(extract.shards)):
        for rows in shard_rows(extract, shard):
            longest = max(longest, count_lengths(rows.run.users, lengths))
            measure_lateness(rows.run, edges, lateness)
    concepts = pl.DataFrame(extract.concepts).select(
        "concept_id",
        "n_attempts",
        "n_users",
        "first_attempt_at",
        "last_attempt_at",
        "n_correct",
        share_correct=pl.col("n_correct") / pl.col("n_attempts"),
    )
    n_attempts = int(concepts["n_attempts"].sum())
    n_correct = int(concepts["n_correct"].sum())
    return DataReport(
        n_attempts=n_attempts,
        n_users=extract.users.num_rows,
        n_concepts=concepts.height,
        share_correct=n_correct / n_attempts if n_attempts else 0.0,
        concepts=concepts.drop("n_correct"),
        length_counts=lengths,
        longest=longest,
        n_late=int(lateness.sum()),
        lateness_counts=lateness,
    )
