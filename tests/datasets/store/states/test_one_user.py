"""All states of one user from the log, and what another version would do to every user."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from bkt_core.params import AlgoParams, BktParams
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import Algorithm
from datasets.store.states.outstanding import outstanding, states_to_sweep
from datasets.store.states.reads import has_states, read_mastery
from datasets.store.states.sweep import sweep
from datasets.store.states.user_sweep import sweep_user
from datasets.store.states.version_impact import VersionImpact, version_impact
from tests.datasets.store.oracle import expected_states, stored_states
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED
from tests.oracles.replay import mastery

ROWS = [
    {"key": f"{user}{concept}{i}", "user": user, "concept": concept, "correct": int(i != wrong),
     "minutes": i}
    for user, wrong in (("ann", 0), ("bob", 2))
    for concept in ("x", "y", "z")
    for i in range(4)
]  # fmt: skip


@pytest.fixture
def spoilt(engine):
    """States of two users whose values, by hand, are wrong; bob's have been written before."""
    import_rows(engine, ROWS)
    sweep(engine, at=STARTED)
    with engine.begin() as conn:
        conn.execute(text("UPDATE bkt_user_skill_state SET p_mastery = 0.5"))
        conn.execute(
            text("UPDATE bkt_user_skill_state SET version = version + 7 WHERE user_id = 'bob'")
        )
    return engine


def right(engine):
    """The states whose value is that of their replay."""
    with reading(engine) as conn:
        stored, expected = stored_states(conn), expected_states(conn)
    return {key for key, state in stored.items() if state == expected[key]}


def test_all_states_of_a_user_are_replayed_and_no_other(spoilt):
    asked = []
    done = sweep_user(spoilt, "ann", at=STARTED, before_concept=lambda: asked.append(1))
    assert (done, len(asked)) == (3, 3)
    assert right(spoilt) == {("ann", "x"), ("ann", "y"), ("ann", "z")}
    assert sweep_user(spoilt, "nobody", at=STARTED) == 0


def test_only_the_concepts_that_were_named_are_replayed(spoilt):
    assert sweep_user(spoilt, "ann", at=STARTED, concepts=["y", "w"]) == 1
    assert right(spoilt) == {("ann", "y")}


def test_a_state_that_is_erased_meanwhile_is_not_written(spoilt):
    def erase():
        with spoilt.begin() as conn:
            conn.execute(text("DELETE FROM bkt_user_skill_state WHERE user_id = 'ann'"))

    assert sweep_user(spoilt, "ann", at=STARTED, before_concept=erase) == 0


def test_whether_there_are_states_is_asked_by_concept_by_user_or_by_both(engine):
    import_rows(engine, [{"user": "ann", "concept": "x"}, {"user": "bob", "concept": "y"}])
    with reading(engine) as conn:
        assert has_states(conn)
        assert has_states(conn, concept_id="x")
        assert has_states(conn, user_id="bob")
        assert has_states(conn, concept_id="y", user_id="bob")
        assert not has_states(conn, concept_id="x", user_id="bob")
        assert not has_states(conn, concept_id="z")
        assert not has_states(conn, user_id="carl")


def test_mastery_is_read_by_user_and_by_concept_whether_swept_or_not(engine):
    import_rows(engine, ROWS)
    expected = mastery([0, 1, 1, 1], (0.1, 0.1, 0.1, 0.25))
    for _ in range(2):
        with reading(engine) as conn:
            every = read_mastery(conn, "ann")
            (one,) = read_mastery(conn, "ann", ["y", "w"])
        assert [state.concept_id for state in every] == ["x", "y", "z"]
        assert (one.concept_id, one.n_attempts, one.p_mastery) == ("y", 4, expected)
        sweep(engine, at=STARTED)


BEFORE = BktParams(0.1, 0.1, 0.1, 0.25)
AFTER = BktParams(0.4, 0.3, 0.1, 0.2)


def versions(threshold_before, threshold_after):
    """Two versions that differ in defaults and threshold."""
    return (
        Algorithm(1, "bkt", "v1", replace(AlgoParams(), defaults=BEFORE,
                                          mastery_threshold=threshold_before)),
        Algorithm(2, "bkt", "v2", replace(AlgoParams(), defaults=AFTER,
                                          mastery_threshold=threshold_after)),
    )  # fmt: skip


def test_the_impact_of_a_version_is_counted_state_by_state(engine):
    """At a concept that one version has fitted, its row counts; mastery at the threshold is."""
    import_rows(engine, ROWS)
    promote(engine, "run-1", "z", AFTER)
    outcomes = {"ann": [0, 1, 1, 1], "bob": [1, 1, 0, 1]}
    low = {user: mastery(seen, BEFORE.as_tuple()) for user, seen in outcomes.items()}
    high = {user: mastery(seen, AFTER.as_tuple()) for user, seen in outcomes.items()}
    top = max(high.values())
    winner = max(high, key=high.get)
    before, after = versions(top, top)
    with reading(engine) as conn:
        found = version_impact(conn, before, after)
        back = version_impact(conn, *versions(0.0, 1.0))
    assert max(low.values()) < top > min(high.values())
    assert (found.states, found.users) == (6, 2)
    assert (found.mastered_before, found.up, found.down) == (1, 2, 0)
    assert (found.users_crossing, found.share) == (1, 0.5)
    moved = 2 * sum(high[user] - low[user] for user in outcomes) / 6
    assert found.mean_move == pytest.approx(moved, rel=1e-12)
    assert (back.mastered_before, back.up, back.down) == (6, 0, 6)
    assert (back.users_crossing, back.share) == (2, 1.0)
    assert winner in outcomes


def test_a_version_moves_nobody_where_nobody_is(engine):
    with reading(engine) as conn:
        found = version_impact(conn, *versions(0.5, 0.5))
    assert found == VersionImpact(
        states=0, mastered_before=0, up=0, down=0, users=0, users_crossing=0, mean_move=0.0
    )
    assert found.share == 0.0


def test_only_outdated_states_are_to_be_swept_unless_all_are(engine):
    import_rows(engine, ROWS)
    assert states_to_sweep(engine) == {"x": 2, "y": 2, "z": 2}
    sweep(engine, at=STARTED, concepts=["x"])
    assert states_to_sweep(engine) == {"y": 2, "z": 2}
    assert states_to_sweep(engine, force=True) == {"x": 2, "y": 2, "z": 2}
    calls = []
    done = sweep(
        engine, at=STARTED, force=True, before_chunk=lambda: calls.append(0),
        on_chunk=calls.append,
    )  # fmt: skip
    assert (done.staged, done.replayed, done.written, done.concepts) == (0, 6, 6, 3)
    assert sum(calls) == 6
    with reading(engine) as conn:
        assert outstanding(conn) == {}
    import_rows(engine, [{"key": "late", "user": "ann", "concept": "x", "minutes": 9}])
    with reading(engine) as conn:
        assert outstanding(conn, user_id="ann") == {"x": 1}
        assert outstanding(conn, user_id="bob") == {}
