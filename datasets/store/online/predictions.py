"""P(correct) of a user's next attempt at a question, without writing anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from bkt_core.errors import BadInputError
from bkt_core.family.params import has_multipliers
from bkt_core.replay import step
from datasets.store.attempts.stamps import stamp_of_new
from datasets.store.params.in_force import in_force
from datasets.store.schema.tables import QuestionConceptRow
from datasets.store.schema.types import in_utc
from datasets.store.states.attempt_facts import facts_of_one
from datasets.store.states.reads import read_mastery

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from bkt_core.family.facts import AttemptFacts
    from datasets.store.params.in_force import InForce
    from datasets.store.states.reads import Mastery


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The next attempt of a user at one concept of a question."""

    concept_id: str
    p_correct: float
    p_mastery: float  # that the prediction rests on; p_L0 without attempts
    n_attempts: int
    question_odds: float  # 1 if the version or the row has none for the question
    algo_version_id: int
    param_id: int | None


def predict_next(
    conn: Connection,
    user_id: str,
    *,
    question_id: str | None,
    concept_id: str | None,
    at: datetime,
) -> tuple[Prediction, ...]:
    """Predict an attempt at `at`, for the concept or, without one, for those of the question.

    Sorted by concept id. Raises `BadInputError` if the question is mapped to no concept.
    """
    concepts = [concept_id] if concept_id is not None else _concepts(conn, question_id)
    known = {one.concept_id: one for one in read_mastery(conn, user_id, concepts)}
    return tuple(
        _prediction(conn, user_id, one, question_id, known.get(one), at) for one in concepts
    )


def _concepts(conn: Connection, question_id: str | None) -> list[str]:
    rows = conn.execute(
        select(QuestionConceptRow.concept_id).where(
            QuestionConceptRow.question_id == question_id
        )
    )
    concepts = sorted(set(rows.scalars()), key=str.encode)
    if not concepts:
        raise BadInputError(
            f"A prediction needs a concept, and question {question_id!r} is mapped to none; "
            "name the concept or add the question to question_concepts."
        )
    return concepts


def _prediction(
    conn: Connection,
    user_id: str,
    concept_id: str,
    question_id: str | None,
    mastery: Mastery | None,
    at: datetime,
) -> Prediction:
    stamp = in_force(conn, concept_id, question_id)
    before = None if mastery is None or not mastery.n_attempts else mastery.p_mastery
    facts = _facts(conn, user_id, stamp, mastery, at)
    return Prediction(
        concept_id=concept_id,
        p_correct=step(before, 1, stamp.params, facts).p_correct,
        p_mastery=stamp.params.p_L0 if before is None else before,
        n_attempts=0 if mastery is None else mastery.n_attempts,
        question_odds=stamp.question_odds,
        algo_version_id=stamp.algo_version_id,
        param_id=stamp.param_id,
    )


def _facts(
    conn: Connection, user_id: str, stamp: InForce, mastery: Mastery | None, at: datetime
) -> AttemptFacts | None:
    if not has_multipliers(stamp.params):
        return None
    seconds = -1
    if mastery is not None and mastery.last_attempt_at is not None:
        since = in_utc(at) - in_utc(mastery.last_attempt_at)
        seconds = max(since // timedelta(seconds=1), 0)
    return facts_of_one(stamp.question_odds, stamp_of_new(conn, user_id, at), seconds)
