"""The attempts of one user at one concept, and the position of each attempt among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from bkt_core.replay import predict, replay
from bkt_core.sequences import AttemptSequences
from datasets.store.schema.tables import AttemptRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from bkt_core.family.params import Params

    Outcomes = np.ndarray[tuple[int], np.dtype[np.int8]]


@dataclass(frozen=True, slots=True)
class Place:
    """One attempt at its position in the history, with mastery under given parameters."""

    correct: int
    attempted_at: datetime
    p_mastery_without: float  # mastery after all attempts except this one
    p_correct: float  # predicted just before it


@dataclass(frozen=True, slots=True, eq=False)
class AttemptHistory:
    """All attempts of one user at one concept, in canonical order."""

    outcomes: Outcomes
    moments: tuple[datetime, ...]
    index_of: dict[str, int]  # by the key of the attempt's row

    def place(self, key: str, params: Params) -> Place:
        """Return the attempt with that key, at its position in the history."""
        at = self.index_of[key]
        others = np.delete(self.outcomes, at)
        return Place(
            int(self.outcomes[at]),
            self.moments[at],
            float(replay(_one_user(others), params)[0]) if others.size else params.p_L0,
            float(predict(_one_user(self.outcomes[: at + 1]), params)[at]),
        )


def attempt_history(conn: Connection, user_id: str, concept_id: str) -> AttemptHistory:
    """Read the history; call it while the row of the state is locked."""
    rows = conn.execute(
        select(AttemptRow.correct, AttemptRow.attempted_at, AttemptRow.idempotency_key)
        .where(AttemptRow.user_id == user_id, AttemptRow.concept_id == concept_id)
        .order_by(AttemptRow.attempted_at, AttemptRow.id)
    ).all()
    return AttemptHistory(
        np.array([row.correct for row in rows], dtype=np.int8),
        tuple(row.attempted_at for row in rows),
        {row.idempotency_key: at for at, row in enumerate(rows)},
    )


def _one_user(outcomes: Outcomes) -> AttemptSequences:
    return AttemptSequences(outcomes, np.array([0, outcomes.size], dtype=np.int64))
