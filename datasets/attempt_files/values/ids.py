"""Convert ids of an attempt file to text, whatever their type, one or several per row."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from datasets.attempt_files.values.plans import ColumnPlan

#: Separates the concepts of a row if its column is a list or there are several columns.
LIST_SEPARATOR = "\x1e"
#: Matches a list of numbers or of quoted texts, as Python and JSON write them.
_LIST = r"^\s*\[\s*(?:[-\d'\"]|\])"
#: Bits of a float type -> from this value on, one float represents several whole numbers.
_FIRST_SKIPPED = {16: 2**11, 32: 2**24, 64: 2**53}


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of a column, and whether their bytes were valid UTF-8."""

    text: pl.Series
    is_unicode: pl.Series


def ids_of(column: pa.ChunkedArray, source: str, plan: ColumnPlan, ours: str) -> Ids:
    """Convert ids to text: whole numbers in decimal, UUIDs in lower case, bytes as UTF-8.

    Raises `FileFormatError` if the type of the column cannot hold ids, or a number has a
    fraction.
    """
    kind = column.type
    if is_text(kind) or is_bytes(kind):
        return _text_ids(column, plan, ours)
    return _all_unicode(_other_ids(column, source, ours))


def _text_ids(column: pa.ChunkedArray, plan: ColumnPlan, ours: str) -> Ids:
    ids = decoded(column.cast(pa.large_binary()))
    text = without(ids.text, plan.null_ids) if plan.null_ids else ids.text
    if plan.is_escaped:
        text = text.str.strip_prefix("'")
    if plan.integer_ids:
        text = text.str.replace(r"^\s*([+-]?\d+)\.0*\s*$", "$1")
    if ours == "concept_id":
        text = _from_list_texts(text)
    return Ids(text, ids.is_unicode)


def _other_ids(column: pa.ChunkedArray, source: str, ours: str) -> pl.Series:
    kind = column.type
    if pa.types.is_null(kind):
        return repeated(None, len(column))
    if pa.types.is_integer(kind):
        return series_of(column).cast(pl.String)
    if pa.types.is_floating(kind):
        return _whole_floats(column, source)
    if pa.types.is_decimal(kind):
        return _whole_decimals(column, source)
    if isinstance(kind, pa.UuidType):
        return pl.Series(
            [None if u is None else str(UUID(str(u))) for u in column.to_pylist()],
            dtype=pl.String,
        )
    if ours == "concept_id" and _is_list(kind):
        return _from_lists(column, source)
    raise _no_ids(source, str(kind))


def without(text: pl.Series, values: frozenset[str]) -> pl.Series:
    """Return the texts, with null in place of any of `values`."""
    missing = text.is_in(sorted(values))
    if not missing.any():
        return text
    return text.to_frame("t").select(pl.when(~missing).then(pl.col("t"))).to_series()


def _whole_floats(column: pa.ChunkedArray, source: str) -> pl.Series:
    """Convert whole numbers that a program stored as floats, such as pandas beside a null."""
    numbers = series_of(column).cast(pl.Float64)
    known = numbers.is_finite() & numbers.is_not_null()
    broken = numbers.filter(known & (numbers != numbers.round()))
    if len(broken):
        raise _no_ids(source, f"the fraction {broken[0]}")
    large = numbers.filter(known & (numbers.abs() >= _FIRST_SKIPPED[column.type.bit_width]))
    if len(large):
        raise FileFormatError(
            f"{source} holds the float {large[0]:.17g}, and floats of that size stand for "
            f"several whole numbers: write {source} as text or whole numbers."
        )
    frame = pl.DataFrame({"n": numbers, "known": known.fill_null(value=False)})
    return frame.select(
        pl.when("known").then(pl.col("n").fill_nan(0).cast(pl.Int64).cast(pl.String))
    ).to_series()


def _whole_decimals(column: pa.ChunkedArray, source: str) -> pl.Series:
    """Convert decimal numbers without fractional digits, preserving every digit."""
    texts = series_of(column.cast(pa.large_string()))
    whole = texts.str.extract(r"^(-?\d+)(?:\.0*)?$")
    broken = texts.filter(whole.is_null() & texts.is_not_null())
    if len(broken):
        raise _no_ids(source, f"the fraction {broken[0]}")
    return whole


def _no_ids(source: str, got: str) -> FileFormatError:
    return FileFormatError(f"{source} must be text, whole numbers or UUIDs, got {got}.")


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
    )


def _from_lists(column: pa.ChunkedArray, source: str) -> pl.Series:
    """Convert lists of texts or of whole numbers to the text of a row with several concepts."""
    kind = column.type.value_type
    if pa.types.is_floating(kind):
        _whole_floats(pc.list_flatten(column), source)
    elif not (is_text(kind) or pa.types.is_integer(kind)):
        raise FileFormatError(
            f"{source} must be text, whole numbers, UUIDs, or lists of texts or whole numbers, "
            f"got {column.type}."
        )
    values = column.to_pylist()
    return pl.Series([None if v is None else _joined(v) for v in values], dtype=pl.String)


def _from_list_texts(text: pl.Series) -> pl.Series:
    """Convert texts such as `[3, 32]` or `['a', 'b']` to several concepts; keep others."""
    is_list = text.str.contains(_LIST).fill_null(value=False)
    if not is_list.any():
        return text
    return pl.Series(
        [
            _parsed_list(value) if listed else value
            for value, listed in zip(text.to_list(), is_list.to_list(), strict=True)
        ],
        dtype=pl.String,
    )


def _parsed_list(text: str) -> str | None:
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    if not isinstance(values, list):
        return text
    return _joined(values)


def _joined(values: list[object]) -> str | None:
    texts = [
        str(int(v)) if isinstance(v, float) and v.is_integer() else str(v)
        for v in values
        if v is not None
    ]
    return LIST_SEPARATOR.join(texts) if texts else None


def is_text(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is text."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )


def is_bytes(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is binary, as all columns of text files are."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def decoded(column: pa.ChunkedArray) -> Ids:
    """Decode bytes as UTF-8; invalid bytes are escaped, for display only."""
    try:
        return _all_unicode(series_of(column.cast(pa.large_string())))
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
    return Ids(pl.Series(texts, dtype=pl.String), pl.Series(fine, dtype=pl.Boolean))


def repeated(value: object, n_rows: int) -> pl.Series:
    """Return one text or boolean in every row; None is a null text."""
    kind = pl.Boolean if isinstance(value, bool) else pl.String
    return pl.Series([value], dtype=kind).new_from_index(0, n_rows)


def _all_unicode(text: pl.Series) -> Ids:
    return Ids(text, repeated(True, len(text)))


def joined_ids(parts: list[pl.Series], n_rows: int, separator: str) -> pl.Series:
    """Return one column, or several columns joined.

    Nulls among several concepts are left out.
    """
    if not parts:
        return repeated(None, n_rows)
    if len(parts) == 1:
        return parts[0]
    frame = pl.DataFrame([part.alias(str(i)) for i, part in enumerate(parts)])
    if separator == ":":
        return frame.select(pl.concat_str(pl.all(), separator=":")).to_series()
    joined = pl.concat_str(pl.all(), separator=separator, ignore_nulls=True)
    return frame.select(pl.when(joined != "").then(joined)).to_series()


def series_of(column: pa.ChunkedArray) -> pl.Series:
    """Convert an Arrow column to a series; times are converted to UTC."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    series = pl.from_arrow(column)
    if not isinstance(series, pl.Series):
        raise FileFormatError(f"Expected one column, got {type(series).__name__}.")
    return series
