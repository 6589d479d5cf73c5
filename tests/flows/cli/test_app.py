"""The command line: answers for people and programs, refusals in a sentence, exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl
import pytest

from datasets.store.connections.engines import make_engine
from flows.cli.app import run

if TYPE_CHECKING:
    from pathlib import Path

ATTEMPTS = {
    "attempt_id": [1, 2, 3, 4],
    "user_id": ["ada", "ada", "bob", "bob"],
    "concept_id": ["sums", "sums", "sums", None],
    "correct": [0, 1, 1, 1],
    "attempted_at": [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)],
}


@pytest.fixture
def attempts(bkt_home: Path) -> Path:
    """A small attempt log with one row that names no concept."""
    path = bkt_home / "attempts.parquet"
    pl.DataFrame(ATTEMPTS).write_parquet(path)
    return path


@pytest.fixture
def initialised(bkt_home: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A data folder with a database."""
    assert run(["init"]) == 0
    capsys.readouterr()
    return bkt_home


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    """What a command that succeeds prints with --json; nothing else is on stdout."""
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *words: str, exit_code: int) -> str:
    """The sentence of a command that refuses; no traceback, nothing on stdout."""
    assert run(list(words)) == exit_code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("bkt: ")
    assert "Traceback" not in printed.err
    return printed.err


def counted(read: int, accepted: int, duplicates: int, quarantined: int) -> dict[str, int]:
    """The rows of an import that skips none."""
    return {
        "read": read,
        "accepted": accepted,
        "duplicates": duplicates,
        "quarantined": quarantined,
        "skipped": 0,
    }


def test_init_is_harmless_when_repeated(bkt_home: Path, capsys: pytest.CaptureFixture[str]):
    """The second call says that there was nothing to do."""
    first = answer(capsys, "init")
    second = answer(capsys, "init")
    assert first["revision_before"] is None
    assert second["revision_before"] == second["revision"] == first["revision"]
    assert (bkt_home / "bkt.db").is_file()


def test_an_import_accounts_for_every_row_once_and_again(
    initialised: Path, attempts: Path, capsys: pytest.CaptureFixture[str]
):
    """Accepted, then duplicates; what names no concept is set aside both times."""
    assert initialised.is_dir()
    first = answer(capsys, "import", str(attempts))
    again = answer(capsys, "import", str(attempts))
    assert first["rows"] == counted(4, 3, 0, 1)
    assert again["rows"] == counted(4, 0, 3, 1)
    assert sum(first["reasons"].values()) == 1


def test_a_query_reads_another_database_whose_password_is_never_typed(
    initialised: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """By flag without a password, by variable with one; never by a flag with one."""
    source = f"sqlite:///{initialised / 'platform.db'}"
    engine = make_engine(source)
    with engine.begin() as conn:
        conn.exec_driver_sql("CREATE TABLE answers (n int, who text, at text)")
        conn.exec_driver_sql("INSERT INTO answers VALUES (1, 'ada', '2026-01-01 00:00:00')")
    engine.dispose()
    query = (
        "SELECT n AS attempt_id, who AS user_id, 'sums' AS concept_id, 1 AS correct, "
        "at AS attempted_at FROM answers"
    )
    words = ("import", "--query", query, "--time-zone", "UTC")
    assert "BKT_SOURCE_URL" in refusal(capsys, *words, exit_code=2)
    typed = "postgresql://me:hush@h/db"
    said = refusal(capsys, *words, "--from-database", typed, exit_code=2)
    assert "BKT_SOURCE_URL" in said
    assert "hush" not in said
    told = answer(capsys, *words, "--from-database", source)
    assert told["rows"] == counted(1, 1, 0, 0)
    monkeypatch.setenv("BKT_SOURCE_URL", source)
    assert answer(capsys, *words)["rows"]["duplicates"] == 1


def test_mastery_is_told_right_after_an_import(
    initialised: Path, attempts: Path, capsys: pytest.CaptureFixture[str]
):
    """States that no sweep has written yet are replayed as they are read."""
    assert initialised.is_dir()
    answer(capsys, "import", str(attempts))
    told = answer(capsys, "mastery", "ada")
    (state,) = told["states"]
    assert (state["concept_id"], state["n_attempts"]) == ("sums", 2)
    wrong = 0.1 * 0.1 / (0.1 * 0.1 + 0.9 * 0.75)
    once = wrong + (1 - wrong) * 0.1
    right = once * 0.9 / (once * 0.9 + (1 - once) * 0.25)
    assert state["p_mastery"] == pytest.approx(right + (1 - right) * 0.1, rel=1e-12)
    assert answer(capsys, "params")["params"] == []
    assert answer(capsys, "recompute")["states"] == 2


def test_ids_that_nobody_has_heard_of_are_told_as_such(
    initialised: Path, attempts: Path, capsys: pytest.CaptureFixture[str]
):
    """A concept is refused with what comes close; an unknown user's tombstone is explained."""
    assert initialised.is_dir()
    answer(capsys, "import", str(attempts))
    assert "did you mean 'sums'?" in refusal(capsys, "params", "--history", "sum", exit_code=2)
    said = refusal(capsys, "rollback", "--concept", "sum", exit_code=2)
    assert "did you mean 'sums'?" in said
    assert answer(capsys, "params", "--history", "sums") == {"events": []}
    for user, told in (
        ("nobody", "Nothing was stored of 'nobody'"),
        ("ada", "Erased 2 attempts"),
    ):
        assert run(["erase", user]) == 0
        assert told in " ".join(capsys.readouterr().out.split())


def test_evaluate_scores_the_defaults_where_nothing_is_fitted(
    initialised: Path, attempts: Path, capsys: pytest.CaptureFixture[str]
):
    """Three usable attempts, first predictions 0.315 each."""
    assert initialised.is_dir()
    scores = answer(capsys, "evaluate", str(attempts))
    assert scores["n"] == 3
    assert scores["rows"] == counted(4, 3, 0, 1)
    assert scores["reasons"] == {"concept_id_is_given": 1}
    assert scores["at_defaults"] == ["sums"]
    assert run(["evaluate", str(attempts)]) == 0
    assert "of 4 rows left out: 1 concept_id_is_given" in capsys.readouterr().out
    assert {"auc", "rmse", "log_loss", "accuracy"} <= scores.keys()


def test_simulate_writes_the_same_file_for_the_same_seed(
    bkt_home: Path, capsys: pytest.CaptureFixture[str]
):
    """The truth lies beside it."""
    one, two = bkt_home / "one.parquet", bkt_home / "two.parquet"
    told = answer(capsys, "simulate", str(one), "--users", "30", "--concepts", "2")
    answer(capsys, "simulate", str(two), "--users", "30", "--concepts", "2")
    assert pl.read_parquet(one).equals(pl.read_parquet(two))
    assert pl.read_parquet(one).height == told["attempts"]
    assert json.loads((bkt_home / "one.truth.json").read_text()).keys() == {
        "concept-001",
        "concept-002",
    }


def test_a_database_without_schema_names_the_remedy(
    attempts: Path, capsys: pytest.CaptureFixture[str]
):
    """`bkt init` comes first."""
    for words in (["import", str(attempts)], ["params"], ["mastery", "ada"], ["recompute"]):
        assert "bkt init" in refusal(capsys, *words, exit_code=1)


def test_a_database_that_cannot_be_reached_says_where(
    bkt_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The address without its secret, and what to check."""
    assert bkt_home.is_dir()
    monkeypatch.setenv("BKT_DATABASE_URL", "postgresql://me:hush@127.0.0.1:9/none")
    said = refusal(capsys, "init", exit_code=1)
    assert "127.0.0.1:9/none" in said
    assert "BKT_DATABASE_URL" in said
    assert "hush" not in said


def test_a_setting_that_is_not_known_is_refused(
    bkt_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A misspelt variable, a misspelt key, a value of the wrong kind, a missing environment."""
    assert bkt_home.is_dir()
    for name, value, part in (
        ("BKT_DATABSE_URL", "x", "BKT_DATABSE_URL"),
        ("BKT_FIT__FOLD", "5", "BKT_FIT__FOLD"),
        ("BKT_FIT__FOLDS", "many", "fit.folds"),
        ("BKT_ENV", "moon", "moon"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert part in refusal(capsys, "params", exit_code=2)


def test_files_that_are_no_attempt_logs_are_refused(
    initialised: Path, attempts: Path, capsys: pytest.CaptureFixture[str]
):
    """A column that is missing, times without a zone, a file that is not there."""
    log = pl.read_parquet(attempts)
    bad = initialised / "bad.parquet"
    log.drop("correct").write_parquet(bad)
    assert "correct" in refusal(capsys, "import", str(bad), exit_code=1)
    log.with_columns(pl.col("attempted_at").dt.replace_time_zone(None)).write_parquet(bad)
    assert "--time-zone" in refusal(capsys, "import", str(bad), exit_code=1)
    assert answer(capsys, "import", str(bad), "--time-zone", "UTC")["rows"]["accepted"] == 3
    gone = str(initialised / "gone.parquet")
    assert "gone.parquet" in refusal(capsys, "import", gone, exit_code=1)


def test_calls_that_make_no_sense_are_usage_errors(
    initialised: Path, capsys: pytest.CaptureFixture[str]
):
    """Unknown flags, bad values, reversed windows, a run that is not there."""
    assert initialised.is_dir()
    for words in (
        ["retrain", "--nope"],
        ["retrain", "--engine", "magic"],
        ["retrain", "--since", "2026-02-01", "--until", "2026-01-01"],
        ["retrain", "--since", "yesterday"],
        ["import"],
        ["report", "0123"],
        ["rollback"],
        ["simulate"],
    ):
        refusal(capsys, *words, exit_code=2)


def test_a_wrong_id_for_a_rollback_changes_nothing(
    initialised: Path, attempts: Path, capsys: pytest.CaptureFixture[str]
):
    """A row that is not there, a run that promoted nothing."""
    assert initialised.is_dir()
    answer(capsys, "import", str(attempts))
    said = refusal(capsys, "rollback", "--concept", "sums", "--to", "7", exit_code=1)
    assert "7" in said
    refusal(capsys, "rollback", "--run", "nope", exit_code=1)
