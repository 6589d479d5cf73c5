"""Read queries of the online service: mastery and parameters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, and_, bindparam, func, insert, literal, select

from bkt_core.params import FALLBACK_PARAMS, AlgoParams
from datasets.store.errors import UnknownAlgorithmError
from datasets.store.params.algorithms import ALGO_KEY, Algorithm, active_algorithm
from datasets.store.params.columns import PARAM_COLUMNS, has_question_odds, params_of_row
from datasets.store.params.in_force import InForce
from datasets.store.schema.tables import (
    AlgoParamsRow,
    AlgoVersionRow,
    MasteryStateRow,
    SkillParamsRow,
    SnapshotRow,
)
from datasets.store.states.reads import STATE_COLUMNS, Mastery, State, is_current, state_of
from datasets.store.states.replays import Replayed, replay_one

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from bkt_core.family.params import Params


class ParamSource(StrEnum):
    """The level of the hierarchy that parameters come from (docs/tables.md)."""

    CONCEPT = "concept"
    ALGORITHM = "algorithm"
    CONSTANTS = "constants"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptParams:
    """The parameters in force for one concept, and where they come from."""

    concept_id: str
    params: Params
    level: ParamSource
    algo_version: str
    param_id: int | None
    run_id: str | None
    fitted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MasteryThen:
    """Mastery at one concept, now or from a snapshot, and when it was written."""

    concept_id: str
    p_mastery: float
    n_attempts: int
    last_attempt_at: datetime | None  # None without attempts, and for snapshots
    written_at: datetime | None  # None without attempts


def _is_active_for(version_id: Any, concept_id: Any) -> Any:  # noqa: ANN401 - columns or values
    return and_(
        SkillParamsRow.algo_version_id == version_id,
        SkillParamsRow.concept_id == concept_id,
        SkillParamsRow.is_active,
    )


#: Built once, because building a statement costs more than executing it.
_STATES = (
    select(*STATE_COLUMNS, MasteryStateRow.updated_at, SkillParamsRow.id, *PARAM_COLUMNS)
    .outerjoin(SkillParamsRow, _is_active_for(bindparam("version"), MasteryStateRow.concept_id))
    .where(MasteryStateRow.user_id == bindparam("user"))
    .order_by(MasteryStateRow.concept_id)
    .limit(bindparam("n", type_=Integer()))
)


def concept_params(conn: Connection, concept_id: str) -> ConceptParams:
    """Return the parameters of one concept by the hierarchy of docs/tables.md."""
    row = conn.execute(
        select(
            AlgoVersionRow.version,
            AlgoParamsRow.params,
            SkillParamsRow.id,
            SkillParamsRow.run_id,
            SkillParamsRow.fitted_at,
            *PARAM_COLUMNS,
        )
        .select_from(AlgoVersionRow)
        .outerjoin(AlgoParamsRow, AlgoParamsRow.algo_version_id == AlgoVersionRow.id)
        .outerjoin(SkillParamsRow, _is_active_for(AlgoVersionRow.id, literal(concept_id)))
        .where(AlgoVersionRow.algo_key == ALGO_KEY, AlgoVersionRow.status == "ACTIVE")
    ).one_or_none()
    if row is None:
        raise UnknownAlgorithmError(version=None, known=())
    if row.id is not None:
        params = params_of_row(row, question_odds=has_question_odds(row.params))
        level = ParamSource.CONCEPT
    elif row.params is not None:
        params, level = AlgoParams.from_json(row.params).defaults, ParamSource.ALGORITHM
    else:
        params, level = FALLBACK_PARAMS, ParamSource.CONSTANTS
    return ConceptParams(
        concept_id=concept_id,
        params=params,
        level=level,
        algo_version=row.version,
        param_id=row.id,
        run_id=row.run_id,
        fitted_at=row.fitted_at,
    )


def mastery_now(
    conn: Connection,
    user_id: str,
    *,
    concept_ids: Sequence[str] = (),
    after: str | None = None,
    limit: int,
) -> tuple[Algorithm, tuple[MasteryThen, ...]]:
    """Return a user's mastery, sorted by concept id, with the algorithm version.

    It covers the named concepts, or all concepts with attempts. A state that is stale or has an
    old stamp is replayed in memory.
    """
    algorithm = active_algorithm(conn)
    query = _STATES
    given: dict[str, Any] = {"version": algorithm.id, "user": user_id, "n": limit}
    if concept_ids:
        query = query.where(MasteryStateRow.concept_id.in_(list(concept_ids)))
    if after is not None:
        query = query.where(MasteryStateRow.concept_id > after)
    rows = conn.execute(query, given).all()
    return algorithm, tuple(
        _now(
            conn,
            user_id,
            state_of(row[: len(STATE_COLUMNS)]),
            InForce(algorithm.id, row.id, _params(row, algorithm), None),
            row.updated_at,
        )
        for row in rows
    )


def mastery_then(
    conn: Connection,
    user_id: str,
    *,
    as_of: datetime,
    concept_ids: Sequence[str] = (),
    after: str | None = None,
    limit: int,
) -> tuple[MasteryThen, ...]:
    """Return a user's last snapshot at or before `as_of`, sorted by concept id."""
    ranked = select(
        SnapshotRow.concept_id,
        SnapshotRow.p_mastery,
        SnapshotRow.n_attempts,
        SnapshotRow.snapshot_at,
        func.row_number()
        .over(
            partition_by=SnapshotRow.concept_id,
            order_by=(SnapshotRow.snapshot_at.desc(), SnapshotRow.id.desc()),
        )
        .label("nth"),
    ).where(SnapshotRow.user_id == user_id, SnapshotRow.snapshot_at <= as_of)
    if concept_ids:
        ranked = ranked.where(SnapshotRow.concept_id.in_(list(concept_ids)))
    if after is not None:
        ranked = ranked.where(SnapshotRow.concept_id > after)
    last = ranked.subquery()
    rows = conn.execute(
        select(last).where(last.c.nth == 1).order_by(last.c.concept_id).limit(limit)
    )
    return tuple(
        MasteryThen(
            concept_id=row.concept_id,
            p_mastery=row.p_mastery,
            n_attempts=row.n_attempts,
            last_attempt_at=None,
            written_at=row.snapshot_at,
        )
        for row in rows
    )


def write_own_snapshot(
    conn: Connection, user_id: str, mastery: Mastery, *, at: datetime
) -> None:
    """Write a snapshot row without a run, from a state whose row is locked."""
    conn.execute(
        insert(SnapshotRow).values(
            snapshot_at=at,
            run_id=None,
            user_id=user_id,
            concept_id=mastery.concept_id,
            p_mastery=mastery.p_mastery,
            n_attempts=mastery.n_attempts,
            param_id=mastery.param_id,
            algo_version_id=mastery.algo_version_id,
        )
    )


def _now(
    conn: Connection, user_id: str, state: State, force: InForce, written_at: datetime
) -> MasteryThen:
    now: State | Replayed = state
    if not is_current(state, force):
        now = replay_one(conn, user_id, state.concept_id, force)
    return MasteryThen(
        concept_id=state.concept_id,
        p_mastery=now.p_mastery,
        n_attempts=now.n_attempts,
        last_attempt_at=now.last_attempt_at,
        written_at=written_at,
    )


def _params(row: Any, algorithm: Algorithm) -> Params:  # noqa: ANN401 - with PARAM_COLUMNS
    if row.id is None:
        return algorithm.params.defaults
    return params_of_row(row, question_odds=algorithm.params.variant.questions)
