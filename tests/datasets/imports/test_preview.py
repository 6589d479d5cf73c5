"""What a preview guesses: from every value it looked at, and with its doubts said."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets.attempt_files.options import FileOptions
from datasets.attempt_files.values.plans import Layout
from datasets.imports.preview import preview_file
from tests.datasets.attempt_files.importing_text import AT, HEADER

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ZONE = "--time-zone UTC"


def seen(path, body=None, **options):
    """The preview of a file with this text."""
    if body is not None:
        path.write_text(body)
    return preview_file(path, FileOptions(**options), source="", latest=NOW)


def rows_at(times):
    return HEADER + "".join(f"u,c,{n % 2},{at}\n" for n, at in enumerate(times))


def test_a_format_is_guessed_from_every_value_and_not_from_the_first(tmp_path):
    """The first twelve days could be months; the others cannot."""
    times = [f"{day}/5/2026 8:00" for day in range(1, 29)]
    one = seen(tmp_path / "f.csv", rows_at(times))
    assert one.flags == ("--time-format '%d/%m/%Y %H:%M'", ZONE)
    assert (one.rows.accepted, one.rows.quarantined) == (28, 0)


def test_where_two_formats_read_every_value_the_doubt_is_said(tmp_path):
    one = seen(tmp_path / "f.csv", rows_at(["1/5/2026 8:00", "2/5/2026 8:00"]))
    assert one.flags == ("--time-format '%m/%d/%Y %H:%M'", ZONE)
    assert "--time-format '%d/%m/%Y %H:%M' reads every time as well" in one.doubts[0]
    one = seen(tmp_path / "f.csv", rows_at(["5/5/2026 8:00", "6/6/2026 8:00"]))
    assert "as well" not in " ".join(one.doubts)


def test_years_of_two_digits_are_not_the_year_26(tmp_path):
    one = seen(tmp_path / "f.csv", rows_at(["25.01.26 08:00", "26.01.26 08:00"]))
    assert one.flags == ("--time-format '%d.%m.%y %H:%M'", ZONE)
    assert one.rows.accepted == 2


@pytest.mark.parametrize(
    ("times", "flags"),
    [
        (["2026-01-05T08:00:00Z", "2026-01-05 08:00:00+01", "2026-01-05 08:00 UTC"], ()),
        (["2026-01-05T08:00:00Z", "soon", "05.01.2026 08:00"], ()),
        (["2026-01-05 08:00:00"], (ZONE,)),
        (["2026-01-05T08:00:00Z", "2026-01-05 08:00:00"], (ZONE,)),
        (["2026-01-05", "2026-01-25"], ("--time-format '%Y-%m-%d'", ZONE)),
    ],
)
def test_a_zone_is_suggested_only_where_a_time_has_none(tmp_path, times, flags):
    one = seen(tmp_path / "f.csv", rows_at(times))
    assert one.flags == flags
    assert one.rows.accepted > 0
    assert any("UTC" in doubt for doubt in one.doubts) == (ZONE in flags)


def test_a_zone_is_suggested_beside_a_format_that_is_given(tmp_path):
    body = rows_at(["05.01.2026 08:00"])
    assert seen(tmp_path / "f.csv", body, time_format="%d.%m.%Y %H:%M").flags == (ZONE,)


def test_dates_of_a_parquet_file_need_a_zone_and_no_format(tmp_path):
    table = pa.table(
        {
            "user_id": ["u"],
            "concept_id": ["c"],
            "correct": [1],
            "attempted_at": [date(2026, 1, 5)],
        }
    )
    pq.write_table(table, tmp_path / "f.parquet")
    assert seen(tmp_path / "f.parquet").flags == (ZONE,)


@pytest.mark.parametrize(
    "header", [HEADER, '"user_id","concept_id","correct","attempted_at"\n']
)
def test_marks_between_tabs_are_taken_away_before_values_are_looked_at(tmp_path, header):
    body = (header + f'"u","c","1","{AT}"\n').replace(",", "\t")
    assert seen(tmp_path / "f.tsv", body).flags == ("--quote double",)


def test_outcomes_are_guessed_from_every_value(tmp_path):
    """A column of 0 and 1 that holds a 7 further down is no outcome."""
    body = "user_id,concept_id,day,passed,attempted_at\n" + "".join(
        f"u,c,{n % 2 if n < 9 else 7},{n % 2},{AT}\n" for n in range(10)
    )
    assert seen(tmp_path / "f.csv", body).flags == ("--map correct=passed",)


def test_the_export_of_hmm_scalable_is_known_by_its_values(tmp_path):
    one = seen(tmp_path / "f.txt", "1\tann\tq1\tadd~carry\n2\tann\tq2\tadd\n2\tbob\tq1\tadd\n")
    assert (one.flags, one.layout) == (("--layout hmm-scalable",), Layout.HMM_SCALABLE)
    assert one.rows.accepted == 3


def test_columns_without_names_are_named_by_their_values(tmp_path):
    one = seen(tmp_path / "f.csv", f"ann,add,1,{AT}\nbob,add,0,{AT}\n")
    assert one.flags == ("--columns c1,c2,correct,attempted_at",)
    assert "user_id, concept_id is missing" in one.problem


@pytest.mark.parametrize(
    ("layout", "header", "file"),
    [
        (Layout.EDNET, "timestamp,solving_id,question_id,user_answer", "questions.csv"),
        (Layout.RIIID, "timestamp,user_id,content_id,answered_correctly", "questions"),
        (Layout.EEDI, "QuestionId,UserId,AnswerId,IsCorrect", "answer_metadata"),
    ],
)
def test_a_second_file_that_an_export_has_is_asked_for(tmp_path, layout, header, file):
    one = seen(tmp_path / "f.csv", f"{header}\n1,2,3,1\n", layout=layout)
    assert "--join" in one.problem
    assert file in one.problem
