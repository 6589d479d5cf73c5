"""Which rows repeat a question of their user, attempt by attempt."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from datasets.attempt_files.first_attempts import retries_of
from tests.moments import STARTED

#: User, question, attempt, minutes, whether skipped.
ROWS = [
    ("ann", "q", "a1", 0, False),
    ("ann", "q", "a1", 0, False),  # another concept of the first attempt
    ("ann", "q", "a2", 60, False),
    ("bob", "q", "b1", 5, False),
    ("ann", "r", "a3", 61, False),
    ("ann", None, "a4", 62, False),
    ("ann", None, "a5", 63, False),
    ("ann", "q", "a6", 30, True),
    ("ann", "q", None, 121, False),
    ("bob", "q", "b2", 5, False),  # at the same moment, in a later row
]


def frame(rows, first_row=1):
    users, questions, attempts, minutes, skipped = zip(*rows, strict=True)
    return pl.DataFrame(
        {
            "row": range(first_row, first_row + len(rows)),
            "user_id": users,
            "question_id": questions,
            "attempt_id": attempts,
            "attempted_at": [STARTED + timedelta(minutes=m) for m in minutes],
            "is_skipped": skipped,
        }
    )


@pytest.mark.parametrize(
    ("within", "retried"),
    [
        (None, [3, 9, 10]),
        (timedelta(minutes=59), [10]),
        (timedelta(minutes=60), [3, 10]),
        (timedelta(minutes=61), [3, 9, 10]),
    ],
)
@pytest.mark.parametrize("cut", [3, 10])
def test_a_row_is_a_retry_unless_the_pause_was_longer(within, retried, cut):
    """However the rows are cut into frames; the skipped row is neither first nor a retry."""
    frames = [frame(ROWS[:cut]), frame(ROWS[cut:], cut + 1)] if cut < 10 else [frame(ROWS)]
    found = retries_of(frames, within)
    assert found.rows.to_list() == retried
    assert found.n_answers == 7
    (marked,) = found.marked([frame(ROWS)])
    assert marked.filter("is_skipped")["row"].to_list() == sorted([*retried, 8])


def test_without_answers_nothing_is_repeated():
    for frames in ([], [frame([("ann", None, "a", 0, False)])]):
        found = retries_of(frames, None)
        assert (found.rows.to_list(), found.n_answers) == ([], 0)
