"""Files that could be stored wrong in silence: refused or noted, with the place."""

from __future__ import annotations

import json
import os

import pytest

from bkt_core.errors import UsageError
from datasets.attempt_files.options import FileOptions, Quote
from datasets.attempt_files.values.plans import Layout
from datasets.attempt_files.values.times import TimeUnit
from datasets.errors import FileFormatError
from datasets.imports import file_import
from tests.datasets.attempt_files.importing_text import (
    AT,
    HEADER,
    import_text,
    moments,
    refused,
)
from tests.datasets.imports.importing import counts, stored

ROWS = f"u,c,1,{AT}\nv,c,0,{AT}\n"


@pytest.mark.parametrize("grows", [True, False])
def test_a_file_that_changes_while_it_is_read_is_refused(
    run, engine, tmp_path, monkeypatch, grows
):
    """Its bytes name its rows: what is stored must be what they were taken of."""
    path = tmp_path / "f.csv"
    survey = file_import.survey

    def after_a_change(file, rules):
        path.write_text(HEADER + (ROWS * 2 if grows else ROWS.replace(",0,", ",1,")))
        os.utime(path, ns=(1, 1))
        return survey(file, rules)

    monkeypatch.setattr(file_import, "survey", after_a_change)
    refused(run, engine, path, HEADER + ROWS, "changed while it was read")


def tabbed(body):
    return body.replace(",", "\t")


@pytest.mark.parametrize(
    "body",
    [
        HEADER + f'"u","c",1,{AT}\n"v","c",0,{AT}\n',
        HEADER.replace("user_id", '"user_id"') + ROWS,
    ],
)
def test_marks_around_every_id_between_tabs_are_asked_about(run, engine, tmp_path, body):
    path = tmp_path / "f.tsv"
    refused(run, engine, path, tabbed(body), "--quote double .* --quote none")
    report = import_text(run, path, tabbed(body), quote=Quote.DOUBLE)
    assert counts(report) == (2, 2, 0, 0)
    assert [user for user, *_ in stored(engine)] == ["u", "v"]


def test_marks_around_some_ids_between_tabs_are_part_of_them(run, engine, tmp_path):
    body = tabbed(HEADER + f'"u",c,1,{AT}\nv,c,0,{AT}\n')
    assert counts(import_text(run, tmp_path / "f.tsv", body)) == (2, 2, 0, 0)
    assert [user for user, *_ in stored(engine)] == ['"u"', "v"]


def test_a_unit_that_ends_in_1970_is_refused_with_the_one_that_does_not(run, engine, tmp_path):
    body = HEADER + "u,c,1,1767600000\nv,c,0,1767600060\n"
    path = tmp_path / "f.csv"
    refused(
        run, engine, path, body, "the year 1970.*--time-unit s .the year 2026",
        time_unit=TimeUnit.MILLISECONDS,
    )  # fmt: skip


def test_numbers_that_count_from_a_small_one_are_read_in_their_unit(run, engine, tmp_path):
    body = HEADER + "u,c,1,0\nv,c,0,78126\n"
    report = import_text(run, tmp_path / "f.csv", body, time_unit=TimeUnit.MILLISECONDS)
    assert counts(report) == (2, 2, 0, 0)
    assert moments(engine)[0] == "1970-01-01 00:00:00"


def test_the_unit_of_a_layout_gives_way_to_times_that_are_text(run, engine, tmp_path):
    body = "user_id,skills,problemID,stepID,isCorrect,time_stamp\n" + f"u,c,p,s,true,{AT}\n"
    report = import_text(run, tmp_path / "f.csv", body, layout=Layout.OATUTOR)
    assert counts(report) == (1, 1, 0, 0)
    assert moments(engine) == ["2026-01-05 08:00:00"]


def test_first_attempts_need_questions(run, tmp_path):
    with pytest.raises(UsageError, match=r"--first-attempts needs .* --map question_id=COLUMN"):
        import_text(run, tmp_path / "f.csv", HEADER + ROWS, first_attempts=True)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (HEADER + ROWS + "u,c,1\n", "line 4: expected 4 fields, .* got 3: 'u,c,1'"),
        (HEADER + ROWS + f"\n\nu,c,1,{AT},x\n", "line 6: expected 4 fields, .* got 5"),
        (HEADER + ROWS.replace("\n", ",\n"), "line 2: .* It ends with the delimiter"),
        (HEADER + '"u, 2",c,1\n', "line 2: expected 4 fields, .* got 3"),
        ("sep=;\n" + HEADER + ROWS, "begins with 'sep=;', a line for spreadsheets"),
        (HEADER + ROWS + "   \n", "line 4: expected 4 fields, .* got 1"),
    ],
)
def test_a_line_with_too_few_or_too_many_fields_is_named(run, engine, tmp_path, body, match):
    refused(run, engine, tmp_path / "f.csv", body, match, column_map={})


def test_a_folder_names_the_file_that_cannot_be_read(run, engine, tmp_path):
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "a.csv").write_text(HEADER + ROWS)
    (folder / "notes.txt").write_text("hello\n")
    with pytest.raises(FileFormatError, match=r"notes\.txt"):
        run(folder, FileOptions())
    assert stored(engine) == []


def test_hidden_files_of_a_folder_are_left_alone(run, tmp_path):
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "a.csv").write_text(HEADER + ROWS)
    (folder / "._a.csv").write_text("resource fork")
    assert counts(run(folder, FileOptions())) == (2, 2, 0, 0)


def test_what_is_there_but_no_file_is_not_called_missing(run, tmp_path):
    path = tmp_path / "f.csv"
    os.mkfifo(path)
    with pytest.raises(FileFormatError, match="is not a regular file"):
        run(path, FileOptions())


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (HEADER, "no rows"),
        (HEADER + f" u ,c,1,{AT}\nv,c,0,{AT}\n", "blanks around"),
    ],
)
def test_what_looks_odd_is_noted(run, tmp_path, body, told):
    report = import_text(run, tmp_path / "f.csv", body)
    assert any(told in remark for remark in report.remarks)


def test_rows_that_are_all_skipped_are_noted(run, tmp_path):
    report = import_text(run, tmp_path / "f.csv", HEADER + ROWS, skip=(("concept_id", "c"),))
    assert any("All 2 rows were skipped" in remark for remark in report.remarks)


def test_every_parent_of_an_xapi_statement_is_a_concept(run, engine, tmp_path):
    statements = [
        {
            "id": str(n), "actor": {"mbox": "mailto:ann"}, "verb": {"id": "answered"},
            "object": {"id": "q"}, "result": {"success": True}, "timestamp": AT,
            "context": {"contextActivities": {"parent": parent}},
        }
        for n, parent in enumerate([[{"id": "a"}], [{"id": "b"}, {"id": "a"}], {"id": "c"}])
    ]  # fmt: skip
    body = "\n".join(map(json.dumps, statements))
    report = import_text(run, tmp_path / "f.jsonl", body, layout=Layout.XAPI)
    assert (counts(report), report.multi_concept) == ((3, 3, 0, 0), 1)
    assert [concept for _, concept, _ in stored(engine)] == ["a", "b", "a", "c"]


@pytest.mark.parametrize("body", ['[{"user_id": "u"}]', "[\n  {}\n]\n"])
def test_a_json_array_is_refused_with_what_would_make_lines_of_it(run, engine, tmp_path, body):
    refused(run, engine, tmp_path / "f.json", body, "one object a line.*jq -c")


def test_text_that_is_no_utf8_is_explained_where_it_sets_all_rows_aside(run, engine, tmp_path):
    body = (HEADER + f"José,c,1,{AT}\n").encode("latin-1")
    refused(run, engine, tmp_path / "f.csv", body, "UTF-8.*iconv")
