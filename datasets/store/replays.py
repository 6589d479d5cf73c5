"""Mastery from the log: the definition that every stored state must equal, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from sqlalchemy import select, text

from bkt_core.replay import replay
from bkt_core.sequences import AttemptSequences
from datasets.store.copy_rows import fill_temporary
from datasets.store.tables import AttemptRow
from datasets.store.types import UtcDateTime

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from bkt_core.params import BktParams

_LOG_OF_KEYS = text(
    "SELECT k.user_id, a.id, a.correct, a.attempted_at FROM replay_key k JOIN attempts a "
    "ON a.user_id = k.user_id AND a.concept_id = :concept_id "
    "ORDER BY k.user_id, a.attempted_at, a.id"
).columns(attempted_at=UtcDateTime())

#: Columns of a frame of replayed states, all of one concept, sorted by user.
REPLAYED = {
    "user_id": pl.String,
    "p_mastery": pl.Float64,
    "n_attempts": pl.Int64,
    "last_attempt_at": pl.Datetime("us", "UTC"),
    "last_attempt_id": pl.Int64,
}


@dataclass(frozen=True, slots=True)
class Replayed:
    """Mastery of one user at one concept after all attempts; without any, p_L0."""

    p_mastery: float
    n_attempts: int
    last_attempt_at: datetime | None
    last_attempt_id: int | None
    last_question_id: str | None


def replay_one(conn: Connection, user_id: str, concept_id: str, params: BktParams) -> Replayed:
    """Replay one user's whole history at one concept."""
    rows = conn.execute(
        select(
            AttemptRow.correct, AttemptRow.attempted_at, AttemptRow.id, AttemptRow.question_id
        )
        .where(AttemptRow.user_id == user_id, AttemptRow.concept_id == concept_id)
        .order_by(AttemptRow.attempted_at, AttemptRow.id)
    ).all()
    if not rows:
        return Replayed(params.p_L0, 0, None, None, None)
    outcomes = np.array([row.correct for row in rows], dtype=np.int8)
    last = rows[-1]
    return Replayed(
        float(replay(_one_user(outcomes), params)[0]),
        len(rows),
        last.attempted_at,
        last.id,
        last.question_id,
    )


def replay_keys(
    conn: Connection, concept_id: str, user_ids: list[str], params: BktParams
) -> pl.DataFrame:
    """Replay many users at one concept; a frame of `REPLAYED`, also for users without attempts."""
    users = pl.DataFrame({"user_id": user_ids}, schema={"user_id": pl.String})
    fill_temporary(conn, "replay_key", {"user_id": "id"}, users)
    with conn.execute(_LOG_OF_KEYS, {"concept_id": concept_id}) as found:
        rows = found.all()
    return users.join(
        _replayed(rows, params), on="user_id", how="left", maintain_order="left"
    ).with_columns(
        pl.col("p_mastery").fill_null(params.p_L0), pl.col("n_attempts").fill_null(0)
    )


def _replayed(rows: list[tuple[str, int, int, datetime]], params: BktParams) -> pl.DataFrame:
    if not rows:
        return pl.DataFrame(schema=REPLAYED)
    users, ids, outcomes, moments = zip(*rows, strict=True)
    log = pl.DataFrame({"user_id": users}).select(
        starts=pl.col("user_id").ne_missing(pl.col("user_id").shift())
    )
    begins = np.flatnonzero(log["starts"].fill_null(value=True).to_numpy())
    offsets = np.append(begins, len(users)).astype(np.int64)
    lasts = offsets[1:] - 1
    sequences = AttemptSequences(np.array(outcomes, dtype=np.int8), offsets)
    return pl.DataFrame(
        {
            "user_id": [users[i] for i in begins],
            "p_mastery": replay(sequences, params),
            "n_attempts": sequences.lengths,
            "last_attempt_at": [moments[i] for i in lasts],
            "last_attempt_id": [ids[i] for i in lasts],
        },
        schema=REPLAYED,
    )


def _one_user(outcomes: np.ndarray[tuple[int], np.dtype[np.int8]]) -> AttemptSequences:
    return AttemptSequences(outcomes, np.array([0, outcomes.size], dtype=np.int64))
