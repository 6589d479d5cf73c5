"""An activation by hand: approved, told, and finished by the same command after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bkt_core.params import BktParams
from datasets.store.connections.engines import reading
from datasets.store.errors import UnknownAlgorithmError
from datasets.store.params.algorithms import active_algorithm
from datasets.store.runs.runs import RunStatus, list_runs
from datasets.store.states.sweep import outstanding, sweep
from flows.actions.activate import NotApprovedError, activate, plan_activation
from tests.datasets.store.params.test_activation import expected, fit_v2, stored
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings

SURE = BktParams(p_L0=0.96, p_T=0.2, p_S=0.1, p_G=0.15)
#: An activation that dies at a point.
_KILLED = """
import os, signal, sys
from bkt_settings.pipeline import load_settings
from datasets.store.connections.fault_points import install_harness
from flows.actions.activate import activate
def die(name):
    if name == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
install_harness(die)
activate(load_settings(), "v2", approve=True)
"""
POINTS = (
    "activate: locked",
    "activate: flipped",
    "activate: recorded",
    "activate: committed",
    "sweep: chunk written",
    "sweep: chunk committed",
    "snapshot: rows written",
    "snapshot: committed",
)


def in_force(engine: Engine) -> str:
    with reading(engine) as conn:
        return active_algorithm(conn).version


def runs(engine: Engine) -> list[Any]:
    with reading(engine) as conn:
        return list(list_runs(conn, kind="activate"))


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
    settings: Settings, engine: Engine
):
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


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_an_activation_that_was_killed_is_finished_by_the_same_command(
    point: str, settings: Settings, engine: Engine
):
    """Killed as by a power cut; nothing is half active, and one run has the events."""
    promote(engine, "run-1", "a")
    fit_v2(engine, "a", SURE)
    sweep(engine, at=STARTED)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, point], capture_output=True, check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    flipped = POINTS.index(point) >= POINTS.index("activate: committed")
    assert in_force(engine) == ("v2" if flipped else "v1")
    done = activate(settings, "v2", approve=not flipped)
    assert done.after == in_force(engine) == "v2"
    states(engine)
    ended = [run.status for run in runs(engine)]
    assert ended == ([RunStatus.DONE] if flipped else ended)
    assert ended[0] is RunStatus.DONE
    assert activate(settings, "v2").run_id is None
