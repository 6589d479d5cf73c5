"""What every writer knows of a user's earlier attempts, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from sqlalchemy import text

from datasets.store.attempts import pending
from datasets.store.attempts.new_attempt import NewAttempt, attempt_code
from datasets.store.attempts.stamps import _ROWS
from datasets.store.attempts.writer import AttemptWriter
from datasets.store.connections.engines import reading
from datasets.store.online.recording import record
from tests.datasets.store.writing import attempts_frame, import_rows
from tests.moments import STARTED
from tests.oracles.stamps import following, stamps_of_user

STAMPS = text(
    "SELECT user_id, concept_id, idempotency_key, recent_outcomes, n_before, n_right_before "
    "FROM attempts ORDER BY id"
)


def record_one(engine, key, *, user="ann", minutes=0, correct=1, concepts=("a",)):
    attempt = NewAttempt(
        idempotency_key=key,
        user_id=user,
        correct=correct,
        attempted_at=STARTED + timedelta(minutes=minutes),
        concept_ids=concepts,
    )
    with engine.begin() as conn:
        record(conn, attempt, at=STARTED)


def stamps(engine):
    """By user, key up to the mark of a concept, and concept."""
    with reading(engine) as conn:
        return {
            (row.user_id, row.idempotency_key.split("#")[0], row.concept_id): tuple(row[3:])
            for row in conn.execute(STAMPS)
        }


def forget(engine, where="1 = 1"):
    """Leave rows as a release without stamps wrote them."""
    with engine.begin() as conn:
        conn.execute(
            text(
                "UPDATE attempts SET attempt_code = NULL, recent_outcomes = NULL, "  # noqa: S608 - a test's own
                f"n_before = NULL, n_right_before = NULL WHERE {where}"
            )
        )


def test_an_attempt_carries_what_was_known_before_it(engine):
    for n, correct in enumerate((1, 0, 1)):
        record_one(engine, f"k{n}", minutes=n, correct=correct, concepts=("abc"[n],))
    record_one(engine, "other", user="bob")
    assert stamps(engine) == {
        ("ann", "k0", "a"): (1, 0, 0),
        ("ann", "k1", "b"): (0b11, 1, 1),
        ("ann", "k2", "c"): (0b110, 2, 1),
        ("bob", "other", "a"): (1, 0, 0),
    }


def test_an_attempt_at_several_concepts_is_one(engine):
    record_one(engine, "k0", correct=1, concepts=("a", "b", "c"))
    record_one(engine, "k1", minutes=1, correct=0, concepts=("b", "a"))
    record_one(engine, "k2", minutes=2)
    found = stamps(engine)
    assert {found["ann", "k0", c] for c in "abc"} == {(1, 0, 0)}
    assert {found["ann", "k1", c] for c in "ab"} == {(0b11, 1, 1)}
    assert found["ann", "k2", "a"] == (0b110, 2, 1)


def test_attempts_of_one_moment_share_a_stamp_and_follow_in_order_of_id(engine):
    record_one(engine, "k0", correct=0)
    for n, correct in enumerate((1, 0, 0)):
        record_one(engine, f"same {n}", minutes=1, correct=correct, concepts=("ab"[n % 2],))
    record_one(engine, "later", minutes=2)
    found = stamps(engine)
    assert {s for key, s in found.items() if "same" in key[1]} == {(0b10, 1, 0)}
    assert found["ann", "later", "a"] == (0b10100, 4, 1)


def test_a_late_attempt_follows_what_was_before_it_and_rewrites_nothing(engine):
    record_one(engine, "k0", correct=0)
    record_one(engine, "k2", minutes=2)
    record_one(engine, "late", minutes=1, correct=0)
    record_one(engine, "k2 too", minutes=2, concepts=("b",))
    record_one(engine, "k3", minutes=3)
    found = stamps(engine)
    assert found["ann", "late", "a"] == found["ann", "k2", "a"] == (0b10, 1, 0)
    assert found["ann", "k2 too", "b"] == (
        0b10,
        1,
        0,
    )  # of its moment, not of what is known now
    assert found["ann", "k3", "a"] == (0b1011, 3, 2)


def test_a_repeated_attempt_changes_no_stamp(engine):
    record_one(engine, "k0")
    record_one(engine, "k1", minutes=1)
    before = stamps(engine)
    record_one(engine, "k0")
    assert stamps(engine) == before


def test_without_a_stamp_before_there_is_none_after(engine):
    """Rows of an earlier release, and what follows them; other users have theirs."""
    record_one(engine, "k0")
    forget(engine)
    record_one(engine, "k1", minutes=1)
    record_one(engine, "k2", minutes=2)
    record_one(engine, "same", minutes=2, concepts=("b",))
    record_one(engine, "first", minutes=-1)
    record_one(engine, "bob's", user="bob")
    none = (None, None, None)
    found = stamps(engine)
    assert {found["ann", key, "a"] for key in ("k0", "k1", "k2")} == {none}
    assert found["ann", "same", "b"] == none
    assert found["ann", "first", "a"] == found["bob", "bob's", "a"] == (1, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_writing_gives_the_stamps_of_the_rule(engine, seed):
    """Equal, late and many attempts, against the rule in plain Python."""
    rng = random.Random(seed)  # noqa: S311 - a test's own
    written, expected = [], {}  # written: moment, outcome, stamp, in order of id
    for n in range(150):
        minutes = rng.choice((n, n, n, n // 2, max(n - 1, 0)))
        correct, concepts = rng.randint(0, 1), tuple(rng.sample("abc", rng.randint(1, 2)))
        record_one(engine, f"k{n}", minutes=minutes, correct=correct, concepts=concepts)
        own = [stamp for moment, _, stamp in written if moment == minutes]
        earlier = [row for row in written if row[0] < minutes]
        if own:
            stamp = own[0]
        elif earlier:
            latest = max(moment for moment, _, _ in earlier)
            of_latest = [row for row in earlier if row[0] == latest]
            stamp = following(of_latest[0][2], [correct for _, correct, _ in of_latest])
        else:
            stamp = (1, 0, 0)
        written.append((minutes, correct, stamp))
        expected |= {("ann", f"k{n}", concept): stamp for concept in concepts}
    assert stamps(engine) == expected


def test_the_look_up_reads_an_index(engine):
    """Of the user's moments, by their order: no scan of the log, nor of the user's attempts."""
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    asked = _ROWS.params(user_id="ann", at=STARTED).compile(
        engine, compile_kwargs={"literal_binds": True}
    )
    with engine.begin() as conn:
        if engine.dialect.name == "postgresql":
            conn.execute(text("SET LOCAL enable_seqscan = off"))  # the table is empty
        plan = " ".join(str(row) for row in conn.execute(text(f"{explain} {asked}")))
    assert plan.count("ix_attempts_moment") == 2, plan


def test_the_number_of_an_attempt_never_changes():
    """It is stored."""
    assert attempt_code("k0") == -1717783456274901297
    assert attempt_code("k1") != attempt_code("k0")


def test_an_import_is_stamped_in_order_of_time(engine):
    """Not of the file; an attempt at several concepts is one, wherever its lines stand."""
    import_rows(
        engine,
        [
            {"key": "k3", "minutes": 3, "concept": "c"},
            {"key": "k1", "minutes": 1, "correct": 0, "concept": "a", "attempt": "one"},
            {"key": "k0", "minutes": 0, "concept": "a"},
            {"key": "k2", "minutes": 1, "correct": 0, "concept": "b", "attempt": "one"},
            {"key": "bob's", "user": "bob", "minutes": 2},
        ],
    )
    assert {key: stamp for (_, key, _), stamp in stamps(engine).items()} == {
        "k3": (0b110, 2, 1),
        "k1": (0b11, 1, 1),
        "k0": (1, 0, 0),
        "k2": (0b11, 1, 1),
        "bob's": (1, 0, 0),
    }


@pytest.mark.parametrize("seed", range(3))
def test_an_import_goes_on_from_what_is_stored(engine, seed):
    """Late rows among stored ones too; nothing that is stored changes."""
    rng = random.Random(seed)  # noqa: S311 - a test's own
    rows = [
        {
            "key": f"k{n}",
            "user": rng.choice(("ann", "bob", "cy")),
            "minutes": rng.randint(0, 60),
            "correct": rng.randint(0, 1),
            "concept": rng.choice("abc"),
        }
        for n in range(200)
    ]
    rows.sort(key=lambda row: row["minutes"])
    import_rows(engine, rows[:120])
    first = stamps(engine)
    import_rows(engine, rows[120:160] + rows[20:40])
    import_rows(engine, sorted(rows, key=lambda row: row["key"]))  # most are duplicates
    found = stamps(engine)
    assert first.items() <= found.items()
    expected = {}
    for user in ("ann", "bob", "cy"):
        own = [row for row in rows if row["user"] == user]
        facts = [(row["minutes"], row["key"], row["correct"]) for row in own]
        for row, stamp in zip(own, stamps_of_user(facts), strict=True):
            expected[user, row["key"], row["concept"]] = stamp
    split = {
        rows[119]["minutes"],
        rows[159]["minutes"],
    }  # moments whose rows came in two imports
    later = {row["key"] for row in rows if row["minutes"] not in split}
    assert {k: s for k, s in found.items() if k[1] in later and k in first} == {
        k: s for k, s in expected.items() if k[1] in later and k in first
    }


def test_an_import_of_late_rows_follows_stored_ones_and_takes_their_stamp(engine):
    record_one(engine, "k0", correct=0)
    record_one(engine, "k2", minutes=2)
    import_rows(
        engine,
        [
            {"key": "k1", "minutes": 1, "concept": "b"},
            {"key": "k2 too", "minutes": 2, "concept": "b"},
            {"key": "k3", "minutes": 3, "concept": "b"},
            {"key": "early", "minutes": -1, "concept": "b"},
        ],
    )
    found = {key: stamp for (_, key, _), stamp in stamps(engine).items()}
    assert found["early"] == (1, 0, 0)
    assert found["k1"] == found["k2"] == found["k2 too"] == (0b10, 1, 0)
    assert found["k3"] == (0b1011, 3, 2)


def test_an_import_after_rows_without_a_stamp_has_none(engine):
    record_one(engine, "k0")
    record_one(engine, "k2", minutes=2)
    forget(engine, "idempotency_key = 'k2'")
    import_rows(
        engine,
        [
            {"key": "k1", "minutes": 1},
            {"key": "k2 too", "minutes": 2},
            {"key": "k3", "minutes": 3},
            {"key": "k4", "minutes": 4},
        ],
    )
    found = {key: stamp for (_, key, _), stamp in stamps(engine).items()}
    assert found["k1"] == (0b11, 1, 1)
    assert {found[key] for key in ("k2", "k2 too", "k3", "k4")} == {(None, None, None)}


def test_many_batches_wait_in_a_file(engine, monkeypatch):
    """The rows come back in their order, and the file goes."""
    monkeypatch.setattr(pending, "KEPT_ROWS", 7)
    monkeypatch.setattr(pending, "_ROWS_AT_A_TIME", 5)
    rows = [
        {"key": f"k{n:02d}", "user": f"u{n % 4}", "minutes": 40 - n, "correct": n % 3 % 2}
        for n in range(40)
    ]
    with engine.begin() as conn:
        writer = AttemptWriter(conn, at=STARTED)
        for first in range(0, 40, 6):
            writer.write(attempts_frame(rows[first : first + 6]))
        writer.finish()
    with reading(engine) as conn:
        keys = [row.idempotency_key for row in conn.execute(STAMPS)]
    assert keys == [row["key"] for row in rows]
    found = stamps(engine)
    for user in range(4):
        own = [row for row in reversed(rows) if row["user"] == f"u{user}"]
        expected = stamps_of_user([(r["minutes"], r["key"], r["correct"]) for r in own])
        assert [found[f"u{user}", r["key"], "fractions"] for r in own] == expected


def test_a_correction_changes_what_comes_after_but_no_stamp(engine):
    record_one(engine, "k0", correct=0)
    record_one(engine, "k1", minutes=1, correct=0)
    before = stamps(engine)
    rows = [{"key": "k1", "minutes": 1, "correct": 1, "concept": "a"}]
    assert import_rows(engine, rows, corrections=True) == ["corrected"]
    assert stamps(engine) == before
    record_one(engine, "k2", minutes=2)
    assert stamps(engine)["ann", "k2", "a"] == (0b101, 2, 1)
