"""Snapshots of what changed since a mark: the rows that a look at every state would give."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from datasets.store.connections.engines import reading
from datasets.store.online.recording import record
from datasets.store.runs.runs import start_run
from datasets.store.states.snapshot_marks import (
    SnapshotMark,
    changed_since,
    mark_from_json,
    mark_of,
    next_mark,
)
from datasets.store.states.snapshots import (
    mastery_as_of,
    write_concept_snapshots,
    write_snapshots,
)
from datasets.store.states.sweep import sweep
from tests.datasets.store.online.test_recording import attempt, write
from tests.datasets.store.oracle import stored_states
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED

DAY = timedelta(days=1)
ON_POSTGRES = pytest.mark.parametrize(
    "database_kind", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
ROWS = [{"concept": c, "user": f"u{n}"} for c in ("a", "b") for n in range(5)]


@pytest.fixture
def first_night(engine):
    """Ten states with a row each; the mark of that night."""
    import_rows(engine, ROWS)
    sweep(engine, at=STARTED)
    return night(engine, 0, None)


def night(engine, n, since):
    """Snapshots as a night takes them; returns the mark for the next."""
    with engine.begin() as conn:
        start_run(conn, run_id=f"night-{n}", kind="retrain", at=STARTED)
    with reading(engine) as conn:
        mark = next_mark(conn, f"night-{n}", since)
    write_snapshots(engine, run_id=f"night-{n}", at=STARTED + DAY * n, since=since)
    return mark


def assert_snapshots_are_the_states(engine, n):
    with reading(engine) as conn:
        now = mastery_as_of(conn, STARTED + DAY * n)
        columns = now.select("user_id", "concept_id", "p_mastery", "n_attempts", "param_id")
        assert {(u, c): (p, k, i) for u, c, p, k, i in columns.rows()} == stored_states(conn)


def rows_of(engine, n):
    with reading(engine) as conn:
        query = text("SELECT count(*) FROM mastery_snapshot WHERE run_id = :run")
        return conn.execute(query, {"run": f"night-{n}"}).scalar_one()


def test_a_marked_night_writes_what_changed_and_looks_at_nothing_else(engine, first_night):
    """Told by a row that was taken away: where every state is looked at it comes back."""
    write(engine, attempt("new", user="u1", concepts=("a",), minutes=500))
    promote(engine, "later", "b")
    sweep(engine, at=STARTED)
    mark = night(engine, 1, first_night)
    assert rows_of(engine, 1) == 6
    assert_snapshots_are_the_states(engine, 1)
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM mastery_snapshot WHERE run_id = 'night-1'"))
    night(engine, 2, mark)
    assert rows_of(engine, 2) == (0 if engine.dialect.name == "postgresql" else 6)
    night(engine, 3, None)
    assert_snapshots_are_the_states(engine, 3)


@ON_POSTGRES
def test_a_state_that_commits_behind_the_mark_is_not_missed(engine, first_night):
    """Its transaction began before the night, so that its id and its clock are older."""
    with engine.connect() as slow:
        slow.begin()
        slow.execute(text("SELECT pg_current_xact_id()"))
        write(engine, attempt("quick", user="u2", concepts=("b",), minutes=500))
        mark = night(engine, 1, first_night)
        record(slow, attempt("late", user="u1", concepts=("a",), minutes=500), at=STARTED)
        slow.commit()
    night(engine, 2, mark)
    assert [rows_of(engine, n) for n in (1, 2)] == [1, 1]
    assert_snapshots_are_the_states(engine, 2)


def test_what_changes_while_a_run_lies_killed_is_left_to_the_next(engine, first_night):
    write(engine, attempt("one", user="u1", concepts=("a",), minutes=500))
    night(engine, 1, first_night)  # killed here, before its row was closed
    write(engine, attempt("two", user="u1", concepts=("a",), minutes=501))
    mark = night(engine, 1, first_night)
    assert mark == first_night
    night(engine, 2, mark)
    assert_snapshots_are_the_states(engine, 2)


def test_sqlite_has_no_mark(first_night, database_kind):
    assert (first_night is None) == (database_kind == "sqlite")


@ON_POSTGRES
def test_a_mark_of_elsewhere_or_of_long_ago_says_nothing(engine, first_night):
    with reading(engine) as conn:
        now = mark_of(conn)
        assert mark_from_json(first_night.as_json()) == first_night
        assert "xmin" in changed_since(conn, first_night)
        for other in (
            replace(first_night, system="another"),
            replace(first_night, database=1),
            replace(first_night, table=1),
            replace(now, transaction=now.transaction + 10),
            replace(now, transaction=now.transaction - 2**31),
        ):
            assert changed_since(conn, other) == "true"
        wrapped = SnapshotMark(now.system, now.database, now.table, 2**32 + 5)
        assert changed_since(conn, wrapped) == "true"
    assert mark_from_json(None) is None


@ON_POSTGRES
def test_a_night_does_not_read_all_of_history_for_each_concept(engine):
    """The latest row of each state is looked up: PostgreSQL would rather hash the table."""
    with engine.begin() as conn:
        for table, moment in (
            ("bkt_user_skill_state", "updated_at"),
            ("mastery_snapshot", "snapshot_at"),
        ):
            filled = (
                f"INSERT INTO {table} (concept_id, user_id, p_mastery, n_attempts,"  # noqa: S608 - names from above
                f" algo_version_id, {moment}) SELECT n % 20, n / 20, 0.5, 1, 1, now()"
                " FROM generate_series(0, 39999) n"
            )
            conn.execute(text(filled))
            conn.execute(text(f"ANALYZE {table}"))
    with engine.begin() as conn:
        assert write_concept_snapshots(conn, ["7", "8"], run_id=None, at=STARTED + DAY) == 0
        read = text(
            "SELECT seq_tup_read FROM pg_stat_xact_user_tables"
            " WHERE relname = 'mastery_snapshot'"
        )
        assert conn.execute(read).scalar_one() == 0
