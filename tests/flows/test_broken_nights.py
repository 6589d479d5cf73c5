"""Nights that do not come to their end, and what the next one makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import reading
from datasets.store.errors import RunLockLostError
from datasets.store.runs.runs import RunStatus, list_runs
from flows import promote_params as promotion
from flows.actions.roll_back import roll_back_concepts, roll_back_run
from flows.evidence.evidence import read_evidence
from flows.lifecycle import close as closing
from flows.nightly import nightly
from flows.runs.requests import RetrainRequest
from flows.tracking.evidence_log import MODEL_NAME
from tests.flows.support.night_oracle import all_rows, expected_states, stored_states

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

pytestmark = [pytest.mark.harness, pytest.mark.usefixtures("prefect_server")]

only_on_postgres = pytest.mark.parametrize(
    "database_kind", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


def before_the_third_switch(monkeypatch: pytest.MonkeyPatch, happens: object) -> None:
    """Let something happen when two concepts have been promoted."""
    genuine, done = promotion.promote_batch, []

    def promote(*arguments: object) -> object:
        if len(done) == 2:
            happens()
        done.append(1)
        return genuine(*arguments)

    monkeypatch.setattr(promotion, "WINNERS_AT_ONCE", 1)
    monkeypatch.setattr(promotion, "promote_batch", promote)


def statuses(engine: Engine) -> dict[str, RunStatus]:
    with reading(engine) as conn:
        return {run.run_id: run.status for run in list_runs(conn, kind="retrain")}


def mlflow(home: Path):
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    uri = f"sqlite:///{home / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs_in_mlflow(home: Path) -> dict[str, tuple[str, str]]:
    """Our status and MLflow's, by run."""
    client = mlflow(home)
    experiments = [one.experiment_id for one in client.search_experiments()]
    return {
        run.data.tags["bkt.run_id"]: (run.data.tags["bkt.status"], run.info.status)
        for run in client.search_runs(experiments)
    }


def champion(home: Path) -> dict[str, dict[str, float]]:
    """The parameters of the registered model in force, as its files have them."""
    from mlflow.artifacts import load_dict  # noqa: TID251 - the store is read back

    found = mlflow(home).get_model_version_by_alias(MODEL_NAME, "champion")
    return load_dict(f"{found.source}/artifacts/parameters.json")["concepts"]


def in_force(engine: Engine) -> dict[str, dict[str, float]]:
    query = "SELECT concept_id, p_l0, p_t, p_s, p_g FROM bkt_skill_params WHERE is_active"
    with engine.connect() as conn:
        return {
            row[0]: dict(zip(("p_L0", "p_T", "p_S", "p_G"), row[1:], strict=True))
            for row in conn.execute(text(query))
        }


@only_on_postgres
def test_a_night_that_loses_its_lock_stops_and_the_next_one_goes_on(
    night: Engine, tracked_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two concepts are promoted, then nothing; another run may have begun, so exit 5."""

    def cut_the_lock() -> None:
        with night.begin() as conn:
            cut = conn.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name LIKE 'bkt retrain%' "
                    "AND datname = current_database()"
                )
            ).scalars()
            assert list(cut) == [True]

    with monkeypatch.context() as patch:
        before_the_third_switch(patch, cut_the_lock)
        with pytest.raises(RunLockLostError, match="lock was lost") as lost:
            nightly(RetrainRequest())
    assert lost.value.exit_code == 5
    assert len(all_rows(night)["bkt_skill_params"]) == 2
    ((run_id, status),) = statuses(night).items()
    assert status is RunStatus.RUNNING
    resumed = nightly(RetrainRequest())
    assert (resumed.run_id, resumed.status) == (run_id, "done")
    assert stored_states(night) == expected_states(night)
    assert runs_in_mlflow(tracked_home) == {run_id: ("done", "FINISHED")}
    assert champion(tracked_home) == in_force(night)


def test_a_night_that_breaks_says_so_in_its_row_its_files_and_mlflow(
    sqlite_night: Engine, tracked_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever it was; the next night is a new one and completes what is missing."""

    def full_disk() -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        before_the_third_switch(patch, full_disk)
        with pytest.raises(OSError, match="No space left"):
            nightly(RetrainRequest())
    ((broken, status),) = statuses(sqlite_night).items()
    assert status is RunStatus.FAILED
    facts = read_evidence(tracked_home / "runs" / broken).facts
    assert (facts.status, "No space left" in str(facts.summary)) == ("failed", True)
    assert facts.finished_at is not None
    assert runs_in_mlflow(tracked_home) == {broken: ("failed", "FAILED")}
    mended = nightly(RetrainRequest())
    assert mended.run_id != broken
    assert len(in_force(sqlite_night)) >= 3
    assert stored_states(sqlite_night) == expected_states(sqlite_night)
    assert champion(tracked_home) == in_force(sqlite_night)


def test_a_killed_night_that_is_not_taken_up_is_abandoned_and_says_so(
    sqlite_night: Engine, tracked_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """With other settings the next night is another run; the sweep mends what was left."""

    def killed() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before_the_third_switch(patch, killed)
        with pytest.raises(KeyboardInterrupt):
            nightly(RetrainRequest())
    ((dead, status),) = statuses(sqlite_night).items()
    assert status is RunStatus.RUNNING
    other = nightly(RetrainRequest(seed=5))
    assert statuses(sqlite_night)[dead] is RunStatus.ABANDONED
    assert read_evidence(tracked_home / "runs" / dead).facts.status == "abandoned"
    assert runs_in_mlflow(tracked_home)[dead] == ("abandoned", "KILLED")
    assert other.run_id != dead
    assert stored_states(sqlite_night) == expected_states(sqlite_night)
    assert champion(tracked_home) == in_force(sqlite_night)


def test_the_champion_of_mlflow_is_what_is_in_force_after_whatever_happened(
    sqlite_night: Engine, tracked_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """A run killed before the alias moved, an alias moved by hand, rollbacks, MLflow down."""

    def killed(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(closing, "update_champion_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            nightly(RetrainRequest())
    assert mlflow(tracked_home).search_registered_models() == []
    first = nightly(RetrainRequest())
    promoted = in_force(sqlite_night)
    assert champion(tracked_home) == promoted
    settings = load_settings()
    one = min(promoted)
    assert roll_back_concepts(settings, [one], to=None).problem is None
    assert champion(tracked_home) == in_force(sqlite_night) == without(promoted, one)
    mlflow(tracked_home).set_registered_model_alias(MODEL_NAME, "champion", "1")
    assert nightly(RetrainRequest()).concepts.promoted == 0
    assert champion(tracked_home) == in_force(sqlite_night) == without(promoted, one)
    with monkeypatch.context() as patch:
        patch.setenv("BKT_MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        report = roll_back_run(load_settings(), first.run_id[:12])
    assert "champion" in str(report.problem)
    assert champion(tracked_home) == without(promoted, one)
    assert nightly(RetrainRequest()).concepts.promoted == 0
    assert champion(tracked_home) == in_force(sqlite_night) == {}
    assert len(mlflow(tracked_home).search_model_versions(f"name = '{MODEL_NAME}'")) == 3


def without(params: dict[str, dict[str, float]], concept: str) -> dict[str, dict[str, float]]:
    return {name: own for name, own in params.items() if name != concept}
