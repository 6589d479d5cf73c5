"""A snapshot has a row for each state that is up to date and changed, and for no other."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from datasets.store.connections.engines import reading
from datasets.store.runs.runs import start_run
from datasets.store.states.snapshots import mastery_as_of, thin_snapshots, write_snapshots
from datasets.store.states.sweep import sweep
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED

HOUR = timedelta(hours=1)


def rows(engine):
    query = "SELECT user_id, n_attempts, run_id FROM mastery_snapshot ORDER BY id"
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(query))]


def begin(engine, *run_ids):
    with engine.begin() as conn:
        for run_id in run_ids:
            start_run(conn, run_id=run_id, kind="retrain", at=STARTED)


def test_a_stale_state_has_no_row_until_it_is_swept(engine):
    """Its value does not know its attempts: it would be the mastery of nobody."""
    begin(engine, "first", "second", "third")
    import_rows(engine, [{"key": "a", "user": "ann"}, {"key": "b", "user": "bob"}])
    assert write_snapshots(engine, run_id="first", at=STARTED) == 0
    sweep(engine, at=STARTED)
    import_rows(engine, [{"key": "c", "user": "ann", "minutes": 5}])
    assert write_snapshots(engine, run_id="second", at=STARTED) == 1
    assert rows(engine) == [("bob", 1, "second")]
    sweep(engine, at=STARTED)
    assert write_snapshots(engine, run_id="third", at=STARTED + HOUR) == 1
    assert rows(engine) == [("bob", 1, "second"), ("ann", 2, "third")]


def test_a_row_is_written_for_each_kind_of_change_and_for_no_other(engine):
    """Attempts, parameters, and nothing: the same state twice is one row."""
    begin(engine, *(f"n{n}" for n in range(4)))
    import_rows(engine, [{"key": "a"}])
    sweep(engine, at=STARTED)
    assert write_snapshots(engine, run_id="n0", at=STARTED) == 1
    assert write_snapshots(engine, run_id="n1", at=STARTED + HOUR) == 0
    promote(engine, "r", "fractions")
    sweep(engine, at=STARTED)
    assert write_snapshots(engine, run_id="n2", at=STARTED + 2 * HOUR) == 1
    import_rows(engine, [{"key": "b", "minutes": 9}])
    sweep(engine, at=STARTED)
    assert write_snapshots(engine, run_id="n3", at=STARTED + 3 * HOUR) == 1
    assert write_snapshots(engine, run_id="n3", at=STARTED + 3 * HOUR) == 0
    with reading(engine) as conn:
        times = [mastery_as_of(conn, STARTED + n * HOUR) for n in (0, 2, 3)]
        before = mastery_as_of(conn, STARTED - timedelta(microseconds=1))
    assert [frame["n_attempts"].to_list() for frame in times] == [[1], [1], [2]]
    assert before.is_empty()


def test_thinning_keeps_the_last_row_of_each_week_and_all_that_is_new(engine):
    """Rows at the very moment of the limit are kept."""
    begin(engine, *(f"n{n}" for n in range(4)))
    moments = [STARTED, STARTED + HOUR, STARTED + 2 * HOUR, STARTED + timedelta(days=8)]
    for n, at in enumerate(moments):
        import_rows(engine, [{"key": f"k{n}", "minutes": n}])
        sweep(engine, at=STARTED)
        write_snapshots(engine, run_id=f"n{n}", at=at)
    with engine.begin() as conn:
        assert thin_snapshots(conn, before=moments[2]) == 1
    assert [run for *_, run in rows(engine)] == ["n1", "n2", "n3"]
    with engine.begin() as conn:
        assert thin_snapshots(conn, before=moments[3] + HOUR) == 1
    assert [run for *_, run in rows(engine)] == ["n2", "n3"]
