"""Facts of a log that stands for itself, against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bkt_core.standing_log import StandingLog, facts_of_log

ROW = st.tuples(
    st.integers(0, 2),  # user
    st.integers(0, 1),  # concept
    st.integers(0, 5),  # seconds
    st.integers(0, 1),  # correct
)


@given(st.lists(ROW, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_what_a_user_did_before_is_what_the_log_has(rows, random):
    """In any order of the rows; attempts of one moment do not know each other."""
    order = list(range(len(rows)))
    random.shuffle(order)
    user, concept, second, correct = (np.array(c) for c in zip(*rows, strict=True))
    log = StandingLog(
        user[order].astype(np.int64),
        concept[order].astype(np.int64),
        second[order].astype(np.int64) * 1_000_000,
        np.array(order, dtype=np.int64),
        correct[order].astype(np.int8),
    )
    facts = facts_of_log(log, np.ones(len(rows)))
    for place, i in enumerate(order):
        mine = [
            (rows[j][2], j, rows[j][3])
            for j in range(len(rows))
            if rows[j][0] == rows[i][0] and rows[j][2] < rows[i][2]
        ]
        bits = 1
        for _, _, right in sorted(mine):
            bits = bits << 1 | right
        assert facts.recent[place] == bits
        assert facts.n_before[place] == len(mine)
        assert facts.n_right_before[place] == sum(right for *_, right in mine)
        key = [
            (rows[j][2], j)
            for j in range(len(rows))
            if rows[j][:2] == rows[i][:2] and (rows[j][2], j) < (rows[i][2], i)
        ]
        assert facts.seconds[place] == (rows[i][2] - max(key)[0] if key else -1)
