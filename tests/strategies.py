"""Parameters, boxes and attempts that Hypothesis invents."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from bkt_core import AttemptSequences, BktParams, Bounds

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def bkt_params(lowest: float = 0.0, highest: float = 1.0) -> SearchStrategy[BktParams]:
    """Four probabilities, each between `lowest` and `highest`."""
    probability = st.floats(lowest, highest)
    return st.builds(BktParams, probability, probability, probability, probability)


def params_inside(box: Bounds) -> SearchStrategy[BktParams]:
    """Parameters in a box, its edges included."""
    return st.builds(
        BktParams,
        *(st.floats(low, high) for low, high in zip(box.lower, box.upper, strict=True)),
    )


def users(
    *, max_users: int = 8, shortest: int = 1, longest: int = 8
) -> SearchStrategy[list[list[int]]]:
    """Outcomes of each user, oldest first."""
    outcomes = st.lists(st.integers(0, 1), min_size=shortest, max_size=longest)
    return st.lists(outcomes, min_size=1, max_size=max_users)


def attempt_sequences(
    *, max_users: int = 8, shortest: int = 1, longest: int = 8
) -> SearchStrategy[AttemptSequences]:
    """The same as the arrays that engines take."""
    return users(max_users=max_users, shortest=shortest, longest=longest).map(as_sequences)


def as_sequences(outcomes: list[list[int]]) -> AttemptSequences:
    """Lists of outcomes as arrays."""
    return AttemptSequences(
        correct=np.array([o for user in outcomes for o in user], dtype=np.int8),
        offsets=np.cumsum([0, *map(len, outcomes)]).astype(np.int64),
    )


def as_lists(sequences: AttemptSequences) -> list[list[int]]:
    """Arrays of outcomes as lists."""
    cuts = pairwise(sequences.offsets.tolist())
    return [sequences.correct[a:b].tolist() for a, b in cuts]
