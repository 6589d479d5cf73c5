"""The prefix tree: what it shares, and that it shares nothing wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkt_core import kernels
from tests.strategies import as_sequences, users


def grow(outcomes: list[list[int]]) -> kernels.Tree:
    sequences = as_sequences(outcomes)
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    return kernels.grow_tree(sequences.correct, sequences.offsets, everyone)


#: Long sequences that agree beyond one and beyond two sort keys of 62 attempts.
long_users = st.lists(
    st.builds(
        lambda head, n, tail: [head] * n + tail,
        st.integers(0, 1),
        st.integers(55, 130),
        st.lists(st.integers(0, 1), max_size=70),
    ),
    min_size=1,
    max_size=12,
)


@given(outcomes=st.one_of(users(max_users=30, longest=8), long_users))
def test_every_distinct_prefix_is_walked_once_and_every_user_is_counted(outcomes):
    tree = grow(outcomes)
    distinct = {tuple(user) for user in outcomes}
    prefixes = {user[:n] for user in distinct for n in range(1, len(user) + 1)}
    assert tree.start.size == len(distinct)
    assert int((tree.length - tree.shared).sum()) == len(prefixes)
    counted = {
        tuple(tree.correct[a : a + n].tolist()): int(times)
        for a, n, times in zip(tree.start, tree.length, tree.times[:, 0], strict=True)
    }
    assert counted == {user: [tuple(o) for o in outcomes].count(user) for user in distinct}


@given(outcomes=st.one_of(users(max_users=30, longest=8), long_users))
def test_a_walk_finds_at_its_level_the_depth_it_takes_up(outcomes):
    tree = grow(outcomes)
    kept = {0: 0}
    for i in range(tree.start.size):
        level = int(tree.level[i])
        assert kept[level] == tree.shared[i]
        for depth in tree.saves[tree.first_save[i] : tree.first_save[i + 1]]:
            level += 1
            assert tree.shared[i] < depth <= tree.length[i]
            kept[level] = int(depth)
        assert level + 1 < tree.n_levels


@pytest.mark.parametrize("sort", [kernels.merge_sort, kernels.radix_sort])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 300), bits=st.integers(1, 64))
def test_a_sort_is_stable_and_leaves_what_lies_around(sort, seed, n, bits):
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 2**bits, n, dtype=np.uint64)
    low, high = np.sort(rng.integers(0, n + 1, 2))
    wanted = np.arange(n)
    wanted[low:high] = low + np.argsort(keys[low:high], kind="stable")
    sorted_keys, order = keys.copy(), np.arange(n)
    sort(sorted_keys, order, low, high, np.empty_like(keys), np.empty_like(order))
    assert order.tolist() == wanted.tolist()
    assert sorted_keys.tolist() == keys[wanted].tolist()


def test_many_users_are_counted_one_by_one():
    """More than are merged: their keys are sorted byte by byte."""
    rng = np.random.default_rng(5)
    lengths = rng.geometric(0.3, kernels.RADIX_SIZE + 500)
    lengths[:40] = rng.integers(60, 140, 40)
    outcomes = [rng.integers(0, 2, n).tolist() for n in lengths]
    tree = grow(outcomes)
    assert tree.start.size == len(set(map(tuple, outcomes)))
    right = sum(sum(user) for user in outcomes)
    assert tree.totals.tolist() == [[len(outcomes), lengths.sum(), right]]
    assert tree.times.sum() == len(outcomes)


def test_totals_are_those_of_each_training_set():
    sequences = as_sequences([[1, 0, 1], [0], [1, 1, 1, 1]])
    sets = np.array([[True, True, True], [False, True, True]])
    tree = kernels.grow_tree(sequences.correct, sequences.offsets, sets)
    assert tree.totals.tolist() == [[3, 8, 6], [2, 5, 4]]
