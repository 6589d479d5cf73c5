"""Rows of a shard of attempts as columns, in canonical order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.row_kernels import Run, read_only

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ShardRows:
    """The columns of a shard, or of a part of it, each (n_rows,), in canonical order."""

    users: NDArray[np.int32]
    ids: NDArray[np.int64]
    times: NDArray[np.int64]  # microseconds since 1970
    correct: NDArray[np.int8]

    @property
    def run(self) -> Run:
        """The columns in the form that the kernels take."""
        return Run(
            read_only(self.users),
            read_only(self.ids),
            read_only(self.times),
            read_only(self.correct),
        )

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Return where the rows of each user begin, and the end of the last, (n_users + 1,)."""
        edges = np.flatnonzero(self.users[1:] != self.users[:-1]) + 1
        n = self.users.size
        offsets = np.zeros(edges.size + 1 + (n > 0), np.int64)
        offsets[1 : edges.size + 1] = edges
        offsets[-1] = n
        return offsets

    def part(self, first: int, stop: int) -> ShardRows:
        """Return the rows [first, stop) as views."""
        return ShardRows(
            self.users[first:stop],
            self.ids[first:stop],
            self.times[first:stop],
            self.correct[first:stop],
        )

    def only(self, chosen: NDArray[np.bool_]) -> ShardRows:
        """Return the rows that the mask selects."""
        return ShardRows(
            self.users[chosen], self.ids[chosen], self.times[chosen], self.correct[chosen]
        )
