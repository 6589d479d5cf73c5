"""Find rows of a log that repeat an identity and check that they agree, in 28 bytes per row."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from datasets.contracts import CONTENT_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    #: A `Repetition` of each part, in the order in which parts were added.
    Verdicts = NDArray[np.int8]


class Repetition(IntEnum):
    """What the other rows with its identity say about one part (a row and one concept)."""

    FRESH = 0  # the first with its identity
    REPEATED = 1  # equal to an earlier one
    DISPUTED = 2  # copies differ in this part or in another part of the row


class Repeats:
    """Identities seen so far: 128 bits of each key, 64 of its content, and the row."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.unsignedinteger], ...]] = []

    def add(self, parts: pl.DataFrame) -> None:
        """Record the parts of a batch: `idempotency_key`, `row`, and the columns of content."""
        digits = parts["idempotency_key"].str.slice(0, 32).str.decode("hex")
        keys = np.frombuffer(b"".join(digits.to_list()), "<u8").reshape(-1, 2)
        content = parts.select(pl.struct(CONTENT_COLUMNS).hash()).to_series().to_numpy()
        rows = parts["row"].to_numpy().astype(np.uint32)
        self._parts.append((keys[:, 0].copy(), keys[:, 1].copy(), content, rows))

    def verdicts(self) -> Verdicts:
        """Return the verdict on every part, (n_parts,), and discard what was recorded."""
        if not sum(part[0].size for part in self._parts):
            return np.zeros(0, np.int8)
        high, low, content, rows = (np.concatenate(c) for c in zip(*self._parts, strict=True))
        self._parts.clear()
        return _judged(high, low, content, rows)


def _judged(
    high: NDArray[np.uint64],
    low: NDArray[np.uint64],
    content: NDArray[np.uint64],
    rows: NDArray[np.uint32],
) -> Verdicts:
    """Sort by identity, keeping the order of parts, and compare the parts of each identity."""
    order = np.argsort(high, kind="stable")
    if _splits(high[order], low[order]):
        order = np.lexsort((low, high))  # two identities share their upper 64 bits
    starts = np.ones(order.size, np.bool_)
    starts[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    identity = np.cumsum(starts, dtype=np.uint32) - np.uint32(1)
    seen = content[order]
    disagrees = seen != seen[starts][identity]
    disputed = np.zeros(int(identity[-1]) + 1, np.bool_)
    disputed[identity[disagrees]] = True
    in_dispute = np.zeros(int(rows.max()) + 1, np.bool_)
    in_dispute[rows[order[disputed[identity]]]] = True
    verdicts = np.full(order.size, Repetition.REPEATED, np.int8)
    verdicts[in_dispute[rows]] = Repetition.DISPUTED
    undisputed = np.flatnonzero(verdicts[order] != Repetition.DISPUTED)
    first = np.ones(undisputed.size, np.bool_)
    first[1:] = np.diff(identity[undisputed]) != 0
    verdicts[order[undisputed[first]]] = Repetition.FRESH
    return verdicts


def _splits(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> bool:
    """Return whether neighbours with equal upper halves differ in the lower halves."""
    return bool(((np.diff(high) == 0) & (np.diff(low) != 0)).any())
