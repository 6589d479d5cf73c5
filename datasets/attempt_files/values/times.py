"""Convert times in files to UTC; time zone, unit and format are never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from bkt_core.errors import UsageError
from datasets.contracts import TIME
from datasets.errors import FileFormatError

#: Date, time of day, and optionally an offset, Z, UTC or GMT (ISO 8601).
_MOMENT = (
    r"^(?<date>\d{4}-\d{2}-\d{2})[T ](?<time>\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)"
    r" ?(?<zone>Z|z|UTC|GMT|utc|gmt|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?)?$"
)
#: Largest distance of a time from its origin: 3,000 years, far below 64 bits of microseconds.
_LIMIT_US = 10**17
#: The years 1995 to 2099, in seconds since 1970; they are considered likely.
_LIKELY = (788_918_400, 4_102_444_800)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimeUnit(StrEnum):
    """The unit of a numeric time column."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"

    @property
    def microseconds(self) -> float:
        """The length of the unit in microseconds."""
        return {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}[self.value]


class Ambiguous(StrEnum):
    """Which of two times a local time means that the end of summer time repeats."""

    EARLIER = "earlier"
    LATER = "later"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeReading:
    """How the times of a file are read."""

    zone: str | None = None
    #: Format of text, in the notation of strftime; None means ISO 8601.
    format: str | None = None
    #: Unit of numbers; None refuses numbers.
    unit: TimeUnit | None = None
    #: The time from which numbers count.
    origin: datetime = EPOCH
    ambiguous: Ambiguous | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """Times in UTC, null where there is none, and the reason if a local time has none."""

    moments: pl.Series
    is_ambiguous: pl.Series
    #: False for a local time that the start of summer time skips.
    exists: pl.Series


def require_time_zone(name: str) -> str:
    """Return the name of an existing IANA time zone; raises an error for any other name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"--time-zone takes an IANA name such as Europe/Berlin or UTC, got {name!r}."
        ) from error
    return name


def times_from_text(text: pl.Series, reading: TimeReading) -> Times:
    """Convert text to times in UTC; null where the text is not a time.

    Raises `FileFormatError` if a time has no offset and no time zone is given.
    """
    if reading.unit is not None:
        return times_from_numbers(text, reading)
    if reading.format is not None:
        return _times_by_format(text.str.strip_chars(), reading)
    parts = text.str.strip_chars().str.extract_groups(_MOMENT).struct.unnest()
    clock = pl.col("time").str.len_chars()
    local = (
        pl.col("date")
        + " "
        + pl.col("time").str.replace(",", ".", literal=True)
        + pl.when(clock == 5).then(pl.lit(":00")).otherwise(pl.lit(""))
    ).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    minutes = (
        pl.when(pl.col("zone").str.to_uppercase().is_in(["Z", "UTC", "GMT"]))
        .then(0)
        .otherwise(
            (
                pl.col("zone").str.slice(1, 2).cast(pl.Int64, strict=False) * 60
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
    is_naive = frame["local"].is_not_null() & frame["minutes"].is_null()
    fixed = frame.select(
        (pl.col("local") - pl.duration(minutes=pl.col("minutes"))).dt.replace_time_zone("UTC")
    ).to_series()
    if not is_naive.any():
        return _plain(fixed)
    if reading.zone is None:
        raise _naive(str(text.filter(is_naive)[0]))
    local_only = frame.select(pl.when(is_naive).then(pl.col("local"))).to_series()
    zoned = _in_zone(local_only, reading)
    moments = fixed.to_frame("f").select(pl.col("f").fill_null(zoned.moments)).to_series()
    return Times(moments.cast(TIME), zoned.is_ambiguous, zoned.exists)


def times_from_timestamps(moments: pl.Series, reading: TimeReading) -> Times:
    """Convert timestamps or dates, with or without a time zone, to times in UTC."""
    if moments.dtype == pl.Date:
        moments = moments.cast(pl.Datetime("us"))
    if not isinstance(moments.dtype, pl.Datetime):
        raise FileFormatError(
            f"attempted_at must be timestamps or ISO 8601 text, got {moments.dtype}."
        )
    if moments.dtype.time_zone is not None:
        return _plain(moments.dt.convert_time_zone("UTC"))
    if reading.zone is None:
        raise _naive(
            str(moments.drop_nulls()[0]) if moments.null_count() < len(moments) else "null"
        )
    return _in_zone(moments, reading)


def times_from_numbers(numbers: pl.Series, reading: TimeReading) -> Times:
    """Convert numbers in a unit since an origin to times; null where there is no number.

    Raises `FileFormatError` if no unit was given; the message names the units that would give
    likely years.
    """
    if reading.unit is None:
        raise numbers_without_unit(numbers)
    scale = reading.unit.microseconds
    whole = numbers.cast(pl.Int64, strict=False)
    if numbers.dtype == pl.String:
        numbers = numbers.str.strip_chars()
        whole = numbers.cast(pl.Int64, strict=False)
    floats = numbers.cast(pl.Float64, strict=False)
    if (
        reading.unit is not TimeUnit.NANOSECONDS
        and floats.eq_missing(whole.cast(pl.Float64)).all()
    ):
        inside = whole.abs() < _LIMIT_US / scale
        counted = (whole * int(scale)).to_frame("t").select(pl.when(inside).then(pl.col("t")))
    else:
        inside = floats.is_finite() & (floats.abs() < _LIMIT_US / scale)
        us = (floats * scale).round()
        counted = us.to_frame("t").select(pl.when(inside).then(pl.col("t").cast(pl.Int64)))
    origin = int(reading.origin.timestamp()) * 1_000_000 + reading.origin.microsecond
    return _plain((counted.to_series() + origin).cast(TIME))


def numbers_without_unit(numbers: pl.Series) -> FileFormatError:
    """Build the error for a column of numbers without a unit."""
    values = numbers.cast(pl.Float64, strict=False).drop_nulls()
    sample = values[0] if len(values) else 0.0
    years = {unit: _likely_year(sample, unit) for unit in TimeUnit}
    fitting = [
        f"--time-unit {unit.value} (the year {year})" for unit, year in years.items() if year
    ]
    advice = (
        " or ".join(fitting)
        if fitting
        else "--time-unit s, ms or us, with --time-origin 2026-01-01T00:00:00Z if they count "
        "from an origin of their own"
    )
    return FileFormatError(
        f"attempted_at holds numbers such as {_short(sample)}, and what they count must be "
        f"given: {advice}."
    )


def refuse_unlikely_unit(texts: pl.Series, reading: TimeReading) -> None:
    """Refuse numbers that give years before 1995 if another unit gives likely years.

    Raises `FileFormatError`, which names both units. Numbers with an origin other than 1970
    may have any size.
    """
    values = texts.cast(pl.Float64, strict=False).drop_nulls().sort()
    if reading.unit is None or reading.origin != EPOCH or values.is_empty():
        return
    middle = values[len(values) // 2]
    others = [unit for unit in TimeUnit if _likely_year(middle, unit) is not None]
    if not others or not 0 < middle * reading.unit.microseconds / 1e6 < _LIKELY[0]:
        return
    year = datetime.fromtimestamp(middle * reading.unit.microseconds / 1e6, UTC).year
    raise FileFormatError(
        f"attempted_at holds numbers such as {_short(middle)}, which in {reading.unit.value} "
        f"are the year {year}: give --time-unit {others[0].value} "
        f"(the year {_likely_year(middle, others[0])}), or --time-origin if they count from a "
        "origin of their own. Nothing was imported."
    )


def _likely_year(value: float, unit: TimeUnit) -> int | None:
    """Return the year of a number since 1970, if it is between 1995 and 2100."""
    moment = value * unit.microseconds / 1e6
    return (
        datetime.fromtimestamp(moment, UTC).year if _LIKELY[0] <= moment < _LIKELY[1] else None
    )


def _short(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)


def _times_by_format(text: pl.Series, reading: TimeReading) -> Times:
    try:
        moments = text.str.to_datetime(reading.format, time_unit="us", strict=False)
    except pl.exceptions.PolarsError as error:
        raise UsageError(
            "--time-format takes the letters of strftime, such as '%d.%m.%Y %H:%M:%S', "
            f"got {reading.format!r}."
        ) from error
    if isinstance(moments.dtype, pl.Datetime) and moments.dtype.time_zone is not None:
        return _plain(moments.dt.convert_time_zone("UTC"))
    if reading.zone is None and moments.null_count() < len(moments):
        raise _naive(str(text.filter(moments.is_not_null())[0]))
    if reading.zone is None:
        return _plain(moments.dt.replace_time_zone("UTC"))
    return _in_zone(moments, reading)


def _in_zone(local: pl.Series, reading: TimeReading) -> Times:
    """Convert local times; `exists` is false where a clock change skipped the time."""
    zone = reading.zone or "UTC"
    frame = local.to_frame("t").select(
        earliest=_zoned(zone, "earliest"),
        latest=_zoned(zone, "latest"),
        was=pl.col("t"),
    )
    exists = frame.select(pl.col("was").is_null() | pl.col("earliest").is_not_null())
    twice = frame.select((pl.col("earliest") != pl.col("latest")).fill_null(value=False))
    chosen = {
        Ambiguous.EARLIER: pl.col("earliest"),
        Ambiguous.LATER: pl.col("latest"),
        None: pl.when(pl.col("earliest") == pl.col("latest")).then(pl.col("earliest")),
    }[reading.ambiguous]
    moments = frame.select(chosen).to_series().cast(TIME)
    is_ambiguous = twice.to_series() if reading.ambiguous is None else twice.to_series() & False
    return Times(moments, is_ambiguous, exists.to_series())


def _zoned(zone: str, ambiguous: str) -> pl.Expr:
    return (
        pl.col("t")
        .dt.replace_time_zone(zone, ambiguous=ambiguous, non_existent="null")  # type: ignore[arg-type] # one of its words
        .dt.convert_time_zone("UTC")
    )


def _plain(moments: pl.Series) -> Times:
    """Wrap times that no clock change affects."""
    n = len(moments)
    none = pl.Series([False], dtype=pl.Boolean).new_from_index(0, n)
    return Times(moments.cast(TIME), none, ~none)


def _naive(example: str) -> FileFormatError:
    return FileFormatError(
        f"attempted_at must say its time zone, got {example!r} without one; "
        "give the file's time zone by --time-zone, for instance --time-zone UTC."
    )
