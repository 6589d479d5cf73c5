"""Statements of the online path, built once because building costs more than executing."""

from __future__ import annotations

from sqlalchemy import bindparam, exists, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from datasets.store.schema.tables import AttemptRow, ErasedUserRow, MasteryStateRow
from datasets.store.schema.types import UtcDateTime
from datasets.store.states.reads import STATE_COLUMNS
from datasets.store.states.sweep import VERSION_START

_ATTEMPT_COLUMNS = (
    "source", "idempotency_key", "user_id", "question_id", "concept_id", "correct",
    "attempted_at", "created_at", "attempt_code", "recent_outcomes", "n_before",
    "n_right_before",
)  # fmt: skip
_STATE_VALUES = (
    "p_mastery", "n_attempts", "last_attempt_at", "last_attempt_id", "last_question_id",
    "algo_version_id", "param_id", "updated_at",
)  # fmt: skip
INSERT_STATE = {
    dialect: text(
        "INSERT INTO bkt_user_skill_state (concept_id, user_id, p_mastery, n_attempts, "  # noqa: S608 - constants
        "algo_version_id, is_stale, version, updated_at) "
        f"SELECT :concept_id, :user_id, 0, 0, v.id, true, {start}, :at FROM algo_versions v "
        "WHERE v.algo_key = 'bkt' AND v.status = 'ACTIVE' "
        "ON CONFLICT (concept_id, user_id) DO NOTHING"
    ).bindparams(bindparam("at", type_=UtcDateTime()))
    for dialect, start in VERSION_START.items()
}

#: The tombstone is read with the same statement: it cannot change while the user is locked.
LOCK_STATE = (
    select(
        *STATE_COLUMNS,
        exists().where(ErasedUserRow.user_id == bindparam("user_id")).label("is_erased"),
    )
    .where(
        MasteryStateRow.concept_id == bindparam("concept_id"),
        MasteryStateRow.user_id == bindparam("user_id"),
    )
    .with_for_update(of=MasteryStateRow)
)
INSERT_ATTEMPT = {
    dialect: insert(AttemptRow)
    .values({name: bindparam(name) for name in _ATTEMPT_COLUMNS})
    .on_conflict_do_nothing(index_elements=["idempotency_key"])
    .returning(AttemptRow.id)
    for dialect, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}
WRITE_STATE = (
    update(MasteryStateRow)
    .where(
        MasteryStateRow.concept_id == bindparam("of_concept"),
        MasteryStateRow.user_id == bindparam("of_user"),
    )
    .values(
        {name: bindparam(name) for name in _STATE_VALUES}
        | {"is_stale": False, "version": MasteryStateRow.version + 1}
    )
)
