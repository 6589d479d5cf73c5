"""Versions with questions, history and gap: every path gives the replay, to the bit.

The expected states are computed in plain Python from the stored rows, independently of the
product.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from bkt_core.errors import InvalidSequencesError
from bkt_core.family.params import FamilyParams
from bkt_core.params import BktParams
from bkt_core.replay import replay
from datasets.store.attempts.history import attempt_history
from datasets.store.connections.engines import reading
from datasets.store.online.recording import record
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.in_force import in_force
from datasets.store.params.skill_params import Challenger, active_params, with_question_odds
from datasets.store.params.switching import switch
from datasets.store.runs.runs import start_run
from datasets.store.schema.tables import AlgoParamsRow
from datasets.store.states.attempt_facts import one_user
from datasets.store.states.past_params import Clock
from datasets.store.states.point_in_time import Moment, backfill_snapshots
from datasets.store.states.reads import read_mastery
from datasets.store.states.snapshots import mastery_as_of
from datasets.store.states.sweep import sweep
from datasets.store.states.version_impact import version_impact
from tests.datasets.store.online.test_recording import attempt, write
from tests.datasets.store.oracle import stored_states
from tests.datasets.store.writing import import_rows
from tests.moments import STARTED
from tests.oracles import stamped as oracle

BASE = BktParams(p_L0=0.3, p_T=0.15, p_S=0.08, p_G=0.22)
WEIGHTS = {"w_recent": 1.2, "w_long": -0.2, "w_share": 1.6, "w_gap": -0.4, "w_first": -0.3}
V4 = FamilyParams(BASE, 0.04, question_odds={})
V5 = FamilyParams(BASE, 0.04, WEIGHTS, question_odds={})
ODDS = {"q0": 0.4, "q1": 2.5, "q2": 1.0}
ROWS = [
    {
        "user": f"u{i % 5}",
        "concept": f"c{i % 3}",
        "question": f"q{i * 7 % 5}" if i % 11 else None,
        "correct": i * 5 % 7 % 2,
        "minutes": i * i % 400,
    }
    for i in range(90)
]


@pytest.fixture(params=[V4, V5], ids=["v4", "v5"])
def engine_and_params(engine, request):
    """A database whose version in force has questions, and history and gap."""
    variant = {"forgetting": True, "questions": True}
    if request.param.weights:
        variant |= {"history": True, "gap": True}
    with engine.begin() as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(text("SET LOCAL session_replication_role = replica"))
        conn.execute(AlgoParamsRow.__table__.update().values(params={"variant": variant}))
    return engine, request.param


def promote(engine, params, concept="c1", run_id="run-1", odds=ODDS):
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind="retrain", at=STARTED)
        version = active_algorithm(conn).id
        incumbent = active_params(conn, version).get(concept)
        switch(
            conn,
            run_id=run_id,
            concept_id=concept,
            algo_version_id=version,
            challenger=Challenger(
                params=replace(params, question_odds=odds),
                n_attempts=10,
                n_users=3,
                fitted_at=STARTED,
                question_attempts=dict.fromkeys(odds, 5),
            ),
            expected_incumbent=incumbent.param_id if incumbent else None,
            at=STARTED,
        )


def moment(stored):
    if isinstance(stored, str):
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    return stored


def expected(conn, upto=None):
    """(user, concept) -> (mastery, attempts, param_id), by the definition."""
    rows_in_force = {
        row.concept_id: row
        for row in conn.execute(text("SELECT * FROM bkt_skill_params WHERE is_active"))
    }
    odds = {
        (row.param_id, row.question_id): row.odds
        for row in conn.execute(text("SELECT * FROM bkt_question_params"))
    }
    logs = {}
    for row in conn.execute(text("SELECT * FROM attempts ORDER BY attempted_at, id")):
        if upto is None or moment(row.attempted_at) <= upto:
            logs.setdefault((row.user_id, row.concept_id), []).append(row)
    found = {}
    for (user, concept), log in logs.items():
        row = rows_in_force.get(concept)
        stamps = [(a.recent_outcomes, a.n_before, a.n_right_before) for a in log]
        stamps = [(1, 0, 0) if None in stamp else stamp for stamp in stamps]
        p = oracle.mastery(
            [a.correct for a in log],
            [moment(a.attempted_at) for a in log],
            stamps,
            None if row is None else [odds.get((row.id, a.question_id), 1.0) for a in log],
            None if row is None else row._mapping,
        )
        found[user, concept] = (p, len(log), None if row is None else row.id)
    return found


def assert_all(engine):
    with reading(engine) as conn:
        assert stored_states(conn) == expected(conn)


def test_sweeps_the_online_path_and_reads_give_the_replay(engine_and_params):
    engine, params = engine_and_params
    promote(engine, params)
    import_rows(engine, ROWS)
    with reading(engine) as conn:
        seen = {one.concept_id: one.p_mastery for one in read_mastery(conn, "u1")}
        assert seen == {key[1]: v[0] for key, v in expected(conn).items() if key[0] == "u1"}
    sweep(engine, at=STARTED)
    assert_all(engine)
    for i, (minutes, question) in enumerate([(900, "q0"), (901, "q1"), (7, "q2"), (901, None)]):
        write(
            engine,
            attempt(
                f"online-{i}", user="u1", concepts=("c1",), minutes=minutes, question=question,
                correct=i % 2,
            ),
        )  # fmt: skip
        assert_all(engine)
    write(engine, attempt("new", user="nobody", concepts=("c0", "c1"), question="q1"))
    assert_all(engine)
    promote(engine, params, run_id="run-2", odds={"q1": 0.2, "q4": 7.0})
    sweep(engine, at=STARTED, replay_chunk=1)
    assert_all(engine)
    promote(engine, params, concept="c0", run_id="run-3", odds={})
    sweep(engine, at=STARTED, staged_chunk=1)
    assert_all(engine)


def test_the_past_is_replayed_with_the_facts_of_its_attempts(engine_and_params):
    engine, params = engine_and_params
    promote(engine, params)
    import_rows(engine, ROWS)
    then = STARTED + timedelta(minutes=200)
    with engine.begin() as conn:
        start_run(conn, run_id="past", kind="backfill", at=STARTED)
    backfill_snapshots(engine, [Moment(then, "past")], clock=Clock.ANSWERED)
    with reading(engine) as conn:
        kept = mastery_as_of(conn, then).select(
            "user_id", "concept_id", "p_mastery", "n_attempts", "param_id"
        )
        then_expected = expected(conn, upto=then)
    assert {(user, concept): rest for user, concept, *rest in kept.rows()} == {
        key: list(values) for key, values in then_expected.items()
    }


def test_a_late_attempt_is_placed_with_its_facts(engine_and_params):
    engine, params = engine_and_params
    promote(engine, params)
    import_rows(engine, ROWS)
    with engine.begin() as conn:
        late = attempt("late", user="u1", concepts=("c1",), minutes=50, question="q0")
        (told,) = record(conn, late, at=STARTED)
        history = attempt_history(conn, "u1", "c1", told.mastery.param_id)
        place = history.place("late", told.params)
        with_it = expected(conn)["u1", "c1"][0]
        conn.execute(text("DELETE FROM attempts WHERE idempotency_key = 'late'"))
        assert place.p_mastery_without == expected(conn)["u1", "c1"][0]
        assert told.mastery.p_mastery == with_it != place.p_mastery_without


def test_the_impact_of_a_version_counts_its_own_mastery(engine_and_params):
    engine, params = engine_and_params
    import_rows(engine, ROWS)
    promote(engine, params)
    with reading(engine) as conn:
        same = version_impact(conn, active_algorithm(conn), active_algorithm(conn))
        assert (same.up, same.down, same.mean_move) == (0, 0, 0.0)
        states = expected(conn)
        assert same.mastered_before == sum(p >= 0.95 for p, _, _ in states.values())


def test_the_odds_of_a_question_are_read_with_the_row(engine_and_params):
    engine, params = engine_and_params
    promote(engine, params)
    with reading(engine) as conn:
        assert in_force(conn, "c1", "q1").question_odds == 2.5
        assert in_force(conn, "c1", "q9").question_odds == 1.0
        assert in_force(conn, "c1").question_odds == 1.0
        assert in_force(conn, "c1").params == params
        rows = active_params(conn, active_algorithm(conn).id)
        assert with_question_odds(conn, rows)["c1"].params == replace(
            params, question_odds=ODDS
        )


def test_a_replay_without_facts_is_refused():
    with pytest.raises(InvalidSequencesError, match="facts of each attempt"):
        replay(one_user(np.array([1], dtype=np.int8)), V4)
