"""Write exported rows as Parquet or CSV; in CSV no cell is a formula to a spreadsheet."""

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

#: A spreadsheet treats text with one of these first characters as a formula (CSV injection).
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
#: Prefix of such a text, and of a text that begins with this character; `--layout bkt-export`
#: removes it.
ESCAPE = "'"


@contextmanager
def writer_of(
    path: Path, schema: pa.Schema, *, kind: str
) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Yield a function that appends a batch to the file at `path`, a .parquet or .csv file."""
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
    """Escape a text so that spreadsheets do not treat it as a formula."""
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
