"""Monitoring end to end: a concept that changed after its fit is named, another is not."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from rich.console import Console

from bkt_core.params import BktParams
from bkt_settings.pipeline import load_settings
from datasets.extracts.extraction import extract_attempts
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.skill_params import Challenger
from datasets.store.params.switching import switch
from datasets.store.runs.runs import RunStatus, list_runs, start_run
from flows.cli.models.monitor import retrain_command, show_monitored
from flows.monitor_params import monitor_params
from flows.runs.plan import begin_run
from flows.runs.requests import FitRequest
from flows.shards.plan import plan_shards
from flows.shards.work import fit_shard
from flows.shards.works import read_works
from tests.flows.support.attempt_logs import fill_log

if TYPE_CHECKING:
    from mlflow.entities import Run  # noqa: TID251 - the store is read back
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings

TRUE = BktParams(p_L0=0.3, p_T=0.2, p_S=0.1, p_G=0.2)
SLIPPERY = replace(TRUE, p_S=0.2)
FITTED_UNTIL = datetime(2026, 2, 1, tzinfo=UTC)


def put_in_force(engine: Engine, settings: Settings) -> None:
    """Fit every concept as a night does, and switch to it."""
    now = datetime.now(UTC)
    extract = extract_attempts(engine, settings.data_dir, at=now)
    with reading(engine) as conn:
        version = active_algorithm(conn)
    plan = begin_run(engine, settings, FitRequest(), extract, version, kind="fit", at=now)
    extract.file_under(plan.run_dir)
    with engine.begin() as conn:
        start_run(conn, run_id="first", kind="retrain", at=now)
    for job in plan_shards(settings, plan, extract):
        fit_shard(job)
        for work in read_works(job.out):
            fit = work.evidence.fit
            with engine.begin() as conn:
                switch(
                    conn,
                    run_id="first",
                    concept_id=work.concept_id,
                    algo_version_id=version.id,
                    challenger=Challenger(
                        params=fit.params,
                        n_attempts=fit.n_attempts,
                        n_users=fit.n_users,
                        fitted_at=now,
                        metrics=fit.metrics(),
                        fitted_on_data_to=FITTED_UNTIL,
                    ),
                    expected_incumbent=None,
                    at=now,
                )


def look(engine: Engine, settings: Settings):
    """The flow's plain function on the log as it is."""
    extract = extract_attempts(engine, settings.data_dir, at=datetime.now(UTC))
    return monitor_params(engine, settings, extract)


def in_mlflow(settings: Settings, experiment: str, run_id: str | None) -> Run:
    """The run of that id, and that it lies in that experiment."""
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    client = MlflowClient(settings.tracking_uri)
    run = client.get_run(run_id)
    assert client.get_experiment(run.info.experiment_id).name == experiment
    return run


@pytest.mark.slow
def test_what_changed_after_its_fit_is_named_and_can_be_given_to_a_retrain(
    tracked_home: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Nothing later: nothing scored; then one concept of three slips twice as often."""
    monkeypatch.setenv("BKT_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("BKT_FIT__STARTS", "1")
    settings = load_settings()
    names = ("it's slippery", "steady", "left alone")
    fill_log(
        engine,
        tracked_home,
        dict.fromkeys(names, TRUE),
        n_users=300,
        begins=FITTED_UNTIL - timedelta(days=20),
        source="before",
    )
    put_in_force(engine, settings)
    quiet = look(engine, settings)
    assert (quiet.scored, quiet.waiting, quiet.drifted) == (0, 3, ())
    assert retrain_command(quiet) is None
    assert in_mlflow(settings, "bkt-retrain-monitor", quiet.mlflow_run_id)
    n_later = fill_log(
        engine,
        tracked_home,
        {names[0]: SLIPPERY, names[1]: TRUE},
        n_users=300,
        begins=FITTED_UNTIL + timedelta(days=1),
        source="after",
        seed=8,
    )
    found = look(engine, settings)
    assert (found.scored, found.waiting) == (2, 1)
    (drifted,) = found.drifted
    assert (drifted.concept_id, drifted.n_users) == (names[0], 300)
    assert drifted.log_loss > drifted.expected_log_loss
    assert drifted.bias < 0.0
    words = shlex.split(retrain_command(found))
    assert words == ["bkt", "retrain", "--full", f"--concept={names[0]}"]
    table = pl.read_parquet(found.table)
    assert table["concept_id"].to_list() == [names[0], names[1]]
    assert table["n_attempts"].sum() == n_later
    assert found.as_json()["drifted"][0]["concept_id"] == names[0]
    with reading(engine) as conn:
        runs = list_runs(conn, kind="monitor")
    assert {run.run_id: run.status for run in runs}[found.run_id] is RunStatus.DONE
    told = Console(record=True, width=160)
    show_monitored(told, found)
    assert "1 drifted" in told.export_text()
    logged = in_mlflow(settings, "bkt-retrain-monitor", found.mlflow_run_id)
    assert logged.data.metrics["concepts_drifted"] == 1
    assert logged.data.metrics["attempts"] == n_later
    weights = table["n_attempts"]
    excess = (table["excess"] * weights).sum() / weights.sum()
    assert logged.data.metrics["excess"] == pytest.approx(excess, rel=1e-12, abs=0)
    assert names[0] in logged.data.tags["mlflow.note.content"]
    assert found.problem is None


def test_a_look_that_mlflow_does_not_take_is_kept_and_says_so(
    bkt_home: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BKT_DATABASE_URL", str(sqlite_engine.url))
    monkeypatch.setenv("BKT_MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    found = look(sqlite_engine, load_settings())
    assert found.mlflow_run_id is None
    assert "accepts no connection" in found.problem
    assert found.table in found.problem
    assert Path(found.table).is_relative_to(bkt_home)
