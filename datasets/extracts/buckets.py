"""External sort: rows go into buckets of concepts, and each bucket is sorted canonically.

A row is three 64-bit words: codes and outcome, id, time. The bucket of a concept depends only
on the hash of its id, so that the same log gives the same buckets in any order of reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasets.row_kernels import Buckets, canonical_order, count_keys, ranked_in_range

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

N_BUCKETS = 64
#: Rows of one bucket that are buffered in memory.
_CAPACITY = 8192
#: Rows that are sorted in memory at once; a bucket with more rows is read several times.
SORTED_ROWS = 2_000_000
_CHUNK = 1 << 18
_WORDS = 3


class RowBuckets:
    """Rows by bucket; full buckets are written to files below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spilled = np.zeros(N_BUCKETS, np.int64)
        self.waiting = Buckets(
            rows=np.empty((N_BUCKETS, _CAPACITY, _WORDS), np.int64),
            filled=np.zeros(N_BUCKETS, np.int64),
        )

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of rows of each bucket, (n_buckets,)."""
        return self._spilled + self.waiting.filled

    def put(self, buckets: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Add rows (n, 3) to their buckets (n,)."""
        order = np.argsort(buckets, kind="stable")
        ends = np.cumsum(np.bincount(buckets, minlength=N_BUCKETS))
        for bucket, end in enumerate(ends):
            begin = int(ends[bucket - 1]) if bucket else 0
            while begin < end:
                filled = int(self.waiting.filled[bucket])
                n = min(int(end) - begin, _CAPACITY - filled)
                taken = rows[order[begin : begin + n]]
                self.waiting.rows[bucket, filled : filled + n] = taken
                self.waiting.filled[bucket] = filled + n
                begin += n
                if filled + n == _CAPACITY:
                    self._spill(bucket)

    def spill_full(self) -> None:
        """Write every full bucket to its file."""
        for bucket in np.flatnonzero(self.waiting.filled == _CAPACITY):
            self._spill(int(bucket))

    def _spill(self, bucket: int) -> None:
        filled = int(self.waiting.filled[bucket])
        with self._path(bucket).open("ab") as file:
            file.write(self.waiting.rows[bucket, :filled].data)  # tofile's errors have no errno
        self._spilled[bucket] += filled
        self.waiting.filled[bucket] = 0

    def _path(self, bucket: int) -> Path:
        return self._folder / f"bucket-{bucket:02d}.rows"

    def chunks(self, bucket: int) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of one bucket in chunks (n, 3)."""
        if self._spilled[bucket]:
            with self._path(bucket).open("rb") as file:
                while (piece := np.fromfile(file, np.int64, _CHUNK * _WORDS)).size:
                    yield piece.reshape(-1, _WORDS)
        yield self.waiting.rows[bucket, : self.waiting.filled[bucket]]

    def drop(self, bucket: int) -> None:
        """Discard the rows of one bucket."""
        self._path(bucket).unlink(missing_ok=True)


def sorted_rows(
    buckets: RowBuckets,
    chosen: list[int],
    concept_ranks: NDArray[np.int32],
    user_ranks: NDArray[np.int32],
    *,
    n_concepts: int,
    n_users: int,
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of some buckets in canonical order, in chunks, with ranks for codes.

    A chunk has at most `SORTED_ROWS` rows, unless one user alone has more at one concept.
    """
    n_rows = int(buckets.counts[chosen].sum())
    pieces = (
        [(0, np.iinfo(np.int64).max, n_rows)]
        if n_rows <= SORTED_ROWS
        else _key_ranges(buckets, chosen, concept_ranks, user_ranks, n_concepts, n_users)
    )
    for low, high, size in pieces:
        rows = np.empty((size, _WORDS), np.int64)
        n_chosen = 0
        for bucket in chosen:
            for piece in buckets.chunks(bucket):
                n_chosen = ranked_in_range(
                    piece, concept_ranks, user_ranks, low, high, rows, n_chosen
                )
        canonical_order(rows, np.empty_like(rows))
        yield rows


def _key_ranges(
    buckets: RowBuckets,
    chosen: list[int],
    concept_ranks: NDArray[np.int32],
    user_ranks: NDArray[np.int32],
    n_concepts: int,
    n_users: int,
) -> list[tuple[int, int, int]]:
    """Divide the keys into ranges (low, high, rows) of at most `SORTED_ROWS` rows."""
    counts = np.zeros(n_concepts, np.int64)
    for bucket in chosen:
        for piece in buckets.chunks(bucket):
            count_keys(piece, concept_ranks, counts)
    ranges: list[tuple[int, int, int]] = []
    for concept in np.flatnonzero(counts):
        if counts[concept] <= SORTED_ROWS:
            ranges.append((int(concept) << 32, (int(concept) + 1) << 32, int(counts[concept])))
            continue
        by_user = _user_counts(
            buckets, chosen, concept_ranks, user_ranks, int(concept), n_users
        )
        for first, last, size in _packed(by_user):
            base = int(concept) << 32
            ranges.append((base | first << 1, base | last << 1, size))
    return _joined(ranges)


def _user_counts(
    buckets: RowBuckets,
    chosen: list[int],
    concept_ranks: NDArray[np.int32],
    user_ranks: NDArray[np.int32],
    concept: int,
    n_users: int,
) -> NDArray[np.int64]:
    counts = np.zeros(n_users, np.int64)
    for bucket in chosen:
        for piece in buckets.chunks(bucket):
            keys = piece[:, 0]
            mine = keys[concept_ranks[keys >> 32] == concept]
            counts += np.bincount(user_ranks[(mine >> 1) & 0x7FFFFFFF], minlength=n_users)
    return counts


def _packed(counts: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Group neighbouring items as (first, end, rows) with at most `SORTED_ROWS` rows."""
    ends = np.cumsum(counts)
    groups: list[tuple[int, int, int]] = []
    first = 0
    while first < counts.size:
        before = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, before + SORTED_ROWS, side="right")), first + 1)
        size = int(ends[last - 1]) - before
        if size:
            groups.append((first, last, size))
        first = last
    return groups


def _joined(ranges: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Merge neighbouring ranges as long as their rows fit in memory."""
    joined: list[tuple[int, int, int]] = []
    for low, high, size in ranges:
        if joined and joined[-1][2] + size <= SORTED_ROWS:
            joined[-1] = (joined[-1][0], high, joined[-1][2] + size)
        else:
            joined.append((low, high, size))
    return joined
