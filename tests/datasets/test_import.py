"""Every row of a file is accepted, counted as a duplicate, or quarantined under its rule."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from bkt_core.errors import UsageError
from datasets.attempt_columns import FileOptions
from datasets.attempt_import import ImportOptions, import_file
from datasets.errors import FileFormatError, QuarantineLimitError
from datasets.file_layouts import Layout
from datasets.store.erasure import bury
from tests.datasets.attempt_rows import NOW, Row

EARLY = Row().at
SCHEMA = pa.schema(
    [
        ("attempt_id", pa.string()),
        ("user_id", pa.string()),
        ("question_id", pa.string()),
        ("concept_id", pa.string()),
        ("correct", pa.float64()),
        ("attempted_at", pa.timestamp("us", tz="UTC")),
    ]
)


def row(**changes: Any) -> dict[str, Any]:
    """A good row of a file, with changes."""
    good = {
        "attempt_id": "1",
        "user_id": "ann",
        "question_id": None,
        "concept_id": "fractions",
        "correct": 1,
        "attempted_at": EARLY,
    }
    return good | changes


def write(path, rows, schema=SCHEMA):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


@pytest.fixture
def run(engine, tmp_path):
    """Imports rows as a Parquet file, or a file that is there."""

    def import_rows(what, file=None, **options):
        path = what
        if isinstance(what, list):
            path = write(tmp_path / "attempts.parquet", what)
        chosen = ImportOptions(file=file or FileOptions(), **options)
        return import_file(engine, path, chosen, quarantine_root=tmp_path / "q", at=NOW)

    return import_rows


def stored(engine):
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT user_id, concept_id, correct FROM attempts ORDER BY id")
        ).all()
    return [tuple(row) for row in rows]


def counts(report):
    rows = report.rows
    return (rows.read, rows.accepted, rows.duplicates, rows.quarantined)


LONG = "x" * 256
BROKEN = [
    ("user_id_is_given", {"user_id": None}),
    ("concept_id_is_given", {"concept_id": None}),
    ("attempt_id_is_given", {"attempt_id": None}),
    ("correct_is_0_or_1", {"correct": None}),
    ("correct_is_0_or_1", {"correct": float("nan")}),
    ("correct_is_0_or_1", {"correct": 0.5}),
    ("correct_is_0_or_1", {"correct": 2}),
    ("correct_is_0_or_1", {"correct": float("inf")}),
    ("attempted_at_is_a_time", {"attempted_at": None}),
    ("attempted_since_1970", {"attempted_at": datetime.fromisoformat("1969-12-31T23:59Z")}),
    ("attempted_by_now", {"attempted_at": NOW + timedelta(minutes=5, microseconds=1)}),
    ("user_id_fits", {"user_id": LONG}),
    ("user_id_fits", {"user_id": "\U0001f600" * 251}),
    ("user_id_fits", {"user_id": "nul\0"}),
    ("concept_id_fits", {"concept_id": LONG}),
    ("question_id_fits", {"question_id": "\0"}),
]


@pytest.mark.parametrize(("rule", "change"), BROKEN, ids=str)
def test_a_broken_row_is_quarantined_under_its_rule(run, engine, rule, change):
    report = run([row(attempt_id="0"), row(**change)])
    assert counts(report) == (2, 1, 0, 1)
    assert report.reasons == {rule: 1}
    kept = pl.read_parquet(report.quarantine / "rows.parquet")
    assert kept.select("row", "rule").rows() == [(2, rule)]
    assert stored(engine) == [("ann", "fractions", 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "x" * 255},
        {"user_id": "\U0001f600" * 250},
        {"user_id": "'; DROP TABLE attempts; --"},
        {"concept_id": 'a "quoted" \\ one\n\t'},
        {"question_id": None},
        {"attempted_at": NOW + timedelta(minutes=5)},
        {"attempted_at": datetime.fromisoformat("1970-01-01T00:00Z")},
    ],
    ids=str,
)
def test_what_is_odd_but_allowed_is_stored_as_it_is(run, engine, change):
    good = row(**change)
    assert counts(run([good])) == (1, 1, 0, 0)
    assert stored(engine) == [(good["user_id"], good["concept_id"], 1)]


def test_of_exact_duplicates_the_first_is_kept(run, engine):
    report = run([row()] * 97 + [row(attempt_id="2")])
    assert counts(report) == (98, 2, 96, 0)
    assert len(stored(engine)) == 2


def test_of_one_identity_with_different_content_none_is_kept(run, engine):
    rows = [row(), row(), row(correct=0), row(attempt_id="2")]
    report = run(rows)
    assert counts(report) == (4, 1, 0, 3)
    assert report.reasons == {"conflicts_in_file": 3}
    assert len(stored(engine)) == 1


def test_a_second_import_of_a_file_changes_nothing(run, engine):
    rows = [row(), row(attempt_id="2", correct=0)]
    run(rows)
    before = stored(engine)
    assert counts(run(rows)) == (2, 0, 2, 0)
    assert stored(engine) == before


def test_what_is_stored_stays_and_a_contradiction_is_quarantined(run, engine):
    run([row()])
    report = run([row(correct=0), row(attempt_id="2")])
    assert counts(report) == (2, 1, 0, 1)
    assert report.reasons == {"conflicts_with_stored": 1}
    assert stored(engine)[0] == ("ann", "fractions", 1)


def test_corrections_replace_the_outcome_alone(run, engine):
    run([row(), row(attempt_id="2")])
    report = run([row(correct=0), row(attempt_id="2", user_id="bob")], corrections=True)
    assert counts(report) == (2, 1, 0, 1)
    assert report.corrected == 1
    assert stored(engine) == [("ann", "fractions", 0), ("ann", "fractions", 1)]
    with engine.connect() as conn:
        stale = conn.execute(text("SELECT is_stale FROM bkt_user_skill_state")).scalars().all()
        logged = conn.execute(text("SELECT count(*) FROM attempt_correction")).scalar_one()
    assert stale == [True]
    assert logged == 1


def test_sources_have_identities_of_their_own(run, engine):
    run([row()])
    assert counts(run([row(correct=0)], source="other")) == (1, 1, 0, 0)
    assert len(stored(engine)) == 2


def test_identities_do_not_run_into_each_other(run):
    rows = [row(attempt_id="a", concept_id="bc"), row(attempt_id="ab", concept_id="c")]
    assert counts(run(rows)) == (2, 2, 0, 0)


def test_a_file_without_ids_is_known_by_its_bytes_and_row_numbers(run, tmp_path):
    schema = SCHEMA.remove(0)
    path = write(tmp_path / "plain.parquet", [row(), row(), row(correct=0)], schema)
    assert counts(run(path)) == (3, 3, 0, 0)
    assert counts(run(path)) == (3, 0, 3, 0)


def test_ids_follow_the_order_of_the_file(run, engine):
    rows = [row(attempt_id=str(i), user_id=f"u{(i * 7) % 10}") for i in range(10)]
    run(rows)
    assert [user for user, _, _ in stored(engine)] == [r["user_id"] for r in rows]


def test_late_rows_are_accepted_and_their_states_left_stale(run, engine):
    run([row(attempted_at=EARLY + timedelta(days=1))])
    assert counts(run([row(attempt_id="late")])) == (1, 1, 0, 0)
    with engine.connect() as conn:
        states = conn.execute(text("SELECT is_stale FROM bkt_user_skill_state")).scalars().all()
    assert states == [True]


def test_a_row_with_several_concepts_is_one_row_and_several_attempts(run, engine):
    file = FileOptions(concept_delimiter="~~")
    report = run([row(concept_id="a~~b~~a"), row(attempt_id="2", concept_id="a")], file)
    assert counts(report) == (2, 2, 0, 0)
    assert (report.attempts, report.multi_concept) == (3, 1)
    assert [concept for _, concept, _ in stored(engine)] == ["a", "b", "a"]


def test_a_row_with_several_concepts_goes_as_a_whole(run, engine):
    file = FileOptions(concept_delimiter="~~")
    run([row(concept_id="a")])
    report = run(
        [
            row(attempt_id="2", concept_id=f"a~~{LONG}"),
            row(concept_id="a~~b", correct=0),
            row(attempt_id="3", concept_id="c~~d"),
        ],
        file,
    )
    assert counts(report) == (3, 1, 0, 2)
    assert report.reasons == {"concept_id_fits": 1, "conflicts_with_stored": 1}
    assert [concept for _, concept, _ in stored(engine)] == ["a", "c", "d"]


def test_a_null_concept_is_looked_up_by_its_question(run, engine):
    with engine.begin() as conn:
        conn.execute(
            text("INSERT INTO question_concepts VALUES ('q', 'x'), ('q', 'y'), ('r', 'z')")
        )
    report = run(
        [
            row(concept_id=None, question_id="q"),
            row(attempt_id="2", concept_id="named", question_id="r"),
            row(attempt_id="3", concept_id=None, question_id="unmapped"),
        ]
    )
    assert counts(report) == (3, 2, 0, 1)
    assert [concept for _, concept, _ in stored(engine)] == ["x", "y", "named"]


def test_an_erased_user_is_refused(run, engine):
    with engine.begin() as conn:
        bury(conn, "gone", at=NOW, actor="test")
    report = run([row(user_id="gone"), row(attempt_id="2")])
    assert counts(report) == (2, 1, 0, 1)
    assert report.reasons == {"user_was_erased": 1}


def test_above_the_allowed_share_nothing_is_kept(run, engine):
    with pytest.raises(QuarantineLimitError, match="1 of 2 rows"):
        run([row(), row(attempt_id="2", user_id=None)], max_quarantine=0.4)
    assert stored(engine) == []
    assert counts(run([row(), row(attempt_id="2", user_id=None)], max_quarantine=0.5))[1] == 1


def test_partial_credit_counts_only_under_a_declared_threshold(run, engine):
    rows = [
        row(correct=0.5),
        row(attempt_id="2", correct=0.4),
        row(attempt_id="3", correct=1.2),
    ]
    report = run(rows, FileOptions(partial_credit_from=0.5))
    assert counts(report) == (3, 2, 0, 1)
    assert [correct for _, _, correct in stored(engine)] == [1, 0]


def test_examples_in_the_summary_do_not_show_ids(run):
    report = run([row(user_id="secret-name", correct=None), row()])
    summary = (report.quarantine / "summary.json").read_text()
    assert "secret-name" not in summary
    assert len(report.rules[0].examples) == 1


# --- files that cannot be used: nothing is half written -------------------------------------


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
    assert report.reasons == {"attempted_at_is_a_time": 1}


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
        ("correct", pa.string(), "yes"),
        ("correct", pa.timestamp("us"), EARLY.replace(tzinfo=None)),
        ("attempted_at", pa.int64(), 5),
        ("attempted_at", pa.float64(), 5.0),
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
        writer.writerow([1, 'a "b", \n c', "é", "1", "2026-01-01T00:00:00+02:00"])
        writer.writerow([2, "", "é", "1.0", "2026-01-01 00:00:00Z"])
        writer.writerow([3, "u", "é", "right", "2026-01-01 00:00:00.123456+00"])
        writer.writerow([4, "u", "é", "0.0", "infinity"])
        writer.writerow([5, "u", "é", "0", "2026-01-01 00:00Z"])
    report = run(path, FileOptions(column_map={"user_id": "user"}))
    assert counts(report) == (5, 2, 0, 3)
    assert report.reasons == {
        "user_id_is_given": 1,
        "correct_is_0_or_1": 1,
        "attempted_at_is_a_time": 1,
    }
    assert stored(engine) == [('a "b", \n c', "é", 1), ("u", "é", 0)]


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
