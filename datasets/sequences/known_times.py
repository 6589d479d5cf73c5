"""The attempt log as it was stored at a time in the past: which attempts, which outcomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from sqlalchemy import select

from datasets.parquet import read_table, write_table
from datasets.store.connections.engines import reading
from datasets.store.schema.attempt_tables import AttemptCorrectionRow, AttemptRow

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from sqlalchemy import Engine, Executable

    from datasets.sequences.shard_rows import ShardRows

#: Number of rows fetched at once.
BATCH = 50_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STORED, _CORRECTED = "stored", "corrected"


@dataclass(frozen=True, slots=True, eq=False)
class KnownLog:
    """Attempts of a shard that were not yet stored at a time, or had another outcome."""

    unknown: NDArray[np.int64]  # ids, increasing
    corrected: NDArray[np.int64]  # ids of attempts corrected since then, increasing
    outcomes: NDArray[np.int8]  # their outcomes at that time

    def rows(self, rows: ShardRows) -> ShardRows:
        """Return the rows as they were stored at that time."""
        correct = rows.correct
        at = _places(rows.ids, self.corrected)
        if (at >= 0).any():
            correct = np.where(at >= 0, self.outcomes[at], correct).astype(np.int8)
        return replace(rows, correct=correct).only(_places(rows.ids, self.unknown) < 0)


def write_known_times(
    engine: Engine, shard_ids: list[NDArray[np.int64]], folder: Path, *, after: datetime
) -> None:
    """Write, per shard, when attempts were stored, for those stored after a time.

    `shard_ids` holds the ids of each shard's attempts. Corrections since then are written as
    well, so that `read_known_log` works for any time from `after` on.
    """
    stored = _fetched(
        engine,
        select(AttemptRow.id, AttemptRow.created_at)
        .where(AttemptRow.created_at > after)
        .order_by(AttemptRow.id),
        n_columns=2,
    )
    corrections = AttemptCorrectionRow
    corrected = _fetched(
        engine,
        select(corrections.attempt_id, corrections.created_at, corrections.old_correct)
        .where(corrections.created_at > after)
        .order_by(corrections.attempt_id, corrections.id),
        n_columns=3,
    )
    for shard, ids in enumerate(shard_ids):
        own = np.sort(ids)
        for name, (key, *columns) in ((_STORED, stored), (_CORRECTED, corrected)):
            mine = _places(key, own) >= 0
            arrays = [pa.array(column[mine]) for column in (key, *columns)]
            names = ["id", "at", "old_correct"][: len(arrays)]
            write_table(_path(folder, name, shard), pa.Table.from_arrays(arrays, names=names))


def read_known_log(folder: Path, shard: int, by: datetime) -> KnownLog:
    """Read the log of a shard as of a time, from the files of `write_known_times`."""
    moment = (by - _EPOCH) // _MICROSECOND
    stored = read_table(_path(folder, _STORED, shard))
    ids, at = (stored[name].to_numpy() for name in ("id", "at"))
    since = read_table(_path(folder, _CORRECTED, shard))
    corrected, when, old = (since[name].to_numpy() for name in ("id", "at", "old_correct"))
    later = when > moment
    # The first correction after that time replaced the outcome that was stored then.
    firsts, places = np.unique(corrected[later], return_index=True)
    return KnownLog(
        unknown=ids[at > moment],
        corrected=firsts,
        outcomes=old[later][places].astype(np.int8),
    )


def _fetched(engine: Engine, query: Executable, *, n_columns: int) -> list[NDArray[np.int64]]:
    """Fetch the columns of a query; times become microseconds since 1970."""
    columns: list[list[int]] = [[] for _ in range(n_columns)]
    with reading(engine) as conn:
        found = conn.execution_options(stream_results=True).execute(query)
        for rows in found.partitions(BATCH):
            for column, values in zip(columns, zip(*rows, strict=True), strict=True):
                if isinstance(values[0], datetime):
                    column.extend((value - _EPOCH) // _MICROSECOND for value in values)
                else:
                    column.extend(values)
    return [np.array(column, np.int64) for column in columns]


def _places(values: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of each value in an increasing array, -1 if it is absent."""
    if not among.size:
        return np.full(values.size, -1)
    at = np.minimum(np.searchsorted(among, values), among.size - 1)
    return np.where(among[at] == values, at, -1)


def _path(folder: Path, name: str, shard: int) -> Path:
    return folder / f"{name}-{shard:04d}.parquet"
