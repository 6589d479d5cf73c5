"""Files that cannot be used leave nothing behind; the others give the same, whatever kind."""

from __future__ import annotations

import csv
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from bkt_core.errors import UsageError
from datasets.attempt_files import text as text_files
from datasets.attempt_files.options import FileOptions
from datasets.attempt_files.values.plans import Layout
from datasets.errors import FileFormatError
from tests.datasets.imports.importing import EARLY, SCHEMA, counts, row, stored, write


def refused(run, engine, path, match, **options):
    with pytest.raises((FileFormatError, UsageError), match=match):
        run(path, FileOptions(**options))
    assert stored(engine) == []


def test_a_missing_column_is_named(run, engine, tmp_path):
    path = write(tmp_path / "f.parquet", [row()], SCHEMA.remove(4))
    refused(run, engine, path, r"(?s)correct.*is missing.*--map")


def test_a_naive_timestamp_needs_a_time_zone(run, engine, tmp_path):
    schema = SCHEMA.set(5, pa.field("attempted_at", pa.timestamp("us")))
    rows = [row(attempted_at=datetime(2026, 1, 1, 12))]  # noqa: DTZ001 - the point of the test
    path = write(tmp_path / "f.parquet", rows, schema)
    refused(run, engine, path, "--time-zone")
    refused(run, engine, path, "IANA", time_zone="Mars/Olympus")
    run(path, FileOptions(time_zone="Europe/Berlin"))
    with engine.connect() as conn:
        at = conn.execute(text("SELECT attempted_at FROM attempts")).scalar_one()
    assert str(at).startswith("2026-01-01 11:00:00")


def test_a_local_time_that_a_clock_change_repeats_is_quarantined(run, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(
        "user_id,concept_id,correct,attempted_at\n"
        "u,c,1,2025-10-26 02:30:00\nu,c,1,2025-10-26 04:30\n"
    )
    report = run(path, FileOptions(time_zone="Europe/Berlin"))
    assert report.reasons == {"attempted_at_is_unambiguous": 1}


def test_a_truncated_parquet_file_is_refused_and_the_whole_one_imports(run, engine, tmp_path):
    path = write(tmp_path / "f.parquet", [row(attempt_id=str(i)) for i in range(1000)])
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(run, engine, path, "cannot be read as Parquet")
    path.write_bytes(whole)
    assert counts(run(path)) == (1000, 1000, 0, 0)


def test_a_wrong_delimiter_is_guessed_at_in_the_message(run, engine, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("user_id;concept_id;correct;attempted_at\nu;c;1;2026-01-01T00:00:00Z\n")
    refused(run, engine, path, "delimiter")


def test_a_ragged_text_file_is_refused(run, engine, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("user_id,concept_id,correct,attempted_at\nu,c,1\n")
    refused(run, engine, path, "cannot be read as text")


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        ("correct", pa.timestamp("us"), EARLY.replace(tzinfo=None)),
        ("user_id", pa.float64(), 1.5),
        ("user_id", pa.list_(pa.int64()), [1]),
    ],
)
def test_a_column_of_the_wrong_type_is_named(run, engine, tmp_path, column, kind, value):
    place = SCHEMA.get_field_index(column)
    schema = SCHEMA.set(place, pa.field(column, kind))
    path = write(tmp_path / "f.parquet", [row(**{column: value})], schema)
    refused(run, engine, path, f"{column} must be")


def test_a_missing_file_an_empty_file_and_an_unknown_kind_are_refused(run, engine, tmp_path):
    refused(run, engine, tmp_path / "none.csv", "there is none")
    (tmp_path / "empty.csv").write_text("")
    refused(run, engine, tmp_path / "empty.csv", "empty")
    (tmp_path / "f.xlsx").write_text("x")
    refused(run, engine, tmp_path / "f.xlsx", "ending in")


def test_a_mapping_of_an_unknown_column_is_a_usage_error(run, engine, tmp_path):
    path = write(tmp_path / "f.parquet", [row()])
    refused(run, engine, path, "--map takes", column_map={"student": "x"})


# --- kinds of files --------------------------------------------------------------------------


def test_ids_may_be_numbers_uuids_or_bytes(run, engine, tmp_path):
    from uuid import UUID

    identifier = UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF")
    table = pa.table(
        {
            "user_id": pa.array([7, 8]),
            "concept_id": pa.array([identifier.bytes] * 2, pa.uuid()),
            "question_id": pa.array([b"q", b"\xed\xa0\x80"], pa.binary()),
            "correct": pa.array([True, False]),
            "attempted_at": pa.array([EARLY] * 2, pa.timestamp("ns", tz="Europe/Berlin")),
        }
    )
    pq.write_table(table, tmp_path / "f.parquet")
    report = run(tmp_path / "f.parquet")
    assert report.reasons == {"ids_are_unicode": 1}
    assert stored(engine) == [("7", str(identifier), 1)]


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_text_files_give_what_parquet_gives(run, engine, tmp_path, ending, delimiter):
    path = tmp_path / f"f.{ending}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["attempt_id", "user", "concept_id", "correct", "attempted_at"])
        writer.writerow([1, "a; c", "é", "1", "2026-01-01T00:00:00+02:00"])
        writer.writerow([2, "", "é", "1.0", "2026-01-01 00:00:00Z"])
        writer.writerow([3, "u", "é", "perhaps", "2026-01-01 00:00:00.123456+00"])
        writer.writerow([4, "u", "é", "0.0", "infinity"])
        writer.writerow([5, "u", "é", "0", "2026-01-01 00:00Z"])
    report = run(path, FileOptions(column_map={"user_id": "user"}))
    assert counts(report) == (5, 2, 0, 3)
    assert report.reasons == {
        "user_id_is_given": 1,
        "correct_is_0_or_1": 1,
        "attempted_at_is_a_time": 1,
    }
    assert stored(engine) == [("a; c", "é", 1), ("u", "é", 0)]


def test_lone_surrogates_in_a_text_file_are_one_rows_fault(run, engine, tmp_path):
    path = tmp_path / "f.csv"
    path.write_bytes(
        b"user_id,concept_id,correct,attempted_at\n"
        b"\xed\xa0\x80,c,1,2026-01-01T00:00:00Z\nu,c,1,2026-01-01T00:00:00Z\n"
    )
    report = run(path)
    assert counts(report) == (2, 1, 0, 1)
    assert report.reasons == {"ids_are_unicode": 1}
    assert stored(engine) == [("u", "c", 1)]


def test_the_layout_of_datashop(run, engine, tmp_path):
    path = tmp_path / "steps.txt"
    path.write_text(
        "Row\tAnon Student Id\tProblem Name\tStep Name\tFirst Transaction Time\t"
        "Correct First Attempt\tKC(Default)\tOpportunity(Default)\n"
        "1\tstu\tP1\tS1\t2006-10-26 09:52:30.0\t1\tadd~~carry\t1~~1\n"
        "2\tstu\tP1\tS2\t2006-10-26 09:53:30.0\t0\t\t\n"
    )
    options = FileOptions(layout=Layout.DATASHOP, time_zone="US/Eastern")
    report = run(path, options)
    assert counts(report) == (2, 1, 0, 1)
    assert [concept for _, concept, _ in stored(engine)] == ["add", "carry"]
    with engine.connect() as conn:
        question = conn.execute(text("SELECT question_id FROM attempts")).scalars().first()
    assert question == "P1:S1"


@pytest.mark.parametrize("layout", [Layout.ASSISTMENTS, Layout.PYBKT])
def test_layouts_without_times_keep_the_order(run, engine, tmp_path, layout):
    path = tmp_path / "skill_builder.csv"
    path.write_bytes(
        b"order_id,user_id,problem_id,correct,skill_id,skill_name,answer_text\n"
        b"30,u,9,0,1,Area,caf\xe9\n20,u,8,1,1,Area,x\n20,u,8,1,2,Volume,x\n"
    )
    assert counts(run(path, FileOptions(layout=layout))) == (3, 3, 0, 0)
    with engine.connect() as conn:
        ordered = conn.execute(
            text("SELECT concept_id, correct FROM attempts ORDER BY attempted_at, id")
        ).all()
    assert [tuple(one) for one in ordered] == [("Area", 1), ("Volume", 1), ("Area", 0)]


def test_a_text_file_of_many_blocks_is_one_file(run, tmp_path, monkeypatch):
    """Lines lie across the cuts; a broken line at the end is told."""
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 512)
    path = tmp_path / "f.csv"
    good = "".join(f'"u, {n}",c,{n % 2},2026-01-01T00:00:00Z\n' for n in range(200))
    path.write_text(f"user_id,concept_id,correct,attempted_at\n{good}")
    assert counts(run(path)) == (200, 200, 0, 0)
    path.write_text(f"user_id,concept_id,correct,attempted_at\n{good}a,b\n")
    with pytest.raises(FileFormatError, match="cannot be read as text"):
        run(path)


def test_a_broken_line_behind_good_blocks_leaves_nothing(run, engine, tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 512)
    path = tmp_path / "f.csv"
    good = "".join(f"u{n},c,1,2026-01-01T00:00:00Z\n" for n in range(200))
    path.write_text(f"user_id,concept_id,correct,attempted_at\n{good}a,b\n")
    refused(run, engine, path, "cannot be read as text")


@pytest.mark.parametrize("rows", [[], None])
def test_a_file_without_rows_is_imported_as_nothing(run, engine, tmp_path, rows):
    path = tmp_path / ("f.csv" if rows is None else "f.parquet")
    if rows is None:
        path.write_text("user_id,concept_id,correct,attempted_at\n")
    else:
        write(path, rows)
    assert counts(run(path)) == (0, 0, 0, 0)
    assert stored(engine) == []


def test_a_delimiter_that_is_given_wins(run, engine, tmp_path):
    path = tmp_path / "log.data"
    path.write_text("user_id;concept_id;correct;attempted_at\nu;c;1;2026-01-01T00:00:00Z\n")
    refused(run, engine, path, "--delimiter")
    assert counts(run(path, FileOptions(delimiter=";"))) == (1, 1, 0, 0)
    for wrong in ("", ";;", "\n", '"', "é"):
        with pytest.raises(UsageError, match="--delimiter"):
            FileOptions(delimiter=wrong)


def test_text_in_utf_16_is_named(run, engine, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("user_id,concept_id,correct,attempted_at\n", encoding="utf-16")
    refused(run, engine, path, "UTF-16")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_is_there_twice_is_named(run, engine, tmp_path, kind):
    path = tmp_path / f"f.{kind}"
    if kind == "csv":
        path.write_text("user_id,user_id,concept_id,correct,attempted_at\n")
    else:
        table = pa.Table.from_pylist([row()], schema=SCHEMA)
        pq.write_table(table.append_column("user_id", table["user_id"]), path)
    refused(run, engine, path, "user_id more than once")


def test_categories_and_views_are_the_text_they_stand_for(run, engine, tmp_path):
    table = pa.Table.from_pylist([row(), row(attempt_id="2", user_id="bob")], schema=SCHEMA)
    for name in ("user_id", "concept_id"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].dictionary_encode())
    place = table.schema.get_field_index("attempt_id")
    table = table.set_column(place, "attempt_id", table["attempt_id"].cast(pa.string_view()))
    times = pa.array(["2026-01-01T00:00:00Z"] * 2).dictionary_encode()
    place = table.schema.get_field_index("attempted_at")
    pq.write_table(table.set_column(place, "attempted_at", times), tmp_path / "f.parquet")
    assert counts(run(tmp_path / "f.parquet")) == (2, 2, 0, 0)
    assert [user for user, _, _ in stored(engine)] == ["ann", "bob"]


@pytest.mark.parametrize(
    "text_of_time",
    [
        "2026-01-01T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T00:00:00+99:99",
        "2026-01-01T00:00:00+16:00",
        "2026-01-01",
        "1767225600",
        "infinity",
        "NaN",
    ],
)
def test_text_that_is_no_moment_is_one_rows_fault(run, tmp_path, text_of_time):
    path = tmp_path / "f.csv"
    path.write_text(
        f"user_id,concept_id,correct,attempted_at\nu,c,1,{text_of_time}\n"
        "u,c,1,2026-01-01T00:00:00Z\n"
    )
    report = run(path)
    assert counts(report) == (2, 1, 0, 1)
    assert report.reasons == {"attempted_at_is_a_time": 1}
