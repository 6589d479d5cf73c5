"""Compile or load the row kernels in advance, so that this time is measured separately."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from datasets.accounting import NO_ROWS
from datasets.extracts.files import Extract
from datasets.extracts.intake import Intake
from datasets.extracts.shards import canonical_ranks, write_shards
from datasets.id_codes import text_column
from datasets.row_kernels import RowBatch, Run, count_new_users, merge_runs, times_from_text
from datasets.sequences.data_report import describe
from datasets.sequences.readers import shard_rows, shard_sequences

_N = 60
_LATEST_US = 1_000_000


def compile_row_kernels() -> None:
    """Extract sixty artificial rows and read them again, which calls every row kernel."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        intake = Intake(folder, latest_us=_LATEST_US)
        intake.take(*_rows())
        intake.broken.close()
        digest, shards = write_shards(intake, canonical_ranks(intake), folder)
        extract = Extract(
            root=folder,
            session=folder,
            digest=digest,
            rows=NO_ROWS,
            reasons={},
            shards=shards,
            extracted_at=datetime.fromtimestamp(0, UTC),
        )
        describe(extract)
        for _ in shard_sequences(extract, 0):
            pass
        for rows in shard_rows(extract, 0):
            both = Run(*(np.empty(2 * column.size, column.dtype) for column in rows.run))
            merge_runs(rows.run, rows.run, both)
            count_new_users(rows.run.users, rows.run.users)
    times = np.empty(1, np.int64)
    times_from_text(text_column(pa.array(["2026-01-01 00:00:00.000000"])), times)


def _rows() -> tuple[pa.RecordBatch, RowBatch]:
    """Return rows of two users at one concept, in an order that must be sorted."""
    backwards = np.arange(_N, 0, -1)
    batch = pa.record_batch(
        {
            "id": pa.array(backwards),
            "user_id": [f"user-{n % 2}" for n in range(_N)],
            "concept_id": ["concept"] * _N,
            "correct": pa.array(backwards % 2),
            "attempted_at": pa.array(backwards),
        }
    )
    ids, correct, times = (batch.column(i).to_numpy() for i in (0, 3, 4))
    return batch, RowBatch(ids=ids, times=times, correct=correct)
