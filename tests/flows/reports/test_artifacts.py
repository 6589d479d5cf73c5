"""What Prefect's pages show of a run, and that a run does not need them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from bkt_core.params import BktParams
from bkt_settings.pipeline import load_settings
from flows.nightly import nightly
from flows.reports import artifacts
from flows.reports.artifacts import mlflow_sentence
from flows.runs.requests import FitRequest, RetrainRequest
from flows.tracking.evidence_log import TrackingResult
from flows.trial_fit import trial_fit
from tests.flows.support.attempt_logs import fill_log

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

SUMS = BktParams(p_L0=0.3, p_T=0.15, p_S=0.1, p_G=0.2)
BEGINS = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_a_run_is_told_on_prefects_pages_and_ends_well_without_them(
    tracked_home: Path,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """Progress reaches 100, the table names each concept; a failure is a warning."""
    from prefect.client.orchestration import get_client

    monkeypatch.setenv("BKT_DATABASE_URL", str(sqlite_engine.url))
    fill_log(
        sqlite_engine, tracked_home, {"sums": SUMS, "rest": SUMS}, n_users=60, begins=BEGINS
    )
    summary = nightly(RetrainRequest())
    with get_client(sync_client=True) as client:
        every = sorted(client.read_artifacts(), key=lambda one: one.created)
    kept = {one.key: one for one in every}  # the newest: others use this server as well
    assert kept["bkt-fit-progress"].data == 100.0
    table = json.loads(kept["bkt-retrain-concepts"].data)
    assert {row["concept_id"] for row in table} == {"sums", "rest"}
    assert summary.mlflow_run_id in kept["bkt-retrain-summary"].data
    assert "Of 2 concepts" in kept["bkt-retrain-summary"].data

    def refuse(**_values: object) -> None:
        raise ConnectionResetError("no such luck")

    for name in (
        "create_progress_artifact",
        "create_table_artifact",
        "create_markdown_artifact",
    ):
        monkeypatch.setattr(artifacts, name, refuse)
    assert trial_fit(FitRequest(algo="v2")).exit_code == 0
    said = [
        record.getMessage() for record in caplog.records if "no such luck" in record.message
    ]
    assert len(said) == 3


def test_the_link_to_mlflow_shows_no_password(bkt_home: Path, monkeypatch: pytest.MonkeyPatch):
    """A server's run is a link without its credentials; an undelivered one says why."""
    assert bkt_home.is_dir()
    monkeypatch.setenv("BKT_MLFLOW_TRACKING_URI", "https://me:secret@example.org/")
    settings = load_settings()
    told = mlflow_sentence(settings, TrackingResult("abc"))
    assert told == "MLflow run [abc](https://example.org/#/runs/abc)."
    assert mlflow_sentence(settings, TrackingResult(None, "It is down.")) == "It is down."
