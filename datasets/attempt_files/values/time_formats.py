"""Check that the times of a file can be read, and find the format that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from datasets.attempt_files.values.times import numbers_without_unit, times_from_text
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from datasets.attempt_files.values.times import TimeReading

#: Formats that are common in files, in the notation of strftime.
_FORMATS = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d.%m.%y %H:%M",
    "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%d/%m/%Y %I:%M %p", "%d/%m/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M",
    "%m/%d/%y %H:%M", "%d/%m/%y %H:%M", "%m/%d/%y %I:%M %p",
    "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d",
    "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y", "%m-%d-%Y %H:%M:%S", "%Y-%m-%d",
    "%Y%m%d%H%M%S", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y%m%d",
    "%d-%b-%Y %H:%M:%S", "%d %b %Y %H:%M:%S", "%d %b %Y %H:%M", "%b %d, %Y %I:%M:%S %p",
    "%b %d, %Y %H:%M:%S", "%b %d %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S %z", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p",
    "%Y-%m-%dT%H:%M:%S%.f%:z",
)  # fmt: skip
#: A two-digit year is read only if it becomes one of these years.
_LIKELY_YEARS = (1970, 2100)
_SHOWN = 3


def fitting_formats(texts: pl.Series) -> list[str]:
    """Return the formats that read all of the texts; of those that agree, only the first."""
    given = texts.drop_nulls().str.strip_chars()
    found: list[tuple[str, pl.Series]] = []
    for name in _FORMATS if len(given) else ():
        read = _read(given, name)
        if read is not None and not any(read.equals(other) for _, other in found):
            found.append((name, read))
    return [name for name, _ in found]


def _read(texts: pl.Series, name: str) -> pl.Series | None:
    """Read texts with a format; None unless it reads all of them, as likely years."""
    try:
        read = texts.str.to_datetime(name, time_unit="us", strict=False)
    except pl.exceptions.PolarsError:
        return None
    is_fitting = read.null_count() == 0 and read.dt.year().is_between(*_LIKELY_YEARS).all()
    return read.dt.replace_time_zone(None) if is_fitting else None


def require_readable_times(texts: pl.Series, reading: TimeReading) -> None:
    """Raise `FileFormatError` if none of the texts is a time; the message shows some of them.

    Null and empty texts are left to another rule.
    """
    given = texts.drop_nulls().filter(texts.drop_nulls().str.strip_chars() != "")
    if given.is_empty() or times_from_text(given, reading).exists.is_empty():
        return
    read = times_from_text(given, reading)
    if (
        read.moments.null_count() < len(given)
        or read.is_ambiguous.any()
        or not read.exists.all()
    ):
        return
    if given.str.strip_chars().cast(pl.Float64, strict=False).null_count() == 0:
        raise numbers_without_unit(given.str.strip_chars())
    samples = ", ".join(repr(text[:40]) for text in given.unique(maintain_order=True)[:_SHOWN])
    raise FileFormatError(
        f"attempted_at must hold times such as 2026-01-31T08:00:00Z, got {samples}. "
        f"{_advice(given, reading)} Nothing was imported."
    )


def _advice(given: pl.Series, reading: TimeReading) -> str:
    if reading.unit is not None:
        return "A unit reads numbers, and these are none: leave --time-unit out."
    formats = fitting_formats(given)
    if not formats:
        return (
            "Give their format by --time-format in the letters of strftime, such as "
            "--time-format '%d.%m.%Y %H:%M:%S'."
        )
    flags = " or ".join(f"--time-format '{name}'" for name in formats[:2])
    twice = " (both fit: which of the numbers is the month?)" if len(formats) > 1 else ""
    return f"Give their format: {flags}{twice}."
