"""The service layer: what each function returns, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, insert, text

from bkt_core.errors import BadInputError
from bkt_core.family.params import FamilyParams
from bkt_core.params import BktParams
from datasets.store.connections.engines import reading
from datasets.store.schema.tables import QuestionConceptRow
from serving import (
    AttemptOfBatch,
    batch_update_from_attempts,
    get_active_params,
    get_or_create_user_state,
    get_user_mastery,
    update_from_attempt,
)
from tests.datasets.store.oracle import expected_states, stored_states
from tests.datasets.store.writing import PARAMS, promote
from tests.moments import STARTED
from tests.oracles.replay import mastery
from tests.serving.calling import in_session

LATER = STARTED + timedelta(hours=1)


def update(url, correct, key, *, commit=True, at=LATER, **more):
    fields = {"question_id": "q1", "concept_id": "fractions"} | more
    return in_session(
        url,
        lambda db: update_from_attempt(
            db, "ann", correct=correct, idempotency_key=key, at=at, **fields
        ),
        commit=commit,
    )


def test_the_example_of_the_contract_holds_to_the_digit(engine, database_url):
    """Prior 0.35, a right answer, the defaults S = 0.1, G = 0.25, T = 0.1."""
    update(database_url, True, "k1")
    with engine.begin() as conn:
        conn.execute(text("UPDATE bkt_user_skill_state SET p_mastery = 0.35"))
    told = update(database_url, True, "k2")
    p_correct = 0.35 * 0.9 + 0.65 * 0.25
    posterior = 0.35 * 0.9 / p_correct
    expected = posterior + (1 - posterior) * 0.1
    assert told.p_mastery_prior == 0.35
    assert told.bkt_metadata.p_correct_predicted == p_correct
    assert told.p_mastery_new == expected
    assert told.mastery_change == expected - 0.35
    assert told.n_attempts == 2
    assert told.params_used.model_dump() == {"p_L0": 0.1, "p_T": 0.1, "p_S": 0.1, "p_G": 0.25}
    assert told.bkt_metadata.observation == 1
    assert told.bkt_metadata.algo_version == "v1"
    assert told.bkt_metadata.param_id is None


def test_a_first_attempt_begins_at_the_parameters_in_force(engine, database_url):
    promoted = promote(engine, "run-1", "fractions")
    told = update(database_url, False, "k1")
    assert told.p_mastery_prior == PARAMS.p_L0
    assert told.bkt_metadata.param_id == promoted.param_id
    assert told.p_mastery_new == mastery([0], PARAMS.as_tuple())


def test_parameters_that_forget_are_told_and_used(engine, database_url):
    forgetting = FamilyParams(PARAMS, p_F=0.06)
    promote(engine, "run-1", "fractions", forgetting)
    outcomes = [True, False, True]
    for i, correct in enumerate(outcomes):
        told = update(database_url, correct, f"k{i}", at=LATER + timedelta(minutes=i))
    assert told.params_used.model_dump() == PARAMS.as_dict() | {"p_F": 0.06}
    assert told.p_mastery_new == mastery(outcomes, forgetting.as_tuple())
    read = in_session(database_url, lambda db: get_active_params(db, "fractions"))
    assert (read.p_F, read.level) == (0.06, "concept")


def test_the_hierarchy_says_which_level_answered(engine, database_url):
    """The concept's row, else the version's defaults, else the constants."""
    promoted = promote(engine, "run-1", "fractions")

    def ask(concept):
        return in_session(database_url, lambda db: get_active_params(db, concept))

    fitted = ask("fractions")
    assert (fitted.level, fitted.param_id, fitted.run_id) == (
        "concept",
        promoted.param_id,
        "run-1",
    )
    assert BktParams(fitted.p_L0, fitted.p_T, fitted.p_S, fitted.p_G) == PARAMS
    assert (ask("other").level, ask("other").p_G) == ("algorithm", 0.25)
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM algo_params"))
    assert (ask("other").level, ask("other").p_L0) == ("constants", 0.1)


def test_nothing_is_kept_unless_the_caller_commits(engine, database_url):
    update(database_url, True, "k1", commit=False)
    in_session(
        database_url, lambda db: get_or_create_user_state(db, "ann", "fractions"), commit=False
    )
    with reading(engine) as conn:
        assert conn.execute(text("SELECT count(*) FROM attempts")).scalar() == 0
        assert conn.execute(text("SELECT count(*) FROM bkt_user_skill_state")).scalar() == 0


def test_a_state_is_created_at_what_the_parameters_begin_with(engine, database_url):
    promote(engine, "run-1", "fractions")

    def state(**more):
        return in_session(
            database_url,
            lambda db: get_or_create_user_state(db, "ann", "fractions", **more),
            commit=False,
        )

    assert (state().p_mastery, state().n_attempts) == (PARAMS.p_L0, 0)
    assert state(default_from_L0=0.42).p_mastery == 0.42
    for no_probability in (1.5, -0.1, float("nan")):
        with pytest.raises(BadInputError, match="default_from_L0"):
            state(default_from_L0=no_probability)
    update(database_url, True, "k1")
    assert state(default_from_L0=0.42).p_mastery == mastery([1], PARAMS.as_tuple())


def test_a_repeated_key_tells_the_same_and_stores_one_attempt(engine, database_url):
    first = update(database_url, True, "k1")
    again = update(database_url, True, "k1")
    assert again.is_duplicate
    assert not first.is_duplicate
    assert again.model_copy(update={"is_duplicate": False}) == first
    with reading(engine) as conn:
        assert conn.execute(text("SELECT count(*) FROM attempts")).scalar() == 1


def test_a_late_attempt_tells_what_it_changed(database_url):
    """Prior is mastery by all other attempts; the prediction is that of its place."""
    update(database_url, True, "k1", attempted_at=STARTED)
    update(database_url, False, "k2", attempted_at=STARTED + timedelta(minutes=10))
    late = update(database_url, False, "k3", attempted_at=STARTED + timedelta(minutes=5))
    defaults = (0.1, 0.1, 0.1, 0.25)
    before = mastery([1], defaults)
    assert late.p_mastery_prior == mastery([1, 0], defaults)
    assert late.p_mastery_new == mastery([1, 0, 0], defaults)
    assert late.bkt_metadata.p_correct_predicted == before * (1 - 0.1) + (1 - before) * 0.25
    assert late.n_attempts == 3


def test_a_question_with_several_concepts_updates_each(engine, database_url):
    with engine.begin() as conn:
        conn.execute(
            insert(QuestionConceptRow),
            [{"question_id": "q1", "concept_id": c} for c in ("ratios", "fractions")],
        )
    told = update(database_url, True, "k1", concept_id=None)
    assert told.concept_id == "fractions"
    assert [one.concept_id for one in told.also_updated] == ["ratios"]
    with reading(engine) as conn:
        assert stored_states(conn) == expected_states(conn)
        assert len(stored_states(conn)) == 2


def test_a_batch_is_applied_in_time_and_told_in_the_order_given(engine, database_url):
    """Also with a duplicate in it, and with concepts in any order."""
    moments = [3, 1, 2, 1]
    batch = [
        AttemptOfBatch(
            correct=i != 2,
            concept_id="b" if i == 1 else "a",
            idempotency_key=f"k{min(i, 2)}",
            attempted_at=STARTED + timedelta(minutes=m),
        )
        for i, m in enumerate(moments)
    ]
    batch[3] = batch[0]
    told = in_session(
        database_url, lambda db: batch_update_from_attempts(db, "ann", batch, at=LATER)
    )
    assert [one.concept_id for one in told] == ["a", "b", "a", "a"]
    assert told[2].n_attempts == 1
    assert told[0].n_attempts == 2
    assert sorted(one.is_duplicate for one in told) == [False, False, False, True]
    with reading(engine) as conn:
        assert stored_states(conn) == expected_states(conn)


def test_a_repeated_batch_reads_each_history_once(database_url):
    """A client that repeats a long batch after a timeout must not wait longer each time."""
    batch = [
        AttemptOfBatch(
            correct=i % 3 > 0,
            concept_id=f"c{i % 2}",
            idempotency_key=f"k{i}",
            attempted_at=STARTED + timedelta(minutes=i),
        )
        for i in range(30)
    ]
    histories = []

    async def send(db):
        conn = await db.connection()

        @event.listens_for(conn.sync_connection, "before_cursor_execute")
        def note(_conn, _cursor, statement, *_more):
            of_a_concept = "attempts.concept_id = " in statement and "ORDER BY" in statement
            if "FROM attempts" in statement and of_a_concept:
                histories.append(statement)

        return await batch_update_from_attempts(db, "ann", batch, at=LATER)

    first = in_session(database_url, send)
    histories.clear()
    again = in_session(database_url, send)
    assert len(histories) == 2
    last = {one.concept_id: one for one in first}
    for before, now in zip(first, again, strict=True):
        assert now.is_duplicate
        assert now.p_mastery_new == last[now.concept_id].p_mastery_new
        assert now.bkt_metadata == before.bkt_metadata


def test_mastery_is_read_under_the_parameters_in_force(engine, database_url):
    """An old stamp is replayed in memory; a concept without attempts begins at p_L0."""
    update(database_url, True, "k1")
    promote(engine, "run-1", "fractions")
    promote(engine, "run-2", "ratios")

    def read(concepts=None):
        return in_session(database_url, lambda db: get_user_mastery(db, "ann", concepts))

    (state,) = read()
    assert state.p_mastery == mastery([1], PARAMS.as_tuple())
    assert (state.n_attempts, state.is_mastered) == (1, False)
    assert state.last_attempt_at == LATER
    assert [s.p_mastery for s in read(["ratios"])] == [PARAMS.p_L0]
    assert read([]) == []
    with reading(engine) as conn:
        written = conn.execute(text("SELECT param_id FROM bkt_user_skill_state")).scalar()
    assert written is None, "a read must not write"


def test_mastery_is_reached_at_the_threshold_of_the_seeds(engine, database_url):
    update(database_url, True, "k1")

    def is_mastered(p):
        with engine.begin() as conn:
            conn.execute(text("UPDATE bkt_user_skill_state SET p_mastery = :p"), {"p": p})
        (state,) = in_session(database_url, lambda db: get_user_mastery(db, "ann"))
        return state.is_mastered

    assert is_mastered(0.95)
    assert not is_mastered(0.9499999)


def test_as_of_reads_the_last_snapshot_at_or_before(database_url):
    first = update(database_url, True, "k1", create_snapshot=True)
    update(database_url, True, "k2", at=LATER + timedelta(hours=1), create_snapshot=True)

    def as_of(moment):
        return in_session(database_url, lambda db: get_user_mastery(db, "ann", as_of=moment))

    assert as_of(LATER - timedelta(microseconds=1)) == []
    (state,) = as_of(LATER)
    assert (state.p_mastery, state.n_attempts) == (first.p_mastery_new, 1)
    assert as_of(LATER + timedelta(hours=1))[0].n_attempts == 2


@pytest.mark.parametrize("n_concepts", [1, 2, 3])
def test_pages_of_mastery_hold_every_concept_once(database_url, n_concepts):
    concepts = [f"c{i}" for i in range(n_concepts)]
    for concept in concepts:
        update(database_url, True, f"k-{concept}", concept_id=concept)
    seen, after = [], None
    while True:
        page = in_session(
            database_url,
            lambda db, after=after: get_user_mastery(db, "ann", after=after, limit=1),
        )
        if not page:
            break
        seen += [state.concept_id for state in page]
        after = seen[-1]
    assert seen == concepts
