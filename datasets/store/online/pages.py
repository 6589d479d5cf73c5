"""Paged lists and existence queries for the online service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, or_, select

from datasets.store.params.columns import PARAM_COLUMNS, params_of_row
from datasets.store.schema.tables import (
    MasteryStateRow,
    PromotionEventRow,
    QuestionConceptRow,
    RunRow,
    SkillParamsRow,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from bkt_core.family.params import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamsEvent:
    """One decision on a concept, and the parameters that it put in force."""

    event_id: int
    decision: str
    created_at: datetime
    actor: str
    run_id: str | None
    from_param_id: int | None
    to_param_id: int | None
    to_params: Params | None
    reasons: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One row of the list of runs."""

    run_id: str
    kind: str
    status: str
    started_at: datetime
    finished_at: datetime | None


def history_page(
    conn: Connection, concept_id: str, *, before: int | None, limit: int
) -> tuple[ParamsEvent, ...]:
    """Return decisions on a concept older than an event id, newest first."""
    query = (
        select(PromotionEventRow.__table__, *PARAM_COLUMNS)
        .outerjoin(SkillParamsRow, SkillParamsRow.id == PromotionEventRow.to_param_id)
        .where(PromotionEventRow.concept_id == concept_id)
    )
    if before is not None:
        query = query.where(PromotionEventRow.id < before)
    rows = conn.execute(query.order_by(PromotionEventRow.id.desc()).limit(limit))
    return tuple(
        ParamsEvent(
            event_id=row.id,
            decision=row.decision,
            created_at=row.created_at,
            actor=row.actor,
            run_id=row.run_id,
            from_param_id=row.from_param_id,
            to_param_id=row.to_param_id,
            to_params=params_of_row(row) if row.to_param_id is not None else None,
            reasons=row.reasons,
        )
        for row in rows
    )


def runs_page(
    conn: Connection, *, after: tuple[datetime, str] | None, limit: int
) -> tuple[RunSummary, ...]:
    """Return runs after the (started_at, run_id) of the previous page, newest first."""
    query = select(
        RunRow.run_id, RunRow.kind, RunRow.status, RunRow.started_at, RunRow.finished_at
    )
    if after is not None:
        began, run_id = after
        query = query.where(
            or_(
                RunRow.started_at < began,
                and_(RunRow.started_at == began, RunRow.run_id > run_id),
            )
        )
    rows = conn.execute(query.order_by(RunRow.started_at.desc(), RunRow.run_id).limit(limit))
    return tuple(RunSummary(**row._mapping) for row in rows)


def user_is_known(conn: Connection, user_id: str) -> bool:
    """Return whether the user has a state, and therefore an attempt."""
    return _any(conn, exists().where(MasteryStateRow.user_id == user_id))


def concept_is_known(conn: Connection, concept_id: str) -> bool:
    """Return whether the concept has attempts, parameters or a question."""
    return _any(
        conn,
        or_(
            exists().where(MasteryStateRow.concept_id == concept_id),
            exists().where(SkillParamsRow.concept_id == concept_id),
            exists().where(QuestionConceptRow.concept_id == concept_id),
        ),
    )


def question_is_known(conn: Connection, question_id: str) -> bool:
    """Return whether the question is mapped to a concept."""
    return _any(conn, exists().where(QuestionConceptRow.question_id == question_id))


def _any(conn: Connection, condition: Any) -> bool:  # noqa: ANN401 - SQLAlchemy's expression
    return bool(conn.execute(select(condition)).scalar_one())
