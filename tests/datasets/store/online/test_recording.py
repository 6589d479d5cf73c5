"""The online path, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from bkt_core.errors import BadInputError
from datasets.store.attempts.erasure import erase_user, lift
from datasets.store.attempts.new_attempt import NewAttempt
from datasets.store.connections.engines import make_async_engine, reading
from datasets.store.errors import DatabaseError, ErasedUserError, IdempotencyConflictError
from datasets.store.online import recording as online
from datasets.store.online.recording import RecordOutcome, record, record_attempt
from datasets.store.states.reads import read_mastery
from tests.datasets.store.oracle import expected_states, stored_states
from tests.datasets.store.writing import promote
from tests.moments import STARTED


def attempt(
    key: str, *, user="ann", minutes=0, correct=1, concepts=("fractions",), question=None
):
    return NewAttempt(
        idempotency_key=key,
        user_id=user,
        correct=correct,
        attempted_at=STARTED + timedelta(minutes=minutes),
        concept_ids=concepts,
        question_id=question,
    )


def write(engine, *attempts):
    written = []
    for one in attempts:
        with engine.begin() as conn:
            written.append(record(conn, one, at=STARTED))
    return written


def map_question(engine, concepts):
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM question_concepts"))
        for concept in concepts:
            conn.execute(text("INSERT INTO question_concepts VALUES ('q', :c)"), {"c": concept})


def assert_states_equal_their_replay(engine):
    with reading(engine) as conn:
        stored = stored_states(conn)
        assert stored == expected_states(conn)
    return stored


def test_each_attempt_moves_mastery_as_the_replay_does(engine):
    write(engine, *(attempt(f"k{i}", minutes=i, correct=i % 3 > 0) for i in range(20)))
    assert assert_states_equal_their_replay(engine)["ann", "fractions"][1] == 20


def test_a_repeated_key_changes_nothing_and_returns_the_present_state(engine):
    (first,), (second,), (again,) = write(
        engine, attempt("a"), attempt("b", minutes=1), attempt("a")
    )
    assert again.outcome is RecordOutcome.DUPLICATE
    assert again.mastery == second.mastery != first.mastery
    assert_states_equal_their_replay(engine)


def test_a_key_of_another_user_is_refused_and_nothing_of_it_is_kept(engine):
    write(engine, attempt("a"))
    with pytest.raises(IdempotencyConflictError, match="its own key"):
        write(engine, attempt("a", user="bob"))
    assert_states_equal_their_replay(engine)


@pytest.mark.parametrize(
    "database_kind", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_a_key_whose_owner_is_erased_while_it_is_looked_at_is_free(engine, monkeypatch):
    """SQLite has one writer at a time, so that nothing comes between there."""
    write(engine, attempt("a"))
    real = online._insert

    def insert_then_erase(*arguments):
        found = real(*arguments)
        if found is None:
            erase_user(engine, "ann", at=STARTED, actor="test")
        return found

    monkeypatch.setattr(online, "_insert", insert_then_erase)
    ((recorded,),) = write(engine, attempt("a", user="bob"))
    assert recorded.outcome is RecordOutcome.RECORDED
    assert set(assert_states_equal_their_replay(engine)) == {("bob", "fractions")}


def test_a_late_attempt_replays_its_key(engine):
    write(engine, attempt("a", minutes=5), attempt("b", minutes=9, correct=0))
    write(engine, attempt("late", minutes=7, correct=0), attempt("early", minutes=1, correct=0))
    assert_states_equal_their_replay(engine)


def test_attempts_at_one_moment_count_in_the_order_they_were_stored(engine):
    write(engine, *(attempt(f"k{i}", correct=i % 2) for i in range(6)))
    assert_states_equal_their_replay(engine)


def test_an_attempt_of_several_concepts_counts_once_for_each(engine):
    several = attempt("a", concepts=("b", "a"))
    (recorded,) = write(engine, several)
    assert [one.mastery.concept_id for one in recorded] == ["a", "b"]
    (again,) = write(engine, several)
    assert {one.outcome for one in again} == {RecordOutcome.DUPLICATE}
    assert len(assert_states_equal_their_replay(engine)) == 2


def test_concepts_come_from_the_question_where_none_is_named(engine):
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO question_concepts VALUES ('q', 'x'), ('q', 'y')"))
    write(engine, attempt("a", concepts=(), question="q"))
    assert assert_states_equal_their_replay(engine).keys() == {("ann", "x"), ("ann", "y")}
    with pytest.raises(BadInputError, match="mapped to none"):
        write(engine, attempt("b", concepts=(), question="unknown"))


@pytest.mark.parametrize("key", ["a", "a" * 255, "%_#"])
@pytest.mark.parametrize(
    ("before", "after"), [("x", "xy"), ("xy", "x"), ("xy", "yz"), ("xy", "xyz"), ("xy", "")]
)
def test_a_repeated_attempt_keeps_its_concepts_when_the_mapping_was_edited(
    engine, before, after, key
):
    """Editing the mapping changes later attempts only."""
    map_question(engine, before)
    write(engine, attempt(key, concepts=(), question="q"))
    map_question(engine, after)
    (again,) = write(engine, attempt(key, concepts=(), question="q"))
    assert [one.mastery.concept_id for one in again] == list(before)
    assert {one.outcome for one in again} == {RecordOutcome.DUPLICATE}
    assert_states_equal_their_replay(engine)


def test_an_attempt_is_no_repetition_of_one_whose_key_begins_alike(engine):
    map_question(engine, "xy")
    write(engine, attempt("a", concepts=(), question="q"))
    write(engine, attempt("a#b", minutes=1, concepts=(), question="q"))
    (told,) = write(engine, attempt("a#", minutes=2, concepts=(), question="q"))
    assert {one.outcome for one in told} == {RecordOutcome.RECORDED}
    assert {n for _, n, _ in assert_states_equal_their_replay(engine).values()} == {3}


def test_an_old_stamp_is_repaired_as_it_is_written_and_as_it_is_read(engine):
    write(engine, attempt("a"), attempt("b", user="bob"))
    promote(engine, "run-1", "fractions")
    with reading(engine) as conn:
        (read,) = read_mastery(conn, "bob")
        assert (read.p_mastery, read.n_attempts, read.param_id) == expected_states(conn)[
            "bob", "fractions"
        ]
    write(engine, attempt("c", minutes=1), attempt("b", user="bob"))  # a duplicate repairs too
    assert_states_equal_their_replay(engine)


def test_an_erased_user_is_refused_until_lifted(engine):
    write(engine, attempt("a"), attempt("b", user="bob"))
    erased = erase_user(engine, "ann", at=STARTED, actor="test")
    assert (erased.attempts, erased.states) == (1, 1)
    with pytest.raises(ErasedUserError, match="--lift"):
        write(engine, attempt("a"))
    assert assert_states_equal_their_replay(engine).keys() == {("bob", "fractions")}
    with engine.begin() as conn:
        assert lift(conn, "ann")
    write(engine, attempt("a"))
    assert len(assert_states_equal_their_replay(engine)) == 2


def test_nothing_is_kept_when_the_caller_does_not_commit(engine):
    with engine.connect() as conn:
        record(conn, attempt("a"), at=STARTED)
        conn.rollback()
    assert assert_states_equal_their_replay(engine) == {}


@pytest.mark.parametrize("correct", [2, -1, None])
def test_an_outcome_other_than_0_or_1_is_refused(correct):
    with pytest.raises(BadInputError, match="0 or 1"):
        attempt("a", correct=correct)


@pytest.mark.parametrize("user", ["x" * 256, "é" * 251 * 2, "a\0b", "\ud800", "😀" * 251])
def test_ids_that_cannot_be_stored_are_refused(user):
    with pytest.raises(BadInputError, match="An id must have"):
        attempt("a", user=user)


@pytest.mark.parametrize("user", ["'; DROP TABLE attempts; --", '"', "é\u202e😀", " ", "\\x00"])
def test_odd_ids_are_stored_as_they_are(engine, user):
    write(engine, attempt("a", user=user, concepts=(user,)))
    assert assert_states_equal_their_replay(engine).keys() == {(user, user)}


def test_a_repeatable_read_transaction_is_refused(engine):
    if engine.dialect.name == "sqlite":
        return  # has one isolation level
    with (
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn,
        pytest.raises(DatabaseError, match="READ COMMITTED"),
    ):
        record(conn, attempt("a"), at=STARTED)


def test_concurrent_writers_of_one_user_lose_nothing(engine, database_url):
    """Twelve tasks write the same user's attempts at once, some of them twice."""

    async def storm() -> None:
        service = make_async_engine(database_url)

        async def writer(n: int) -> None:
            for i in range(6):
                late = attempt(f"{n}-{i}", minutes=(i * 7 + n) % 11, correct=(i + n) % 2)
                for _ in range(1 + i % 2):
                    async with service.begin() as conn:
                        await record_attempt(conn, late, at=STARTED)

        await asyncio.gather(*(writer(n) for n in range(12)))
        await service.dispose()

    asyncio.run(storm())
    assert assert_states_equal_their_replay(engine)["ann", "fractions"][1] == 72
