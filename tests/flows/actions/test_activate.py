"""An activation by hand: approved, told, and finished by the same command after a kill."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bkt_core.params import BktParams
from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import reading
from datasets.store.errors import UnknownAlgorithmError
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.events import EventDecision, history
from datasets.store.runs.runs import RunStatus, list_runs
from datasets.store.states.outstanding import outstanding
from datasets.store.states.sweep import sweep
from flows.actions.activate import NotApprovedError, activate, plan_activation
from tests.datasets.store.params.test_activation import expected, fit_v2, stored
from tests.datasets.store.writing import import_rows, promote
from tests.flows.support.killed_activations import (
    LOGGED,
    SWITCHED,
    UNSWITCHED,
    settings_for,
)
from tests.moments import STARTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings

SURE = BktParams(p_L0=0.96, p_T=0.2, p_S=0.1, p_G=0.15)


def in_force(engine: Engine) -> str:
    with reading(engine) as conn:
        return active_algorithm(conn).version


def runs(engine: Engine) -> list[Any]:
    with reading(engine) as conn:
        return list(list_runs(conn, kind="activate"))


def logged(settings: Settings, run_id: str) -> Any:
    """The one run of MLflow about this run."""
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    client = MlflowClient(settings.tracking_uri)
    experiment = client.get_experiment_by_name(settings.mlflow_experiment)
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`bkt.run_id` = '{run_id}'")
    assert found.info.status == "FINISHED"
    return found


def told_by(engine: Engine) -> set[str]:
    """The activations that concept c was told of."""
    with reading(engine) as conn:
        events = history(conn, "c")
    return {one.run_id for one in events if one.decision is EventDecision.ACTIVATED}


def states(engine: Engine) -> dict[Any, Any]:
    """Every state, which must be the replay under what is in force."""
    with reading(engine) as conn:
        assert outstanding(conn) == {}
        assert stored(conn) == expected(conn)
        return stored(conn)


def crowd(engine: Engine, *, n_users: int = 40) -> None:
    """Users at concept c, of whom every second answers right and the others wrong."""
    import_rows(
        engine,
        [
            {
                "key": f"{n}-{i}",
                "concept": "c",
                "user": f"u{n:02d}",
                "minutes": i,
                "correct": n % 2,
            }
            for n in range(n_users)
            for i in range(4)
        ],
    )


def test_what_would_happen_is_told_and_nothing_is_changed(settings: Settings, engine: Engine):
    promote(engine, "run-1", "a")
    promote(engine, "run-1", "b")
    fit_v2(engine, "a", SURE)
    plan = plan_activation(settings, "v2")
    assert (plan.before, plan.after, plan.concepts_fitted) == ("v1", "v2", 2)
    assert plan.to_defaults == ("b",)
    assert (plan.impact.states, plan.impact.users) == (4, 2)
    assert plan.evidence.pooled.n_users == 2
    assert plan.objections == ()  # of two users nothing can be shown
    with pytest.raises(UnknownAlgorithmError):
        activate(settings, "v9", approve=True)
    assert (in_force(engine), runs(engine)) == ("v1", [])


def test_a_version_that_is_shown_to_be_worse_needs_a_person(settings: Settings, engine: Engine):
    """Slips and guesses near one half say nothing of users who are all right or all wrong."""
    crowd(engine)
    promote(engine, "run-1", "c")
    fit_v2(engine, "c", BktParams(p_L0=0.3, p_T=0.02, p_S=0.4, p_G=0.4))
    with pytest.raises(NotApprovedError, match=r"v2 is shown to be worse than v1 .* --approve"):
        activate(settings, "v2")
    assert NotApprovedError.exit_code == 3
    assert (in_force(engine), runs(engine)) == ("v1", [])
    assert activate(settings, "v2", approve=True).after == in_force(engine) == "v2"
    (run,) = runs(engine)
    assert run.manifest["approved"]


def test_a_version_that_moves_too_many_users_needs_a_person(settings: Settings, engine: Engine):
    """Not worse, but half of all users would be masters from their first attempt on."""
    crowd(engine)
    promote(engine, "run-1", "c", BktParams(p_L0=0.3, p_T=0.001, p_S=0.4, p_G=0.4))
    fit_v2(engine, "c", BktParams(p_L0=0.5, p_T=0.1, p_S=0.05, p_G=0.05))
    plan = plan_activation(settings, "v2")
    assert plan.evidence.pooled.p_not_better < 0.05
    assert plan.impact.users_crossing >= 10
    (objection,) = plan.objections
    with pytest.raises(NotApprovedError, match="would cross the mastery threshold"):
        activate(settings, "v2")
    assert in_force(engine) == "v1"
    assert "more than 20%" in objection


def test_evidence_suffices_where_nothing_speaks_against_it_and_is_kept(
    settings: Settings, engine: Engine, tracked_home: Path
):
    assert tracked_home.is_dir()
    crowd(engine)
    promote(engine, "run-1", "c", BktParams(p_L0=0.3, p_T=0.001, p_S=0.4, p_G=0.4))
    fit_v2(engine, "c", BktParams(p_L0=0.3, p_T=0.001, p_S=0.3, p_G=0.3))
    assert activate(settings, "v2").after == in_force(engine) == "v2"
    (run,) = runs(engine)
    assert not run.manifest["approved"]
    evidence = run.manifest["evidence"]["evidence"]
    assert evidence["scores"]["log_loss"]["change"] < 0
    assert evidence["p_not_worse"] > 0.05
    assert not list((settings.data_dir / "extracts").glob("session-*"))


def test_there_and_back_states_and_snapshots_follow(settings: Settings, engine: Engine):
    promote(engine, "run-1", "a")
    fit_v2(engine, "a", SURE)
    sweep(engine, at=STARTED)
    first = states(engine)
    there = activate(settings, "v2", approve=True, actor="me")
    assert (there.before, there.after, there.problem) == ("v1", "v2", None)
    assert (there.states, there.snapshots) == (4, 4)
    assert states(engine) != first
    again = activate(settings, "v2")
    assert (again.run_id, again.states) == (None, 0)
    back = activate(settings, "v1", approve=True)
    assert back.states == 4
    assert states(engine) == first
    assert [run.status for run in runs(engine)] == [RunStatus.DONE] * 2


@pytest.fixture
def killed(settings: Settings, tracked_home: Path) -> Iterator[Callable[[str], bool]]:
    """Activates v2 in another process and kills it at a place; tells whether it came there."""
    assert settings.data_dir == tracked_home
    with subprocess.Popen(
        [sys.executable, "-m", "tests.flows.support.killed_activations"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:

        def kill(place: str) -> bool:
            process.stdin.write(f"{place}\n")
            return process.stdout.readline() == "True\n"

        yield kill
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_activation_that_was_killed_is_finished_by_the_same_command(
    settings: Settings, engine: Engine, killed: Callable[[str], bool]
):
    """Killed as by a power cut; nothing is half active, and one run has the events.

    Each place follows a way back to v1, with the bits of before.
    """
    crowd(engine)
    promote(engine, "run-1", "c", BktParams(p_L0=0.3, p_T=0.001, p_S=0.4, p_G=0.4))
    fit_v2(engine, "c", BktParams(p_L0=0.3, p_T=0.001, p_S=0.3, p_G=0.3))
    sweep(engine, at=STARTED)
    first, unlogged = states(engine), settings_for("")
    for place in (*UNSWITCHED, *SWITCHED):
        earlier = {run.run_id for run in runs(engine)}
        assert killed(place), place
        assert in_force(engine) == ("v2" if place in SWITCHED else "v1"), place
        done = activate(settings_for(place), "v2")
        assert (done.before, done.after) == ("v1", "v2"), place
        assert in_force(engine) == "v2"
        assert states(engine) != first
        ended = {run.run_id: run.status for run in runs(engine) if run.run_id not in earlier}
        assert ended.pop(done.run_id) is RunStatus.DONE
        assert set(ended.values()) <= {RunStatus.ABANDONED}, place
        assert not (place in SWITCHED and ended), place
        assert told_by(engine) - earlier == {done.run_id}, place
        if place.endswith(LOGGED):
            assert done.problem is None
            assert logged(settings, done.run_id).data.tags["bkt.role"] == "activation"
        assert activate(settings, "v2").run_id is None
        activate(unlogged, "v1", approve=True)
        assert states(engine) == first


@pytest.mark.slow
def test_one_that_a_person_approved_is_finished_by_the_same_command(
    settings: Settings, engine: Engine, killed: Callable[[str], bool]
):
    promote(engine, "run-1", "a")
    fit_v2(engine, "a", SURE)
    for place in ("activate: flipped", "activate: committed"):
        assert killed(f"approve {place}"), place
        assert activate(settings, "v2", approve=True).before == "v1"
        states(engine)
        assert runs(engine)[0].status is RunStatus.DONE
        activate(settings, "v1", approve=True)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_mlflow_has_the_evidence_and_an_approval_has_none(
    settings: Settings, engine: Engine, tracked_home: Path
):
    """Under the keys of nights and comparisons; no figures where a person decided."""
    crowd(engine)
    promote(engine, "run-1", "c", BktParams(p_L0=0.3, p_T=0.001, p_S=0.4, p_G=0.4))
    fit_v2(engine, "c", BktParams(p_L0=0.3, p_T=0.001, p_S=0.3, p_G=0.3))
    there = activate(settings, "v2")
    (run,) = runs(engine)
    evidence = run.manifest["evidence"]["evidence"]
    data = logged(settings, there.run_id).data
    scores = evidence["scores"]["log_loss"]
    found = [data.metrics[key] for key in ("pooled_log_loss", "rival_pooled_log_loss")]
    assert found == [scores["b"], scores["a"]]
    assert data.metrics["p_not_worse"] == evidence["p_not_worse"]
    assert (data.tags["bkt.kind"], data.tags["bkt.rival_version"]) == ("activate", "v1")
    assert len(data.tags["bkt.data_digest"]) > 10
    folder = tracked_home / "runs" / there.run_id
    assert {file.name for file in folder.iterdir()} == {
        "versions.json",
        "versions.parquet",
        "versions.html",
    }
    back = activate(settings, "v1", approve=True)
    assert back.problem is None
    data = logged(settings, back.run_id).data
    assert data.metrics == {}
    assert data.tags["bkt.approved"] == "true"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_an_activation_that_mlflow_does_not_take_is_done_and_tells(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    assert not settings.tracking_uri.startswith("http")
    fit_v2(engine, "a", SURE)
    monkeypatch.setenv("BKT_MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = activate(load_settings(), "v2")
    assert in_force(engine) == "v2"
    assert "MLflow" in done.problem
    assert runs(engine)[0].status is RunStatus.DONE
