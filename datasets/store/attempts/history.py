"""The attempts of one user at one concept, and the position of each attempt among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import and_, select

from bkt_core.family.params import has_multipliers
from bkt_core.replay import predict, replay
from datasets.store.schema.tables import AttemptRow, QuestionParamsRow
from datasets.store.states.attempt_facts import facts_of, one_user

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from bkt_core.family.facts import AttemptFacts
    from bkt_core.family.params import Params
    from bkt_core.sequences import AttemptSequences

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
    #: Of each attempt: the odds of its question and its stamp, as `facts_of` reads them.
    stored: tuple[tuple[Any, ...], ...]

    def place(self, key: str, params: Params) -> Place:
        """Return the attempt with that key, at its position in the history."""
        at = self.index_of[key]
        others = [i for i in range(self.outcomes.size) if i != at]
        p_mastery_without = params.p_L0
        if others:
            p_mastery_without = float(replay(*self._part(others, params))[0])
        p_correct = float(predict(*self._part([*range(at + 1)], params))[at])
        return Place(int(self.outcomes[at]), self.moments[at], p_mastery_without, p_correct)

    def _part(
        self, chosen: list[int], params: Params
    ) -> tuple[AttemptSequences, Params, AttemptFacts | None]:
        """Return these attempts as if there were no others, with their facts if needed."""
        sequences = one_user(self.outcomes[chosen])
        if not has_multipliers(params):
            return sequences, params, None
        moments = [self.moments[i] for i in chosen]
        stored = [[column[i] for i in chosen] for column in self.stored]
        return sequences, params, facts_of(sequences.offsets, moments, stored)


def attempt_history(
    conn: Connection, user_id: str, concept_id: str, param_id: int | None
) -> AttemptHistory:
    """Read the history, with the odds of a row of parameters.

    Call it while the row of the state is locked.
    """
    odds = and_(
        QuestionParamsRow.param_id == param_id,
        QuestionParamsRow.question_id == AttemptRow.question_id,
    )
    rows = conn.execute(
        select(
            AttemptRow.correct,
            AttemptRow.attempted_at,
            AttemptRow.idempotency_key,
            QuestionParamsRow.odds,
            AttemptRow.recent_outcomes,
            AttemptRow.n_before,
            AttemptRow.n_right_before,
        )
        .outerjoin(QuestionParamsRow, odds)
        .where(AttemptRow.user_id == user_id, AttemptRow.concept_id == concept_id)
        .order_by(AttemptRow.attempted_at, AttemptRow.id)
    ).all()
    return AttemptHistory(
        np.array([row.correct for row in rows], dtype=np.int8),
        tuple(row.attempted_at for row in rows),
        {row.idempotency_key: at for at, row in enumerate(rows)},
        tuple(zip(*(row[3:] for row in rows), strict=True)),
    )
