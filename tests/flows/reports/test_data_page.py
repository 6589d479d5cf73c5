"""The page of a run's attempts: its numbers are those of the log, and it stands alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from bkt_core.params import BktParams
from datasets.extracts.extraction import extract_attempts
from datasets.sequences.data_report import LATENESS_EDGES, describe
from datasets.store.attempts.retries import RetryShare
from flows.evidence.evidence import evidence_files
from flows.reports.data_page import LATENESS_NAMES, data_page, write_data_page
from tests.flows.support.attempt_logs import fill_log

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

TRUE = BktParams(p_L0=0.3, p_T=0.2, p_S=0.1, p_G=0.2)
BEGINS = datetime(2026, 1, 5, tzinfo=UTC)


def test_the_page_shows_the_numbers_of_the_log_and_names_nobody(
    bkt_home: Path, sqlite_engine: Engine, tmp_path: Path
):
    """Figures, no address, no id; it is among the files that go to MLflow."""
    concepts = {"<b>sums</b>": TRUE, "rest": TRUE}
    n = fill_log(sqlite_engine, bkt_home, concepts, n_users=30, begins=BEGINS, source="ada")
    extract = extract_attempts(sqlite_engine, bkt_home, at=datetime.now(UTC))
    folder = tmp_path / "run"
    folder.mkdir()
    path = write_data_page(folder, describe(extract))
    page = path.read_text(encoding="utf-8")
    assert f"{n:,} attempts of 30 users at 2 concepts" in page
    assert page.count("<figure>") == page.count("<svg") == 3  # nobody was late
    assert f"<th>attempts</th><td>{n:,}</td>" in page
    assert "sums" not in page
    assert "ada" not in page.split("<table>")[1]
    assert "<script" not in page
    assert path in evidence_files(folder)
    assert len(LATENESS_NAMES) == len(LATENESS_EDGES)


def test_late_attempts_have_a_figure(bkt_home: Path, sqlite_engine: Engine, tmp_path: Path):
    """Written a day after those that they come before."""
    for source, begins in (("a", BEGINS), ("b", BEGINS - timedelta(days=1))):
        fill_log(
            sqlite_engine, bkt_home, {"sums": TRUE}, n_users=5, begins=begins, source=source
        )
    with sqlite_engine.begin() as conn:
        conn.execute(text("UPDATE attempts SET user_id = replace(user_id, 'b-', 'a-')"))
    extract = extract_attempts(sqlite_engine, bkt_home, at=datetime.now(UTC))
    report = describe(extract)
    assert report.n_late
    page = write_data_page(tmp_path, report).read_text(encoding="utf-8")
    assert page.count("<figure>") == 4
    assert "0 came late" not in page


def test_an_empty_log_has_a_page_too(bkt_home: Path, sqlite_engine: Engine, tmp_path: Path):
    """No attempt, no failure."""
    extract = extract_attempts(sqlite_engine, bkt_home, at=datetime.now(UTC))
    page = write_data_page(tmp_path, describe(extract)).read_text(encoding="utf-8")
    assert "0 attempts of 0 users" in page


def test_the_share_of_retries_is_told_where_questions_are_named(
    bkt_home: Path, sqlite_engine: Engine, tmp_path: Path
):
    """And nothing is said of a log without questions."""
    fill_log(sqlite_engine, bkt_home, {"sums": TRUE}, n_users=2, begins=BEGINS)
    report = describe(extract_attempts(sqlite_engine, bkt_home, at=datetime.now(UTC)))
    page = write_data_page(tmp_path, report, RetryShare(2, 8, 2)).read_text(encoding="utf-8")
    assert "25.0% of the attempts repeat a question" in page
    assert "repeat a question" not in data_page(report, RetryShare(2, 0, 0))
