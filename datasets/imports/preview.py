"""Report what an import of a file would do, without a database: columns, mapping, counts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa

from bkt_core.errors import BktError
from datasets.accounting import RowCounts
from datasets.attempt_files.exports import REPEATED
from datasets.attempt_files.files import AttemptFile, open_attempt_file
from datasets.attempt_files.raw_files import RawFile, is_readable, open_raw_file
from datasets.attempt_files.values.columns import texts_of
from datasets.contracts import FILE_COLUMNS
from datasets.errors import FileFormatError
from datasets.imports.guesses import Values, guess_columns, guess_delimiter, guess_quotes
from datasets.imports.plan import RowRules, plan_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    import polars as pl

    from datasets.attempt_files.options import FileOptions
    from datasets.attempt_files.values.plans import Layout

#: Number of rows that are judged, and number of values shown per column.
ROWS, VALUES = 10_000, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is known of one file; nothing was written."""

    path: Path
    kind: str
    #: Each column of the file with a few of its values.
    columns: tuple[tuple[str, tuple[str, ...]], ...]
    layout: Layout
    #: Our column -> where it would come from.
    mapping: dict[str, str]
    #: Options needed in addition to the given ones, each a word of the command line.
    flags: tuple[str, ...]
    #: Sentences about those options that may be wrong.
    doubts: tuple[str, ...]
    #: Counts of the first rows; None if they cannot be read yet.
    rows: RowCounts | None
    #: Whether the file has no further rows.
    is_whole: bool
    reasons: dict[str, int]
    problem: str | None


@dataclass(frozen=True)
class _FirstRows:
    """The first rows of a file, read as the import would read the complete file."""

    file: AttemptFile

    @property
    def digest(self) -> str:
        return self.file.digest

    @property
    def has_attempt_ids(self) -> bool:
        return self.file.has_attempt_ids

    @property
    def concept_delimiter(self) -> str | None:
        return self.file.concept_delimiter

    def batches(self) -> Iterator[pl.DataFrame]:
        left = ROWS
        for frame in self.file.batches():
            yield frame.head(left)
            left -= min(frame.height, left)
            if not left:
                return


def preview_file(path: Path, options: FileOptions, *, source: str, latest: datetime) -> Preview:
    """Read the start of a file or of the first file in a folder, guess options, judge rows.

    Raises `FileFormatError` if the file cannot be opened.
    """
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.is_file() and is_readable(one))
        if not files:
            raise FileFormatError(f"Expected attempt files in the folder {path}, found none.")
        path = files[0]
    raw, guess = guess_delimiter(path, options)
    values = _values_of(raw)
    if guess_quotes(raw, values, guess):
        raw = open_raw_file(path, guess.options)
        values = _values_of(raw)
    guess_columns(raw, values, guess)
    rows, reasons, problem, mapping = None, dict[str, int](), None, dict[str, str]()
    try:
        file = open_attempt_file(path, guess.options)
        mapping = _mapping(file)
        rows, reasons = _judged(file, RowRules(source=source, latest=latest, concepts_of={}))
    except BktError as error:
        problem = str(error)
    return Preview(
        path=path,
        kind=raw.kind,
        columns=tuple(
            (_shown(name), tuple(values.texts[name].head(VALUES))) for name in raw.columns
        ),
        layout=guess.options.layout,
        mapping=mapping,
        flags=tuple(guess.flags),
        doubts=tuple(guess.doubts),
        rows=rows,
        is_whole=raw.found.n_rows <= ROWS,
        reasons=reasons,
        problem=problem,
    )


def _judged(file: AttemptFile, rules: RowRules) -> tuple[RowCounts, dict[str, int]]:
    plan = plan_all(_FirstRows(file), rules)
    return RowCounts(
        read=plan.rows.height,
        accepted=plan.new["row"].n_unique(),
        duplicates=plan.duplicates.height,
        quarantined=plan.broken.height,
        skipped=plan.skipped,
    ), plan.reasons()


def _values_of(raw: RawFile) -> Values:
    """Return the distinct values of each column in the first rows."""
    table = next(raw.tables(raw.columns)).slice(0, ROWS)
    texts = {
        name: texts_of(table[name]).drop_nulls().unique(maintain_order=True)
        for name in raw.columns
    }
    times = {
        field.name
        for field in table.schema
        if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)
    }
    return Values(texts=texts, times=frozenset(times))


def _mapping(file: AttemptFile) -> dict[str, str]:
    found = {}
    for ours in FILE_COLUMNS:
        if ours in file.plan.constants:
            found[ours] = f"{file.plan.constants[ours]!r} in every row"
        elif ours == "correct" and file.plan.correct_if:
            found[ours] = " = ".join(file.plan.correct_if)
        elif ours == "attempted_at" and file.plan.row_order:
            found[ours] = "the order of the rows"
        elif ours == "attempted_at" and file.plan.order:
            found[ours] = f"the order in {file.plan.order}"
        elif ours in file.plan.sources:
            found[ours] = " and ".join(map(_shown, islice(file.plan.sources[ours], 3)))
    return found


def _shown(name: str) -> str:
    return name.split(REPEATED)[0]
