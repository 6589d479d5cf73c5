"""Quarantined rows of the log: kept to be judged again and shown to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.contracts import BROKEN_SCHEMA, LOG_RULES
from datasets.quarantine import MAX_ROWS
from datasets.row_kernels import ACCEPTED, ERASED, FITS, RowBatch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from datasets.id_codes import IdCodes

#: Keys are deduplicated whenever this many have been collected.
_KEYS_AT_ONCE = 1_000_000
#: PostgreSQL's infinite times are beyond this number of microseconds.
_BEYOND_TIME = 9_000_000_000_000_000_000
FILE_NAME = "broken.parquet"


class BrokenRows:
    """Quarantined rows, written to disk as they are found; erased users are left out."""

    def __init__(self, folder: Path, users: IdCodes, concepts: IdCodes) -> None:
        self._path = folder / FILE_NAME
        self._users, self._concepts = users, concepts
        self._writer: pq.ParquetWriter | None = None
        self._keys: list[NDArray[np.int64]] = []

    def add(
        self,
        batch: pa.RecordBatch,
        columns: RowBatch,
        rules: NDArray[np.uint8],
        user_codes: NDArray[np.int32],
        concept_codes: NDArray[np.int32],
    ) -> None:
        """Store the rows of a batch for which `rules` names a broken rule."""
        places = np.flatnonzero((rules != ACCEPTED) & (rules != ERASED))
        if not places.size:
            return
        self._note_keys(user_codes[places], concept_codes[places])
        chosen = pa.array(places)
        table = pa.Table.from_arrays(
            [
                pa.array(columns.ids[places]),
                _bytes(batch.column(1).take(chosen)),
                _bytes(batch.column(2).take(chosen)),
                pa.array(columns.correct[places]),
                pa.array(columns.times[places]),
                pa.array(rules[places]),
            ],
            schema=BROKEN_SCHEMA,
        )
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, BROKEN_SCHEMA, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        """Finish the file; a file without rows is written as well."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, BROKEN_SCHEMA, compression="zstd")
        self._writer.close()

    def readable(self) -> pl.DataFrame:
        """Return at most `MAX_ROWS` rows for people; invalid UTF-8 is escaped."""
        with pq.ParquetFile(self._path) as file:
            batches = file.iter_batches(batch_size=MAX_ROWS)
            first = next(batches, None)
        rows = [] if first is None else first.to_pylist()
        return pl.DataFrame(
            {
                "id": [row["id"] for row in rows],
                "user_id": [_text(row["user_id"]) for row in rows],
                "concept_id": [_text(row["concept_id"]) for row in rows],
                "correct": [row["correct"] for row in rows],
                "attempted_at": [_moment(row["attempted_at"]) for row in rows],
                "rule": [LOG_RULES[row["rule"]] for row in rows],
            },
            schema={
                "id": pl.Int64,
                "user_id": pl.String,
                "concept_id": pl.String,
                "correct": pl.Int64,
                "attempted_at": pl.String,
                "rule": pl.String,
            },
        )

    def keys(self) -> pl.DataFrame:
        """Return every (user_id, concept_id) with a quarantined row, if both are valid ids."""
        keys = np.unique(np.concatenate([np.zeros(0, np.int64), *self._keys]))
        users = self._users.ids(keys & 0xFFFFFFFF).to_pylist()
        concepts = self._concepts.ids(keys >> 32).to_pylist()
        return pl.DataFrame(
            {"user_id": users, "concept_id": concepts},
            schema={"user_id": pl.String, "concept_id": pl.String},
        )

    def _note_keys(self, users: NDArray[np.int32], concepts: NDArray[np.int32]) -> None:
        are_ids = (users >= 0) & (concepts >= 0)
        users, concepts = users[are_ids], concepts[are_ids]
        fit = (self._users.known.status[users] == FITS) & (
            self._concepts.known.status[concepts] == FITS
        )
        keys = concepts[fit].astype(np.int64) << 32 | users[fit].astype(np.int64)
        self._keys.append(np.unique(keys))
        if sum(part.size for part in self._keys) > _KEYS_AT_ONCE:
            self._keys = [np.unique(np.concatenate(self._keys))]


def judged_again(path: Path) -> list[tuple[pa.RecordBatch, RowBatch]]:
    """Read the quarantined rows of an earlier extraction, for a new `Intake` to judge again."""
    table = pq.read_table(path)
    return [
        (
            batch,
            RowBatch(
                ids=batch.column(0).to_numpy(),
                times=batch.column(4).to_numpy(),
                correct=batch.column(3).to_numpy(),
            ),
        )
        for batch in table.to_batches()
    ]


def _bytes(array: pa.Array) -> pa.Array:
    return array.view(pa.binary()) if pa.types.is_string(array.type) else array


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", errors="backslashreplace")


def _moment(us: int) -> str:
    return "none" if abs(us) > _BEYOND_TIME else str(np.datetime64(us, "us"))
