"""Exported rows as files, Parquet or CSV; in CSV no cell is a formula to a spreadsheet."""

from __future__ import annotations

import csv
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from bkt_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Spreadsheets take a text that begins so for a formula or a command (OWASP, CSV injection).
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
#: Stands before such a text, and before one that begins with it; `--layout bkt-export` takes
#: it away again.
ESCAPE = "'"


@contextmanager
def writer_of(
    path: Path, schema: pa.Schema, *, kind: str
) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """A function that writes a batch to the file at `path`, of the `kind` .parquet or .csv."""
    if kind == ".parquet":
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            yield writer.write_batch
    elif kind == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(schema.names)
            yield lambda batch: rows.writerows(_cells(batch))
    else:
        raise UsageError(f"An export is a .csv or a .parquet file, got the ending {kind!r}.")


def escaped(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"{ESCAPE}{text}" if text.startswith((*FORMULA_SIGNS, ESCAPE)) else text


def _cells(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    columns = [column.to_pylist() for column in batch.columns]
    return (tuple(map(_cell, row)) for row in zip(*columns, strict=True))


def _cell(value: object) -> object:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else value
