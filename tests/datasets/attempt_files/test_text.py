"""Lines, quotation marks, archives and headers of text files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile

import pyarrow as pa
import pytest
from sqlalchemy import text

from datasets.attempt_files.options import Quote
from datasets.errors import FileFormatError
from tests.datasets.attempt_files.importing_text import (
    AT,
    HEADER,
    import_text,
    refused,
)
from tests.datasets.imports.importing import counts, stored


def test_stray_quotes_between_tabs_are_text_and_no_attempt_is_lost(run, engine, tmp_path):
    """A mark opens nothing in a tab-separated file: two rows never become one."""
    marks = {3: '"x', 7: 'y"', 50: '5" disc', 90: '"'}
    lines = [f"u{n}\tc\t{n % 2}\t{AT}\t{marks.get(n, 'p')}" for n in range(100)]
    body = "user_id\tconcept_id\tcorrect\tattempted_at\tquestion_id\n" + "\n".join(lines)
    report = import_text(run, tmp_path / "f.tsv", body)
    assert counts(report) == (100, 100, 0, 0)
    assert stored(engine) == [(f"u{n}", "c", n % 2) for n in range(100)]
    with engine.connect() as conn:
        odd = text("SELECT question_id FROM attempts WHERE question_id <> 'p' ORDER BY id")
        assert conn.execute(odd).scalars().all() == list(marks.values())


def test_a_quoted_field_that_spans_lines_is_refused_with_its_line(run, engine, tmp_path):
    body = HEADER + f'u,c,1,{AT}\n"a\nb",c,1,{AT}\n'
    refused(run, engine, tmp_path / "f.csv", body, r"line 3: .*--quote none")
    body = HEADER.replace(",", "\t") + f'"a\tc\t1\t{AT}\nb"\tc\t1\t{AT}\n'
    refused(run, engine, tmp_path / "f.tsv", body, "line 2", quote=Quote.DOUBLE)
    assert counts(import_text(run, tmp_path / "f.tsv", body)) == (2, 2, 0, 0)
    assert [user for user, *_ in stored(engine)] == ['"a', 'b"']


def test_quoted_fields_on_one_line_are_unquoted_and_a_mark_inside_is_itself(
    run, engine, tmp_path
):
    body = HEADER + f'"a, b",5" disc,1,{AT}\n"say ""hi""","c",0,{AT}\n'
    assert counts(import_text(run, tmp_path / "f.csv", body)) == (2, 2, 0, 0)
    assert stored(engine) == [("a, b", '5" disc', 1), ('say "hi"', "c", 0)]


def test_a_mark_behind_a_quoted_field_is_refused(run, engine, tmp_path):
    refused(run, engine, tmp_path / "f.csv", HEADER + f'"a" b,c,1,{AT}\n', "line 2")


def test_blank_lines_are_no_rows_and_every_line_end_is_one(run, engine, tmp_path):
    for ends in ("\n", "\r\n", "\r"):
        body = (HEADER + f"u,c,1,{AT}\n\nv,c,0,{AT}\n").replace("\n", ends)
        assert import_text(run, tmp_path / "f.csv", body).rows.read == 2, repr(ends)
    assert {user for user, *_ in stored(engine)} == {"u", "v"}


def test_compressed_files_are_the_file_that_they_hold(run, engine, tmp_path):
    body = (HEADER + f"u,c,1,{AT}\nv,c,0,{AT}\n").encode()
    tmp_path = tmp_path / "files"
    tmp_path.mkdir()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(body))
    (tmp_path / "b.CSV.zst").write_bytes(pa.compress(body, codec="zstd", asbytes=True))
    (tmp_path / "c.csv.bz2").write_bytes(bz2.compress(body))
    (tmp_path / "d.csv.xz").write_bytes(lzma.compress(body))
    (tmp_path / "e.csv").write_bytes(gzip.compress(body[:40]) + gzip.compress(body[40:]))
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("inside/f.csv", body)
        archive.writestr("__MACOSX/._f.csv", b"x")
    (tmp_path / "g.CSV").write_bytes(body)
    reports = [run(path) for path in sorted(tmp_path.iterdir())]
    assert [report.rows.read for report in reports] == [2] * 7
    assert [report.rows.duplicates for report in reports] == [0] + [2] * 6
    assert stored(engine) == [("u", "c", 1), ("v", "c", 0)]


def test_a_truncated_archive_and_a_zip_of_several_files_are_refused(run, engine, tmp_path):
    body = (HEADER + f"u,c,1,{AT}\n" * 3000).encode()
    refused(run, engine, tmp_path / "a.csv.gz", gzip.compress(body)[:-20], "cannot be read")
    for names in (("a.csv", "b.csv"), ()):
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            for name in names:
                archive.writestr(name, body)
        with pytest.raises(FileFormatError, match="must hold one file"):
            run(tmp_path / "z.zip")
    refused(run, engine, tmp_path / "y.zip", b"PK\x03\x04 broken", "cannot be read")


def test_a_file_without_a_header_asks_for_one_and_takes_names(run, engine, tmp_path):
    path, body = tmp_path / "f.csv", f"17,42,1,{AT}\n18,42,0,{AT}\n"
    refused(run, engine, path, body, "header line is missing.*--columns")
    names = ("user_id", "concept_id", "correct", "attempted_at")
    assert counts(import_text(run, path, body, columns=names)) == (2, 2, 0, 0)
    assert stored(engine) == [("17", "42", 1), ("18", "42", 0)]


def test_a_constant_stands_for_a_column(run, engine, tmp_path):
    body = f"concept_id,correct,attempted_at\nc,1,{AT}\n"
    import_text(run, tmp_path / "f.csv", body, constants={"user_id": "u42"})
    assert stored(engine) == [("u42", "c", 1)]


def test_names_of_columns_are_compared_without_case_and_blanks(run, engine, tmp_path):
    import_text(
        run, tmp_path / "f.csv", f"User ID, Concept-Id ,CORRECT,attempted_at\nu,c,1,{AT}\n"
    )
    assert stored(engine) == [("u", "c", 1)]


def test_a_repeated_column_is_refused_only_where_it_is_read(run, tmp_path):
    body = f"user_id,concept_id,correct,attempted_at,x,x\nu,c,1,{AT},1,2\n"
    assert counts(import_text(run, tmp_path / "f.csv", body)) == (1, 1, 0, 0)
    body = f"user_id,concept_id,correct,correct,attempted_at\nu,c,1,0,{AT}\n"
    with pytest.raises(FileFormatError, match="correct more than once"):
        import_text(run, tmp_path / "g.csv", body)


def test_what_is_missing_is_suggested_by_the_names(run, engine, tmp_path):
    body = f"student_id,skill,is_correct,timestamp\nu,c,1,{AT}\n"
    match = (
        "--map user_id=student_id --map concept_id=skill --map correct=is_correct "
        "--map attempted_at=timestamp"
    )
    refused(run, engine, tmp_path / "f.csv", body, match)
