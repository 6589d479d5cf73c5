"""Read attempt files in batches, with our column names and types.

A file may be larger than memory: at most one batch is held at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import polars as pl
import pyarrow as pa

from datasets.attempt_files.archives import ARCHIVE_ERRORS, name_inside
from datasets.attempt_files.first_attempts import Retries, retries_of
from datasets.attempt_files.first_rows import refuse_marks_around_ids, with_readable_times
from datasets.attempt_files.joins import JoinedFile, read_joins
from datasets.attempt_files.layouts import plan_columns
from datasets.attempt_files.raw_files import RawFile, broken, open_raw_file
from datasets.attempt_files.text import MISSING
from datasets.attempt_files.values.columns import attempts_from_table, texts_of
from datasets.attempt_files.values.ids import is_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datasets.attempt_files.options import FileOptions
    from datasets.attempt_files.values.plans import ColumnPlan

_SAMPLES = 3


class AttemptRows(Protocol):
    """Rows with our column names, before any rule is applied; they can be read repeatedly."""

    @property
    def digest(self) -> str:
        """A digest that identifies the rows if they have no ids of their own."""

    @property
    def has_attempt_ids(self) -> bool:
        """Whether the source has an id for each attempt."""

    @property
    def concept_delimiter(self) -> str | None:
        """The text between several concepts of one row; None if a row has one concept."""

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the rows in order, in batches (see `columns.attempts_from_table`)."""


@dataclass(frozen=True, kw_only=True)
class AttemptFile:
    """One attempt file that was checked and can be read."""

    raw: RawFile
    plan: ColumnPlan
    options: FileOptions
    joins: tuple[JoinedFile, ...] = ()

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self.raw.path

    @property
    def digest(self) -> str:
        """SHA-256 of the decompressed bytes, and of the user if the file name has it."""
        if self.options.user_from_name:
            return f"{self.raw.found.digest}:{self.plan.constants['user_id']}"
        return self.raw.found.digest

    @property
    def has_attempt_ids(self) -> bool:
        """Whether the file has a column of attempt ids."""
        return "attempt_id" in self.plan.sources

    @property
    def concept_delimiter(self) -> str | None:
        """The text between several concepts of one row; None if a row has one concept."""
        return self.plan.concept_delimiter

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the rows in file order, in batches; values that cannot be read are null.

        Raises `FileFormatError` if the file is corrupt or a column has an impossible type.
        """
        if self.retries is None:
            return self.unmarked_batches()
        return self.retries.marked(self.unmarked_batches())

    @cached_property
    def retries(self) -> Retries | None:
        """Rows that are not first attempts, if only first attempts count."""
        if not self.options.first_attempts or self.plan.answer_number is not None:
            return None
        return retries_of(self.unmarked_batches(), self.options.within)

    def unmarked_batches(self) -> Iterator[pl.DataFrame]:
        """Yield the rows without the mark of repeated attempts."""
        first_row = 1
        for table in self.tables():
            yield attempts_from_table(table, self.plan, first_row=first_row)
            first_row += table.num_rows

    def tables(self) -> Iterator[pa.Table]:
        """Yield the columns of the plan as they are in the file, with those of joined files."""
        added = {name for join in self.joins for name in join.added}
        wanted = [name for name in self.plan.file_columns if name not in added]
        wanted += [join.left for join in self.joins if join.left not in added]
        for table in self.raw.tables(list(dict.fromkeys(wanted))):
            for join in self.joins:
                table = join.add(table)
            yield table

    def sampled_ids(self, column: str) -> pl.Series:
        """Return the distinct values of a column of ids in the first batch."""
        names = self.plan.sources.get(column, ())
        if len(names) != 1 or self.plan.integer_ids:
            return pl.Series([], dtype=pl.String)
        first = next(self.tables())[names[0]]
        if not is_bytes(first.type):
            return pl.Series([], dtype=pl.String)
        return texts_of(first).drop_nulls().unique(maintain_order=True)

    def samples(self, column: str) -> list[str]:
        """Return the first distinct values of one of our columns, as written in the file."""
        names = self.plan.sources.get(column, ())
        if column == "attempted_at" and self.plan.order is not None:
            names = (self.plan.order,)
        if column == "correct" and self.plan.correct_if is not None:
            names = self.plan.correct_if
        if not names:
            return []
        texts = texts_of(next(self.tables())[names[0]]).drop_nulls()
        return texts.unique(maintain_order=True).head(_SAMPLES).to_list()


def open_attempt_file(path: Path, options: FileOptions) -> AttemptFile:
    """Open an attempt file, find its columns, and check that its times can be read.

    Raises `FileFormatError` if the file is missing, corrupt or lacks a column, or if none of
    its first times can be read.
    """
    raw = open_raw_file(path, options)
    try:
        joins = read_joins(options.joins, raw.columns)
        if options.user_from_name:
            user = {"user_id": name_inside(path).split(".")[0]}
            options = replace(options, constants={**options.constants, **user})
        columns = [*raw.columns, *(name for join in joins for name in join.added)]
        plan = _plan_for(raw, plan_columns(columns, options))
        file = AttemptFile(raw=raw, plan=plan, options=options, joins=tuple(joins))
        first = next(file.tables())
        if raw.text is not None and not raw.text.is_quoted and options.quote is None:
            refuse_marks_around_ids(first, plan)
        plan = with_readable_times(first, plan, unit_is_given=options.time_unit is not None)
    except (OSError, pa.ArrowException, *ARCHIVE_ERRORS) as error:
        raise broken(path, "a file", error) from error
    return replace(file, plan=plan)


def _plan_for(raw: RawFile, plan: ColumnPlan) -> ColumnPlan:
    """Add what applies only to text files: words for missing values, and escaped texts."""
    if raw.text is None:
        return replace(plan, is_escaped=False)
    return replace(plan, null_ids=plan.null_ids | MISSING)
