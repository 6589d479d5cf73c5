"""Read and write Arrow tables and Polars frames as Parquet files; writes are atomic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.errors import ExtractError
from datasets.whole_files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


def write_table(path: Path, table: pa.Table) -> None:
    """Write one Arrow table as one Parquet file."""
    with whole_file(path) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write one frame as one Parquet file."""
    with whole_file(path) as unfinished:
        frame.write_parquet(unfinished, compression="zstd")


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file that this pipeline wrote.

    Raises `ExtractError`, which names the file, if it cannot be read.
    """
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise ExtractError(
            f"Expected a complete Parquet file at {path}, but it cannot be read ({error}); "
            "extract again with --full."
        ) from error
