"""MLflow holds what the run's files hold, once, and nothing about users."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from bkt_core.family.params import FamilyParams
from bkt_core.judgement.selection import decide
from bkt_core.params import BktParams
from bkt_core.replay import predict
from bkt_settings.redaction import without_secret
from flows.evidence.evidence import write_evidence
from flows.evidence.scalars import run_scalars
from flows.reports.page import write_page
from flows.tracking.client import RUN_TAG, log_retrain, register_parameters
from flows.tracking.store import TrackingUnavailableError, local_alias, local_model_is_unknown
from tests.bkt_core.evaluation.fits import SOUND, simulated
from tests.flows.support.judged_runs import LIMITS, evidence_of, judged

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = BktParams(0.1, 0.1, 0.1, 0.25)


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory) -> Path:
    """A fresh SQLite store; making one costs seconds, copying it nothing."""
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(migrated_store, tmp_path) -> str:
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="module")
def evidence():
    return evidence_of(decide(judged(6, champions=True), LIMITS))


@pytest.fixture(scope="module")
def written(evidence, tmp_path_factory) -> Path:
    """The folder of a run, drawn once, with a file that must stay."""
    run = tmp_path_factory.mktemp("runs") / "run"
    write_evidence(run, evidence)
    write_page(run, evidence)
    (run / "quarantine").mkdir()
    (run / "quarantine" / "rows.parquet").write_bytes(b"user-4711")
    return run


@pytest.fixture
def folder(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "run")


def _log(store, evidence, folder, tmp_path) -> str:
    root = (tmp_path / "artifacts").as_uri()
    return log_retrain(store, "bkt-retrain", root, evidence, folder)


def _client(store):
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    return MlflowClient(tracking_uri=store, registry_uri=store)


def test_a_run_is_logged_whole(store, evidence, folder, tmp_path):
    run_id = _log(store, evidence, folder, tmp_path)
    run = _client(store).get_run(run_id)
    expected = run_scalars(evidence)
    logged = {name: run.data.metrics[name] for name in expected}
    np.testing.assert_equal(logged, expected)
    assert run.data.params["fit.folds"] == "3"
    assert run.data.tags[RUN_TAG] == evidence.facts.run_id
    assert run.data.tags["mlflow.source.name"].startswith("bkt retrain")
    assert run.info.status == "FINISHED"
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    steps = [metric.step for metric in _client(store).get_metric_history(run_id, "fold_auc")]
    assert steps == [0, 1, 2]


def test_artifacts_lie_where_they_were_told_and_hold_no_user(
    store, evidence, folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    _log(store, evidence, folder, tmp_path)
    assert not (tmp_path / "mlruns").exists()
    files = [file for file in (tmp_path / "artifacts").rglob("*") if file.is_file()]
    assert {"report.html", "concepts.parquet", "gates.parquet"} <= {f.name for f in files}
    assert not any(b"user-4711" in file.read_bytes() for file in files)


def test_logging_again_updates_the_same_run(store, evidence, folder, tmp_path):
    """A resumed run and `--relog` do not make a second one."""
    first = _log(store, evidence, folder, tmp_path)
    assert _log(store, evidence, folder, tmp_path) == first
    client = _client(store)
    experiment = client.get_experiment_by_name("bkt-retrain")
    assert len(client.search_runs([experiment.experiment_id])) == 1


def _champion(store, model_name, folder):
    """The model in force, loaded as a data scientist loads it."""
    from mlflow import pyfunc  # noqa: TID251 - the store is read back
    from mlflow.artifacts import download_artifacts  # noqa: TID251 - likewise

    found = _client(store).get_model_version_by_alias(model_name, "champion")
    return pyfunc.load_model(
        download_artifacts(artifact_uri=found.source, dst_path=str(folder), tracking_uri=store)
    )


def test_the_registered_model_predicts_what_the_pipeline_predicts(
    store, evidence, folder, tmp_path, monkeypatch
):
    """Rows shuffled, of three concepts one forgets and one has no parameters; no pickle."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    run_id = _log(store, evidence, folder, tmp_path)
    params = {"known": SOUND, "forgets": FamilyParams(SOUND, 0.05)}
    _register(store, params, mlflow_run_id=run_id)
    sequences = simulated(SOUND, n_users=20, length=5, seed=3)
    expected = np.concatenate([predict(sequences, one) for one in (*params.values(), DEFAULTS)])
    users = np.repeat([f"u{n:02d}" for n in range(20)], 5)
    moments = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(100), "min")
    one = pd.DataFrame(
        {"user_id": users, "correct": sequences.correct, "attempted_at": moments}
    )
    frame = pd.concat([one.assign(concept_id=name) for name in (*params, "other")])
    order = np.random.default_rng(0).permutation(len(frame))
    model = _champion(store, "bkt-mastery", tmp_path)
    assert model.predict(frame.iloc[order]).tolist() == expected[order].tolist()
    inputs = model.metadata.get_input_schema()
    assert inputs.input_names() == ["user_id", "concept_id", "correct", "attempted_at"]
    assert inputs.required_input_names() == ["user_id", "concept_id", "correct"]


def _register(store, params, *, mlflow_run_id=None):
    return register_parameters(
        store,
        "bkt-retrain",
        "bkt-mastery",
        params=params,
        defaults=DEFAULTS,
        mlflow_run_id=mlflow_run_id,
    )


def test_the_alias_of_a_local_store_is_read_without_mlflow(store, evidence, folder, tmp_path):
    """What MLflow says; None where it must be asked: a server, no store, alias or table."""
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    assert local_alias(store, "bkt-mastery", "champion") is None
    log_retrain(store, "bkt-retrain", str(tmp_path / "artifacts"), evidence, folder)
    assert local_model_is_unknown(store, "bkt-mastery")
    for p_L0 in (0.2, 0.3):
        number = _register(store, {"a": BktParams(p_L0, 0.1, 0.1, 0.2)})
        told = MlflowClient(store).get_model_version_by_alias("bkt-mastery", "champion")
        assert local_alias(store, "bkt-mastery", "champion") == number == int(told.version)
    assert local_alias(store, "another", "champion") is None
    assert local_alias("http://127.0.0.1:9", "bkt-mastery", "champion") is None
    assert local_alias(f"sqlite:///{tmp_path / 'none.db'}", "bkt-mastery", "champion") is None
    (tmp_path / "empty.db").touch()
    assert local_alias(f"sqlite:///{tmp_path / 'empty.db'}", "bkt-mastery", "champion") is None
    assert not local_model_is_unknown(store, "bkt-mastery")
    for elsewhere in ("http://127.0.0.1:9", f"sqlite:///{tmp_path / 'empty.db'}"):
        assert not local_model_is_unknown(elsewhere, "bkt-mastery")


def test_the_alias_is_at_the_parameters_in_force_which_have_one_version(
    store, evidence, folder, tmp_path
):
    """A promotion, the same again, another, back to the first, an alias removed by hand."""

    def champion() -> int:
        return int(_client(store).get_model_version_by_alias("bkt-mastery", "champion").version)

    run_id = _log(store, evidence, folder, tmp_path)
    for params, given, expected in (
        ({"known": SOUND}, run_id, 1),
        ({"known": SOUND}, run_id, 1),
        ({"known": DEFAULTS}, None, 2),
        ({"known": SOUND}, None, 1),
        ({}, None, 3),
        ({"known": DEFAULTS}, None, 2),
    ):
        assert _register(store, params, mlflow_run_id=given) == champion() == expected
    found = _client(store).get_model_version_by_alias("bkt-mastery", "champion")
    assert found.run_id == run_id
    _client(store).delete_registered_model_alias("bkt-mastery", "champion")
    assert _register(store, {"known": DEFAULTS}) == champion() == 2


def test_a_store_that_has_heard_of_nothing_stays_as_it_is(store, tmp_path):
    assert _register(store, {"known": SOUND}) is None
    assert _client(store).search_registered_models() == []
    absent = tmp_path / "absent.db"
    assert _register(f"sqlite:///{absent}", {"known": SOUND}) is None
    assert not absent.exists()


def test_a_server_that_is_down_is_one_sentence_within_seconds(evidence, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://ann:secret@127.0.0.1:{port}"
    with pytest.raises(TrackingUnavailableError, match="--relog") as caught:
        log_retrain(uri, "bkt-retrain", None, evidence, folder)
    assert caught.value.exit_code == 6
    assert "secret" not in str(caught.value)


def test_a_store_that_is_no_database_is_one_sentence(evidence, folder, tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(TrackingUnavailableError):
        log_retrain(f"sqlite:///{tmp_path / 'mlflow.db'}", "x", None, evidence, folder)


def test_a_secret_is_cut_from_an_address():
    assert without_secret("https://ann:pw@host:5000/x") == "https://host:5000/x"
    assert without_secret("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"
    hidden = without_secret("https://host/x?token=pw&page=2")
    assert hidden == "https://host/x?token=***&page=2"
