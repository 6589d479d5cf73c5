"""Attempt files, Parquet, CSV or TSV, read into one frame of our column names and types."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from datasets.attempt_columns import attempts_from_table
from datasets.errors import FileFormatError
from datasets.file_layouts import plan_columns

if TYPE_CHECKING:
    from pathlib import Path

    from datasets.attempt_columns import FileOptions
    from datasets.file_layouts import ColumnPlan

_DELIMITERS = MappingProxyType({".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"})
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFile:
    """One file's rows under our column names, before any rule was applied."""

    #: row, attempt_id, user_id, question_id, concept_id, correct, attempted_at, is_unicode.
    rows: pl.DataFrame
    #: SHA-256 of the file's bytes.
    digest: str
    has_attempt_ids: bool
    concept_delimiter: str | None


def read_attempt_file(path: Path, options: FileOptions) -> AttemptFile:
    """Read one attempt file; what cannot be an id, an outcome or a time becomes null.

    Raises `FileFormatError`: if the file is missing, broken, lacks a column, or a column
    has an impossible type.
    """
    if not path.is_file():
        raise FileFormatError(f"Expected an attempt file at {path}, but there is none.")
    ending = path.suffix.lower()
    if ending in _PARQUET:
        columns = _parquet_columns(path)
    elif ending in _DELIMITERS or options.column_delimiter is not None:
        columns = _text_columns(path, _column_delimiter(path, options))
    else:
        raise FileFormatError(
            f"Expected a name ending in .parquet, .csv or .tsv, got {path.name!r}."
        )
    plan = plan_columns(
        columns,
        layout=options.layout,
        renamed=options.column_map,
        concept_delimiter=options.concept_delimiter,
    )
    table = (
        _read_parquet(path, plan)
        if ending in _PARQUET
        else _read_text(path, plan, _column_delimiter(path, options))
    )
    return AttemptFile(
        rows=attempts_from_table(table, plan, options),
        digest=_digest(path),
        has_attempt_ids="attempt_id" in plan.sources,
        concept_delimiter=plan.concept_delimiter,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _column_delimiter(path: Path, options: FileOptions) -> str:
    return options.column_delimiter or _DELIMITERS[path.suffix.lower()]


def _parquet_columns(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, "Parquet", error) from error


def _text_columns(path: Path, delimiter: str) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file, delimiter=delimiter), None)
    if not header:
        raise FileFormatError(f"Expected a line of column names in {path}, but it is empty.")
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise FileFormatError(f"{path} names the column {', '.join(twice)} more than once.")
    return header


def _read_parquet(path: Path, plan: ColumnPlan) -> pa.Table:
    try:
        return pq.read_table(path, columns=plan.file_columns)
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, "Parquet", error) from error


def _read_text(path: Path, plan: ColumnPlan, delimiter: str) -> pa.Table:
    """Every column as bytes: types are ours to decide, and bad bytes are one row's fault."""
    names = _text_columns(path, delimiter)
    try:
        return pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=names, skip_rows=1),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False,
                column_types={name: pa.binary() for name in names},
                include_columns=plan.file_columns,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, "text", error) from error


def _broken(path: Path, kind: str, error: Exception) -> FileFormatError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return FileFormatError(
        f"{path} cannot be read as {kind}: {said.rstrip('.')}. "
        "Nothing was imported; write the file again and repeat the import."
    )
