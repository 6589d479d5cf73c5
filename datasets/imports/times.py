"""Moments as files write them, brought to UTC; a time zone is given, never guessed."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from bkt_core.errors import UsageError
from datasets.contracts import TIME
from datasets.errors import FileFormatError

#: Date, time of day, and an offset or Z where there is one (ISO 8601, `T` or a blank between).
_MOMENT = (
    r"^(?<date>\d{4}-\d{2}-\d{2})[T ](?<time>\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)"
    r" ?(?<zone>Z|z|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?)?$"
)


def require_time_zone(name: str) -> str:
    """A time zone that exists, by its IANA name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"--time-zone takes an IANA name such as Europe/Berlin or UTC, got {name!r}."
        ) from error
    return name


def times_from_text(text: pl.Series, time_zone: str | None) -> pl.Series:
    """Moments in UTC; null where the text is no moment.

    A local time that a clock change skipped or repeated is no moment either.

    Raises `FileFormatError`: if a time carries no offset and no time zone is given.
    """
    parts = text.str.strip_chars().str.extract_groups(_MOMENT).struct.unnest()
    clock = pl.col("time").str.len_chars()
    local = (
        pl.col("date")
        + " "
        + pl.col("time")
        + pl.when(clock == 5).then(pl.lit(":00")).otherwise(pl.lit(""))
    ).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    minutes = (
        pl.when(pl.col("zone").str.to_uppercase() == "Z")
        .then(0)
        .otherwise(
            (
                pl.col("zone").str.slice(1, 2).cast(pl.Int64) * 60
                + pl.col("zone")
                .str.replace(":", "", literal=True)
                .str.slice(3, 2)
                .cast(pl.Int64, strict=False)
                .fill_null(0)
            )
            * pl.when(pl.col("zone").str.starts_with("-")).then(-1).otherwise(1)
        )
    )
    frame = parts.select(local=local, minutes=minutes)
    naive = frame["local"].is_not_null() & frame["minutes"].is_null()
    if naive.any() and time_zone is None:
        raise _naive(str(text.filter(naive)[0]))
    fixed = (pl.col("local") - pl.duration(minutes=pl.col("minutes"))).dt.replace_time_zone(
        "UTC"
    )
    return (
        frame.select(
            fixed
            if time_zone is None
            else fixed.fill_null(_in_zone(pl.col("local"), time_zone))
        )
        .to_series()
        .cast(TIME)
    )


def times_from_timestamps(moments: pl.Series, time_zone: str | None) -> pl.Series:
    """Moments in UTC from a column of timestamps, with or without a time zone."""
    if not isinstance(moments.dtype, pl.Datetime):
        raise FileFormatError(
            f"attempted_at must be timestamps or ISO 8601 text, got {moments.dtype}."
        )
    if moments.dtype.time_zone is not None:
        return moments.dt.convert_time_zone("UTC").cast(TIME)
    if time_zone is None:
        raise _naive(
            str(moments.drop_nulls()[0]) if moments.null_count() < len(moments) else "null"
        )
    return moments.to_frame("t").select(_in_zone(pl.col("t"), time_zone)).to_series().cast(TIME)


def _in_zone(local: pl.Expr, time_zone: str) -> pl.Expr:
    return local.dt.replace_time_zone(
        time_zone, ambiguous="null", non_existent="null"
    ).dt.convert_time_zone("UTC")


def _naive(example: str) -> FileFormatError:
    return FileFormatError(
        f"attempted_at must say its time zone, got {example!r} without one; "
        "give the file's time zone by --time-zone, for instance --time-zone UTC."
    )
