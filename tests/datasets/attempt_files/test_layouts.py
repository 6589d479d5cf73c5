"""Exports of other platforms, and rows that are no attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bkt_core.errors import UsageError
from datasets.attempt_files.options import FileOptions, Join
from datasets.attempt_files.values.plans import Layout
from datasets.errors import FileFormatError
from tests.datasets.attempt_files.importing_text import (
    AT,
    import_text,
    moments,
    refused,
)
from tests.datasets.imports.importing import counts, stored


def test_rows_that_are_no_answers_are_skipped_and_counted(run, tmp_path):
    body = (
        "user_id,concept_id,correct,attempted_at,kind\n"
        f"u,c,1,{AT},question\nu,c,-1,{AT},Lecture\nv,c,0,{AT},question\nw,c,,{AT},\n"
    )
    skip = (("kind", "lecture"), ("kind", ""))
    report = import_text(run, tmp_path / "f.csv", body, skip=skip)
    assert (counts(report), report.rows.skipped) == ((4, 2, 0, 0), 2)
    with pytest.raises(UsageError, match="--skip takes column=value"):
        run(tmp_path / "f.csv", FileOptions(skip=(("sort", "x"),)))


def test_only_first_answers_count_where_that_is_asked(run, tmp_path):
    """Rows in any order; the two concepts of one attempt belong together."""
    at = datetime(2026, 1, 5, 8, tzinfo=UTC)
    rows = [
        ("a3", "u", "q", "c", 1, at + timedelta(minutes=2)),
        ("a1", "u", "q", "c", 0, at),
        ("a1", "u", "q", "d", 0, at),
        ("a2", "u", "q", "c", 0, at + timedelta(minutes=1)),
        ("a4", "u", "q", "c", 1, at + timedelta(hours=3)),
        ("a5", "v", "q", "c", 1, at),
        ("a6", "u", "", "c", 1, at),
        ("a7", "u", "", "c", 1, at),
    ]
    body = "attempt_id,user_id,question_id,concept_id,correct,attempted_at\n" + "".join(
        f"{i},{u},{q},{c},{r},{t.isoformat()}\n" for i, u, q, c, r, t in rows
    )
    path = tmp_path / "f.csv"
    report = import_text(run, path, body, first_attempts=True)
    assert (counts(report), report.rows.skipped) == ((8, 5, 0, 0), 3)
    assert report.remarks == (
        "50.0% of the attempts repeat a question that their user had attempted; they were "
        "skipped.",
    )
    report = import_text(run, path, body, first_attempts=True, within=timedelta(hours=1))
    assert (report.rows.skipped, report.rows.accepted) == (2, 1)


def test_the_transaction_export_of_datashop(run, engine, tmp_path):
    body = (
        "Row\tTransaction Id\tAnon Student Id\tTime\tProblem Name\tStep Name\tAttempt At Step\t"
        "Outcome\tKC (Default)\tKC Category (Default)\tKC (Default)\tKC (Other)\n"
        "1\tt1\tann\t2006-10-26 09:52:30.0\tP1\tS1\t1\tINCORRECT\tadd\t\tcarry\tx\n"
        "2\tt2\tann\t2006-10-26 09:52:35.0\tP1\tS1\t2\tCORRECT\tadd\t\t\tx\n"
        "3\tt3\tann\t2006-10-26 09:52:36.0\tP1\tS2\t1\tHINT\tadd\t\t\tx\n"
        "4\tt4\tann\t2006-10-26 09:52:37.0\tP1\tS2\t1\t\tadd\t\t\tx\n"
    )
    options = {"layout": Layout.DATASHOP, "time_zone": "UTC"}
    report = import_text(run, tmp_path / "f.txt", body, **options)
    assert (counts(report), report.rows.skipped) == ((4, 3, 0, 0), 1)
    assert stored(engine) == [
        ("ann", "add", 0), ("ann", "carry", 0), ("ann", "add", 1), ("ann", "add", 0),
    ]  # fmt: skip
    report = run(tmp_path / "f.txt", FileOptions(**options, first_attempts=True))
    assert (report.rows.skipped, report.rows.duplicates) == (2, 2)
    report = run(tmp_path / "f.txt", FileOptions(**options, kc_model="other"))
    assert (report.rows.accepted, report.rows.skipped) == (3, 1)
    with pytest.raises(
        UsageError, match=r"--kc-model must name one of KC \(Default\), KC \(Other\)"
    ):
        run(tmp_path / "f.txt", FileOptions(**options, kc_model="none"))


def test_four_columns_of_hmm_scalable(run, engine, tmp_path):
    body = "1\tann\tq1\tadd~carry\n2\tann\tq2\tadd\n1\tbob\tq1\t.\n3\tbob\tq1\tadd\n"
    report = import_text(run, tmp_path / "f.txt", body, layout=Layout.HMM_SCALABLE)
    assert counts(report) == (4, 2, 0, 2)
    assert stored(engine) == [("ann", "add", 1), ("ann", "carry", 1), ("ann", "add", 0)]
    assert moments(engine) == sorted(moments(engine))


@pytest.mark.parametrize("layout", [Layout.ASSISTMENTS, Layout.PYBKT])
def test_the_order_column_is_checked_and_can_be_named(run, engine, tmp_path, layout):
    body = "seq,user_id,skill_name,correct\n500.0,u,c,1\n400.0,u,c,0\n"
    path = tmp_path / "f.csv"
    match = r"order_id \(the order of the attempts: --map order=COLUMN"
    refused(run, engine, path, body, match, layout=layout)
    report = import_text(run, path, body, layout=layout, column_map={"order": "seq"})
    assert counts(report) == (2, 2, 0, 0)
    assert moments(engine) == ["2000-01-01 00:08:20", "2000-01-01 00:06:40"]


def test_a_second_file_brings_the_key_and_the_concepts(run, engine, tmp_path):
    questions = tmp_path / "questions.csv"
    questions.write_text("question_id,correct_answer,tags\nq1,b,1;7\nq2,a,7\n")
    body = (
        "timestamp,solving_id,question_id,user_answer\n"
        "1767600000000,1,q1,b\n1767600001000,2,q2,c\n"
    )
    options = {
        "layout": Layout.EDNET,
        "joins": (Join(path=questions),),
        "user_from_name": True,
    }
    report = import_text(run, tmp_path / "u1.csv", body, **options)
    assert counts(report) == (2, 2, 0, 0)
    assert stored(engine) == [("u1", "1", 1), ("u1", "7", 1), ("u1", "7", 0)]
    questions.write_text("question_id,correct_answer,tags\nq1,b,1\nq1,a,7\n")
    with pytest.raises(FileFormatError, match="must hold each question_id once, got 'q1'"):
        run(tmp_path / "u1.csv", FileOptions(**options))


def test_a_folder_with_a_file_per_user(run, engine, tmp_path):
    folder = tmp_path / "KT1"
    folder.mkdir()
    for user in ("u1", "u2"):
        (folder / f"{user}.csv").write_text(f"concept_id,correct,attempted_at\nc,1,{AT}\n")
    (folder / "readme.md").write_text("no attempts")
    options = FileOptions(user_from_name=True)
    assert counts(run(folder, options)) == (2, 2, 0, 0)
    assert stored(engine) == [("u1", "c", 1), ("u2", "c", 1)]
    assert counts(run(folder, options)) == (2, 0, 2, 0)
    (tmp_path / "none").mkdir()
    with pytest.raises(FileFormatError, match="Expected attempt files in the folder"):
        run(tmp_path / "none", options)


def test_statements_of_xapi(run, engine, tmp_path):
    lines = [
        '{"id":"s1","actor":{"account":{"name":"ann"}},"verb":{"id":"answered"},'
        '"object":{"id":"q1"},"result":{"success":true},"timestamp":"2026-01-05T08:00:00Z",'
        '"context":{"contextActivities":{"parent":[{"id":"add"}]}}}',
        '{"id":"s2","actor":{"account":{"name":"ann"}},"verb":{"id":"opened"},'
        '"object":{"id":"q1"},"timestamp":"2026-01-05T08:00:00Z"}',
    ]
    path = tmp_path / "f.jsonl"
    report = import_text(run, path, "\n".join(lines), layout=Layout.XAPI)
    assert (counts(report), report.rows.skipped) == ((2, 1, 0, 0), 1)
    assert stored(engine) == [("ann", "add", 1)]
    refused_line = "\n".join([*lines, "[1]"])
    with pytest.raises(FileFormatError, match="line 3: expected a JSON object, got list"):
        import_text(run, path, refused_line, layout=Layout.XAPI)
