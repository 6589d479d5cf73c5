"""The chain as a whole: a night on each database, again, interrupted, empty, refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from unittest.mock import Mock

import polars as pl
import pytest

from bkt_settings.pipeline import EngineName, load_settings
from datasets.errors import ExtractError, QuarantineLimitError
from datasets.imports.file_import import ImportOptions, import_file
from datasets.store.connections.engines import reading
from datasets.store.errors import LockedError
from datasets.store.runs.run_lock import run_lock
from datasets.store.runs.runs import RunStatus, list_runs
from flows import extract_attempts as extraction
from flows import promote_params as promotion
from flows.actions.roll_back import release_concepts, roll_back_run
from flows.cli.app import run
from flows.nightly import nightly
from flows.runs.requests import FitRequest, RetrainRequest
from flows.tracking.store import TrackingUnavailableError
from flows.trial_fit import trial_fit
from tests.flows.support.night_oracle import all_rows, expected_states, stored_states

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from flows.runs.summary import RunSummary

pytestmark = [pytest.mark.harness, pytest.mark.usefixtures("prefect_server")]


def test_a_night_leaves_every_state_at_the_replay_of_its_attempts(
    night: Engine, tracked_home: Path
):
    """Promoted concepts, skipped ones, states, snapshots and evidence; then nothing new."""
    first = nightly(RetrainRequest())
    assert (first.status, first.exit_code, first.remarks) == ("done", 0, ())
    assert first.concepts.seen == 7
    assert first.concepts.fitted == 5
    assert first.concepts.promoted >= 3
    assert (first.concepts.skipped, first.concepts.failed) == (2, 0)
    assert first.rows["read"] == first.rows["accepted"]
    assert first.mlflow_run_id is not None
    assert stored_states(night) == expected_states(night)
    assert first.states["replayed"] == len(stored_states(night))
    assert first.states["snapshotted"] == first.states["replayed"]
    before = all_rows(night)
    assert len(before["mastery_snapshot"]) == first.states["snapshotted"]
    again = nightly(RetrainRequest())
    assert (again.status, again.exit_code, again.mlflow_run_id) == ("unchanged", 0, None)
    assert again.concepts.fitted == again.concepts.promoted == 0
    assert all_rows(night) == before
    assert (tracked_home / "runs" / first.run_id / "gates.parquet").is_file()


def test_a_night_that_dies_between_switches_goes_on_under_its_own_id(
    sqlite_night: Engine, monkeypatch: pytest.MonkeyPatch
):
    """The second try promotes what is left, once each, and ends as if nothing had happened."""
    switch, done = promotion.promote_batch, []

    def promote_two(*arguments: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments[2])
        return switch(*arguments)

    monkeypatch.setattr(promotion, "WINNERS_AT_ONCE", 1)
    monkeypatch.setattr(promotion, "promote_batch", promote_two)
    with pytest.raises(KeyboardInterrupt):
        nightly(RetrainRequest())
    monkeypatch.setattr(promotion, "promote_batch", switch)
    with reading(sqlite_night) as conn:
        (killed,) = list_runs(conn)
    assert killed.status is RunStatus.RUNNING
    resumed = nightly(RetrainRequest())
    assert (resumed.run_id, resumed.status) == (killed.run_id, "done")
    assert resumed.concepts.promoted >= 3
    assert stored_states(sqlite_night) == expected_states(sqlite_night)
    rows = all_rows(sqlite_night)
    assert len(rows["bkt_skill_params"]) == resumed.concepts.promoted


def test_a_trial_and_a_dry_run_promote_nothing(sqlite_night: Engine):
    """A trial of either version is logged; a dry run leaves no row behind at all."""
    before = all_rows(sqlite_night)
    dry = nightly(RetrainRequest(dry_run=True))
    with reading(sqlite_night) as conn:
        assert list_runs(conn) == ()
    trial = trial_fit(FitRequest())
    candidate = trial_fit(FitRequest(algo="v2"))
    assert (dry.status, dry.mlflow_run_id, dry.exit_code) == ("done", None, 0)
    assert None not in (trial.mlflow_run_id, candidate.mlflow_run_id)
    assert candidate.mlflow_run_id != trial.mlflow_run_id
    assert all_rows(sqlite_night) == before


def test_a_log_that_breaks_off_is_read_again_and_a_refusal_is_not(
    sqlite_night: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Two broken connections cost two tries; a log with too many broken rows costs one."""
    whole, tries = extraction.read_log, []

    def breaks_twice(*arguments: object, **named: object) -> object:
        tries.append(1)
        if len(tries) < 3:
            raise ExtractError("the server went away")
        return whole(*arguments, **named)

    monkeypatch.setattr(extraction, "read_log", breaks_twice)
    again = extraction.read_attempt_log.with_options(retry_delay_seconds=0)
    monkeypatch.setattr(extraction, "read_attempt_log", again)
    assert nightly(RetrainRequest(dry_run=True)).status == "done"
    assert len(tries) == 3
    monkeypatch.setattr(extraction, "read_log", whole)
    with sqlite_night.begin() as conn:
        conn.exec_driver_sql("UPDATE attempts SET attempted_at = '2999-01-01 00:00:00.000000'")
    with pytest.raises(QuarantineLimitError):
        nightly(RetrainRequest(dry_run=True))


def test_a_second_run_that_promotes_nothing_ends_unchanged(
    sqlite_night: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Fits that were all refused are not judged afresh: exit 3 the first time, 0 the second."""
    monkeypatch.setenv("BKT_FIT__MAX_STEPS", "1")
    first = nightly(RetrainRequest())
    second = nightly(RetrainRequest())
    assert first.run_id == second.run_id  # nothing was switched in between
    assert (first.status, first.exit_code, first.concepts.promoted) == ("done", 3, 0)
    assert (second.status, second.exit_code, second.concepts.fitted) == ("unchanged", 0, 0)
    assert all_rows(sqlite_night)["bkt_skill_params"] == []


def test_too_few_new_attempts_refit_nothing_but_their_states_are_snapshotted(
    night: Engine, tracked_home: Path
):
    """Two attempts of one user: no fit, no promotion, two states and two rows of history."""
    nightly(RetrainRequest())
    path = tracked_home / "attempts.parquet"
    log = pl.read_parquet(path)
    new = log.unique("concept_id", maintain_order=True).filter(
        pl.col("concept_id").str.starts_with("concept")
    )
    new.head(2).with_columns(
        attempt_id=pl.col("attempt_id") + 3 * 10**7,
        attempted_at=pl.col("attempted_at") + pl.duration(hours=1),
    ).write_parquet(path)
    import_file(
        night, path, ImportOptions(), quarantine_root=tracked_home / "q", at=datetime.now(UTC)
    )
    second = nightly(RetrainRequest())
    assert (second.status, second.exit_code) == ("done", 0)
    assert second.concepts.fitted == second.concepts.promoted == 0
    assert second.states == {"replayed": 2, "snapshotted": 2}
    assert stored_states(night) == expected_states(night)
    before = all_rows(night)
    assert nightly(RetrainRequest()).status == "unchanged"
    assert all_rows(night) == before


def test_a_flood_is_left_out_of_the_fit_kept_in_state_and_told(
    sqlite_night: Engine, monkeypatch: pytest.MonkeyPatch
):
    """With a rate that one user exceeds, the fits see fewer attempts, the states see all."""
    monkeypatch.setenv("BKT_EXTRACT__FLOOD_ATTEMPTS_PER_HOUR", "15")
    summary = nightly()
    assert "were left out of the fits" in summary.remarks[0]
    assert 0 < summary.metrics["n"] < summary.rows["accepted"] - 45
    assert stored_states(sqlite_night) == expected_states(sqlite_night)


def test_what_was_rolled_back_and_released_is_promoted_again(sqlite_night: Engine):
    """The same attempts and incumbents as before the first night, and yet a run of its own."""
    first = nightly()
    settings = load_settings()
    concepts = [
        decided.concept_id for decided in roll_back_run(settings, first.run_id).rolled_back
    ]
    pinned = nightly()
    release_concepts(settings, concepts)
    again = nightly()
    assert (len(concepts), pinned.concepts.promoted) == (first.concepts.promoted, 0)
    assert again.concepts.promoted == first.concepts.promoted
    assert len({first.run_id, pinned.run_id, again.run_id}) == 3
    active = [row for row in all_rows(sqlite_night)["bkt_skill_params"] if row[-2]]
    assert len(active) == again.concepts.promoted
    assert stored_states(sqlite_night) == expected_states(sqlite_night)


@pytest.mark.parity
def test_pybkt_passes_the_whole_chain(sqlite_night: Engine, monkeypatch: pytest.MonkeyPatch):
    """The reference engine's fits are clipped, judged, promoted and replayed like ours."""
    monkeypatch.setenv("BKT_FIT__STARTS", "1")
    monkeypatch.setenv("BKT_FIT__FOLDS", "2")
    monkeypatch.setenv("BKT_FIT__WIDE_L0_MAX", "0")
    summary = nightly(RetrainRequest(engine=EngineName.PYBKT, concepts=("concept-001",)))
    assert summary.concepts.fitted == 1
    assert summary.concepts.failed == 0
    assert stored_states(sqlite_night) == expected_states(sqlite_night)


def test_an_empty_log_ends_empty(
    tracked_home: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Success, nothing promoted, and it says so."""
    monkeypatch.setenv("BKT_DATABASE_URL", str(sqlite_engine.url))
    summary = nightly()
    assert (summary.status, summary.exit_code) == ("empty", 0)
    assert summary.concepts.seen == 0
    assert "no attempts" in summary.remarks[0]
    assert tracked_home.is_dir()


def test_what_a_run_refuses(sqlite_night: Engine):
    """A second run names the first; too many broken rows stop a run, and its row says so."""
    with (
        run_lock(sqlite_night, holder="the other run"),
        pytest.raises(LockedError, match="the other"),
    ):
        nightly()
    with sqlite_night.begin() as conn:
        conn.exec_driver_sql("UPDATE attempts SET attempted_at = '2999-01-01 00:00:00.000000'")
    before = all_rows(sqlite_night)
    with pytest.raises(QuarantineLimitError) as refused:
        nightly()
    assert refused.value.exit_code == 3
    assert all_rows(sqlite_night) == before
    with reading(sqlite_night) as conn:
        (failed,) = list_runs(conn)
    assert (failed.kind, failed.status) == ("retrain", RunStatus.FAILED)
    assert failed.manifest["outcome"]["error"] == str(refused.value)
    assert failed.manifest["outcome"]["rows"]["quarantined"] == refused.value.quarantined


def test_mlflow_that_is_down_costs_no_promotion(
    sqlite_night: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The run is done, its evidence delivered later; exit codes say what is missing."""
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    monkeypatch.setenv("BKT_MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    summary: RunSummary = nightly()
    assert (summary.status, summary.exit_code, summary.mlflow_run_id) == ("done", 6, None)
    assert f"--relog {summary.run_id}" in summary.remarks[0]
    assert summary.concepts.promoted >= 3
    assert stored_states(sqlite_night) == expected_states(sqlite_night)
    assert run(["report", "--relog", summary.run_id, "--json"]) == 6
    monkeypatch.delenv("BKT_MLFLOW_TRACKING_URI")
    capsys.readouterr()
    assert run(["report", "--relog", summary.run_id, "--json"]) == 0
    delivered = json.loads(capsys.readouterr().out)
    client = MlflowClient(load_settings().tracking_uri)
    assert client.get_run(delivered["mlflow_run_id"]).info.status == "FINISHED"
    champion = client.get_model_version_by_alias("bkt-mastery", "champion")
    assert champion.run_id == delivered["mlflow_run_id"]
    unavailable = TrackingUnavailableError(tracking_uri="sqlite:///x", reason="full.")
    monkeypatch.setattr(
        "flows.tracking.evidence_log.register_parameters", Mock(side_effect=unavailable)
    )
    assert run(["report", "--relog", summary.run_id, "--json"]) == 6
    assert "is not updated yet" in json.loads(capsys.readouterr().out)["problem"]
