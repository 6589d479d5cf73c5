"""Stamps of attempts, against their plain definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bkt_core.stamps import NOTHING_BEFORE, Log, Stamp, stamp_log
from tests.oracles.stamps import following, stamps_of_user

#: (user, moment, attempt, outcome of the attempt), few of each so that they meet.
ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 4), st.integers(0, 1)),
    max_size=60,
).map(sorted)
LONG = st.lists(
    st.tuples(st.just(0), st.integers(0, 200), st.integers(0, 1), st.integers(0, 1)),
    min_size=100,
    max_size=200,
).map(sorted)


def log_of(rows, is_new):
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    user, moment, attempt = (np.array(column, np.int64) for column in columns[:3])
    return Log(user, moment, attempt, np.array(columns[3], np.int8), np.array(is_new, bool))


def plain(rows):
    """The stamps of all rows, user by user."""
    return [
        stamp
        for user in sorted({row[0] for row in rows})
        for stamp in stamps_of_user([row[1:] for row in rows if row[0] == user])
    ]


@given(st.lists(st.integers(0, 1), max_size=150), st.lists(st.integers(0, 1), max_size=9))
def test_a_moment_shifts_its_outcomes_in(before, outcomes):
    """At most 62 of them stay, the oldest go first; the counts know all."""
    stamp = Stamp(*following((1, 0, 0), before))
    assert NOTHING_BEFORE.after(before) == stamp
    assert stamp.after(outcomes) == following(stamp, outcomes)
    assert stamp.recent_outcomes.bit_length() == min(len(before), 62) + 1


@given(ROWS | LONG)
def test_a_log_is_stamped_as_it_would_be_written(rows):
    """Rows of one moment share a stamp; an attempt at several concepts is shifted in once."""
    found = stamp_log(log_of(rows, [True] * len(rows)), np.zeros((len(rows), 3), np.int64))
    assert [tuple(row) for row in found.tolist()] == plain(rows)


@given(ROWS | LONG, st.integers(0, 200))
def test_new_rows_follow_stored_stamps(rows, n_stored):
    """What is stored stays, and what comes later goes on from it."""
    n_stored = min(n_stored, len(rows))
    stamps = np.array(plain(rows), np.int64).reshape(-1, 3)
    stored = stamps.copy()
    stored[n_stored:] = 0
    is_new = [i >= n_stored for i in range(len(rows))]
    assert (stamp_log(log_of(rows, is_new), stored) == stamps).all()


@given(ROWS, st.data())
def test_without_a_stamp_there_is_none_to_follow(rows, data):
    """A stored row without a stamp leaves its moment and the next one without, and so on."""
    cut = data.draw(st.integers(0, 9))
    is_new = [row[1] >= cut for row in rows]
    found = stamp_log(log_of(rows, is_new), np.zeros((len(rows), 3), np.int64))
    for row, new, stamp, expected in zip(
        rows, is_new, found.tolist(), plain(rows), strict=True
    ):
        unknown = any(r[0] == row[0] and r[1] < cut for r in rows)
        assert tuple(stamp) == ((0, 0, 0) if unknown or not new else expected)


def test_a_late_row_follows_what_was_before_it_and_changes_nothing_after():
    rows = [(0, 1, 1, 1), (0, 2, 2, 0), (0, 3, 3, 1)]
    stored = np.array([(1, 0, 0), (0, 0, 0), (0b11, 1, 1)], np.int64)
    found = stamp_log(log_of(rows, [False, True, False]), stored)
    assert found.tolist() == [[1, 0, 0], [0b11, 1, 1], [0b11, 1, 1]]


def test_a_row_of_a_stored_moment_takes_its_stamp():
    """Even where a late row came between, so that all rows of a moment agree."""
    rows = [(0, 1, 1, 1), (0, 2, 2, 0), (0, 3, 3, 1), (0, 3, 4, 1)]
    stored = np.array([(1, 0, 0), (0b11, 1, 1), (0b11, 1, 1), (0, 0, 0)], np.int64)
    found = stamp_log(log_of(rows, [False, False, False, True]), stored)
    assert found[3].tolist() == [0b11, 1, 1]
