"""Four simpler designs that lose updates: the harness must catch each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select, text

from bkt_core.model import update_mastery
from datasets.store.online import recording as online
from datasets.store.params import activation
from datasets.store.params.in_force import in_force
from datasets.store.schema.tables import AttemptRow
from datasets.store.schema.types import UtcDateTime

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl
    from sqlalchemy import Connection, Engine

    from datasets.store.attempts.new_attempt import NewAttempt
    from datasets.store.online.recording import Recorded
    from datasets.store.params.activation import Flipped
    from datasets.store.params.in_force import InForce

_OVERWRITE = text(
    "UPDATE bkt_user_skill_state SET p_mastery = :p, n_attempts = :n, "
    "last_attempt_at = :last_at, last_attempt_id = :last_id, "
    "algo_version_id = :algo, param_id = :param, is_stale = false, "
    "version = version + 1 WHERE concept_id = :concept AND user_id = :user"
).bindparams(bindparam("last_at", type_=UtcDateTime()))


def overwrite_from_staging(engine: Engine, concept_id: str, staged: pl.DataFrame) -> None:
    """Bad: what was staged replaces what is there, whatever came in meanwhile."""
    with engine.begin() as conn:
        stamp = in_force(conn, concept_id)
        for row in staged.iter_rows(named=True):
            _overwrite(conn, concept_id, row, stamp)


def watermark_and_tail(
    engine: Engine, concept_id: str, staged: pl.DataFrame, watermark: int
) -> None:
    """Bad: staged values plus attempts with higher ids; lower ones may be in flight."""
    with engine.begin() as conn:
        stamp = in_force(conn, concept_id)
        for row in staged.iter_rows(named=True):
            tail = conn.execute(
                select(AttemptRow.id, AttemptRow.correct, AttemptRow.attempted_at)
                .where(
                    AttemptRow.concept_id == concept_id,
                    AttemptRow.user_id == row["user_id"],
                    AttemptRow.id > watermark,
                )
                .order_by(AttemptRow.attempted_at, AttemptRow.id)
            )
            for attempt in tail:
                letters = stamp.params
                row["p_mastery"] = update_mastery(
                    row["p_mastery"], attempt.correct, letters.p_T, letters.p_S, letters.p_G
                ).p_L_next
                row["n_attempts"] += 1
                row["last_attempt_at"], row["last_attempt_id"] = (
                    attempt.attempted_at,
                    attempt.id,
                )
            _overwrite(conn, concept_id, row, stamp)


def record_with_early_params(
    conn: Connection, attempt: NewAttempt, *, at: datetime
) -> tuple[Recorded, ...]:
    """Bad: which row is active is read before the locks, and may have changed under them."""
    early = {concept: in_force(conn, concept) for concept in attempt.concept_ids}
    genuine = online.in_force
    online.in_force = lambda _conn, concept, *_question: early[concept]
    try:
        return online.record(conn, attempt, at=at)
    finally:
        online.in_force = genuine


def flip_without_guard(conn: Connection, **asked: Any) -> Flipped:
    """Bad: another version in force while updates that read the former one are in flight."""
    genuine = activation.lock_version
    activation.lock_version = lambda _conn: None
    try:
        return activation.flip_version(conn, **asked)
    finally:
        activation.lock_version = genuine


def _overwrite(
    conn: Connection, concept_id: str, row: dict[str, object], stamp: InForce
) -> None:
    conn.execute(
        _OVERWRITE,
        {
            "p": row["p_mastery"],
            "n": row["n_attempts"],
            "last_at": row["last_attempt_at"],
            "last_id": row["last_attempt_id"],
            "algo": stamp.algo_version_id,
            "param": stamp.param_id,
            "concept": concept_id,
            "user": row["user_id"],
        },
    )
