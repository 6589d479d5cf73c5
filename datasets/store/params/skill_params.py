"""Rows of `bkt_skill_params`: read them, activate or deactivate them.

`switching.py` puts a challenger in force, `rollback.py` restores earlier parameters,
`events.py` records who did what and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from bkt_core.family.params import FamilyParams
from datasets.store.params.columns import has_question_odds, params_of_row
from datasets.store.schema.tables import (
    AlgoParamsRow,
    QuestionParamsRow,
    SkillParamsRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from bkt_core.family.params import Params


#: Most ids in one statement.
IDS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredParams:
    """One row of `bkt_skill_params`."""

    param_id: int
    concept_id: str
    algo_version_id: int
    params: Params
    metrics: dict[str, Any]
    n_attempts: int
    n_users: int
    fitted_at: datetime
    fitted_on_data_from: datetime | None
    fitted_on_data_to: datetime | None
    run_id: str
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """Fitted parameters that may be put in force."""

    params: Params
    n_attempts: int
    n_users: int
    fitted_at: datetime
    metrics: dict[str, Any] = field(default_factory=dict)
    fitted_on_data_from: datetime | None = None
    fitted_on_data_to: datetime | None = None
    #: Attempts of each question of `params.question_odds` in the fit.
    question_attempts: Mapping[str, int] = field(default_factory=dict)


def active_params(conn: Connection, algo_version_id: int) -> dict[str, StoredParams]:
    """Return the active row of each concept that has one."""
    rows = _stored(
        conn, SkillParamsRow.is_active, SkillParamsRow.algo_version_id == algo_version_id
    )
    return {row.concept_id: row for row in rows}


def stored_params(conn: Connection, param_id: int) -> StoredParams | None:
    """Return the row with that id, active or not; None if there is none."""
    return next(iter(_stored(conn, SkillParamsRow.id == param_id)), None)


def with_question_odds(
    conn: Connection, rows: Mapping[str, StoredParams]
) -> dict[str, StoredParams]:
    """Return rows, by concept, with the odds of their questions, which predictions need."""
    found: dict[int, dict[str, float]] = {
        row.param_id: {} for row in rows.values() if _params_with_questions(row) is not None
    }
    ids = sorted(found)
    for at in range(0, len(ids), IDS_AT_ONCE):
        query = select(
            QuestionParamsRow.param_id, QuestionParamsRow.question_id, QuestionParamsRow.odds
        ).where(QuestionParamsRow.param_id.in_(ids[at : at + IDS_AT_ONCE]))
        for row in conn.execute(query):
            found[row.param_id][row.question_id] = row.odds
    filled = dict(rows)
    for concept, stored in rows.items():
        params = _params_with_questions(stored)
        if params is not None:
            odds = found[stored.param_id]
            filled[concept] = replace(stored, params=replace(params, question_odds=odds))
    return filled


def _params_with_questions(row: StoredParams) -> FamilyParams | None:
    """Return the parameters of a row whose version has questions, else None."""
    params = row.params
    if isinstance(params, FamilyParams) and params.question_odds is not None:
        return params
    return None


def params_of_run(conn: Connection, run_id: str) -> dict[str, StoredParams]:
    """Return the rows that a run wrote, active or not, by concept."""
    return {row.concept_id: row for row in _stored(conn, SkillParamsRow.run_id == run_id)}


def deactivate(conn: Connection, concept_ids: Sequence[str], algo_version_id: int) -> None:
    """Deactivate the rows of concepts; call it under their exclusive locks."""
    conn.execute(
        update(SkillParamsRow)
        .where(
            SkillParamsRow.concept_id.in_(concept_ids),
            SkillParamsRow.algo_version_id == algo_version_id,
            SkillParamsRow.is_active,
        )
        .values(is_active=False)
    )


def activate(conn: Connection, param_id: int) -> None:
    """Make one row active; call it under its concept's exclusive lock."""
    conn.execute(
        update(SkillParamsRow).where(SkillParamsRow.id == param_id).values(is_active=True)
    )


def _stored(conn: Connection, *conditions: Any) -> list[StoredParams]:  # noqa: ANN401 - SQLAlchemy's expressions
    rows = conn.execute(
        select(SkillParamsRow.__table__).where(*conditions).order_by(SkillParamsRow.id)
    ).all()
    with_questions = _with_questions(conn, {row.algo_version_id for row in rows})
    return [
        StoredParams(
            param_id=row.id,
            concept_id=row.concept_id,
            algo_version_id=row.algo_version_id,
            params=params_of_row(row, question_odds=row.algo_version_id in with_questions),
            metrics=row.metrics,
            n_attempts=row.n_attempts,
            n_users=row.n_users,
            fitted_at=row.fitted_at,
            fitted_on_data_from=row.fitted_on_data_from,
            fitted_on_data_to=row.fitted_on_data_to,
            run_id=row.run_id,
            is_active=row.is_active,
        )
        for row in rows
    ]


def _with_questions(conn: Connection, algo_version_ids: set[int]) -> frozenset[int]:
    """Return those of the versions that have questions."""
    rows = conn.execute(
        select(AlgoParamsRow.algo_version_id, AlgoParamsRow.params).where(
            AlgoParamsRow.algo_version_id.in_(algo_version_ids)
        )
    )
    return frozenset(row.algo_version_id for row in rows if has_question_odds(row.params))
