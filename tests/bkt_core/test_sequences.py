"""Sequences that describe no users cannot be built; a part of them is the users it names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkt_core import AttemptSequences
from bkt_core.errors import InvalidSequencesError
from tests.strategies import as_lists, as_sequences, attempt_sequences

RIGHT = ([1, 0, 1], [0, 2, 3])


@pytest.mark.parametrize(
    ("correct", "offsets", "said"),
    [
        ([1, 0, 1], [0, 2], r"run from 0 to the 3 attempts, got \[0\] to \[2\]"),
        ([1, 0, 1], [1, 3], r"got \[1\] to \[3\]"),
        ([], [0, 0], "at least one attempt"),
        ([1, 0, 1], [], "run from 0"),
        ([1, 0, 1], [0, 2, 2, 3], "at least one attempt"),
        ([1, 0, 1], [0, 4, 3], "at least one attempt"),
        ([1, 2, 1], [0, 3], "0 or 1"),
        ([1, -1, 1], [0, 3], "0 or 1"),
    ],
)
def test_what_describes_no_users_cannot_be_built(correct, offsets, said):
    with pytest.raises(InvalidSequencesError, match=said):
        AttemptSequences(np.array(correct, np.int8), np.array(offsets, np.int64))


@pytest.mark.parametrize(("outcomes", "places"), [(np.int64, np.int64), (np.int8, np.int32)])
def test_arrays_of_other_types_are_refused(outcomes, places):
    correct, offsets = RIGHT
    with pytest.raises(InvalidSequencesError, match="int8 outcomes and int64 offsets"):
        AttemptSequences(np.array(correct, outcomes), np.array(offsets, places))


def test_nobody_is_nobody():
    empty = AttemptSequences(np.empty(0, np.int8), np.zeros(1, np.int64))
    assert (empty.n_users, empty.n_attempts, empty.lengths.tolist()) == (0, 0, [])


def test_attempts_cannot_be_changed():
    sequences = as_sequences([[1, 0], [1]])
    for array in (sequences.correct, sequences.offsets):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@given(sequences=attempt_sequences(), data=st.data())
def test_a_part_is_the_users_that_a_mask_names(sequences, data):
    n = sequences.n_users
    mask = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    chosen = [user for user, is_in in zip(as_lists(sequences), mask, strict=True) if is_in]
    part = sequences.of_users(np.array(mask))
    assert as_lists(part) == chosen
    assert (part.n_users, part.n_attempts) == (len(chosen), sum(map(len, chosen)))
    assert part.n_correct == sum(map(sum, chosen))
    assert part.lengths.tolist() == list(map(len, chosen))


def test_lists_and_arrays_are_the_same():
    assert as_lists(as_sequences([[1, 0], [1]])) == [[1, 0], [1]]
