"""Convert columns of a file to ours: ids to text, outcomes to 0 or 1, times to UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from datasets.attempt_files.values.ids import (
    LIST_SEPARATOR,
    decoded,
    ids_of,
    is_bytes,
    is_text,
    joined_ids,
    repeated,
    series_of,
    without,
)
from datasets.attempt_files.values.outcomes import agreement, graded, points_from_text
from datasets.attempt_files.values.times import (
    Times,
    numbers_without_unit,
    times_from_numbers,
    times_from_text,
    times_from_timestamps,
)
from datasets.contracts import TIME
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from datasets.attempt_files.values.plans import ColumnPlan
    from datasets.attempt_files.values.times import TimeReading

#: Files without times get one second per step of their order column, from this time on.
_ORDER_ORIGIN_US = 946_684_800_000_000  # 2000-01-01 00:00:00 UTC
_DAY_ONE_ORDER_LIMIT = 3_000_000_000  # about 95 years in seconds


def attempts_from_table(
    table: pa.Table, plan: ColumnPlan, *, first_row: int = 1
) -> pl.DataFrame:
    """Convert the columns of an Arrow table to ours; rows are numbered from `first_row`.

    The columns are row, attempt_id, user_id, question_id, concept_id, correct, attempted_at,
    is_unicode, time_is_ambiguous, time_exists and is_skipped.
    """
    n_rows = table.num_rows
    table = _without_dictionaries(table)
    frame: dict[str, pl.Series] = {
        "row": pl.int_range(first_row, first_row + n_rows, eager=True)
    }
    is_unicode = repeated(True, n_rows)
    for name in ("attempt_id", "user_id", "question_id", "concept_id"):
        if name in plan.constants:
            frame[name] = repeated(plan.constants[name], n_rows)
            continue
        separator = LIST_SEPARATOR if name == "concept_id" else ":"
        joined = [
            ids_of(table[source], source, plan, name) for source in plan.sources.get(name, ())
        ]
        frame[name] = joined_ids([ids.text for ids in joined], n_rows, separator)
        for ids in joined:
            is_unicode = is_unicode & ids.is_unicode
    frame["correct"] = _correct(table, plan)
    times = _moments(table, plan, frame["row"])
    frame["attempted_at"] = times.moments
    frame["is_unicode"] = is_unicode
    frame["time_is_ambiguous"], frame["time_exists"] = times.is_ambiguous, times.exists
    frame["is_skipped"] = _skipped(table, plan)
    return pl.DataFrame({name: series.alias(name) for name, series in frame.items()})


def texts_of(column: pa.ChunkedArray) -> pl.Series:
    """Return the values of a column as text, as a person would write them; null stays null."""
    if is_text(column.type) or is_bytes(column.type):
        return decoded(column.cast(pa.large_binary())).text
    if pa.types.is_nested(column.type) or pa.types.is_duration(column.type):
        values = column.to_pylist()
        return pl.Series([None if v is None else str(v) for v in values], dtype=pl.String)
    return series_of(column).cast(pl.String, strict=False)


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Replace dictionary-encoded columns by their values."""
    for place, (name, kind) in enumerate(
        zip(table.schema.names, table.schema.types, strict=True)
    ):
        if pa.types.is_dictionary(kind):
            values = table.column(place).cast(kind.value_type)
            table = table.set_column(place, name, values)
    return table


def _correct(table: pa.Table, plan: ColumnPlan) -> pl.Series:
    """Return outcomes as int8 0 or 1; null for everything else."""
    if plan.correct_if is not None:
        given, key = (texts_of(table[name]) for name in plan.correct_if)
        return agreement(without(given, plan.null_ids), key)
    if "correct" in plan.constants:
        text = repeated(plan.constants["correct"], table.num_rows)
        return graded(points_from_text(text, plan.words), plan.partial_credit_from)
    column = table[plan.sources["correct"][0]]
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return series_of(column).cast(pl.Int8)
    if is_bytes(kind) or is_text(kind):
        text = decoded(column.cast(pa.large_binary())).text.str.strip_chars()
        return graded(
            points_from_text(text, plan.words, only=plan.only), plan.partial_credit_from
        )
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        points = series_of(column).cast(pl.Float64)
        if plan.only is not None:
            texts = points.cast(pl.Int64, strict=False).cast(pl.String)
            points = points_from_text(texts, plan.words, only=plan.only)
        return graded(points, plan.partial_credit_from)
    raise FileFormatError(
        f"correct must be 0 and 1, as numbers, booleans or words, got {kind}."
    )


def _moments(table: pa.Table, plan: ColumnPlan, rows: pl.Series) -> Times:
    if "attempted_at" in plan.constants:
        text = repeated(plan.constants["attempted_at"], table.num_rows)
        return times_from_text(text, plan.time)
    if plan.row_order:
        return _steps(rows)
    if plan.order is not None:
        column = table[plan.order]
        order = texts_of(column).str.strip_chars().str.replace(r"\.0*$", "")
        return _steps(order.cast(pl.Int64, strict=False))
    return times_of(table[plan.sources["attempted_at"][0]], plan.time)


def times_of(column: pa.ChunkedArray, reading: TimeReading) -> Times:
    """Convert a column of any type to times.

    Raises `FileFormatError` if numbers come without a unit, or local times without a zone.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return times_from_text(repeated(None, len(column)), reading)
    if is_bytes(kind) or is_text(kind):
        return times_from_text(decoded(column.cast(pa.large_binary())).text, reading)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = series_of(column)
        if reading.unit is None:
            raise numbers_without_unit(numbers)
        return times_from_numbers(numbers, reading)
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise FileFormatError(f"attempted_at must be timestamps or ISO 8601 text, got {kind}.")
    return times_from_timestamps(series_of(column), reading)


def _steps(order: pl.Series) -> Times:
    """Return times that only preserve the order: one second per step."""
    frame = order.cast(pl.Int64).to_frame("o")
    o = pl.col("o")
    inside = o.is_between(0, _DAY_ONE_ORDER_LIMIT)
    moments = frame.select(
        pl.when(inside).then(o * 1_000_000 + _ORDER_ORIGIN_US).cast(TIME)
    ).to_series()
    return Times(moments, repeated(False, len(order)), repeated(True, len(order)))


def _skipped(table: pa.Table, plan: ColumnPlan) -> pl.Series:
    """Mark rows that are not attempts: they have a skipped value or repeat a question."""
    skipped = repeated(False, table.num_rows)
    for name, values in plan.skip.items():
        text = texts_of(table[name]).fill_null("").str.strip_chars().str.to_lowercase()
        skipped = skipped | text.is_in(sorted(values))
    if plan.answer_number is not None:
        number = texts_of(table[plan.answer_number]).str.strip_chars()
        later = number.cast(pl.Float64, strict=False) > 1
        skipped = skipped | later.fill_null(value=False)
    return skipped
