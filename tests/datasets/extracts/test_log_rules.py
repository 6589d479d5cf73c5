"""Rows of the log that break a rule, logs that break off: named, and nothing half written."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pyarrow as pa
import pytest
from sqlalchemy import Engine, text

from datasets.errors import ExtractError, QuarantineLimitError
from datasets.extracts.extraction import ExtractOptions, extract_attempts
from datasets.store.attempts.erasure import write_tombstone
from tests.datasets.attempt_rows import NOW, Row, add, many

TOLERANT = ExtractOptions(max_quarantine=1.0)


def break_rules(engine: Engine, *values: str) -> None:
    """Put rows into the table that its constraints would refuse."""
    sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as conn:
        if sqlite:
            conn.execute(text("PRAGMA ignore_check_constraints = ON"))
        else:
            for name in (
                "correct_is_0_or_1",
                "attempted_at_is_finite",
                "user_id_length",
                "concept_id_length",
            ):
                conn.execute(
                    text(f"ALTER TABLE attempts DROP CONSTRAINT IF EXISTS ck_attempts_{name}")
                )
            conn.execute(text("ALTER TABLE attempts ALTER correct DROP NOT NULL"))
            conn.execute(text("ALTER TABLE attempts ALTER user_id TYPE text"))
            conn.execute(text("ALTER TABLE attempts ALTER user_id DROP NOT NULL"))
            conn.execute(text("ALTER TABLE attempts ALTER concept_id TYPE text"))
        for i, value in enumerate(values):
            conn.execute(
                text(
                    "INSERT INTO attempts (source, idempotency_key, user_id, concept_id, "  # noqa: S608 - a test's own rows
                    f"correct, attempted_at, created_at) VALUES ('', 'broken-{i}', {value}, "
                    "'2026-01-01 00:00:00.000000')"
                )
            )


TIME = "'2026-01-01 00:00:00.000000'"
LONG = "x" * 256
BROKEN = {
    "concept_id_is_given": f"'u', NULL, 1, {TIME}",
    "correct_is_0_or_1": f"'u', 'c', 2, {TIME}",
    "user_id_fits": f"'{LONG}', 'c', 1, {TIME}",
    "concept_id_fits": f"'u', '{'é' * 256}', 1, {TIME}",
    "attempted_since_1970": "'u', 'c', 1, '1969-12-31 23:59:59.999999'",
    "attempted_by_now": "'u', 'c', 1, '2026-03-01 02:05:00.000001'",
    "attempted_at_is_a_time": "'u', 'c', 1, 'infinity'",
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_row_is_set_aside_under_its_rule(engine, tmp_path, rule):
    add(engine, *(Row(minute=i) for i in range(20)))
    break_rules(engine, BROKEN[rule], BROKEN[rule])
    extract = extract_attempts(engine, tmp_path, at=NOW, options=TOLERANT)
    assert extract.rows.as_dict() == {
        "read": 22, "accepted": 20, "duplicates": 0, "quarantined": 2,
    }  # fmt: skip
    assert extract.reasons == {rule: 2}
    assert [(found.rule, found.rows) for found in extract.quarantine] == [(rule, 2)]
    rows = pl.read_parquet(extract.session / "quarantine" / "rows.parquet")
    assert rows["rule"].to_list() == [rule, rule]
    expected = [] if rule.startswith(("concept_id", "user_id")) else [("u", "c")]
    assert pl.read_parquet(extract.set_aside).rows() == expected


def test_a_null_outcome_and_a_null_user_are_set_aside_on_postgres(engine, tmp_path):
    if engine.dialect.name == "sqlite":
        return  # NOT NULL cannot be switched off there
    break_rules(engine, f"'u', 'c', NULL, {TIME}", f"NULL, 'c', 1, {TIME}")
    extract = extract_attempts(engine, tmp_path, at=NOW, options=TOLERANT)
    assert extract.reasons == {"correct_is_0_or_1": 1, "user_id_is_given": 1}


def test_an_outcome_that_is_no_number_is_set_aside_on_sqlite(engine, tmp_path):
    if engine.dialect.name != "sqlite":
        return  # smallint cannot hold one
    add(engine, Row())
    break_rules(engine, f"'u', 'c', 'right', {TIME}", f"'u', 'c', 0.5, {TIME}")
    extract = extract_attempts(engine, tmp_path, at=NOW, options=TOLERANT)
    assert extract.reasons == {"correct_is_0_or_1": 2}
    assert extract.rows.accepted == 1


def test_too_much_quarantine_stops_the_run_and_says_where_to_look(engine, tmp_path):
    add(engine, *(Row(minute=i) for i in range(18)))
    break_rules(engine, BROKEN["correct_is_0_or_1"])
    with pytest.raises(QuarantineLimitError, match=r"1 of 19 rows .* allowed 5\.0%") as stopped:
        extract_attempts(engine, tmp_path, at=NOW)
    assert stopped.value.exit_code == 3
    assert not list((tmp_path / "extracts").iterdir())


def test_clocks_may_run_ahead_by_the_skew_and_no_more(engine, tmp_path):
    ahead = (NOW - Row().at).total_seconds() / 60
    add(engine, Row(minute=ahead + 5), Row(minute=ahead + 5.001))
    options = replace(TOLERANT, future_skew=timedelta(minutes=5))
    extract = extract_attempts(engine, tmp_path, at=NOW, options=options)
    assert extract.reasons == {"attempted_by_now": 1}
    assert extract.rows.accepted == 1


def test_nothing_of_an_erased_user_is_written(engine, tmp_path):
    add(engine, Row(user="gone-for-good", concept=None), Row(user="gone-for-good"), Row())
    with engine.begin() as conn:
        write_tombstone(conn, "gone-for-good", at=NOW, actor="test")
    extract = extract_attempts(engine, tmp_path / "data", at=NOW, options=TOLERANT)
    assert extract.reasons == {"user_was_erased": 2}
    assert extract.rows.accepted == 1
    written = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert b"gone-for-good" not in path.read_bytes()
        if path.suffix == ".parquet":
            assert "gone-for-good" not in str(pl.read_parquet(path).to_dicts())


def test_a_database_that_goes_away_leaves_nothing_behind(engine, tmp_path, monkeypatch):
    add(engine, *many(100))
    from datasets.extracts import extraction as module

    def cut(*_arguments):
        raise pa.ArrowException("server closed the connection unexpectedly")

    monkeypatch.setattr(module.Intake, "take", cut)
    with pytest.raises(ExtractError, match=r"readable to the end.*closed the connection"):
        extract_attempts(engine, tmp_path, at=NOW)
    assert not list((tmp_path / "extracts").iterdir())
    assert not list((tmp_path / "sessions").iterdir())
    monkeypatch.undo()
    assert extract_attempts(engine, tmp_path, at=NOW).rows.accepted == 100


@pytest.mark.slow
def test_a_backend_that_is_killed_while_it_sends_is_a_clear_error(
    engine, tmp_path, monkeypatch
):
    if engine.dialect.name == "sqlite":
        return  # has no backend
    add(engine, *many(100))
    with engine.begin() as conn:  # more than one batch of the driver
        conn.execute(
            text(
                "INSERT INTO attempts (source, idempotency_key, user_id, concept_id, correct, "
                "attempted_at, created_at) SELECT '', 'g' || g, repeat('u', 200) || g, 'c', 1, "
                "'2026-01-01Z', now() FROM generate_series(1, 120000) g"
            )
        )
    from datasets.extracts import extraction as module

    take = module.Intake.take

    def kill(intake, batch, columns):
        with engine.connect() as conn:
            conn.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        take(intake, batch, columns)

    monkeypatch.setattr(module.Intake, "take", kill)
    with pytest.raises(ExtractError, match="readable to the end"):
        extract_attempts(engine, tmp_path, at=NOW)
    assert not list((tmp_path / "extracts").iterdir())
    monkeypatch.undo()
    assert extract_attempts(engine, tmp_path, at=NOW).rows.accepted == 120_100
