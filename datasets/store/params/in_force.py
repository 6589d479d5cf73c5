"""The parameters in force: those fitted for a concept, otherwise the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, select

from bkt_core.params import AlgoParams, require_known_settings
from datasets.store.errors import UnknownAlgorithmError
from datasets.store.params.algorithms import ALGO_KEY
from datasets.store.params.columns import PARAM_COLUMNS, params_of_row
from datasets.store.schema.tables import AlgoParamsRow, AlgoVersionRow, SkillParamsRow

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
_OF_CONCEPTS = {
    one: (
        select(*_COLUMNS)
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


def in_force(conn: Connection, concept_id: str) -> InForce:
    """Return the active row of one concept, or the defaults of the ACTIVE version.

    Writers must call it under the concept's lock, because the active row may change until they
    hold it. Raises an error for a version with settings that this release does not know.
    """
    row = conn.execute(_OF_CONCEPTS[True], {"concept_id": concept_id}).one_or_none()
    if row is None:
        raise UnknownAlgorithmError(version=None, known=())
    require_known_settings(row.params or {})
    return _defaults(row) if row.param_id is None else _fitted(row)


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
    return InForce(row.algo_version_id, row.param_id, params_of_row(row), row.run_id)
