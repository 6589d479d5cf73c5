"""Nights under candidates: judged rows of versions that serve nobody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm, algorithm
from datasets.store.params.events import EventDecision, events_of_run, version_at
from datasets.store.params.skill_params import active_params
from datasets.store.params.versions import (
    add_version,
    list_versions,
    retire_version,
    version_named,
)
from datasets.store.runs.runs import RunStatus, list_runs
from flows.actions.activate import activate, plan_activation
from flows.nightly import nightly
from flows.runs.folders import run_folder
from flows.runs.requests import RetrainRequest
from tests.flows.support.night_oracle import all_rows, expected_states, stored_states

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

pytestmark = [pytest.mark.harness, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(autouse=True)
def _candidates(bkt_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bkt_home.is_dir()  # it clears the variables first
    monkeypatch.setenv("BKT_FIT__CANDIDATES", '["v2", "v1"]')
    monkeypatch.setenv("BKT_FIT__STARTS", "2")


def candidate_runs(engine: Engine):
    with reading(engine) as conn:
        return list(list_runs(conn, kind="candidate"))


def test_a_night_keeps_rows_of_its_candidates_and_touches_no_state_for_them(night: Engine):
    """The same states as ever; rows under v2 that an activation finds, and its MLflow run."""
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    first = nightly(RetrainRequest())
    assert first.exit_code == 0
    assert len(first.remarks) == 1
    assert first.remarks[0].startswith("Candidate v2 (run ")
    assert stored_states(night) == expected_states(night)
    (run,) = candidate_runs(night)
    assert (run.status, run.manifest["algo_version"]) == (RunStatus.DONE, "v2")
    with reading(night) as conn:
        v1, v2 = active_algorithm(conn), algorithm(conn, "v2")
        rows = active_params(conn, v2.id)
        assert v1.version == "v1"
        assert {row.run_id for row in rows.values()} == {run.run_id}
        assert len(rows) == run.manifest["outcome"]["concepts"]["promoted"] >= 3
        events = events_of_run(conn, run.run_id)
        assert {one.algo_version_id for one in events} == {v2.id}
        assert {one.actor for one in events} == {"candidate"}
        stamps = conn.execute(text("SELECT DISTINCT algo_version_id FROM bkt_user_skill_state"))
        assert set(stamps.scalars()) == {v1.id}
        assert version_at(conn, datetime.now(UTC)) == v1.id
    logged = MlflowClient(load_settings().tracking_uri).get_run(
        run.manifest["outcome"]["mlflow_run_id"]
    )
    active = MlflowClient(load_settings().tracking_uri).get_run(first.mlflow_run_id)
    assert logged.data.tags["bkt.role"] == "candidate"
    assert "bkt.role" not in active.data.tags
    assert logged.data.metrics.keys() == active.data.metrics.keys()

    assert run_folder(load_settings(), None).name == first.run_id
    before = all_rows(night)
    again = nightly(RetrainRequest())
    assert (again.status, again.exit_code) == ("unchanged", 0)
    assert all_rows(night) == before


def test_an_activation_finds_the_rows_that_nights_have_kept(sqlite_night: Engine):
    """There, a night in which v1 is the candidate, and back: the bits of before."""
    nightly(RetrainRequest())
    with reading(sqlite_night) as conn:
        first = set(active_params(conn, algorithm(conn, "v1").id))
    states = stored_states(sqlite_night)
    plan = plan_activation(load_settings(), "v2")
    with reading(sqlite_night) as conn:
        fitted = set(active_params(conn, algorithm(conn, "v2").id))
    assert set(plan.to_defaults) == first - fitted
    activate(load_settings(), "v2", approve=True)
    assert stored_states(sqlite_night) != states
    night = nightly(RetrainRequest())
    assert [remark.split(" (")[0] for remark in night.remarks] == ["Candidate v1"]
    activate(load_settings(), "v1", approve=True)
    assert stored_states(sqlite_night) == states
    with reading(sqlite_night) as conn:
        told = conn.execute(
            text("SELECT decision FROM bkt_promotion_event ORDER BY id DESC LIMIT 1")
        )
        assert told.scalar_one() == EventDecision.ACTIVATED.value


def test_candidates_with_equal_settings_have_runs_and_rows_of_their_own(
    sqlite_night: Engine, monkeypatch: pytest.MonkeyPatch
):
    """A run is named by its version too."""
    monkeypatch.setenv("BKT_FIT__CANDIDATES", '["same", "other"]')
    with sqlite_night.begin() as conn:
        settings = version_named(list_versions(conn), "v2").settings
        for name in ("same", "other"):
            add_version(conn, name, settings, at=datetime.now(UTC))
    assert nightly(RetrainRequest()).exit_code == 0
    runs = candidate_runs(sqlite_night)
    assert sorted(run.manifest["algo_version"] for run in runs) == ["other", "same"]
    with reading(sqlite_night) as conn:
        rows = [
            {(row.concept_id, row.params) for row in active_params(conn, one.id).values()}
            for one in (algorithm(conn, "same"), algorithm(conn, "other"))
        ]
    assert rows[0] == rows[1] != set()


def test_a_candidate_that_cannot_be_fitted_is_told_and_the_night_is_done(
    sqlite_night: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Exit 4: somebody must look; the version in force has had its night."""
    monkeypatch.setenv("BKT_FIT__CANDIDATES", '["v9", "v2"]')
    with sqlite_night.begin() as conn:
        retire_version(conn, "v2")
    done = nightly(RetrainRequest())
    assert (done.status, done.exit_code) == ("done", 4)
    assert "v9" in done.remarks[0]
    assert "retired" in done.remarks[1]
    assert candidate_runs(sqlite_night) == []
    assert stored_states(sqlite_night) == expected_states(sqlite_night)


def test_a_dry_run_leaves_candidates_alone(sqlite_night: Engine):
    before = all_rows(sqlite_night)
    assert nightly(RetrainRequest(dry_run=True)).status == "done"
    assert all_rows(sqlite_night) == before
