"""Where an import by query begins again: never behind what it has not seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from datasets.imports.places import Place, last_place
from tests.datasets.attempt_rows import NOW

BEFORE = NOW - timedelta(days=3)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ([1, 2, 3], Place("number", 3)),
        ([1, 2, None], Place("number", 2)),
        ([1.5, float("inf")], Place("number", 1.5)),
        ([Decimal("7"), Decimal("NaN")], Place("number", 7.0)),
        ([BEFORE, NOW + timedelta(days=400)], Place("time", BEFORE.isoformat(sep=" "))),
        (["2026-01-01 00:00:00.5+00", "infinity"], Place("time", "2026-01-01 00:00:00.5+00")),
        (
            [b"2026-01-01T00:00:00Z", b"2999-01-01T00:00:00Z"],
            Place("time", "2026-01-01T00:00:00Z"),
        ),
        (["01HX", "01HY"], Place("text", "01HY")),
        ([None, None], None),
        ([], None),
        ([True], None),
    ],
    ids=str,
)
def test_the_place_is_the_last_value_that_can_be_one(values, place):
    assert last_place(values, at=NOW) == place
    if place is not None:
        assert Place.from_json(place.as_json()) == place
    assert Place.from_json(None) is None


@pytest.mark.parametrize(
    ("place", "overlap", "begins"),
    [
        (Place("number", 10), 3.0, 7),
        (Place("number", 10.5), 3.0, 7.5),
        (Place("number", 2**62 + 1), 1.0, 2**62),
        (Place("text", "01HY"), 3.0, "01HY"),
        (Place("time", "2026-01-01 00:00:30+00"), 60.0, "2025-12-31 23:59:30+00:00"),
        (Place("time", "2026-01-01T00:00:30Z"), 0.5, "2026-01-01T00:00:29.500000+00:00"),
        (Place("time", "2026-01-01 00:00:30"), 30.0, "2026-01-01 00:00:00"),
    ],
)
def test_the_overlap_is_taken_off_in_the_unit_of_the_column(place, overlap, begins):
    assert place.minus(overlap) == begins


def test_text_that_sorts_as_it_was_written_begins_no_later():
    """SQLite compares times as text: what is asked for must not sort behind what is there."""
    for written in (
        "2026-01-01 00:00:00",
        "2026-01-01 00:00:00.000000",
        "2026-01-01T00:00:00Z",
    ):
        begins = Place("time", written).minus(0.0)
        assert str(begins)[:19] == written[:19]
        at = datetime.fromisoformat(written).replace(tzinfo=UTC)
        assert datetime.fromisoformat(str(begins)).replace(tzinfo=UTC) == at
