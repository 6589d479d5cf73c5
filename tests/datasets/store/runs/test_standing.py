"""The numbers of nights that are watched, on both databases."""

from __future__ import annotations

from datetime import timedelta

from datasets.store.connections.engines import reading
from datasets.store.runs.runs import RunStatus, finish_run, note_outcome, start_run
from datasets.store.runs.standing import read_standing
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED


def run_of(engine, run_id, kind, status, hours, outcome=None):
    """One run that ended, so many hours after the start of the tests."""
    at = STARTED + timedelta(hours=hours)
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind=kind, at=at)
        if status is not RunStatus.RUNNING:
            finish_run(conn, run_id=run_id, status=status, at=at, outcome=outcome)


def test_a_database_without_runs_has_no_night(engine):
    with reading(engine) as conn:
        standing = read_standing(conn)
    assert (standing.kinds, standing.night, standing.monitoring) == ((), {}, {})
    assert standing.states.total == standing.in_force.fitted == 0


def test_a_failed_night_moves_the_last_end_and_not_the_last_success(engine):
    """Unchanged and empty nights are successes; a killed one is unfinished."""
    run_of(engine, "1", "retrain", RunStatus.DONE, 1, {"seconds": {"fit": 2.5}})
    run_of(engine, "2", "retrain", RunStatus.UNCHANGED, 2, {"seconds": {"fit": 0.0}})
    run_of(engine, "3", "retrain", RunStatus.FAILED, 3, {"exit_code": 3})
    run_of(engine, "4", "retrain", RunStatus.RUNNING, 4)
    run_of(engine, "5", "prune", RunStatus.DONE, 5)
    with reading(engine) as conn:
        standing = read_standing(conn)
    prune, retrain = standing.kinds
    assert (prune.kind, prune.unfinished) == ("prune", 0)
    assert retrain.last_success == STARTED + timedelta(hours=2)
    assert retrain.last_end == STARTED + timedelta(hours=3)
    assert retrain.unfinished == 1
    assert standing.night == {"exit_code": 3}


def test_states_are_counted_by_what_readers_would_do(engine):
    """Stale ones have attempts that they do not hold, old ones other parameters."""
    import_rows(engine, [{"concept": "a", "user": u} for u in ("ann", "bob", "eve")])
    with reading(engine) as conn:
        assert read_standing(conn).states.stale == 3
    promote(engine, "run-1", "a")
    with reading(engine) as conn:
        standing = read_standing(conn)
    assert (standing.in_force.fitted, standing.in_force.at_defaults) == (1, 0)


def test_what_monitoring_noted_stays_when_its_run_is_closed(engine):
    with engine.begin() as conn:
        start_run(conn, run_id="m", kind="monitor", at=STARTED, manifest={"asked": "all"})
        note_outcome(conn, "m", {"scored": 5, "drifted": 2})
        finish_run(conn, run_id="m", status=RunStatus.DONE, at=STARTED)
    with reading(engine) as conn:
        assert read_standing(conn).monitoring == {"scored": 5, "drifted": 2}
