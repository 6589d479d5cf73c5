"""Concepts that share a transaction: bounds of a batch, and values as in one of their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bkt_core.params import BktParams
from datasets.store.connections.engines import reading
from datasets.store.states import batches as batch_module
from datasets.store.states.batches import LARGE, batches
from datasets.store.states.sweep import sweep
from tests.datasets.store.online.test_recording import (
    assert_states_equal_their_replay,
    attempt,
    write,
)
from tests.datasets.store.oracle import expected_states, stored_states
from tests.datasets.store.states.test_recomputation import ROWS, staged_now
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED


@given(
    sizes=st.lists(st.integers(0, LARGE + 5), max_size=40),
    most_rows=st.integers(1, 3_000),
    most_concepts=st.integers(1, 7),
)
def test_a_batch_keeps_its_bounds_and_no_concept_is_lost(sizes, most_rows, most_concepts):
    names = {f"c{i}": size for i, size in enumerate(sizes)}
    made = list(batches(names, names, most_rows=most_rows, most_concepts=most_concepts))
    assert [concept for batch in made for concept in batch] == list(names)
    for batch in made:
        rows = sum(max(1, names[concept]) for concept in batch)
        assert len(batch) <= most_concepts
        assert len(batch) == 1 or rows <= most_rows
        assert len(batch) == 1 or max(names[concept] for concept in batch) < LARGE


def test_neighbours_share_a_batch_up_to_the_bound():
    assert list(batches("abcd", {"a": 2, "b": 3, "d": LARGE}, most_rows=5)) == [
        ["a", "b"],
        ["c"],
        ["d"],
    ]
    assert list(batches("ab", {"a": 4}, most_rows=5)) == [["a", "b"]]  # b counts as one row
    for size, expected in ((LARGE - 1, [["a", "b", "c"]]), (LARGE, [["a"], ["b"], ["c"]])):
        assert list(batches("abc", {"b": size}, most_rows=9 * LARGE)) == expected


def test_staged_values_of_a_batch_are_used_where_run_and_version_match(engine):
    """c0 and c1 are this run's, c2 another's; one state of c0 has moved on since."""
    import_rows(engine, ROWS)
    sweep(engine, at=STARTED)
    frames = {concept: staged_now(engine, concept, p_mastery=0.125) for concept in ("c0", "c1")}
    frames["c2"] = staged_now(engine, "c2", p_mastery=0.25)
    write(engine, attempt("new", user="u1", concepts=("c0",), minutes=500))
    for concept in ("c0", "c1"):
        promote(engine, "run-1", concept)
    promote(engine, "run-2", "c2", BktParams(0.2, 0.1, 0.1, 0.2))
    seen: list[int] = []
    result = sweep(engine, at=STARTED, run_id="run-1", staged=frames.get, on_chunk=seen.append)
    assert (result.staged, result.replayed, result.concepts) == (13, 8, 3)
    assert seen == [13, 8]
    with reading(engine) as conn:
        stored, expected = stored_states(conn), expected_states(conn)
    for (user, concept), (p_mastery, _, _) in stored.items():
        if concept == "c2" or (user, concept) == ("u1", "c0"):
            assert stored[user, concept] == expected[user, concept]
        else:
            assert p_mastery == 0.125


def test_a_batch_that_staged_nothing_of_this_run_is_replayed(engine):
    import_rows(engine, ROWS)
    frames = {concept: staged_now(engine, concept, p_mastery=0.125) for concept in ("c0", "c1")}
    promote(engine, "run-2", "c0")
    result = sweep(engine, at=STARTED, run_id="run-1", staged=frames.get)
    assert (result.staged, result.replayed) == (0, 21)
    assert_states_equal_their_replay(engine)


def test_one_concept_a_transaction_and_many_give_the_same_states(engine, monkeypatch):
    """To the last bit, whatever shares a transaction."""
    import_rows(engine, ROWS)
    promote(engine, "run-1", "c1", BktParams(0.3, 0.15, 0.05, 0.25))
    sweep(engine, at=STARTED)
    with reading(engine) as conn:
        together = stored_states(conn)
    monkeypatch.setattr(batch_module, "LARGE", 1)
    assert sweep(engine, at=STARTED, force=True).replayed == 21
    with reading(engine) as conn:
        assert stored_states(conn) == together
