"""One attempt at its place in its user's history, by plain replays of the others."""

from __future__ import annotations

import pytest

from datasets.store.attempts.history import attempt_history
from datasets.store.connections.engines import reading
from tests.datasets.store.writing import PARAMS, import_rows
from tests.oracles.replay import mastery, step

OUTCOMES = {"k1": 0, "k2": 1, "k3": 1}  # in the order of their moments


@pytest.fixture
def history(engine):
    import_rows(
        engine,
        [
            {"key": key, "minutes": minutes, "correct": OUTCOMES[key]}
            for key, minutes in (("k3", 30), ("k1", 10), ("k2", 20))
        ]
        + [
            {"key": "other user", "user": "bob", "minutes": 15, "correct": 0},
            {"key": "other concept", "concept": "roots", "minutes": 15, "correct": 0},
            {"key": "alone", "user": "cy"},
        ],
    )
    with reading(engine) as conn:
        return {user: attempt_history(conn, user, "fractions", None) for user in ("ann", "cy")}


@pytest.mark.parametrize("key", OUTCOMES)
def test_an_attempt_is_told_with_what_was_known_before_it_and_without_it(history, key):
    place = history["ann"].place(key, PARAMS)
    earlier = [correct for name, correct in OUTCOMES.items() if name < key]
    others = [correct for name, correct in OUTCOMES.items() if name != key]
    known = mastery(earlier, PARAMS.as_tuple()) if earlier else PARAMS.p_L0
    _, predicted = step(known, OUTCOMES[key], PARAMS.p_T, PARAMS.p_S, PARAMS.p_G)
    assert place.correct == OUTCOMES[key]
    assert place.p_correct == predicted
    assert place.p_mastery_without == mastery(others, PARAMS.as_tuple())
    assert (place.attempted_at.minute - 10) % 60 == 10 * (sorted(OUTCOMES).index(key))


def test_without_its_only_attempt_a_user_is_where_all_begin(history):
    place = history["cy"].place("alone", PARAMS)
    assert (place.p_mastery_without, place.correct) == (PARAMS.p_L0, 1)
