"""The share of answers that repeat a question, against rows counted by hand."""

from __future__ import annotations

import pytest

from datasets.store.attempts import retries
from datasets.store.attempts.retries import retry_share
from datasets.store.connections.engines import reading
from tests.datasets.store.writing import import_rows

ROWS = [
    {"key": "1", "user": "ann", "question": "q1", "concept": "add", "minutes": 0},
    {"key": "1b", "user": "ann", "question": "q1", "concept": "carry", "minutes": 0},
    {"key": "2", "user": "ann", "question": "q1", "concept": "add", "minutes": 1},
    {"key": "3", "user": "ann", "question": "q2", "concept": "add", "minutes": 2},
    {"key": "4", "user": "bob", "question": "q1", "concept": "add", "minutes": 3},
    {"key": "5", "user": "bob", "concept": "add", "minutes": 4},
]


def test_an_answer_at_two_concepts_is_one_and_one_without_a_question_none(engine):
    import_rows(engine, ROWS)
    with reading(engine) as conn:
        found = retry_share(conn, ["ann", "bob"])
        nothing = retry_share(conn, [])
    assert (found.n_users, found.n_answers, found.n_retries) == (2, 4, 1)
    assert found.share == 0.25
    assert nothing.share is None


@pytest.mark.parametrize(("n_users", "taken"), [(4, 4), (5, 3), (8, 4), (9, 3)])
def test_of_many_users_some_are_counted(engine, monkeypatch, n_users, taken):
    monkeypatch.setattr(retries, "SAMPLED_USERS", 4)
    with reading(engine) as conn:
        assert retry_share(conn, [f"u{n}" for n in range(n_users)]).n_users == taken
