"""Outcomes, times and ids as people write them: each with its right values, or its sentence."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from bkt_core.errors import UsageError
from datasets.attempt_files.options import FileOptions
from datasets.attempt_files.values.times import Ambiguous, TimeUnit
from datasets.errors import FileFormatError, NothingAcceptedError
from tests.datasets.attempt_files.importing_text import (
    AT,
    HEADER,
    import_text,
    moments,
    refused,
)
from tests.datasets.imports.importing import counts, stored


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("True", "False"), ("TRUE", "FALSE"), ("yes", "no"), ("CORRECT", "INCORRECT"),
        ("t", "f"), ("Y", "N"), (" 1 ", "0"), ("1.0", "0.0"), ("1,0", "0,0"),
        ("Right", "WRONG"),
    ],
)  # fmt: skip
def test_words_that_mean_it_are_outcomes(run, engine, tmp_path, right, wrong):
    body = f"user_id;concept_id;correct;attempted_at\nu;c;{right};{AT}\nv;c;{wrong};{AT}\n"
    report = import_text(run, tmp_path / "f.csv", body, delimiter=";")
    assert counts(report) == (2, 2, 0, 0)
    assert stored(engine) == [("u", "c", 1), ("v", "c", 0)]


def test_words_of_a_parquet_file_and_words_of_ones_own_are_read(run, engine, tmp_path):
    table = pa.table(
        {
            "user_id": ["u", "v", "w"],
            "concept_id": ["c"] * 3,
            "correct": ["Yes", "gut", "schlecht"],
            "attempted_at": [AT] * 3,
        }
    )
    pq.write_table(table, tmp_path / "f.parquet")
    report = run(tmp_path / "f.parquet", FileOptions(right=("gut",), wrong=("Schlecht",)))
    assert counts(report) == (3, 3, 0, 0)
    assert [correct for *_, correct in stored(engine)] == [1, 1, 0]


def test_a_hint_is_a_wrong_answer_only_where_the_layout_says_so(run, tmp_path):
    body = HEADER + f"u,c,1,{AT}\nu,c,HINT,{AT}\n"
    assert import_text(run, tmp_path / "f.csv", body).reasons == {"correct_is_0_or_1": 1}


def test_an_answer_is_right_where_it_equals_the_key(run, engine, tmp_path):
    body = (
        "user_id,concept_id,given,key,attempted_at\n"
        f"u,c,b,b,{AT}\nv,c,a ,a,{AT}\nw,c,a,b,{AT}\nx,c,,b,{AT}\n"
    )
    report = import_text(run, tmp_path / "f.csv", body, correct_if=("given", "key"))
    assert counts(report) == (4, 3, 0, 1)
    assert stored(engine) == [("u", "c", 1), ("v", "c", 1), ("w", "c", 0)]
    refused_pair = FileOptions(correct_if=("given", "solution"))
    with pytest.raises(UsageError, match="--correct-if takes two columns"):
        run(tmp_path / "f.csv", refused_pair)


def test_where_all_rows_are_set_aside_the_sentence_shows_values_and_a_flag(
    run, engine, tmp_path
):
    body = HEADER + "".join(f"u{n},c,{word},{AT}\n" for n, word in enumerate("abca" * 100))
    match = r"All 400 rows .*correct_is_0_or_1.*'a', 'b', 'c'.*--right"
    refused(run, engine, tmp_path / "f.csv", body, match)
    with pytest.raises(NothingAcceptedError) as error:
        run(tmp_path / "f.csv")
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("unit", "value", "stored_at"),
    [
        ("s", "1767600000", "2026-01-05 08:00:00"),
        ("s", "1767600000.5", "2026-01-05 08:00:00.500000"),
        ("ms", "1767600000123", "2026-01-05 08:00:00.123000"),
        ("us", "1767600000123456", "2026-01-05 08:00:00.123456"),
        ("ns", "1767600000123456000", "2026-01-05 08:00:00.123456"),
    ],
)
def test_numbers_count_in_the_unit_that_is_given(run, engine, tmp_path, unit, value, stored_at):
    path, body = tmp_path / "f.csv", HEADER + f"u,c,1,{value}\n"
    refused(run, engine, path, body, rf"--time-unit {unit} \(the year 2026\)")
    assert counts(import_text(run, path, body, time_unit=TimeUnit(unit))) == (1, 1, 0, 0)
    assert moments(engine) == [stored_at]


def test_numbers_of_a_parquet_file_need_a_unit_as_well(run, engine, tmp_path):
    table = pa.table(
        {"user_id": ["u"], "concept_id": ["c"], "correct": [1], "attempted_at": [1767600000000]}
    )
    pq.write_table(table, tmp_path / "f.parquet")
    with pytest.raises(FileFormatError, match=r"--time-unit ms \(the year 2026\)"):
        run(tmp_path / "f.parquet")
    run(tmp_path / "f.parquet", FileOptions(time_unit=TimeUnit.MILLISECONDS))
    assert moments(engine) == ["2026-01-05 08:00:00"]


def test_numbers_may_count_from_a_moment_of_their_own(run, engine, tmp_path):
    path, body = tmp_path / "f.csv", HEADER + "u,c,1,0\nu,c,0,90500\n"
    refused(run, engine, path, body, "--time-origin")
    origin = datetime(2026, 1, 1, tzinfo=UTC)
    import_text(run, path, body, time_unit=TimeUnit.MILLISECONDS, time_origin=origin)
    assert moments(engine) == ["2026-01-01 00:00:00", "2026-01-01 00:01:30.500000"]


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("05.01.2026 08:00:00", "%d.%m.%Y %H:%M:%S"),
        ("1/5/2026 8:00 AM", "%m/%d/%Y %I:%M %p"),
        ("2026/01/05 08:00", "%Y/%m/%d %H:%M"),
    ],
)
def test_other_formats_are_refused_with_a_sample_and_read_when_given(
    run, engine, tmp_path, value, form
):
    path, body = tmp_path / "f.csv", HEADER + f"u,c,1,{value}\n"
    refused(run, engine, path, body, rf"got '{value}'.*--time-format '{form}'")
    import_text(run, path, body, time_format=form, time_zone="UTC")
    assert moments(engine) == ["2026-01-05 08:00:00"]
    with pytest.raises(FileFormatError, match="--time-zone"):
        run(path, FileOptions(time_format=form))


@pytest.mark.parametrize("sign", [" UTC", " GMT", "Z", "+00:00", " utc", "+00"])
def test_a_zone_in_words_is_a_zone(run, engine, tmp_path, sign):
    import_text(run, tmp_path / "f.csv", HEADER + f"u,c,1,2026-01-05 08:00:00{sign}\n")
    assert moments(engine) == ["2026-01-05 08:00:00"]


def test_the_hour_that_exists_twice_is_told_apart_and_can_be_chosen(run, engine, tmp_path):
    body = (
        HEADER
        + "u,c,1,2025-10-26 02:30:00\nu,c,1,2025-03-30 02:30:00\nu,c,1,2025-05-01 00:00\n"
    )
    path = tmp_path / "f.csv"
    report = import_text(run, path, body, time_zone="Europe/Berlin")
    assert report.reasons == {"attempted_at_is_unambiguous": 1, "attempted_at_exists": 1}
    for choice, at in ((Ambiguous.EARLIER, "00:30"), (Ambiguous.LATER, "01:30")):
        report = import_text(run, path, body, time_zone="Europe/Berlin", ambiguous=choice)
        assert report.reasons == {"attempted_at_exists": 1}
        assert any(found.startswith(f"2025-10-26 {at}") for found in moments(engine))
        with engine.begin() as conn:
            conn.execute(text("DELETE FROM attempts"))


def test_whole_numbers_that_became_floats_are_whole_numbers(run, engine, tmp_path):
    table = pa.table(
        {
            "user_id": pa.array([100.0, None, float("nan")]),
            "concept_id": pa.array([7.0, 7.0, 7.0]),
            "correct": [1, 0, 1],
            "attempted_at": [AT] * 3,
        }
    )
    pq.write_table(table, tmp_path / "f.parquet")
    assert counts(run(tmp_path / "f.parquet")) == (3, 1, 0, 2)
    assert stored(engine) == [("100", "7", 1)]
    broken = table.set_column(0, "user_id", pa.array([1.5, 2.0, 3.0]))
    pq.write_table(broken, tmp_path / "g.parquet")
    with pytest.raises(FileFormatError, match=r"got the fraction 1\.5"):
        run(tmp_path / "g.parquet")


def test_ids_that_end_in_point_zero_are_warned_of_and_can_be_numbers(run, engine, tmp_path):
    path, body = tmp_path / "f.csv", HEADER + f"100.0,c,1,{AT}\n101.0,c,0,{AT}\n"
    report = import_text(run, path, body)
    assert any("--integer-ids" in remark for remark in report.remarks)
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM attempts"))
    assert import_text(run, path, body, integer_ids=True).remarks == ()
    assert stored(engine) == [("100", "c", 1), ("101", "c", 0)]


def test_what_programs_write_for_nothing_is_nothing(run, tmp_path):
    rows = "".join(f"{mark},c,1,{AT}\n" for mark in ("NULL", "\\N", "NaN", "<NA>", ""))
    report = import_text(run, tmp_path / "f.csv", HEADER + rows + f"u,c,1,{AT}\n")
    assert report.reasons == {"user_id_is_given": 5}


def test_concepts_may_be_a_list(run, engine, tmp_path):
    table = pa.table(
        {
            "user_id": ["u", "v", "w"],
            "concept_id": pa.array([[3, 32], [3], []], pa.list_(pa.int64())),
            "correct": [1, 0, 1],
            "attempted_at": [AT] * 3,
        }
    )
    pq.write_table(table, tmp_path / "f.parquet")
    report = run(tmp_path / "f.parquet")
    assert (counts(report), report.multi_concept) == ((3, 2, 0, 1), 1)
    assert stored(engine) == [("u", "3", 1), ("u", "32", 1), ("v", "3", 0)]


def test_text_that_is_a_list_is_one_row_each_and_other_brackets_are_names(
    run, engine, tmp_path
):
    body = (
        "user_id;concept_id;correct;attempted_at\n"
        f"u;[3, 32];1;{AT}\nv;['add', \"carry\"];0;{AT}\nw;[draft];1;{AT}\nx;[];1;{AT}\n"
    )
    report = import_text(run, tmp_path / "f.csv", body, delimiter=";")
    assert counts(report) == (4, 3, 0, 1)
    assert stored(engine) == [
        ("u", "3", 1), ("u", "32", 1), ("v", "add", 0), ("v", "carry", 0), ("w", "[draft]", 1),
    ]  # fmt: skip
