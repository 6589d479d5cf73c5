"""Lists come in pages: each entry once, in order, whatever the size of a page."""

from __future__ import annotations

from datetime import timedelta

import pytest

from datasets.store.runs.runs import start_run
from tests.datasets.store.writing import promote
from tests.moments import STARTED

N = 7


def read_all(api, path, entries, **query):
    """Every entry, page by page, and how many pages there were."""
    seen, cursor, pages = [], None, 0
    while True:
        answer = api.get(path, "admin", cursor=cursor, **query)
        assert answer.status_code == 200, answer.text
        seen += answer.json()[entries]
        pages += 1
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return seen, pages


@pytest.mark.parametrize("limit", [1, 3, N, N + 1])
def test_pages_of_a_concepts_history(api, engine, limit):
    for i in range(N):
        promote(engine, f"run-{i}", "fractions")
    promote(engine, "run-x", "ratios")
    events, pages = read_all(
        api, "/params/history", "events", concept_id="fractions", limit=limit
    )
    assert [one["run_id"] for one in events] == [f"run-{i}" for i in reversed(range(N))]
    assert pages == -(-N // limit)


@pytest.mark.parametrize("limit", [1, 3, N, N + 1])
def test_pages_of_runs(api, engine, limit):
    """Also where several began at one moment."""
    with engine.begin() as conn:
        for i in range(N):
            at = STARTED + timedelta(hours=i // 3)
            start_run(conn, run_id=f"run-{i}", kind="retrain", at=at)
    runs, pages = read_all(api, "/runs", "runs", limit=limit)
    ids = [f"run-{i}" for i in (6, 3, 4, 5, 0, 1, 2)]
    assert [one["run_id"] for one in runs] == ids
    assert pages == -(-N // limit)


@pytest.mark.parametrize(
    "cursor", ["!", "MA==", "LTE=", "YQ==", "OTk5OTk5OTk5OTk5OTk5OTk5OTk="]
)
def test_a_cursor_of_something_else_is_refused(api, cursor):
    """Not text, 0, -1, a letter, a number too large for a row."""
    answer = api.get("/params/history", "admin", concept_id="fractions", cursor=cursor)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:bkt:problem:bad-cursor"
