"""Attempt logs with known parameters, in the database of a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from bkt_core.simulation import draw_lengths, simulate
from datasets.imports.file_import import ImportOptions, import_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy import Engine

    from bkt_core.params import BktParams


def fill_log(
    engine: Engine,
    home: Path,
    params: Mapping[str, BktParams],
    *,
    n_users: int,
    begins: datetime,
    source: str = "test",
    seed: int = 7,
) -> int:
    """Import users who follow the model, one attempt a minute from `begins` on."""
    rng = np.random.default_rng(seed)
    frames = []
    for concept, true in params.items():
        lengths = draw_lengths(n_users, rng=rng)
        sequences = simulate(true, lengths=lengths, rng=rng)
        step = np.arange(sequences.n_attempts) - np.repeat(sequences.offsets[:-1], lengths)
        user = np.repeat(np.arange(n_users), lengths)
        frames.append(
            pl.DataFrame(
                {
                    "user_id": [f"{source}-{number:04d}" for number in user],
                    "concept_id": [concept] * sequences.n_attempts,
                    "correct": sequences.correct,
                    "attempted_at": [begins + timedelta(minutes=int(n)) for n in step],
                }
            )
        )
    log = pl.concat(frames).with_row_index("attempt_id", offset=1)
    path = home / f"{source}.parquet"
    log.with_columns(pl.col("attempt_id").cast(pl.Int64)).write_parquet(path)
    report = import_file(
        engine,
        path,
        ImportOptions(source=source),
        quarantine_root=home / "quarantine",
        at=datetime.now(UTC),
    )
    assert report.rows.accepted == log.height
    return log.height
