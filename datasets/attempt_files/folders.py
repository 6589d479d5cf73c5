"""A folder of attempt files as one source of rows, such as an export with a file per user."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

import polars as pl

from datasets.attempt_files.files import AttemptFile, open_attempt_file
from datasets.attempt_files.first_attempts import Retries, retries_of
from datasets.attempt_files.raw_files import is_readable
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datasets.attempt_files.options import FileOptions


@dataclass(frozen=True, kw_only=True)
class AttemptFolder:
    """Attempt files that are imported together; row numbers continue from file to file.

    A row without an id of its own is identified by the bytes of its file and its place there,
    so that a file is recognised when it is imported again, whatever other files are beside it.
    """

    path: Path
    files: tuple[AttemptFile, ...]
    options: FileOptions
    has_attempt_ids: bool = True

    @property
    def digest(self) -> str:
        """A digest of the digests of all files."""
        return sha256("\n".join(file.digest for file in self.files).encode()).hexdigest()

    @property
    def concept_delimiter(self) -> str | None:
        """The text between several concepts of one row; None if a row has one concept."""
        return self.files[0].concept_delimiter

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of all files, in the order of the file names."""
        if self.retries is None:
            return self._frames()
        return self.retries.marked(self._frames())

    @cached_property
    def retries(self) -> Retries | None:
        """Rows that are not first attempts, if only first attempts count."""
        if not self.options.first_attempts or self.files[0].plan.answer_number is not None:
            return None
        return retries_of(self._frames(), self.options.within)

    def sampled_ids(self, column: str) -> pl.Series:
        """Return the distinct values of a column of ids in the first file."""
        return self.files[0].sampled_ids(column)

    def samples(self, column: str) -> list[str]:
        """Return the first values of one of our columns in the first file."""
        return self.files[0].samples(column)

    def _frames(self) -> Iterator[pl.DataFrame]:
        before = 0
        for file in self.files:
            n_rows = 0
            for frame in file.unmarked_batches():
                n_rows += frame.height
                named = frame
                if not file.has_attempt_ids:
                    place = pl.col("row").cast(pl.String)
                    named = frame.with_columns(attempt_id=pl.lit(f"{file.digest}:") + place)
                yield named.with_columns(row=pl.col("row") + before)
            before += n_rows


def _opened(path: Path, options: FileOptions) -> AttemptFile:
    """Open one file of a folder; errors name the file."""
    try:
        return open_attempt_file(path, options)
    except FileFormatError as error:
        if str(path) in str(error):
            raise
        raise FileFormatError(f"{path}: {error}") from error


def open_attempts(path: Path, options: FileOptions) -> AttemptFile | AttemptFolder:
    """Open one attempt file, or all attempt files in a folder.

    Raises `FileFormatError` if there is none, or if one of them cannot be read.
    """
    if not path.is_dir():
        return open_attempt_file(path, options)
    found = sorted(file for file in path.iterdir() if file.is_file() and is_readable(file))
    if not found:
        raise FileFormatError(
            f"Expected attempt files in the folder {path} (.parquet, .csv, .tsv, .jsonl), "
            "but found none."
        )
    files = tuple(_opened(file, options) for file in found)
    return AttemptFolder(path=path, files=files, options=options)
