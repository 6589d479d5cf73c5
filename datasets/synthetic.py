"""Write a synthetic attempt log with known parameters, as a file that `bkt import` reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from bkt_core.params import BktParams
from bkt_core.simulation import draw_lengths, draw_params, simulate
from datasets.parquet import write_frame
from datasets.whole_files import write_json

if TYPE_CHECKING:
    from pathlib import Path

#: Start of the log, a Monday, in UTC microseconds since 1970.
_BEGINS_US = 1_767_571_200_000_000  # 2026-01-05 00:00:00
_SECOND_US = 1_000_000
#: Share of the concepts that each user practises.
_SHARE_PRACTISED = 0.8
_QUESTIONS_PER_CONCEPT = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationPlan:
    """Size and seed of a simulated log."""

    n_concepts: int
    n_users: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """The result of a simulation."""

    n_attempts: int
    truth: Path
    params: dict[str, BktParams]


def write_simulation(path: Path, plan: SimulationPlan) -> Simulated:
    """Write the attempts to `path`, and the true parameters to a file beside it."""
    rng = np.random.default_rng(plan.seed)
    params = {
        f"concept-{number + 1:03d}": BktParams(*drawn.tolist())
        for number, drawn in enumerate(draw_params(plan.n_concepts, rng=rng))
    }
    frames = [
        _attempts_at(concept, true, plan.n_users, rng) for concept, true in params.items()
    ]
    attempts = (
        pl.concat(frames)
        .sort("attempted_at", "user_id", "concept_id", "opportunity")
        .drop("opportunity")
        .with_row_index("attempt_id", offset=1)
        .with_columns(
            pl.col("attempt_id").cast(pl.Int64),
            pl.col("attempted_at").cast(pl.Datetime("us", "UTC")),
        )
    )
    write_frame(path, attempts)
    truth = path.with_name(f"{path.stem}.truth.json")
    write_json(truth, {concept: true.as_dict() for concept, true in params.items()})
    return Simulated(n_attempts=attempts.height, truth=truth, params=params)


def _attempts_at(
    concept: str, params: BktParams, n_users: int, rng: np.random.Generator
) -> pl.DataFrame:
    """Simulate users at one concept, each on their own day, about a minute between attempts."""
    users = np.flatnonzero(rng.random(n_users) < _SHARE_PRACTISED)
    if not users.size:
        users = np.zeros(1, dtype=np.int64)
    lengths = draw_lengths(users.size, rng=rng)
    sequences = simulate(params, lengths=lengths, rng=rng)
    first = _BEGINS_US + rng.integers(0, 90 * 86_400, users.size) * _SECOND_US
    pauses = rng.integers(20, 180, sequences.n_attempts) * _SECOND_US
    elapsed = np.cumsum(pauses)
    elapsed -= np.repeat(elapsed[sequences.offsets[:-1]], lengths)
    questions = rng.integers(1, _QUESTIONS_PER_CONCEPT + 1, sequences.n_attempts)
    steps = np.arange(sequences.n_attempts) - np.repeat(sequences.offsets[:-1], lengths)
    return pl.DataFrame(
        {
            "user_id": [f"user-{user + 1:05d}" for user in np.repeat(users, lengths)],
            "question_id": [f"{concept}-q{question:02d}" for question in questions],
            "concept_id": pl.Series([concept], dtype=pl.String).new_from_index(
                0, sequences.n_attempts
            ),
            "correct": sequences.correct,
            "attempted_at": np.repeat(first, lengths) + elapsed,
            "opportunity": steps,
        }
    )
