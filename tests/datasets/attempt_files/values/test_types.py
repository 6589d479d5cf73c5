"""Types of Parquet columns: what they hold is stored as it is, or refused in a sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets.attempt_files.options import FileOptions
from datasets.attempt_files.values.times import TimeUnit
from datasets.errors import FileFormatError
from datasets.imports.preview import preview_file
from tests.datasets.attempt_files.importing_text import AT, moments
from tests.datasets.imports.importing import counts, stored

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def write_columns(path, **columns):
    """A file of three attempts whose columns are good but for those that are given."""
    good = {
        "user_id": ["u", "v", "w"],
        "concept_id": ["c"] * 3,
        "correct": [1, 0, 1],
        "attempted_at": [AT] * 3,
    }
    pq.write_table(pa.table(good | columns), path)
    return path


def test_decimal_ids_keep_every_digit(run, engine, tmp_path):
    ids = ["12345678901234567890", "9007199254740993", "9007199254740992"]
    column = pa.array([Decimal(one) for one in ids], pa.decimal128(38, 0))
    path = write_columns(tmp_path / "f.parquet", user_id=column)
    assert counts(run(path)) == (3, 3, 0, 0)
    assert [user for user, *_ in stored(engine)] == ids


def test_decimal_ids_with_places_are_whole_numbers_or_refused(run, tmp_path):
    column = pa.array([Decimal("1.00"), None, Decimal("3.00")], pa.decimal128(10, 2))
    path = write_columns(tmp_path / "f.parquet", question_id=column)
    assert counts(run(path)) == (3, 3, 0, 0)
    broken = pa.array([Decimal("1.00"), None, Decimal("3.50")], pa.decimal128(10, 2))
    path = write_columns(tmp_path / "g.parquet", user_id=broken)
    with pytest.raises(FileFormatError, match=r"user_id must be .* got the fraction 3\.50"):
        run(path)


@pytest.mark.parametrize("value", [2.0**53, -(2.0**60), 1e300])
def test_floats_that_skip_whole_numbers_are_no_ids(run, engine, tmp_path, value):
    """Beyond 2^53 a float stands for several whole numbers, so that users were merged."""
    path = write_columns(tmp_path / "f.parquet", user_id=[1.0, value, float("nan")])
    with pytest.raises(FileFormatError, match=r"user_id holds the float .* as text or whole"):
        run(path)
    assert stored(engine) == []


def test_float_numbers_below_that_are_read(run, engine, tmp_path):
    path = write_columns(tmp_path / "f.parquet", user_id=[2.0**53 - 1, -5.0, 0.0])
    assert counts(run(path)) == (3, 3, 0, 0)
    assert [user for user, *_ in stored(engine)] == ["9007199254740991", "-5", "0"]


@pytest.mark.parametrize(
    "concepts",
    [
        [[{"id": "a"}], [{"id": "b"}], [{"id": "c"}]],
        [[["a"]], [["b"]], [["c"]]],
        [[b"a"], [b"b"], [b"c"]],
        [[True], [False], [True]],
        [[1.5], [2.0], [3.0]],
    ],
)
def test_lists_of_what_is_no_id_are_refused(run, engine, tmp_path, concepts):
    path = write_columns(tmp_path / "f.parquet", concept_id=concepts)
    with pytest.raises(FileFormatError, match="concept_id must be"):
        run(path)
    assert stored(engine) == []


@pytest.mark.parametrize(
    "concepts",
    [
        pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int64(), 2)),
        pa.array([[1, 2], [3, 4], [5, 6]], pa.large_list(pa.float64())),
        pa.array([["1", "2"], ["3", "4", None], ["5", "6"]]),
        pa.array([["1", "2"], ["3", "4"], ["5", "6"]], pa.list_(pa.large_string())),
    ],
)
def test_lists_of_ids_are_one_concept_each(run, engine, tmp_path, concepts):
    path = write_columns(tmp_path / "f.parquet", concept_id=concepts)
    assert counts(run(path)) == (3, 3, 0, 0)
    assert [concept for _, concept, _ in stored(engine)] == list("123456")


def test_sixteen_bytes_that_are_no_text_set_their_rows_aside(run, engine, tmp_path):
    ids = pa.array([b"\xff" * 16, b"sixteen letters.", b"\xfe" * 16], pa.binary(16))
    path = write_columns(tmp_path / "f.parquet", user_id=ids)
    assert run(path).reasons == {"ids_are_unicode": 2}
    assert [user for user, *_ in stored(engine)] == ["sixteen letters."]


@pytest.mark.parametrize("zone", ["+05:30", "-00:30", "+01:00", "Etc/GMT-1", "UTC", "Z"])
def test_zones_that_are_offsets_are_zones(run, engine, tmp_path, zone):
    moment = int(datetime(2026, 1, 5, 8, tzinfo=UTC).timestamp()) * 1_000_000
    times = pa.array([moment] * 3, pa.timestamp("us", zone))
    path = write_columns(tmp_path / "f.parquet", attempted_at=times)
    assert counts(run(path)) == (3, 3, 0, 0)
    assert moments(engine) == ["2026-01-05 08:00:00"] * 3


@pytest.mark.parametrize(
    "kind", [pa.duration("us"), pa.time64("us"), pa.list_(pa.int64()), pa.bool_()]
)
def test_what_is_no_time_is_refused_and_previewed(run, tmp_path, kind):
    values = [[1], [2], [3]] if pa.types.is_list(kind) else [1, 2, 3]
    column = pa.array([True] * 3 if pa.types.is_boolean(kind) else values, kind)
    path = write_columns(tmp_path / "f.parquet", attempted_at=column)
    with pytest.raises(FileFormatError, match="attempted_at must be timestamps"):
        run(path)
    seen = preview_file(path, FileOptions(time_unit=TimeUnit.SECONDS), source="", latest=NOW)
    assert "attempted_at must be timestamps" in (seen.problem or "")
