"""Batches: late attempts, and batches of one user beside each other."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest
from sqlalchemy import event, insert
from sqlalchemy.ext.asyncio import async_sessionmaker

from datasets.store.connections.engines import make_async_engine, reading
from datasets.store.schema.tables import QuestionConceptRow
from serving import AttemptOfBatch, batch_update_from_attempts, update_from_attempt
from tests.datasets.store.oracle import expected_states, stored_states
from tests.datasets.store.writing import promote
from tests.moments import STARTED
from tests.serving.test_contract import LATER, in_session

#: What reads the attempts of one user at one concept.
HISTORY = "attempts.concept_id ="


def late(i, **more):
    """An attempt before all that are stored."""
    return AttemptOfBatch(
        correct=i % 3 > 0,
        concept_id=f"c{i % 2}",
        idempotency_key=f"late{i}",
        attempted_at=STARTED - timedelta(minutes=100 - i),
        **more,
    )


def test_late_attempts_of_a_batch_read_each_history_once(engine, database_url):
    """Twenty late attempts at two concepts: two reads; answers as if sent one by one."""
    promote(engine, "run-1", "c0")

    def first(db, user):
        return batch_update_from_attempts(
            db,
            user,
            [
                AttemptOfBatch(
                    correct=i % 2 > 0,
                    concept_id=f"c{i % 2}",
                    idempotency_key=f"{user}{i}",
                    attempted_at=STARTED + timedelta(minutes=i),
                )
                for i in range(6)
            ],
            at=LATER,
        )

    for user in ("ann", "bob"):
        in_session(database_url, lambda db, user=user: first(db, user))
    read = []

    async def send(db):
        conn = await db.connection()

        @event.listens_for(conn.sync_connection, "before_cursor_execute")
        def note(_conn, _cursor, statement, *_more):
            if HISTORY in statement and "ORDER BY" in statement:
                read.append(statement)

        return await batch_update_from_attempts(
            db, "ann", [late(i) for i in range(20)], at=LATER
        )

    together = in_session(database_url, send)
    assert len(read) == 2
    for i, of_batch in enumerate(together):
        asked = late(i)
        alone = in_session(
            database_url,
            lambda db, asked=asked: update_from_attempt(
                db, "bob", None, asked.concept_id, asked.correct,
                idempotency_key=f"bob-{asked.idempotency_key}",
                attempted_at=asked.attempted_at, at=LATER,
            ),
        )  # fmt: skip
        assert alone.model_dump(exclude={"user_id"}) == of_batch.model_dump(exclude={"user_id"})
    with reading(engine) as conn:
        assert stored_states(conn) == expected_states(conn)


def mapped(i, rng):
    """A batch of one user: questions in any order, each of several concepts."""
    questions = rng.sample(range(6), 4)
    return [
        AttemptOfBatch(
            correct=rng.random() < 0.6,
            question_id=f"q{question}",
            idempotency_key=f"{i}-{n}",
            attempted_at=STARTED + timedelta(seconds=10 * i + n),
        )
        for n, question in enumerate(questions)
    ]


@pytest.mark.parametrize(
    "database_kind", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_batches_of_mapped_questions_never_deadlock(engine, database_url):
    """Eight at once for two users, without a retry: all locks are taken in one order."""
    with engine.begin() as conn:
        conn.execute(
            insert(QuestionConceptRow),
            [
                {"question_id": f"q{question}", "concept_id": f"c{(question * 5 + n * 3) % 7}"}
                for question in range(6)
                for n in range(3)
            ],
        )
    rng = random.Random(5)  # noqa: S311 - an order, not a secret
    batches = [(f"user{i % 2}", mapped(i, rng)) for i in range(120)]

    async def client(sessions, waiting):
        while waiting:
            user, batch = waiting.pop()
            async with sessions() as db, db.begin():
                await batch_update_from_attempts(db, user, batch, at=LATER)

    async def all_clients():
        target = make_async_engine(database_url, pool_size=8)
        try:
            waiting = list(batches)
            sessions = async_sessionmaker(target)
            await asyncio.gather(*(client(sessions, waiting) for _ in range(8)))
        finally:
            await target.dispose()

    asyncio.run(all_clients())
    with reading(engine) as conn:
        states = stored_states(conn)
        assert states == expected_states(conn)
        assert len(states) == 14
