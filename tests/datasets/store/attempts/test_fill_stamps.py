"""Rows without a stamp get one, while others write, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from threading import Thread

import pytest
from sqlalchemy import text

from datasets.store.attempts.fill_stamps import fill_stamps
from datasets.store.attempts.unstamped import count_unstamped, has_unstamped
from datasets.store.connections.engines import reading
from tests.datasets.store.attempts.test_stamps import forget, record_one, stamps
from tests.datasets.store.writing import import_rows
from tests.moments import STARTED

#: A filling that dies at a point, at the n-th time.
KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from datasets.store.attempts.fill_stamps import fill_stamps
from datasets.store.connections.engines import make_engine
from datasets.store.connections.fault_points import install_harness
left = [int(sys.argv[2])]
def die(name):
    left[0] -= name == sys.argv[1]
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
install_harness(die)
fill_stamps(make_engine(os.environ["URL"]), at=datetime.now(UTC), batch_rows=10)
"""


def crowd(engine, *, n_users=12, n=8):
    """Attempts at several concepts, at equal moments and late, as our release stamps them."""
    import_rows(
        engine,
        [
            {
                "key": f"u{user:02d} {i}#{'0123456789abcdef' if c else 'fedcba9876543210'}",
                "attempt": f"u{user:02d} {i}",
                "user": f"u{user:02d}",
                "minutes": i // 2,
                "correct": (user + i) % 3 % 2,
                "concept": "ab"[c],
            }
            for user in range(n_users)
            for i in range(n)
            for c in range(1 + (i % 4 == 0))
        ],
    )


def counts(engine):
    with reading(engine) as conn:
        assert has_unstamped(conn) is (count_unstamped(conn) > 0)
        return count_unstamped(conn)


@pytest.mark.parametrize("batch_rows", [1, 10, 10_000])
def test_old_rows_get_the_stamps_that_they_would_have(engine, batch_rows):
    crowd(engine)
    expected, n = stamps(engine), counts(engine)
    assert n == 0
    forget(engine)
    told = []
    filled = fill_stamps(engine, at=STARTED, batch_rows=batch_rows, after_batch=told.append)
    assert told[-1] == filled == 12 * 10
    assert len(told) == {1: 12, 10: 12, 10_000: 1}[batch_rows] + (batch_rows <= 10)
    assert stamps(engine) == expected
    assert fill_stamps(engine, at=STARTED) == 0


def test_a_stamp_is_never_rewritten(engine):
    """What follows a stamp that is not what one would compute today follows it."""
    for n in range(4):
        record_one(engine, f"k{n}", minutes=n, correct=0)
    with engine.begin() as conn:
        conn.execute(
            text(
                "UPDATE attempts SET recent_outcomes = 5, n_before = 9, n_right_before = 8 "
                "WHERE idempotency_key = 'k1'"
            )
        )
    forget(engine, "idempotency_key IN ('k0', 'k2', 'k3')")
    assert fill_stamps(engine, at=STARTED) == 3
    found = {key: stamp for (_, key, _), stamp in stamps(engine).items()}
    assert found == {"k0": (1, 0, 0), "k1": (5, 9, 8), "k2": (10, 10, 8), "k3": (20, 11, 8)}


def test_rows_of_one_attempt_are_known_by_their_question(engine):
    """Imports of earlier releases left a hash as key; a second try at a question is another."""
    rows = [
        {"key": "x", "question": "q", "concept": "a", "correct": 1},
        {"key": "y", "question": "q", "concept": "b", "correct": 1},
        {"key": "z", "question": "q", "concept": "a", "correct": 0},
        {"key": "w", "question": "q", "concept": "b", "correct": 0},
        {"key": "v", "question": "r", "concept": "b", "correct": 0},
        {"key": "s", "concept": "a", "correct": 1},
        {"key": "t", "concept": "b", "correct": 1},
    ]
    import_rows(engine, [row | {"minutes": 0} for row in rows])
    record_one(engine, "later", minutes=1)
    forget(engine)
    fill_stamps(engine, at=STARTED)
    assert stamps(engine)["ann", "later", "a"] == (0b110011, 5, 3)


@pytest.mark.parametrize("point", ["stamp: batch written", "stamp: batch committed"])
def test_a_killed_filling_goes_on(engine, point):
    crowd(engine)
    expected = stamps(engine)
    forget(engine)
    url = engine.url.render_as_string(hide_password=False)
    died = subprocess.run(
        [sys.executable, "-c", KILLED, point, "3"], env={**os.environ, "URL": url}, check=False
    )
    assert died.returncode == -signal.SIGKILL
    left = counts(engine)
    assert 0 < left < 120
    assert fill_stamps(engine, at=STARTED, batch_rows=10) == left
    assert stamps(engine) == expected


def test_rows_that_come_in_meanwhile_are_taken_along(engine):
    """A writer that saw no stamp before it leaves none; the next round gives it."""
    crowd(engine)
    forget(engine)
    done = [0]

    def write(n_filled):
        if done[0] < 5:
            done[0] += 1
            user = "u00" if n_filled % 2 else "u11"
            record_one(engine, f"new {done[0]}", user=user, minutes=100 + done[0])

    fill_stamps(engine, at=STARTED, batch_rows=10, after_batch=write)
    assert counts(engine) == 0
    assert len([key for key in stamps(engine) if "new" in key[1]]) == 5


@pytest.mark.postgres
@pytest.mark.parametrize("database_kind", ["postgres"])
def test_a_row_that_another_changes_is_left_and_nobody_waits(engine):
    crowd(engine, n_users=2)
    forget(engine)
    with engine.connect() as other:
        other.execute(text("UPDATE attempts SET correct = 1 - correct WHERE user_id = 'u00'"))
        filling = Thread(target=fill_stamps, args=(engine,), kwargs={"at": STARTED})
        filling.start()
        filling.join(timeout=60)
        assert not filling.is_alive()
        assert counts(engine) == 10
        other.rollback()
    assert fill_stamps(engine, at=STARTED) == 10
