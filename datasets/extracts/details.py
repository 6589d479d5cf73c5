"""Question and stamp of each attempt, for versions of the algorithm that read them.

They lie beside the shards, so that an extraction without them costs nothing more: one file of
details per shard and per delta, with the rows of each concept at the same place as in the shard
and sorted by id. Codes of questions have the order in which the questions were first seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.contracts import DETAILS_SCHEMA
from datasets.extracts.buckets import N_BUCKETS
from datasets.extracts.reading.log_snapshot import numbers
from datasets.id_codes import IdCodes
from datasets.parquet import read_table, write_table
from datasets.row_kernels import DetailBatch, gather_details
from datasets.whole_files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Columns that a snapshot yields after those of every attempt.
COLUMNS = ("question_id", "recent_outcomes", "n_before", "n_right_before")
_FIRST = 5
_WORDS = 5
QUESTIONS_FILE = "questions.parquet"


def details_file(shard: str) -> str:
    """Return the name of the file with the details of a shard's or a delta's rows."""
    return f"details-of-{shard}"


class Details(NamedTuple):
    """Details of attempts by id, each (n_rows,)."""

    ids: NDArray[np.int64]  # increasing
    questions: NDArray[np.int32]  # codes, -1 for none
    recent: NDArray[np.int64]  # 0 without a stamp
    n_before: NDArray[np.int64]
    n_right_before: NDArray[np.int64]


class DetailRows:
    """Details of the rows that an extraction accepts, by bucket, in files below a folder."""

    def __init__(self, folder: Path, known_questions: pa.Array | None = None) -> None:
        self.questions = IdCodes()
        self.digests = np.zeros(0, np.uint64)  # of each concept's new rows, by code
        self._folder = folder
        if known_questions is not None:
            self.questions.encode(known_questions)

    def take(
        self,
        batch: pa.RecordBatch,
        ids: NDArray[np.int64],
        rules: NDArray[np.uint8],
        concept_codes: NDArray[np.int32],
        concept_hashes: NDArray[np.uint64],
    ) -> None:
        """Keep the details of the accepted rows of a batch; one without details has none."""
        if batch.num_columns == _FIRST:
            return
        codes = self.questions.encode(batch.column(_FIRST))
        counts = (numbers(batch.column(_FIRST + k), 0) for k in (1, 2, 3))
        rows = np.empty((batch.num_rows, _WORDS), np.int64)
        self.digests = np.pad(self.digests, (0, concept_hashes.size - self.digests.size))
        n = gather_details(
            rules,
            ids,
            concept_codes,
            codes,
            self.questions.hashes(),
            DetailBatch(*counts),
            self.digests,
            rows,
        )
        self._put(rows[:n], concept_hashes)

    def write(
        self, folder: Path, shard: str, buckets: range, concept_ranks: NDArray[np.int32]
    ) -> None:
        """Write the details of the rows in some buckets, by rank of concept and id."""
        paths = [path for bucket in buckets if (path := self._path(bucket)).exists()]
        parts = [np.fromfile(path, np.int64).reshape(-1, _WORDS) for path in paths]
        rows = np.concatenate([np.empty((0, _WORDS), np.int64), *parts])
        rows = rows[np.lexsort((rows[:, 1], concept_ranks[rows[:, 0]]))]
        table = pa.Table.from_arrays(
            [
                pa.array(rows[:, 1]),
                pa.array(rows[:, 4].astype(np.int32)),
                pa.array(rows[:, 2]),
                pa.array((rows[:, 3] >> 32).astype(np.int32)),
                pa.array((rows[:, 3] & 0xFFFFFFFF).astype(np.int32)),
            ],
            schema=DETAILS_SCHEMA,
        )
        with whole_file(folder / details_file(shard)) as unfinished:
            pq.write_table(table, unfinished, compression="lz4", write_statistics=False)
        for path in paths:
            path.unlink()

    def write_questions(self, folder: Path) -> None:
        """Write the ids of the questions, by code."""
        codes = np.arange(len(self.questions), dtype=np.int64)
        table = pa.table({"question_id": self.questions.ids(codes)})
        write_table(folder / QUESTIONS_FILE, table)

    def _put(self, rows: NDArray[np.int64], concept_hashes: NDArray[np.uint64]) -> None:
        shift = np.uint64(64 - (N_BUCKETS.bit_length() - 1))
        buckets = (concept_hashes[rows[:, 0]] >> shift).astype(np.int64)
        rows = rows[np.argsort(buckets, kind="stable")]
        ends = np.cumsum(np.bincount(buckets, minlength=N_BUCKETS))
        begin = 0
        for bucket, end in enumerate(ends.tolist()):
            if end > begin:
                with self._path(bucket).open("ab") as file:
                    file.write(np.ascontiguousarray(rows[begin:end]).data)
            begin = end

    def _path(self, bucket: int) -> Path:
        return self._folder / f"bucket-{bucket:02d}.details"


class DetailReader:
    """Reads the details of one shard and its delta."""

    def __init__(self, base: Path, delta: Path | None) -> None:
        self._base = _read(base)
        self._delta = None if delta is None else _read(delta)

    def concept(self, first: int, n_rows: int, delta_first: int, delta_rows: int) -> Details:
        """Return the details of one concept's attempts, by id."""
        own = Details._make(column[first : first + n_rows] for column in self._base)
        if self._delta is None or not delta_rows:
            return own
        stop = delta_first + delta_rows
        new = Details._make(column[delta_first:stop] for column in self._delta)
        order = np.argsort(np.concatenate([own.ids, new.ids]), kind="stable")
        return Details(
            np.concatenate([own.ids, new.ids])[order],
            np.concatenate([own.questions, new.questions])[order],
            np.concatenate([own.recent, new.recent])[order],
            np.concatenate([own.n_before, new.n_before])[order],
            np.concatenate([own.n_right_before, new.n_right_before])[order],
        )


def _read(path: Path) -> Details:
    table = read_table(path)
    return Details._make(table[name].to_numpy() for name in DETAILS_SCHEMA.names)
