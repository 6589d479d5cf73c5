"""Walking forward through history: each step is the trial of its day, done once, in MLflow."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from bkt_core.errors import BktError
from bkt_core.params import BktParams
from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import reading
from datasets.store.errors import LockedError, UnknownAlgorithmError
from datasets.store.runs.run_lock import run_lock
from datasets.store.runs.runs import RunStatus, list_runs
from flows import backfill_params as backfills
from flows.backfill_params import backfill_params
from flows.cli.app import run
from flows.nightly import nightly
from flows.runs.backfill_plan import days_to_fit, end_of
from flows.runs.requests import BackfillParamsRequest, FitRequest
from flows.trial_fit import trial_fit
from tests.flows.support.attempt_logs import fill_log
from tests.flows.support.night_oracle import all_rows, expected_states, stored_states

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.entities import Run  # noqa: TID251 - the store is read back
    from sqlalchemy import Engine

TRUE = {
    "sums": BktParams(p_L0=0.3, p_T=0.2, p_S=0.1, p_G=0.2),
    "fractions": BktParams(p_L0=0.2, p_T=0.3, p_S=0.1, p_G=0.2),
}
DAYS = tuple(date(2026, 1, day) for day in (6, 13, 20))
ASKED = BackfillParamsRequest(first_day=DAYS[0], last_day=DAYS[-1])


@pytest.fixture
def log(tracked_home: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Attempts of three weeks, more each week."""
    monkeypatch.setenv("BKT_DATABASE_URL", str(sqlite_engine.url))
    monkeypatch.setenv("BKT_FIT__STARTS", "2")
    for week, day in enumerate(DAYS):
        fill_log(
            sqlite_engine,
            tracked_home,
            TRUE,
            n_users=40 + 20 * week,
            begins=datetime(day.year, day.month, day.day, tzinfo=UTC),
            source=f"week {week}",
            seed=week,
        )
    return sqlite_engine


@pytest.fixture
def no_mlflow(log: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow takes most of a small run; what a test does not look at is not delivered."""
    assert log is not None
    monkeypatch.setenv("BKT_MLFLOW_TRACKING_URI", "http://127.0.0.1:9")


def mlflow_runs() -> dict[str, Run]:
    """Every run that MLflow has, by its id there."""
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    client = MlflowClient(load_settings().tracking_uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    return {found.info.run_id: found for found in client.search_runs(experiments)}


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_each_step_is_the_trial_of_its_day_and_nothing_is_promoted(log: Engine):
    """The same parameters as `bkt fit --until`, as children of one run; states stay."""
    before = all_rows(log)
    done = backfill_params(ASKED)
    assert [step.day for step in done.steps] == list(DAYS)
    assert (done.exit_code, done.promoted, done.resumed) == (0, 0, False)
    assert all_rows(log) == before
    sizes = [step.summary.metrics["n"] for step in done.steps]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    trial = trial_fit(FitRequest(until=end_of(DAYS[1])))
    middle = done.steps[1].summary
    assert trial.metrics == middle.metrics
    assert trial.concepts.reused == 2  # the very same fits, by their names
    found = mlflow_runs()
    parent = found[done.mlflow_run_id]
    assert parent.data.tags["bkt.run_id"] == done.run_id
    assert parent.data.params["backfill.step_days"] == "7"
    assert parent.info.status == "FINISHED"
    for step in done.steps:
        child = found[step.summary.mlflow_run_id]
        assert child.data.tags["mlflow.parentRunId"] == done.mlflow_run_id
        assert child.data.tags["bkt.until"] == end_of(step.day).isoformat()
        assert child.data.metrics["pooled_auc"] == step.summary.metrics["auc"]
    assert "mlflow.parentRunId" not in found[trial.mlflow_run_id].data.tags


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_what_an_earlier_try_did_is_not_done_again(
    log: Engine, monkeypatch: pytest.MonkeyPatch, tracked_home: Path
):
    """Broken off in its second step it goes on there, over what it had read."""
    fit, fitted = backfills.fit_concepts, []

    def breaks_at_the_second(settings: object, plan: object) -> object:
        if len(fitted) == 1:
            raise ConnectionResetError("pulled the plug")
        fitted.append(plan)
        return fit(settings, plan)

    monkeypatch.setattr(backfills, "fit_concepts", breaks_at_the_second)
    with pytest.raises(ConnectionResetError):
        backfill_params(ASKED)
    monkeypatch.setattr(backfills, "fit_concepts", fit)
    late = datetime(2026, 1, 6, tzinfo=UTC)  # what comes in meanwhile does not mix in
    fill_log(log, tracked_home, TRUE, n_users=30, begins=late, source="late", seed=9)
    nightly()  # and a night marks what was left as abandoned
    stamps = {path: path.stat().st_mtime_ns for path in fitted[0].run_dir.rglob("shard-*.json")}
    again = backfill_params(ASKED)
    assert again.resumed
    assert [step.was_done for step in again.steps] == [True, False, False]
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    first = ASKED.model_copy(update={"last_day": DAYS[0]})
    fresh = backfill_params(first)  # over the log as it is now
    assert not fresh.resumed
    assert fresh.steps[0].summary.metrics["n"] > again.steps[0].summary.metrics["n"]
    assert [step.was_done for step in backfill_params(first).steps] == [True]
    with reading(log) as conn:
        left = [one.status for one in list_runs(conn, kind="backfill")]
    assert set(left) == {RunStatus.DONE}


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server", "no_mlflow")
def test_as_known_fits_what_was_stored_by_then(log: Engine):
    """A week that was imported late, and an outcome that was corrected, as they stood then."""
    stored = "2026-01-{:02d} 23:00:00.000000"
    with log.begin() as conn:
        conn.execute(text("UPDATE attempts SET created_at = :at"), {"at": stored.format(6)})
        for source, day in (("week 1", 13), ("week 2", 20)):
            conn.execute(
                text("UPDATE attempts SET created_at = :at WHERE source = :source"),
                {"at": stored.format(day), "source": source},
            )
        # Attempts of the first week that came in late.
        conn.execute(
            text(
                "UPDATE attempts SET created_at = :at "
                "WHERE source = 'week 0' AND user_id LIKE '%-000_'"
            ),
            {"at": stored.format(20)},
        )
    request = ASKED.model_copy(update={"as_known": True})
    answered, known = backfill_params(ASKED), backfill_params(request)
    with log.connect() as conn:
        for step, (day, plain) in zip(
            known.steps, zip(DAYS, answered.steps, strict=True), strict=True
        ):
            at = end_of(day).strftime("%Y-%m-%d %H:%M:%S.%f")
            n = conn.execute(
                text("SELECT count(*) FROM attempts WHERE created_at < :at"), {"at": at}
            ).scalar_one()
            assert step.summary.metrics["n"] == n
            assert (n < plain.summary.metrics["n"]) == (day != DAYS[-1])


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_a_candidate_is_fitted_through_history_and_serves_nobody(log: Engine):
    """Each step is the trial of its day under that version; a missing version is named."""
    request = ASKED.model_copy(update={"algo": "v2", "first_day": DAYS[-1]})
    before = all_rows(log)
    done = backfill_params(request)
    assert done.exit_code == 0
    assert done.name.endswith("under v2")
    assert all_rows(log) == before
    trial = trial_fit(FitRequest(until=end_of(DAYS[-1]), algo="v2"))
    (step,) = done.steps
    assert step.summary.metrics == trial.metrics
    assert trial.concepts.reused == 2
    found = mlflow_runs()
    assert found[done.mlflow_run_id].data.params["backfill.algo"] == "v2"
    assert found[step.summary.mlflow_run_id].data.tags["bkt.algo_version"] == "v2"
    under_v1 = backfill_params(request.model_copy(update={"algo": None}))
    assert under_v1.steps[0].summary.metrics != step.summary.metrics
    with pytest.raises(UnknownAlgorithmError, match="v9"):
        backfill_params(request.model_copy(update={"algo": "v9"}))


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server", "no_mlflow")
def test_the_last_day_is_promoted_where_that_is_asked(log: Engine):
    """Through the gates and the protocol of a night; states follow, twice is once."""
    request = ASKED.model_copy(update={"promote": True})
    done = backfill_params(request)
    assert done.promoted == 2
    assert stored_states(log) == expected_states(log)
    rows = all_rows(log)["bkt_skill_params"]
    assert len(rows) == 2
    before = all_rows(log)
    assert backfill_params(request).promoted == 2
    assert all_rows(log) == before


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_a_second_operator_is_refused_by_name(log: Engine):
    with run_lock(log, holder="the other"), pytest.raises(LockedError, match="the other"):
        backfill_params(ASKED)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "2026-01-20", "--to", "2026-01-06"], "run forward"),
        (["--from", "2999-01-01", "--to", "2999-01-02"], "past day"),
        (["--from", "2026-01-06", "--to", "2026-06-20"], "--step 9d"),
        (["--from", "2026-01-06", "--to", "2026-01-20", "--step", "0d"], "--step"),
        (["--from", "2026-01-06", "--to", "2026-01-20", "--step", "week"], "7d"),
        (["--from", "", "--to", "2026-01-20"], "--from"),
        (["--from", "2026-02-30", "--to", "2026-03-20"], "--from"),
        (["--from", "2026-01-06"], "--to"),
        (
            ["--from", "2026-01-06", "--to", "2026-01-20", "--promote", "--algo", "v2"],
            "without --algo",
        ),
    ],
)
def test_a_range_that_cannot_be_meant_is_refused_in_words(
    bkt_home: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
):
    """Reversed, ahead, too fine, empty, no date: exit 2, before Prefect is even started."""
    assert said in refusal(capsys, *words)
    assert list(bkt_home.iterdir()) == []


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_a_range_that_the_log_does_not_have_is_refused_in_words(
    log: Engine, capsys: pytest.CaptureFixture[str]
):
    """Before the first attempt, or a concept that nobody attempted: exit 2, and no run."""
    early = refusal(capsys, "--from", "2025-12-01", "--to", "2026-01-20")
    assert "before the first attempt, which was made on 2026-01-06" in early
    range_ = ("--from", "2026-01-06", "--to", "2026-01-20")
    assert "'nope', which has none" in refusal(capsys, *range_, "--concept", "nope")
    with reading(log) as conn:
        assert list_runs(conn) == ()


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command says when it ends with 2."""
    assert run(["backfill", "params", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err.split("bkt: ")[-1]
    return printed.err


def test_a_log_without_attempts_cannot_be_walked(
    bkt_home: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """There is no first day."""
    assert bkt_home.is_dir()
    monkeypatch.setenv("BKT_DATABASE_URL", str(sqlite_engine.url))
    with pytest.raises(BktError, match="no attempts yet"):
        backfill_params.fn(ASKED)


def test_the_days_of_a_backfill():
    """Every step from the first day; the last day only where a step falls on it."""
    assert days_to_fit(ASKED) == DAYS
    shorter = ASKED.model_copy(update={"last_day": DAYS[-1] - timedelta(days=1)})
    assert days_to_fit(shorter) == DAYS[:2]
    one = ASKED.model_copy(update={"last_day": DAYS[0]})
    assert days_to_fit(one) == DAYS[:1]
    exactly = ASKED.model_copy(update={"last_day": DAYS[0] + timedelta(days=19 * 7)})
    assert len(days_to_fit(exactly)) == 20


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server", "no_mlflow")
def test_the_command_answers_programs(log: Engine, capsys: pytest.CaptureFixture[str]):
    """One object on stdout, a step per day; MLflow that is down costs only its evidence."""
    assert log is not None
    words = ["--from", "2026-01-06", "--to", "2026-01-07", "--step", "1w", "--concept", "sums"]
    assert run(["backfill", "params", *words, "--json"]) == 6
    told = json.loads(capsys.readouterr().out)
    assert [step["day"] for step in told["steps"]] == ["2026-01-06"]
    assert told["steps"][0]["concepts"]["seen"] == 1
    assert "accepts no connection" in told["remarks"][0]
