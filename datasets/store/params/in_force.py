"""The parameters in force: those fitted for a concept, otherwise the defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, select

from bkt_core.params import AlgoParams, require_known_settings
from datasets.store.errors import UnknownAlgorithmError
from datasets.store.params.algorithms import ALGO_KEY
from datasets.store.params.columns import PARAM_COLUMNS, has_question_odds, params_of_row
from datasets.store.schema.tables import (
    AlgoParamsRow,
    AlgoVersionRow,
    QuestionParamsRow,
    SkillParamsRow,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sqlalchemy import Connection, Row

    from bkt_core.family.params import Params

_COLUMNS = (
    AlgoVersionRow.id.label("algo_version_id"),
    AlgoParamsRow.params,
    SkillParamsRow.id.label("param_id"),
    SkillParamsRow.concept_id,
    SkillParamsRow.run_id,
    *PARAM_COLUMNS,
)
_ODDS = select(QuestionParamsRow.odds).where(
    QuestionParamsRow.param_id == SkillParamsRow.id,
    QuestionParamsRow.question_id == bindparam("question_id"),
)
_OF_CONCEPTS = {
    one: (
        select(*_COLUMNS, *([_ODDS.scalar_subquery().label("odds")] if one else ()))
        .outerjoin(AlgoParamsRow, AlgoParamsRow.algo_version_id == AlgoVersionRow.id)
        .outerjoin(
            SkillParamsRow,
            and_(
                SkillParamsRow.algo_version_id == AlgoVersionRow.id,
                SkillParamsRow.concept_id == bindparam("concept_id")
                if one
                else SkillParamsRow.concept_id.in_(bindparam("concept_ids", expanding=True)),
                SkillParamsRow.is_active,
            ),
        )
        .where(AlgoVersionRow.algo_key == ALGO_KEY, AlgoVersionRow.status == "ACTIVE")
    )
    for one in (True, False)
}


@dataclass(frozen=True, slots=True)
class InForce:
    """The parameters in force for a concept; `param_id` None means the defaults."""

    algo_version_id: int
    param_id: int | None
    params: Params
    run_id: str | None
    #: Of the question that was asked for; 1 without a row.
    question_odds: float = 1.0


def in_force(conn: Connection, concept_id: str, question_id: str | None = None) -> InForce:
    """Return the active row of one concept, or the defaults of the ACTIVE version.

    With the odds of a question, if one is named and the row has odds for it.
    Writers must call it under the concept's lock, because the active row may change until they
    hold it. Raises an error for a version with settings that this release does not know.
    """
    given = {"concept_id": concept_id, "question_id": question_id}
    row = conn.execute(_OF_CONCEPTS[True], given).one_or_none()
    if row is None:
        raise UnknownAlgorithmError(version=None, known=())
    require_known_settings(row.params or {})
    if row.param_id is None:
        return _defaults(row)
    return replace(_fitted(row), question_odds=1.0 if row.odds is None else row.odds)


def in_force_of(conn: Connection, concept_ids: Sequence[str]) -> dict[str, InForce]:
    """Like `in_force`, for many concepts in one statement; every concept gets an entry."""
    rows = conn.execute(_OF_CONCEPTS[False], {"concept_ids": list(concept_ids)}).all()
    if not rows:
        raise UnknownAlgorithmError(version=None, known=())
    defaults = _defaults(rows[0])
    fitted = {row.concept_id: _fitted(row) for row in rows if row.param_id is not None}
    return {concept_id: fitted.get(concept_id, defaults) for concept_id in concept_ids}


def _defaults(row: Row[Any]) -> InForce:
    defaults = AlgoParams.from_json(row.params or {}).defaults
    return InForce(row.algo_version_id, None, defaults, None)


def _fitted(row: Row[Any]) -> InForce:
    params = params_of_row(row, question_odds=has_question_odds(row.params))
    return InForce(row.algo_version_id, row.param_id, params, row.run_id)
