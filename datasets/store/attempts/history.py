"""The attempts of one user at one concept, and the position of each attempt among them."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sqlalchemy import and_, select

from bkt_core.family.params import has_multipliers
from bkt_core.replay import predict, replay
from datasets.store.schema.tables import AttemptRow, QuestionParamsRow
from datasets.store.schema.types import in_utc
from datasets.store.states.attempt_facts import facts_of, one_user
from datasets.store.states.replays import Replayed

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from bkt_core.family.facts import AttemptFacts
    from bkt_core.family.params import Params
    from bkt_core.sequences import AttemptSequences
    from datasets.store.attempts.new_attempt import NewAttempt

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
    ids: tuple[int, ...]
    question_ids: tuple[str | None, ...]
    index_of: dict[str, int]  # by the key of the attempt's row
    #: Of each attempt: the odds of its question and its stamp, as `facts_of` reads them.
    stored: tuple[tuple[Any, ...], ...]

    def with_attempt(
        self, key: str, attempt_id: int, moment: datetime, question_id: str | None, correct: int
    ) -> AttemptHistory:
        """Return the history with one more attempt, which has just been stored.

        The result has no facts: it is for parameters without multipliers.
        """
        at = bisect(list(zip(self.moments, self.ids, strict=True)), (moment, attempt_id))
        return AttemptHistory(
            np.insert(self.outcomes, at, correct),
            (*self.moments[:at], moment, *self.moments[at:]),
            (*self.ids[:at], attempt_id, *self.ids[at:]),
            (*self.question_ids[:at], question_id, *self.question_ids[at:]),
            {k: i + (i >= at) for k, i in self.index_of.items()} | {key: at},
            (),
        )

    def replayed(self, params: Params) -> Replayed:
        """Replay all attempts."""
        if not self.ids:
            return Replayed(params.p_L0, 0, None, None, None)
        every = [*range(self.outcomes.size)]
        return Replayed(
            float(replay(*self._part(every, params))[0]),
            len(every),
            self.moments[-1],
            self.ids[-1],
            self.question_ids[-1],
        )

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


#: The attempts of one user by concept, as far as they were read in one transaction.
Histories: TypeAlias = dict[str, AttemptHistory]


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
            AttemptRow.id,
            AttemptRow.question_id,
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
        tuple(row.id for row in rows),
        tuple(row.question_id for row in rows),
        {row.idempotency_key: at for at, row in enumerate(rows)},
        tuple(zip(*(row[5:] for row in rows), strict=True)),
    )


def history_of(
    conn: Connection,
    user_id: str,
    concept_id: str,
    param_id: int | None,
    histories: Histories,
) -> AttemptHistory:
    """Return the history from `histories`; read it first if it is missing there.

    The row of the state must be locked, so that nobody else adds attempts.
    """
    if concept_id not in histories:
        histories[concept_id] = attempt_history(conn, user_id, concept_id, param_id)
    return histories[concept_id]


def remember(
    histories: Histories,
    attempt: NewAttempt,
    concept_id: str,
    key: str,
    attempt_id: int,
    params: Params,
) -> None:
    """Add a new attempt to a history that was read, or forget that if facts are needed."""
    known = histories.pop(concept_id, None)
    if known is not None and not has_multipliers(params):
        histories[concept_id] = known.with_attempt(
            key, attempt_id, in_utc(attempt.attempted_at), attempt.question_id, attempt.correct
        )
