"""Attempt files, Parquet, CSV or TSV, read a batch at a time under our column names and types.

A file may be larger than memory: nothing here holds more than one batch of it.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from datasets.errors import FileFormatError
from datasets.imports.columns import attempts_from_table
from datasets.imports.layouts import plan_columns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datasets.imports.columns import FileOptions
    from datasets.imports.layouts import ColumnPlan

_DELIMITERS = MappingProxyType({".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"})
_PARQUET = (".parquet", ".pq")
#: Rows of a Parquet file, and bytes of a text file, that are read at once.
BATCH_ROWS, BLOCK_BYTES = 100_000, 1 << 24


class AttemptRows(Protocol):
    """Rows under our column names, before any rule was applied; may be read repeatedly."""

    @property
    def digest(self) -> str:
        """Names the rows where they have no ids of their own."""

    @property
    def has_attempt_ids(self) -> bool:
        """Whether the source names each attempt."""

    @property
    def concept_delimiter(self) -> str | None:
        """What stands between several concepts of one row."""

    def batches(self) -> Iterator[pl.DataFrame]:
        """The rows in their order, a part at a time.

        row (counted from 1), attempt_id, user_id, question_id, concept_id, correct,
        attempted_at, is_unicode.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFile:
    """One attempt file that was looked at and can be read."""

    path: Path
    plan: ColumnPlan
    options: FileOptions
    #: Between the columns of a text file; None: Parquet.
    delimiter: str | None
    #: SHA-256 of the file's bytes.
    digest: str

    @property
    def has_attempt_ids(self) -> bool:
        """Whether the file has a column of ids."""
        return "attempt_id" in self.plan.sources

    @property
    def concept_delimiter(self) -> str | None:
        """What stands between several concepts of one row."""
        return self.plan.concept_delimiter

    def batches(self) -> Iterator[pl.DataFrame]:
        """The rows in file order, a part at a time; what cannot be read as it must is null.

        Raises `FileFormatError`: if the file is broken, or a column has an impossible type.
        """
        first_row = 1
        for table in self._tables():
            yield attempts_from_table(table, self.plan, self.options, first_row=first_row)
            first_row += table.num_rows

    def _tables(self) -> Iterator[pa.Table]:
        if self.delimiter is None:
            return _parquet_tables(self.path, self.plan)
        return _text_tables(self.path, self.plan, self.delimiter)


def open_attempt_file(path: Path, options: FileOptions) -> AttemptFile:
    """Look at one attempt file and find its columns.

    Raises `FileFormatError`: if the file is missing, broken at first sight, or lacks a column.
    """
    if not path.is_file():
        raise FileFormatError(f"Expected an attempt file at {path}, but there is none.")
    try:
        return _looked_at(path, options)
    except OSError as error:
        raise _broken(path, "a file", error) from error


def _looked_at(path: Path, options: FileOptions) -> AttemptFile:
    ending = path.suffix.lower()
    if ending in _PARQUET:
        delimiter = None
        columns = _parquet_columns(path)
    elif options.delimiter is not None or ending in _DELIMITERS:
        delimiter = options.delimiter or _DELIMITERS[ending]
        columns = _text_columns(path, delimiter)
    else:
        raise FileFormatError(
            "Expected a name ending in .parquet, .csv or .tsv, or text with --delimiter, "
            f"got {path.name!r}."
        )
    plan = plan_columns(
        columns,
        layout=options.layout,
        renamed=options.column_map,
        concept_delimiter=options.concept_delimiter,
    )
    return AttemptFile(
        path=path, plan=plan, options=options, delimiter=delimiter, digest=_digest(path)
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parquet_columns(path: Path) -> list[str]:
    try:
        names = list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, "Parquet", error) from error
    _refuse_doubles(path, names)
    return names


def _text_columns(path: Path, delimiter: str) -> list[str]:
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise FileFormatError(
                f"{path} is UTF-16, and text is read as UTF-8: save it as UTF-8 and repeat."
            )
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file, delimiter=delimiter), None)
    if not header:
        raise FileFormatError(f"Expected a line of column names in {path}, but it is empty.")
    _refuse_doubles(path, header)
    return header


def _refuse_doubles(path: Path, names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise FileFormatError(f"{path} names the column {', '.join(twice)} more than once.")


def _parquet_tables(path: Path, plan: ColumnPlan) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows == 0:
                yield file.read(columns=plan.file_columns)
            for batch in file.iter_batches(BATCH_ROWS, columns=plan.file_columns):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, "Parquet", error) from error


def _text_tables(path: Path, plan: ColumnPlan, delimiter: str) -> Iterator[pa.Table]:
    """Every column as bytes: types are ours to decide, and bad bytes are one row's fault."""
    names = _text_columns(path, delimiter)
    try:
        reader = pa_csv.open_csv(
            path,
            read_options=pa_csv.ReadOptions(
                column_names=names, skip_rows=1, block_size=BLOCK_BYTES
            ),
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
        batch = None
        for batch in reader:
            yield pa.Table.from_batches([batch])
        if batch is None:
            yield reader.schema.empty_table()
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, "text", error) from error


def _broken(path: Path, kind: str, error: Exception) -> FileFormatError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return FileFormatError(
        f"{path} cannot be read as {kind}: {said.rstrip('.')}. "
        "Nothing of it was imported; write the file again and repeat the import."
    )
