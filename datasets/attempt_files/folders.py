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
    """Attempt files that are imported together; rows are numbered through all of them.

    A row without an id of its own is known by the bytes of its file and its place there, so
    that a file that was imported before is known again whatever lies beside it.
    """

    path: Path
    files: tuple[AttemptFile, ...]
    options: FileOptions
    has_attempt_ids: bool = True

    @property
    def digest(self) -> str:
        """Of the digests of the files."""
        return sha256("\n".join(file.digest for file in self.files).encode()).hexdigest()

    @property
    def concept_delimiter(self) -> str | None:
        """What stands between several concepts of one row."""
        return self.files[0].concept_delimiter

    def batches(self) -> Iterator[pl.DataFrame]:
        """The rows of one file after the other, in the order of the files' names."""
        if self.retries is None:
            return self._frames()
        return self.retries.marked(self._frames())

    @cached_property
    def retries(self) -> Retries | None:
        """Rows that are no first answers, where those alone count."""
        if not self.options.first_attempts or self.files[0].plan.answer_number is not None:
            return None
        return retries_of(self._frames(), self.options.within)

    def sampled_ids(self, column: str) -> pl.Series:
        """The distinct values of a column of ids in the first file."""
        return self.files[0].sampled_ids(column)

    def samples(self, column: str) -> list[str]:
        """The first values of one of our columns in the first file."""
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
    """One file of a folder; what is wrong with it is said with its name."""
    try:
        return open_attempt_file(path, options)
    except FileFormatError as error:
        if str(path) in str(error):
            raise
        raise FileFormatError(f"{path}: {error}") from error


def open_attempts(path: Path, options: FileOptions) -> AttemptFile | AttemptFolder:
    """Look at one attempt file, or at every one in a folder.

    Raises `FileFormatError`: if there is none, or one of them cannot be read.
    """
    if not path.is_dir():
        return open_attempt_file(path, options)
    found = sorted(file for file in path.iterdir() if file.is_file() and is_readable(file))
    if not found:
        raise FileFormatError(
            f"Expected attempt files in the folder {path} (.parquet, .csv, .tsv, .jsonl), "
            "but there is none."
        )
    files = tuple(_opened(file, options) for file in found)
    return AttemptFolder(path=path, files=files, options=options)
