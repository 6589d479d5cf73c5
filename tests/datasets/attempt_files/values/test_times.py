"""Text and numbers as moments in UTC, at the limits of what is read."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from datasets.attempt_files.values.times import (
    Ambiguous,
    TimeReading,
    TimeUnit,
    refuse_unlikely_unit,
    times_from_numbers,
    times_from_text,
    times_from_timestamps,
)
from datasets.errors import FileFormatError

BERLIN = TimeReading(zone="Europe/Berlin")


def moment(*fields):
    return datetime(*fields, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-03-01T10:20:30Z", moment(2026, 3, 1, 10, 20, 30)),
        ("2026-03-01 10:20 UTC", moment(2026, 3, 1, 10, 20)),
        ("2026-03-01T10:20:30,25+00:00", moment(2026, 3, 1, 10, 20, 30, 250_000)),
        ("2026-03-01T10:20:30+05:30", moment(2026, 3, 1, 4, 50, 30)),
        ("2026-03-01T10:20:30-0530", moment(2026, 3, 1, 15, 50, 30)),
        ("2026-03-01T10:20:30+02", moment(2026, 3, 1, 8, 20, 30)),
        ("no time", None),
    ],
)
def test_text_with_an_offset_is_a_moment(given, expected):
    found = times_from_text(pl.Series([given]), TimeReading())
    assert found.moments.to_list() == [expected]
    assert (found.exists.to_list(), found.is_ambiguous.to_list()) == ([True], [False])


def test_text_without_an_offset_needs_a_zone():
    texts = pl.Series(["2026-03-01T10:00:00Z", "2026-07-01 10:00:00", None])
    with pytest.raises(FileFormatError, match="2026-07-01 10:00:00"):
        times_from_text(texts, TimeReading())
    found = times_from_text(texts, BERLIN)
    assert found.moments.to_list() == [moment(2026, 3, 1, 10), moment(2026, 7, 1, 8), None]


@pytest.mark.parametrize(
    ("ambiguous", "hour", "is_ambiguous"),
    [(None, None, True), (Ambiguous.EARLIER, 0, False), (Ambiguous.LATER, 1, False)],
)
def test_the_hour_that_comes_twice_and_the_one_that_never_comes(ambiguous, hour, is_ambiguous):
    local = pl.Series([datetime(2026, 10, 25, 2, 30), datetime(2026, 3, 29, 2, 30)])  # noqa: DTZ001 - local
    found = times_from_timestamps(local, TimeReading(zone="Europe/Berlin", ambiguous=ambiguous))
    expected = None if hour is None else moment(2026, 10, 25, hour, 30)
    assert found.moments.to_list() == [expected, None]
    assert found.is_ambiguous.to_list() == [is_ambiguous, False]
    assert found.exists.to_list() == [True, False]


@pytest.mark.parametrize(
    ("unit", "number"),
    [(TimeUnit.SECONDS, 1_767_607_200), (TimeUnit.MILLISECONDS, 1_767_607_200_000),
     (TimeUnit.MICROSECONDS, 1_767_607_200_000_000),
     (TimeUnit.NANOSECONDS, 1_767_607_200_000_000_000)],
)  # fmt: skip
def test_numbers_count_from_1970_or_from_an_origin(unit, number):
    expected = moment(2026, 1, 5, 10)
    for values in (pl.Series([number]), pl.Series([f" {number} "]), pl.Series([float(number)])):
        found = times_from_numbers(values, TimeReading(unit=unit))
        assert found.moments.to_list() == [expected]
    origin = datetime(2026, 1, 5, 10, 0, 0, 5, tzinfo=UTC)
    found = times_from_numbers(pl.Series([0, None]), TimeReading(unit=unit, origin=origin))
    assert found.moments.to_list() == [origin, None]


def test_fractions_of_a_unit_are_rounded_to_microseconds():
    values = pl.Series([1.5, 0.000_000_4, float("inf"), float("nan"), 1e300])
    found = times_from_numbers(values, TimeReading(unit=TimeUnit.SECONDS))
    assert found.moments.to_list() == [
        moment(1970, 1, 1, 0, 0, 1, 500_000), moment(1970, 1, 1), None, None, None,
    ]  # fmt: skip


def test_the_last_moment_is_that_of_a_limit():
    """10^17 microseconds from 1970, in the year 5138."""
    values = pl.Series([99_999_999_999, 100_000_000_000, -100_000_000_000])
    found = times_from_numbers(values, TimeReading(unit=TimeUnit.SECONDS))
    assert [one is not None for one in found.moments.to_list()] == [True, False, False]


@pytest.mark.parametrize(
    ("unit", "values", "refused"),
    [
        (TimeUnit.SECONDS, ["1767607200"], None),
        (TimeUnit.MILLISECONDS, ["1767607200"], "year 1970: give --time-unit s .the year 2026"),
        (TimeUnit.MICROSECONDS, ["1767607200000"], "give --time-unit ms .the year 2026"),
        (TimeUnit.MILLISECONDS, ["5", "1767607200", "1767607300"], "1767607200, which in ms"),
        (TimeUnit.MILLISECONDS, ["5", "6", "1767607200"], None),
        (TimeUnit.SECONDS, ["788918399"], None),
        (TimeUnit.MILLISECONDS, ["788918400"], "the year 1995"),
        (TimeUnit.MILLISECONDS, ["4102444799"], "the year 2099"),
        (TimeUnit.MILLISECONDS, ["4102444800"], None),
        (TimeUnit.MILLISECONDS, ["words"], None),
        (None, ["1767607200"], None),
    ],
)
def test_a_unit_that_makes_years_of_long_ago_is_refused_where_another_fits(
    unit, values, refused
):
    texts = pl.Series(values)
    if refused is None:
        refuse_unlikely_unit(texts, TimeReading(unit=unit))
    else:
        with pytest.raises(FileFormatError, match=refused):
            refuse_unlikely_unit(texts, TimeReading(unit=unit))
    own = TimeReading(unit=unit, origin=datetime(2026, 1, 1, tzinfo=UTC))
    refuse_unlikely_unit(texts, own)
