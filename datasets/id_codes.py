"""Map ids to integer codes and back, with one dictionary for an extraction.

Polars' categoricals are not used: their codes differ between batches as soon as no categorical
column is alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from datasets.row_kernels import (
    Dictionary,
    TextColumn,
    encode,
    fill_slots,
    hash_bytes,
    hash_texts,
    read_only,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

#: Layout in which text is one array of bytes with the end of each value.
_PLAIN = pl.CompatLevel.oldest()
_INITIAL_IDS = 1 << 12
_INITIAL_BYTES = 1 << 17
_NOTHING, _NO_OFFSETS = np.frombuffer(b"", np.uint8), np.frombuffer(bytes(4), np.int32)


def text_column(array: pa.Array) -> TextColumn:
    """Return the buffers of an Arrow text array; other text types are cast to string first."""
    if pa.types.is_binary(array.type):
        array = array.view(pa.string())  # the row rules check later that it is valid UTF-8
    elif not pa.types.is_string(array.type):
        array = array.cast(pa.string())
    validity, offsets, data = array.buffers()
    first, n = array.offset, len(array)
    return TextColumn(
        offsets=read_only(np.frombuffer(offsets, np.int32)[first : first + n + 1])
        if n
        else _NO_OFFSETS,
        data=read_only(np.frombuffer(data, np.uint8))
        if data is not None and data.size
        else _NOTHING,
        validity=read_only(np.frombuffer(validity, np.uint8))
        if validity is not None and array.null_count
        else _NOTHING,
        first_bit=first,
    )


def stable_hash(identifier: str) -> int:
    """Return the 64-bit hash of an id.

    Data digests and the assignment of users to folds depend on it: never change it.
    """
    data = np.frombuffer(identifier.encode(), np.uint8)
    return int(np.uint64(hash_bytes(data, 0, data.size)))


def attempt_codes(source: str, attempt_ids: pl.Series) -> pl.Series:
    """Return the number of each attempt of a source, 64 bits, signed.

    It is stored with the rows of the attempt: never change it.
    """
    hashes = np.empty(len(attempt_ids), np.uint64)
    hash_texts(text_column(attempt_ids.to_arrow(compat_level=_PLAIN)), hashes)
    hashes ^= np.uint64(stable_hash(source))
    return pl.Series("attempt_code", hashes.view(np.int64))


class IdCodes:
    """Codes 0, 1, 2, ... of ids, in the order in which the ids were first seen."""

    def __init__(self) -> None:
        self.known = Dictionary(
            slots=np.full(_INITIAL_IDS * 2, -1, np.int32),
            hashes=np.zeros(_INITIAL_IDS, np.uint64),
            starts=np.zeros(_INITIAL_IDS + 1, np.int64),
            arena=np.zeros(_INITIAL_BYTES, np.uint8),
            status=np.zeros(_INITIAL_IDS, np.uint8),
            size=np.zeros(1, np.int64),
        )

    def __len__(self) -> int:
        return int(self.known.size[0])

    def encode(self, array: pa.Array) -> NDArray[np.int32]:
        """Return the code of each id, (n,), -1 for null; ids not seen before are added."""
        column = text_column(array)
        codes = np.empty(len(array), np.int32)
        done = 0
        while (done := encode(column, self.known, codes, done, add=True)) < codes.size:
            self._grow(int(column.offsets[done + 1] - column.offsets[done]))
        return codes

    def lookup(self, array: pa.Array) -> NDArray[np.int32]:
        """Return the code of each id, (n,), -1 for null and for ids not seen before."""
        codes = np.empty(len(array), np.int32)
        encode(text_column(array), self.known, codes, 0, add=False)
        return codes

    def hashes(self) -> NDArray[np.uint64]:
        """Return the stable hash of each id, (n_ids,), indexed by code."""
        return self.known.hashes[: len(self)]

    def ids(self, codes: NDArray[np.int64]) -> pa.Array:
        """Return the ids of `codes`, in the same order; each id must be valid UTF-8."""
        n = len(self)
        texts = pa.LargeStringArray.from_buffers(
            n,
            pa.py_buffer(self.known.starts[: n + 1]),
            pa.py_buffer(self.known.arena[: self.known.starts[n]]),
        )
        return texts.take(pa.array(codes)).cast(pa.string())

    def in_byte_order(self, used: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the codes marked in `used`, sorted by the UTF-8 bytes of their ids."""
        codes = np.flatnonzero(used[: len(self)])
        order = pc.array_sort_indices(self.ids(codes).cast(pa.binary()))
        ranked: NDArray[np.int64] = codes[order.to_numpy()]
        return ranked

    def _grow(self, length: int) -> None:
        """Double the capacity where it is exhausted, with room for an id of `length` bytes."""
        known, n = self.known, len(self)
        if n >= known.hashes.size:
            size = known.hashes.size * 2
            slots = np.full(size * 2, -1, np.int32)
            fill_slots(slots, known.hashes, n)
            known = known._replace(
                slots=slots,
                hashes=_resized(known.hashes, size),
                starts=_resized(known.starts, size + 1),
                status=_resized(known.status, size),
            )
        if known.starts[n] + length > known.arena.size:
            known = known._replace(
                arena=_resized(known.arena, max(known.arena.size, length) * 2)
            )
        self.known = known


def _resized(array: NDArray[T], size: int) -> NDArray[T]:
    larger = np.zeros(size, array.dtype)
    larger[: array.size] = array
    return larger


def ranks_of(order: NDArray[np.int64], size: int) -> NDArray[np.int32]:
    """Return the position of each code in `order`, (size,), -1 for codes not in `order`."""
    ranks = np.full(size, -1, np.int32)
    ranks[order] = np.arange(order.size, dtype=np.int32)
    return ranks
