"""Rows of `bkt_question_params`: the odds of the questions of a row of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from datasets.store.schema.tables import QuestionParamsRow

if TYPE_CHECKING:
    from sqlalchemy import Connection


class QuestionOdds(NamedTuple):
    """The multiplier of a question within a concept, and the attempts it was fitted on."""

    odds: float
    n_attempts: int


def questions_of_row(conn: Connection, param_id: int) -> dict[str, QuestionOdds]:
    """Return the questions of one row of parameters, by id."""
    rows = conn.execute(
        select(
            QuestionParamsRow.question_id, QuestionParamsRow.odds, QuestionParamsRow.n_attempts
        )
        .where(QuestionParamsRow.param_id == param_id)
        .order_by(QuestionParamsRow.question_id)
    )
    return {row.question_id: QuestionOdds(row.odds, row.n_attempts) for row in rows}
