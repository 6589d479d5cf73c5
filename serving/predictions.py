"""Predictions of a user's next answer: what is asked, and what is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from datasets.store.online.predictions import predict_next
from serving.params_cache import ParamsCache
from serving.reading import Database, connection_of
from serving.schemas import ApiModel, Count, Id, Probability

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class PredictRequest(ApiModel):
    """The user and the question of the next attempt, or its concept, or both."""

    user_id: Id
    question_id: Id | None = None
    concept_id: Id | None = Field(None, description="If omitted: those of the question.")

    @model_validator(mode="after")
    def _has_a_concept(self) -> PredictRequest:
        if self.question_id is None and self.concept_id is None:
            raise ValueError("a prediction needs a concept_id, or a question_id with concepts")
        return self


class PredictionResponse(ApiModel):
    """P(correct) of the user's next answer at one concept, and the mastery it rests on."""

    concept_id: str
    p_correct: Probability
    p_mastery: Probability = Field(description="Without attempts: the p_L0 in force.")
    n_attempts: Count
    question_odds: float = Field(
        description="Multiplies the odds of a right answer; 1 where the version has none."
    )
    algo_version: str
    param_id: int | None = Field(description="null: the version's defaults.")


class PredictResponse(ApiModel):
    """One prediction per concept, by concept id."""

    user_id: str
    question_id: str | None
    predictions: list[PredictionResponse]


async def predict_next_attempt(
    db: Database,
    asked: PredictRequest,
    *,
    at: datetime,
    cache: ParamsCache | None = None,
) -> PredictResponse:
    """Return P(correct) of the user's next attempt, by concept; nothing is written."""
    conn = await connection_of(db)
    names = cache or ParamsCache(0)

    def read(sync: Connection) -> PredictResponse:
        found = predict_next(
            sync,
            asked.user_id,
            question_id=asked.question_id,
            concept_id=asked.concept_id,
            at=at,
        )
        return PredictResponse(
            user_id=asked.user_id,
            question_id=asked.question_id,
            predictions=[
                PredictionResponse(
                    concept_id=one.concept_id,
                    p_correct=one.p_correct,
                    p_mastery=one.p_mastery,
                    n_attempts=one.n_attempts,
                    question_odds=one.question_odds,
                    algo_version=names.version_name(sync, one.algo_version_id),
                    param_id=one.param_id,
                )
                for one in found
            ],
        )

    return await conn.run_sync(read)
