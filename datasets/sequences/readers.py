"""Read shards of an extraction as the flat sequences that fitting and replay use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bkt_core.sequences import AttemptSequences
from bkt_core.variant import Variant
from datasets.errors import ExtractError
from datasets.row_kernels import Run, merge_runs
from datasets.sequences.known_times import KnownLog, read_known_log
from datasets.sequences.shard_rows import ShardRows
from datasets.sequences.stamped import StampReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from datasets.extracts.files import Extract


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The attempts used for fitting: since <= attempted_at < until; None means no limit."""

    since: datetime | None = None
    until: datetime | None = None
    #: Use the log as it was stored at this time (`known_log`), from the files in `known_in`.
    known_by: datetime | None = None
    known_in: Path | None = None

    @property
    def is_open(self) -> bool:
        """Whether the window contains every attempt."""
        return self.since is None and self.until is None and self.known_by is None

    def known_log(self, shard: int) -> KnownLog | None:
        """Return the log of a shard as it was known; None if `known_by` is not set."""
        if self.known_by is None or self.known_in is None:
            return None
        return read_known_log(self.known_in, shard, self.known_by)


EVERYTHING = Window()
#: The variant of v1 and its like, which reads outcomes alone.
PLAIN = Variant()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConceptAttempts:
    """The attempts of one concept; entry `i` of each array belongs to user `i`."""

    concept: int
    concept_id: str
    sequences: AttemptSequences
    users: NDArray[np.int32]  # (n_users,), codes, increasing
    user_hashes: NDArray[np.uint64]  # (n_users,)
    last_ids: NDArray[np.int64]  # (n_users,), id of the last attempt
    last_times: NDArray[np.int64]  # (n_users,), microseconds since 1970 of the last attempt
    #: Number of attempts outside the window or of users left out.
    n_left_out: int


_COLUMNS = ["user", "id", "attempted_at", "correct"]
#: Columns with the position of a concept's rows in the shard and in its delta.
_SPAN = ("first_row", "n_rows", "delta_first_row", "delta_rows")


class ShardReader:
    """Reads the rows of one shard and its delta; `only` (first, n) restricts the rows."""

    def __init__(
        self, extract: Extract, shard: int, only: tuple[int, int] | None = None
    ) -> None:
        file = extract.shards[shard]
        path = extract.shard_root / file.name
        self._first = 0 if only is None else only[0]
        self._base = _read_shard(path) if only is None else _read_rows(path, *only)
        if extract.users_of_base is not None:
            codes = extract.users_of_base[self._base.users]
            self._base = replace(self._base, users=codes)
        self._delta = None if file.delta is None else _read_shard(extract.root / file.delta)

    def concept(self, first: int, n_rows: int, delta_first: int, delta_rows: int) -> ShardRows:
        """Return the rows of one concept in canonical order."""
        rows = self._base.part(first - self._first, first - self._first + n_rows)
        if self._delta is None or not delta_rows:
            return rows
        return _merged(rows, self._delta.part(delta_first, delta_first + delta_rows))


def shard_sequences(
    extract: Extract,
    shard: int,
    window: Window = EVERYTHING,
    *,
    left_out: NDArray[np.bool_] | None = None,
    variant: Variant = PLAIN,
) -> Iterator[ConceptAttempts]:
    """Yield every concept of one shard in the order of codes, also without attempts.

    `left_out` (n_users,) marks users, by code, whose attempts are ignored. With the variant of
    a version that has odds multipliers, sequences are `StampedSequences`.
    """
    mine = np.flatnonzero(extract.concepts["shard"].to_numpy() == shard)
    attempts_of = shard_concepts(extract, shard, window, left_out=left_out, variant=variant)
    for concept in mine.tolist():
        yield attempts_of(concept)


def shard_concepts(
    extract: Extract,
    shard: int,
    window: Window = EVERYTHING,
    *,
    left_out: NDArray[np.bool_] | None = None,
    variant: Variant = PLAIN,
) -> Callable[[int], ConceptAttempts]:
    """Read one shard; return a function from the code of a concept to its attempts."""
    concepts = extract.concepts
    reader = ShardReader(extract, shard)
    spans = [concepts[column].to_numpy() for column in _SPAN]
    known = window.known_log(shard)
    hashes = extract.users["user_hash"].to_numpy()
    stamps = StampReader(extract, shard, variant) if variant.multiplies else None

    def attempts_of(concept: int) -> ConceptAttempts:
        first, n, delta_first, n_delta = (int(span[concept]) for span in spans)
        rows = reader.concept(first, n, delta_first, n_delta)
        rows = rows if known is None else known.rows(rows)
        concept_id = concepts["concept_id"][concept].as_py()
        found, rows = _packed(concept, concept_id, rows, hashes, window, left_out)
        if stamps is None:
            return found
        sequences = stamps.read(rows, (first, n, delta_first, n_delta))
        return replace(found, sequences=sequences)

    return attempts_of


def shard_rows(extract: Extract, shard: int) -> Iterator[ShardRows]:
    """Yield the rows of every concept of one shard, in the order of codes."""
    concepts = extract.concepts
    reader = ShardReader(extract, shard)
    spans = [concepts[column].to_numpy() for column in _SPAN]
    for concept in np.flatnonzero(concepts["shard"].to_numpy() == shard).tolist():
        yield reader.concept(*(int(span[concept]) for span in spans))


def sequence_reader(
    extract: Extract, shard: int, variant: Variant
) -> Callable[[int, ShardRows], AttemptSequences]:
    """Return a function from the code of a concept and some of its rows to their sequences."""
    stamps = StampReader(extract, shard, variant) if variant.multiplies else None
    spans = [extract.concepts[column].to_numpy() for column in _SPAN]

    def sequences_of(concept: int, rows: ShardRows) -> AttemptSequences:
        if stamps is None:
            return AttemptSequences(correct=rows.correct, offsets=rows.offsets)
        first, n, delta_first, n_delta = (int(span[concept]) for span in spans)
        return stamps.read(rows, (first, n, delta_first, n_delta))

    return sequences_of


def concept_sequences(
    extract: Extract,
    concept: int,
    window: Window = EVERYTHING,
    *,
    left_out: NDArray[np.bool_] | None = None,
    variant: Variant = PLAIN,
) -> ConceptAttempts:
    """Read one concept; only the row groups that contain it are read."""
    entry = extract.concepts.slice(concept, 1).to_pylist()[0]
    first, n, delta_first, n_delta = (int(entry[column]) for column in _SPAN)
    reader = ShardReader(extract, entry["shard"], only=(first, n))
    rows = reader.concept(first, n, delta_first, n_delta)
    known = window.known_log(entry["shard"])
    rows = rows if known is None else known.rows(rows)
    hashes = extract.users["user_hash"].to_numpy()
    found, rows = _packed(concept, entry["concept_id"], rows, hashes, window, left_out)
    if not variant.multiplies:
        return found
    stamps = StampReader(extract, entry["shard"], variant)
    sequences = stamps.read(rows, (first, n, delta_first, n_delta))
    return replace(found, sequences=sequences)


def _packed(
    concept: int,
    concept_id: str,
    rows: ShardRows,
    user_hashes: NDArray[np.uint64],
    window: Window,
    left_out: NDArray[np.bool_] | None,
) -> tuple[ConceptAttempts, ShardRows]:
    """Return the attempts of a concept, and the rows that they are."""
    n_before = rows.users.size
    rows = _inside(rows, window, left_out)
    offsets = rows.offsets
    last = offsets[1:] - 1
    users = rows.users[last]
    found = ConceptAttempts(
        concept=concept,
        concept_id=concept_id,
        sequences=AttemptSequences(correct=rows.correct, offsets=offsets),
        users=users,
        user_hashes=user_hashes[users],
        last_ids=rows.ids[last],
        last_times=rows.times[last],
        n_left_out=n_before - rows.users.size,
    )
    return found, rows


def _inside(rows: ShardRows, window: Window, left_out: NDArray[np.bool_] | None) -> ShardRows:
    if window.is_open and left_out is None:
        return rows
    inside = np.ones(rows.users.size, np.bool_)
    if window.since is not None:
        inside &= rows.times >= _microseconds(window.since)
    if window.until is not None:
        inside &= rows.times < _microseconds(window.until)
    if left_out is not None:
        inside &= ~left_out[rows.users]
    return rows.only(inside)


def _microseconds(moment: datetime) -> int:
    return int(pa.scalar(moment, pa.timestamp("us", tz="UTC")).value)


def _merged(base: ShardRows, added: ShardRows) -> ShardRows:
    """Merge two runs of rows in canonical order; late attempts move to their place."""
    n = base.users.size + added.users.size
    merged = Run(
        np.empty(n, np.int32),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int8),
    )
    merge_runs(base.run, added.run, merged)
    return ShardRows(*merged)


def _read_shard(path: Path) -> ShardRows:
    with _open(path) as file:
        return _columns(file.read(columns=_COLUMNS, use_threads=False))


def _read_rows(path: Path, first: int, n_rows: int) -> ShardRows:
    with _open(path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        ends = np.cumsum(sizes)
        low = int(np.searchsorted(ends, first, side="right"))
        high = int(np.searchsorted(ends, first + n_rows, side="left"))
        groups = list(range(low, min(high, len(sizes) - 1) + 1))
        before = int(ends[low] - sizes[low])
        rows = _columns(file.read_row_groups(groups, columns=_COLUMNS, use_threads=False))
    return rows.part(first - before, first - before + n_rows)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ExtractError(
            f"Expected the shard {path}, but it cannot be read ({error}); "
            "extract again with --full."
        ) from error


def _columns(table: pa.Table) -> ShardRows:
    times = table["attempted_at"].cast(pa.int64())
    return ShardRows(
        table["user"].to_numpy(), table["id"].to_numpy(), times.to_numpy(),
        table["correct"].to_numpy(),
    )  # fmt: skip
