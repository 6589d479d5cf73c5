"""Imports, sweeps, snapshots and erasure: after a sweep every state equals its replay."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from sqlalchemy import text

from bkt_core.family.params import FamilyParams
from bkt_core.params import BktParams
from datasets.store.attempts.erasure import erase_user, lift
from datasets.store.connections.engines import reading
from datasets.store.online.recording import record
from datasets.store.states.outstanding import outstanding
from datasets.store.states.reads import read_mastery
from datasets.store.states.snapshots import mastery_as_of, write_snapshots
from datasets.store.states.sweep import STAGED, sweep
from tests.datasets.store.online.test_recording import (
    assert_states_equal_their_replay,
    attempt,
    write,
)
from tests.datasets.store.oracle import expected_states, stored_states
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED

FORGETTING = FamilyParams(BktParams(p_L0=0.3, p_T=0.15, p_S=0.08, p_G=0.22), p_F=0.07)
ROWS = [
    {"user": f"u{i % 7}", "concept": f"c{i % 3}", "correct": i * 5 % 7 % 2, "minutes": i}
    for i in range(90)
]


def staged_now(engine, concept_id, p_mastery=None):
    """Staging of a concept from the states as they are, with a mark in place of mastery."""
    with reading(engine) as conn:
        rows = conn.execute(
            text(
                "SELECT user_id, version, n_attempts, last_attempt_id "
                "FROM bkt_user_skill_state WHERE concept_id = :c ORDER BY user_id"
            ),
            {"c": concept_id},
        ).all()
    return pl.DataFrame(
        {
            "user_id": [row.user_id for row in rows],
            "base_version": [row.version for row in rows],
            "p_mastery": [0.5 if p_mastery is None else p_mastery] * len(rows),
            "n_attempts": [row.n_attempts for row in rows],
            "last_attempt_at": [STARTED] * len(rows),
            "last_attempt_id": [row.last_attempt_id for row in rows],
        },
        schema={
            "user_id": pl.String,
            "base_version": pl.Int64,
            "p_mastery": pl.Float64,
            "n_attempts": pl.Int64,
            "last_attempt_at": pl.Datetime("us", "UTC"),
            "last_attempt_id": pl.Int64,
        },
    ).select(STAGED.keys())


def test_an_import_leaves_states_stale_and_a_sweep_replays_them(engine):
    assert set(import_rows(engine, ROWS)) == {"inserted"}
    with reading(engine) as conn:
        assert outstanding(conn) == {"c0": 7, "c1": 7, "c2": 7}
    result = sweep(engine, at=STARTED)
    assert (result.replayed, result.concepts) == (21, 3)
    assert_states_equal_their_replay(engine)
    assert sweep(engine, at=STARTED).written == 0


def test_an_import_is_accounted_for_line_by_line(engine):
    import_rows(engine, [{"key": "a"}, {"key": "b", "minutes": 3}])
    erase_user(engine, "gone", at=STARTED, actor="test")
    outcomes = import_rows(
        engine,
        [
            {"key": "a"},
            {"key": "b", "minutes": 3, "correct": 0},
            {"key": "c", "user": "gone"},
            {"key": "d"},
        ],
    )
    assert outcomes == ["duplicate", "conflict", "erased", "inserted"]


def test_a_correction_replaces_the_outcome_is_logged_and_outdates_the_state(engine):
    import_rows(engine, [{"key": "a"}, {"key": "b"}])
    sweep(engine, at=STARTED)
    wrong = [{"key": "a", "correct": 0}, {"key": "b"}]
    assert import_rows(engine, wrong) == ["conflict", "duplicate"]
    assert import_rows(engine, wrong, corrections=True) == ["corrected", "duplicate"]
    with reading(engine) as conn:
        logged = conn.execute(text("SELECT old_correct, new_correct FROM attempt_correction"))
        assert [tuple(row) for row in logged] == [(1, 0)]
    assert sweep(engine, at=STARTED).replayed == 1
    assert_states_equal_their_replay(engine)


def test_ids_of_attempts_follow_the_order_of_the_file(engine):
    import_rows(engine, [{"key": f"k{i * 7919 % 500}", "minutes": 500 - i} for i in range(500)])
    with reading(engine) as conn:
        keys = conn.execute(text("SELECT idempotency_key FROM attempts ORDER BY id")).scalars()
        assert list(keys) == [f"k{i * 7919 % 500}" for i in range(500)]


def test_a_row_that_forgets_is_replayed_by_every_path(engine):
    promote(engine, "run-1", "c1", FORGETTING)
    import_rows(engine, ROWS[:60])
    sweep(engine, at=STARTED)
    assert_states_equal_their_replay(engine)
    for i, minutes in enumerate((200, 201, 30)):  # two at the end, one late
        write(engine, attempt(f"online-{i}", user="u1", concepts=("c1",), minutes=minutes))
    write(engine, attempt("new", user="nobody", concepts=("c1",)))
    assert_states_equal_their_replay(engine)
    import_rows(engine, ROWS[60:])
    with reading(engine) as conn:
        seen = {one.concept_id: one.p_mastery for one in read_mastery(conn, "u1")}
        assert seen["c1"] == expected_states(conn)["u1", "c1"][0]
    sweep(engine, at=STARTED, staged_chunk=1, replay_chunk=1)
    assert_states_equal_their_replay(engine)
    promote(engine, "run-2", "c1")  # back to four probabilities
    sweep(engine, at=STARTED)
    assert_states_equal_their_replay(engine)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_a_sweep_repairs_everything_whatever_its_chunks(engine, chunk):
    import_rows(engine, ROWS)
    promote(engine, "run-1", "c1")
    seen: list[int] = []
    sweep(engine, at=STARTED, replay_chunk=chunk, on_chunk=seen.append)
    assert sum(seen) == 21
    assert max(seen) <= chunk
    assert_states_equal_their_replay(engine)


def test_a_user_and_a_concept_may_have_an_empty_name(engine):
    import_rows(engine, [{"user": "", "concept": ""}])
    sweep(engine, at=STARTED)
    assert assert_states_equal_their_replay(engine).keys() == {("", "")}


def test_staged_values_are_used_where_the_version_still_matches_and_only_there(engine):
    import_rows(engine, ROWS)
    sweep(engine, at=STARTED)
    staged = staged_now(engine, "c0", p_mastery=0.123)
    write(engine, attempt("new", user="u1", concepts=("c0",), minutes=500))
    promote(engine, "run-1", "c0")
    result = sweep(
        engine,
        at=STARTED,
        concepts=["c0"],
        run_id="run-1",
        staged=lambda _: staged,
        staged_chunk=3,
    )
    assert (result.staged, result.replayed) == (6, 1)
    with reading(engine) as conn:
        stored, expected = stored_states(conn), expected_states(conn)
    assert stored["u1", "c0"] == expected["u1", "c0"]
    assert {p for (u, c), (p, _, _) in stored.items() if c == "c0" and u != "u1"} == {0.123}


def test_staged_values_of_a_run_that_was_superseded_are_not_used(engine):
    import_rows(engine, ROWS)
    staged = staged_now(engine, "c0", p_mastery=0.123)
    promote(engine, "run-1", "c0")
    promote(engine, "run-2", "c0", BktParams(0.2, 0.1, 0.1, 0.2))
    result = sweep(
        engine, at=STARTED, run_id="run-1", staged=lambda c: staged if c == "c0" else None
    )
    assert result.staged == 0
    assert_states_equal_their_replay(engine)


def test_what_was_staged_before_an_erasure_never_fits_the_user_who_came_back(engine):
    write(engine, attempt("a"), attempt("b", minutes=1))
    staged = staged_now(engine, "fractions", p_mastery=0.123)
    erase_user(engine, "ann", at=STARTED, actor="test")
    with engine.begin() as conn:
        lift(conn, "ann")
    write(engine, attempt("c", minutes=2), attempt("d", minutes=3))
    promote(engine, "run-1", "fractions")
    assert sweep(engine, at=STARTED, run_id="run-1", staged=lambda _: staged).staged == 0
    assert_states_equal_their_replay(engine)


def test_the_last_question_follows_the_last_attempt(engine):
    import_rows(engine, [{"key": "a", "question": "q1"}, {"key": "b", "question": "q2"}])
    sweep(engine, at=STARTED)
    with reading(engine) as conn:
        row = conn.execute(text("SELECT last_question_id FROM bkt_user_skill_state")).one()
    assert row.last_question_id == "q2"


def test_snapshots_hold_what_changed_and_read_as_of_any_moment(engine):
    monday, tuesday = STARTED, STARTED + timedelta(days=1)
    import_rows(engine, ROWS)
    sweep(engine, at=monday)
    promote(engine, "run-1", "c0")
    sweep(engine, at=monday)
    assert write_snapshots(engine, run_id="run-1", at=monday) == 21
    assert write_snapshots(engine, run_id="run-1", at=monday) == 0
    write(engine, attempt("new", user="u1", concepts=("c0",), minutes=500))
    promote(engine, "run-2", "c2")
    sweep(engine, at=tuesday)
    with reading(engine) as conn:
        before = mastery_as_of(conn, monday)
    assert write_snapshots(engine, run_id="run-2", at=tuesday) == 8
    with reading(engine) as conn:
        assert mastery_as_of(conn, monday).equals(before)
        now = mastery_as_of(conn, tuesday)
        stored = stored_states(conn)
    columns = now.select("user_id", "concept_id", "p_mastery", "n_attempts", "param_id")
    assert {(u, c): (p, n, i) for u, c, p, n, i in columns.rows()} == stored
    with reading(engine) as conn:
        assert mastery_as_of(conn, monday - timedelta(days=1)).is_empty()
        assert mastery_as_of(conn, tuesday, user_id="u1").height == 3


def test_an_erasure_takes_attempts_states_snapshots_and_corrections(engine):
    import_rows(engine, ROWS)
    sweep(engine, at=STARTED)
    import_rows(engine, [dict(ROWS[0], key="k0", correct=1)], corrections=True)
    sweep(engine, at=STARTED)
    write_snapshots(engine, run_id=None, at=STARTED)
    erased = erase_user(engine, "u0", at=STARTED, actor="test")
    assert (erased.states, erased.snapshots) == (3, 3)
    assert erase_user(engine, "u0", at=STARTED, actor="test").attempts == 0
    with reading(engine) as conn:
        for table in ("attempts", "bkt_user_skill_state", "mastery_snapshot"):
            left = conn.execute(text(f"SELECT count(*) FROM {table} WHERE user_id = 'u0'"))  # noqa: S608 - names of ours
            assert left.scalar() == 0
        assert conn.execute(text("SELECT count(*) FROM attempt_correction")).scalar() == 0
    assert_states_equal_their_replay(engine)


def test_a_forced_sweep_mends_a_value_that_was_edited_by_hand(engine):
    import_rows(engine, ROWS)
    sweep(engine, at=STARTED)
    with engine.begin() as conn:
        conn.execute(text("UPDATE bkt_user_skill_state SET p_mastery = 0.5"))
    assert sweep(engine, at=STARTED).written == 0
    assert sweep(engine, at=STARTED, concepts=["c1"], force=True).replayed == 7
    assert sweep(engine, at=STARTED, force=True).replayed == 21
    assert_states_equal_their_replay(engine)


def test_record_and_sweep_agree_on_the_bits(engine):
    rows = [
        {"user": "u", "concept": "c", "correct": i % 3 > 0, "minutes": i} for i in range(40)
    ]
    import_rows(engine, rows)
    for row in rows:
        with engine.begin() as conn:
            record(
                conn,
                attempt(
                    f"o{row['minutes']}",
                    user="v",
                    concepts=("c",),
                    minutes=row["minutes"],
                    correct=int(row["correct"]),
                ),
                at=STARTED,
            )
    sweep(engine, at=STARTED)
    stored = assert_states_equal_their_replay(engine)
    assert stored["u", "c"] == stored["v", "c"]
