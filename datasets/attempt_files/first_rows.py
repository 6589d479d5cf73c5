"""Check the first rows of a file before any row is judged: times, and quotes around ids."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from datasets.attempt_files.values.columns import texts_of
from datasets.attempt_files.values.ids import is_bytes, is_text
from datasets.attempt_files.values.time_formats import require_readable_times
from datasets.attempt_files.values.times import refuse_unlikely_unit
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from datasets.attempt_files.values.plans import ColumnPlan

#: Number of rows whose times are checked.
_LOOKED_AT = 1_000
_MARKED = r'^\s*".*"\s*$'


def with_readable_times(
    table: pa.Table, plan: ColumnPlan, *, unit_is_given: bool
) -> ColumnPlan:
    """Return the plan with a way of reading times that suits the first rows.

    A unit from the layout is dropped if the times are text; a unit from the user is not.
    Raises `FileFormatError` if none of the first times can be read, or if the unit leads to
    unlikely years.
    """
    if plan.order is not None or "attempted_at" not in plan.sources:
        return plan
    column = table[plan.sources["attempted_at"][0]]
    texts = texts_of(column).head(_LOOKED_AT)
    reading = plan.time
    if is_text(column.type) or is_bytes(column.type):
        numbers = texts.str.strip_chars().cast(pl.Float64, strict=False)
        if not unit_is_given and numbers.null_count() == len(texts):
            reading = replace(reading, unit=None)
        require_readable_times(texts, reading)
    if reading.unit is not None and not pa.types.is_temporal(column.type):
        refuse_unlikely_unit(texts, reading)
    return replace(plan, time=reading)


def refuse_marks_around_ids(table: pa.Table, plan: ColumnPlan) -> None:
    """Refuse unquoted text in which the names, or all values of an id, are in quotation marks.

    Raises `FileFormatError`, because the marks would become part of the ids.
    """
    for name in plan.file_columns:
        if name.startswith('"') and name.endswith('"'):
            raise _marked("The column names are", name)
    for ours in ("user_id", "concept_id", "question_id", "attempt_id"):
        for name in plan.sources.get(ours, ()):
            texts = texts_of(table[name]).drop_nulls()
            if len(texts) and texts.str.contains(_MARKED).all():
                raise _marked(f"Every value of {name} is", texts[0])


def _marked(what: str, example: str) -> FileFormatError:
    return FileFormatError(
        f"{what} in quotation marks, such as {example}, but text between tabs is read without "
        "quoting: give --quote double to remove them, or --quote none if they are part of "
        "the text. Nothing was imported."
    )
