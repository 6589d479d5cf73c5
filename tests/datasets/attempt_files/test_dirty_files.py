"""The dirty real files import with every row accounted for, as their README counts them."""

from __future__ import annotations

import polars as pl
import pytest

from datasets.attempt_files.options import FileOptions
from datasets.extracts.extraction import extract_attempts
from datasets.imports.file_import import ImportOptions, import_file
from tests.datasets.attempt_rows import NOW

pytestmark = [pytest.mark.benchmark_data, pytest.mark.slow]


@pytest.fixture
def run(engine, tmp_path, benchmark_data):
    def import_one(name, **options):
        return import_file(
            engine,
            benchmark_data / f"{name}.parquet",
            ImportOptions(file=FileOptions(**options)),
            quarantine_root=tmp_path / "quarantine",
            at=NOW,
        )

    return import_one


def test_raw_assistments(run, engine, tmp_path):
    report = run("dirty_assist0910_250u_raw")
    assert report.rows.as_dict() == {
        "read": 24_437, "accepted": 18_981, "duplicates": 5_456, "quarantined": 0,
    }  # fmt: skip
    assert run("dirty_assist0910_250u_raw").rows.duplicates == 24_437
    extract = extract_attempts(engine, tmp_path, at=NOW)
    assert (extract.rows.read, extract.rows.accepted) == (18_981, 18_981)
    assert (extract.users.num_rows, extract.concepts.num_rows) == (250, 100)


def test_raw_tutor_steps(run, engine, tmp_path):
    """1,097 rows name a concept of more than 255 characters; 33 of them have several."""
    report = run("dirty_algebra0607_11u_raw", concept_delimiter="~~")
    assert report.rows.as_dict() == {
        "read": 18_220, "accepted": 13_604, "duplicates": 0, "quarantined": 4_616,
    }  # fmt: skip
    assert report.reasons == {"concept_id_is_given": 3_519, "concept_id_fits": 1_097}
    assert report.multi_concept == 293
    assert report.attempts == 13_875
    kept = pl.read_parquet(report.quarantine / "rows.parquet")
    assert kept.height == 4_616
    extract = extract_attempts(engine, tmp_path, at=NOW)
    assert extract.rows.read == extract.rows.accepted == 13_875
    assert extract.users.num_rows == 11


@pytest.mark.parametrize(
    ("name", "rows", "users", "concepts"),
    [
        ("assist0910_builder_test", 117_567, 856, 120),
        ("algebra05_114u", 129_998, 114, 258),
    ],
)
def test_clean_files(run, engine, tmp_path, name, rows, users, concepts):
    report = run(name)
    assert (report.rows.read, report.rows.accepted) == (rows, rows)
    extract = extract_attempts(engine, tmp_path, at=NOW)
    assert extract.rows.accepted == rows
    assert (extract.users.num_rows, extract.concepts.num_rows) == (users, concepts)
