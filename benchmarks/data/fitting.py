"""Attempts to fit in benchmarks: simulated ones, and the real logs where they are."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from bkt_core import AttemptSequences, BktParams, draw_lengths, draw_params, simulate

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def simulated_concepts(
    n_concepts: int, n_users: int, *, seed: int
) -> tuple[list[AttemptSequences], NDArray[np.float64]]:
    """Concepts as the issue wants them, and their true parameters (n_concepts, 4)."""
    rng = np.random.default_rng(seed)
    truths = draw_params(n_concepts, rng=rng)
    concepts = [
        simulate(BktParams(*truth), lengths=draw_lengths(n_users, rng=rng), rng=rng)
        for truth in truths.tolist()
    ]
    return concepts, truths


def real_concepts(path: Path) -> dict[str, tuple[AttemptSequences, NDArray[np.uint64]]]:
    """Each concept of a real log with the ids of its users."""
    table = pq.read_table(path).sort_by(
        [
            (name, "ascending")
            for name in ("concept_id", "user_id", "attempted_at", "attempt_id")
        ]
    )
    concept = table["concept_id"].to_numpy()
    user = table["user_id"].to_numpy()
    correct = table["correct"].to_numpy().astype(np.int8)
    cuts = np.flatnonzero(concept[1:] != concept[:-1]) + 1
    bounds = np.concatenate([[0], cuts, [concept.size]])
    concepts = {}
    for a, b in itertools.pairwise(bounds):
        own = user[a:b]
        heads = np.concatenate([[0], np.flatnonzero(own[1:] != own[:-1]) + 1])
        sequences = AttemptSequences(
            correct=correct[a:b], offsets=np.append(heads, b - a).astype(np.int64)
        )
        concepts[str(concept[a])] = (sequences, own[heads].astype(np.uint64))
    return concepts


def can_be_fitted(sequences: AttemptSequences) -> bool:
    """At least ten attempts, two users, and both outcomes."""
    return (
        sequences.n_attempts >= 10
        and sequences.n_users >= 2
        and 0 < sequences.n_correct < sequences.n_attempts
    )


def fold_sets(n_users: int, *, n_folds: int = 5) -> NDArray[np.bool_]:
    """All users, then all but each fold: (n_folds + 1, n_users)."""
    sets = np.ones((n_folds + 1, n_users), dtype=np.bool_)
    for fold in range(n_folds):
        sets[fold + 1, fold::n_folds] = False
    return sets
