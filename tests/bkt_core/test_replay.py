"""Replay is the fold of one step over each user's attempts, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import bkt_core


@pytest.fixture
def sequences() -> bkt_core.AttemptSequences:
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 40, size=50)
    return bkt_core.AttemptSequences(
        correct=rng.integers(0, 2, size=int(lengths.sum())).astype(np.int8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


@pytest.mark.parametrize(
    "params", [(0.1, 0.1, 0.1, 0.25), (0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0)]
)
def test_replay_trace_and_predict_are_the_fold_of_update_mastery(sequences, params):
    p_L0, p_T, p_S, p_G = params
    fitted = bkt_core.BktParams(*params)
    last, after, before = [], [], []
    for user in range(sequences.n_users):
        p_L = p_L0
        for i in range(sequences.offsets[user], sequences.offsets[user + 1]):
            p_L, p_correct = bkt_core.update_mastery(
                p_L, int(sequences.correct[i]), p_T, p_S, p_G
            )
            after.append(p_L)
            before.append(p_correct)
        last.append(p_L)
    assert bkt_core.replay(sequences, fitted).tolist() == last
    assert bkt_core.trace(sequences, fitted).tolist() == after
    assert bkt_core.predict(sequences, fitted).tolist() == before


def test_no_user_is_replayed_to_nothing():
    nobody = bkt_core.AttemptSequences(
        correct=np.empty(0, dtype=np.int8), offsets=np.zeros(1, dtype=np.int64)
    )
    assert bkt_core.replay(nobody, bkt_core.BktParams(0.1, 0.1, 0.1, 0.2)).size == 0
