"""Columns of an attempt file as ours: ids to text, outcomes to 0 or 1, moments to UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

import polars as pl
import pyarrow as pa

from bkt_core.errors import UsageError
from datasets.contracts import TIME
from datasets.errors import FileFormatError
from datasets.imports.layouts import ColumnPlan, Layout
from datasets.imports.times import require_time_zone, times_from_text, times_from_timestamps

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Files without times get one second per step of their order column from this moment on.
_ORDER_ORIGIN_US = 946_684_800_000_000  # 2000-01-01 00:00:00 UTC
_DAY_ONE_ORDER_LIMIT = 3_000_000_000  # some 95 years of seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How the columns of a file are to be understood."""

    layout: Layout = Layout.PLAIN
    #: Our column -> the file's name for it.
    column_map: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    time_zone: str | None = None
    concept_delimiter: str | None = None
    #: Between columns of text files; the name's ending decides where it is None.
    delimiter: str | None = None
    #: Fractions of a point count as right from here on; None: only 0 and 1 are outcomes.
    partial_credit_from: float | None = None

    def __post_init__(self) -> None:
        if self.time_zone is not None:
            require_time_zone(self.time_zone)
        if self.concept_delimiter == "":
            raise UsageError("--concept-delimiter must not be empty.")
        if self.delimiter is not None and (
            len(self.delimiter.encode()) != 1 or self.delimiter in '\r\n"'
        ):
            raise UsageError(
                f"--delimiter takes one ASCII character such as ';', got {self.delimiter!r}."
            )
        if self.partial_credit_from is not None and not 0.0 < self.partial_credit_from <= 1.0:
            raise UsageError(
                "The partial-credit threshold must lie in (0, 1], "
                f"got {self.partial_credit_from!r}."
            )


def attempts_from_table(
    table: pa.Table, plan: ColumnPlan, options: FileOptions, *, first_row: int = 1
) -> pl.DataFrame:
    """The columns of an Arrow table as ours; rows are numbered from `first_row`."""
    n_rows = table.num_rows
    table = _without_dictionaries(table)
    columns = [pl.int_range(first_row, first_row + n_rows, eager=True).alias("row")]
    is_unicode = pl.Series("is_unicode", [True], dtype=pl.Boolean).new_from_index(0, n_rows)
    for name in ("attempt_id", "user_id", "question_id", "concept_id"):
        joined = [_ids(table[source], source) for source in plan.sources.get(name, ())]
        columns.append(_join(name, [ids.text for ids in joined], n_rows))
        for ids in joined:
            is_unicode = is_unicode & ids.is_unicode
    columns.append(_outcomes(table[plan.sources["correct"][0]], plan, options))
    if plan.order is not None:
        columns.append(_times_from_order(table[plan.order]))
    else:
        columns.append(_times(table[plan.sources["attempted_at"][0]], options.time_zone))
    return pl.DataFrame(
        [column.alias(name) for column, name in zip(columns, _ROW_COLUMNS, strict=True)]
    ).with_columns(is_unicode.alias("is_unicode"))


_ROW_COLUMNS = (
    "row",
    "attempt_id",
    "user_id",
    "question_id",
    "concept_id",
    "correct",
    "attempted_at",
)


@dataclass(frozen=True, slots=True)
class _Ids:
    text: pl.Series
    is_unicode: pl.Series


def _ids(column: pa.ChunkedArray, name: str) -> _Ids:
    """Ids as text: whole numbers in decimal, UUIDs in lower case, bytes as UTF-8."""
    kind = column.type
    if isinstance(kind, pa.UuidType):
        return _all_unicode(
            pl.Series(
                [None if u is None else str(UUID(str(u))) for u in column.to_pylist()],
                dtype=pl.String,
            )
        )
    if pa.types.is_null(kind):
        return _all_unicode(pl.Series([None] * len(column), dtype=pl.String))
    if pa.types.is_integer(kind):
        return _all_unicode(_series(column).cast(pl.String))
    if _is_text(kind) or _is_bytes(kind):
        return _decoded(column.cast(pa.large_binary()))
    raise FileFormatError(f"{name} must be text, whole numbers or UUIDs, got {kind}.")


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Columns that hold codes of their values, as categories do, as the values themselves."""
    for place, (name, kind) in enumerate(
        zip(table.schema.names, table.schema.types, strict=True)
    ):
        if pa.types.is_dictionary(kind):
            values = table.column(place).cast(kind.value_type)
            table = table.set_column(place, name, values)
    return table


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _decoded(column: pa.ChunkedArray) -> _Ids:
    """Bytes as text; where they are not UTF-8, an escaped form that is only for people."""
    try:
        return _all_unicode(_series(column.cast(pa.large_string())))
    except pa.ArrowInvalid:
        pass
    texts: list[str | None] = []
    fine: list[bool] = []
    for value in column.to_pylist():
        try:
            texts.append(None if value is None else value.decode("utf-8"))
            fine.append(True)
        except UnicodeDecodeError:
            texts.append(value.decode("utf-8", errors="backslashreplace"))
            fine.append(False)
    return _Ids(pl.Series(texts, dtype=pl.String), pl.Series(fine, dtype=pl.Boolean))


def _all_unicode(text: pl.Series) -> _Ids:
    return _Ids(text, pl.Series([True], dtype=pl.Boolean).new_from_index(0, len(text)))


def _join(name: str, parts: list[pl.Series], n_rows: int) -> pl.Series:
    """One column, or several of the file's joined by a colon."""
    if not parts:
        return pl.Series(name, [None], dtype=pl.String).new_from_index(0, n_rows)
    frame = pl.DataFrame([part.alias(str(i)) for i, part in enumerate(parts)])
    return frame.select(pl.concat_str(pl.all(), separator=":")).to_series()


def _outcomes(column: pa.ChunkedArray, plan: ColumnPlan, options: FileOptions) -> pl.Series:
    """0 or 1 as int8, null for everything else."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return _series(column).cast(pl.Int8)
    if _is_bytes(kind):
        text = _decoded(column.cast(pa.large_binary())).text.str.strip_chars()
        return _graded(_points_from_text(text, plan), options)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _graded(_series(column).cast(pl.Float64), options)
    raise FileFormatError(f"correct must be 0 and 1, as numbers or booleans, got {kind}.")


def _points_from_text(text: pl.Series, plan: ColumnPlan) -> pl.Series:
    points = text.cast(pl.Float64, strict=False)
    if not plan.words:
        return points
    words = text.str.to_lowercase().replace_strict(
        dict(plan.words), default=None, return_dtype=pl.Float64
    )
    return points.to_frame("p").select(pl.col("p").fill_null(words)).to_series()


def _graded(points: pl.Series, options: FileOptions) -> pl.Series:
    frame = points.to_frame("p")
    p = pl.col("p")
    if options.partial_credit_from is None:
        known = p.is_in([0.0, 1.0])
        right = p == 1.0
    else:
        known = p.is_between(0.0, 1.0)
        right = p >= options.partial_credit_from
    return frame.select(pl.when(known).then(right.cast(pl.Int8))).to_series()


def _times(column: pa.ChunkedArray, time_zone: str | None) -> pl.Series:
    kind = column.type
    if pa.types.is_null(kind):
        return pl.Series([None] * len(column), dtype=TIME)
    if _is_bytes(kind) or _is_text(kind):
        return times_from_text(_decoded(column.cast(pa.large_binary())).text, time_zone)
    if not pa.types.is_timestamp(kind):
        raise FileFormatError(f"attempted_at must be timestamps or ISO 8601 text, got {kind}.")
    return times_from_timestamps(_series(column), time_zone)


def _times_from_order(column: pa.ChunkedArray) -> pl.Series:
    """Moments that only carry the order: one second per step."""
    order = (
        _decoded(column.cast(pa.large_binary())).text.cast(pl.Int64, strict=False)
        if _is_bytes(column.type)
        else _series(column).cast(pl.Int64, strict=False)
    )
    frame = order.to_frame("o")
    o = pl.col("o")
    inside = o.is_between(0, _DAY_ONE_ORDER_LIMIT)
    return frame.select(
        pl.when(inside).then(o * 1_000_000 + _ORDER_ORIGIN_US).cast(TIME)
    ).to_series()


def _series(column: pa.ChunkedArray) -> pl.Series:
    series = pl.from_arrow(column)
    if not isinstance(series, pl.Series):
        raise FileFormatError(f"Expected one column, got {type(series).__name__}.")
    return series
