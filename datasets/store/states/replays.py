"""Compute mastery from the log; every stored state must equal this result bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sqlalchemy import select, text

from bkt_core.params import FALLBACK_PARAMS
from bkt_core.replay import predict, replay, step
from bkt_core.sequences import AttemptSequences
from datasets.store.connections.copy_rows import fill_temporary
from datasets.store.schema.tables import AttemptRow
from datasets.store.schema.types import in_utc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polars._typing import PolarsDataType
    from sqlalchemy import Connection

    from bkt_core.family.params import Params

_LOG_OF_KEYS = text(
    "SELECT k.user_id, a.id, a.correct, a.attempted_at FROM replay_key k JOIN attempts a "
    "ON a.user_id = k.user_id AND a.concept_id = :concept_id "
    "ORDER BY k.user_id, a.attempted_at, a.id"
)

_LOG_OF_PAIRS = text(
    "SELECT k.concept_id, k.user_id, a.id, a.correct, a.attempted_at FROM replay_pair k "
    "JOIN attempts a ON a.concept_id = k.concept_id AND a.user_id = k.user_id "
    "ORDER BY k.concept_id, k.user_id, a.attempted_at, a.id"
)

#: Columns of a frame of replayed states of one concept, sorted by user.
REPLAYED: dict[str, PolarsDataType] = {
    "user_id": pl.String,
    "p_mastery": pl.Float64,
    "n_attempts": pl.Int64,
    "last_attempt_at": pl.Datetime("us", "UTC"),
    "last_attempt_id": pl.Int64,
}


@dataclass(frozen=True, slots=True)
class Replayed:
    """Mastery of one user at one concept after all attempts; without attempts it is p_L0."""

    p_mastery: float
    n_attempts: int
    last_attempt_at: datetime | None
    last_attempt_id: int | None
    last_question_id: str | None


def warm_up() -> None:
    """Load the compiled model before any lock is held; the first load takes seconds."""
    one = _one_user(np.ones(1, dtype=np.int8))
    replay(one, FALLBACK_PARAMS)
    predict(one, FALLBACK_PARAMS)
    step(0.5, 1, FALLBACK_PARAMS)


def replay_one(conn: Connection, user_id: str, concept_id: str, params: Params) -> Replayed:
    """Replay all attempts of one user at one concept."""
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
    conn: Connection, concept_id: str, user_ids: list[str], params: Params
) -> pl.DataFrame:
    """Replay many users at one concept; return a frame of `REPLAYED`, one row per user."""
    users = pl.DataFrame({"user_id": user_ids}, schema={"user_id": pl.String})
    fill_temporary(conn, "replay_key", {"user_id": "id"}, users)
    rows = conn.execute(_LOG_OF_KEYS, {"concept_id": concept_id}).all()
    replayed = _replayed([tuple(row) for row in rows], params)
    return users.join(replayed, on="user_id", how="left", maintain_order="left").with_columns(
        pl.col("p_mastery").fill_null(params.p_L0), pl.col("n_attempts").fill_null(0)
    )


def replay_pairs(
    conn: Connection, pairs: pl.DataFrame, params: Mapping[str, Params]
) -> pl.DataFrame:
    """Replay pairs of concept and user, each with the parameters of its concept.

    `pairs` has the columns concept_id and user_id and is sorted by both. The result has the
    columns of `REPLAYED` in addition, and one row per pair in the same order.
    """
    fill_temporary(conn, "replay_pair", {"concept_id": "id", "user_id": "id"}, pairs)
    rows = [tuple(row) for row in conn.execute(_LOG_OF_PAIRS)]
    untouched = pl.col("concept_id").replace_strict(
        {concept: letters.p_L0 for concept, letters in params.items()},
        return_dtype=pl.Float64,
    )
    return pairs.join(
        _replayed_pairs(rows, params),
        on=["concept_id", "user_id"],
        how="left",
        maintain_order="left",
    ).with_columns(pl.col("p_mastery").fill_null(untouched), pl.col("n_attempts").fill_null(0))


def _replayed_pairs(
    rows: list[tuple[str, str, int, int, Any]], params: Mapping[str, Params]
) -> pl.DataFrame:
    """Replay the log of many concepts, sorted by concept and user, concept by concept."""
    if not rows:
        return pl.DataFrame(schema={"concept_id": pl.String, **REPLAYED})
    concepts, users, ids, outcomes, moments = zip(*rows, strict=True)
    keys = pl.DataFrame(
        {"concept_id": concepts, "user_id": users},
        schema={"concept_id": pl.String, "user_id": pl.String},
    )
    begins = np.flatnonzero((keys != keys.shift()).fill_null(value=True).max_horizontal())
    offsets = np.append(begins, len(rows)).astype(np.int64)
    named = keys[begins]
    correct = np.array(outcomes, dtype=np.int8)
    p_mastery, stop = np.empty(begins.size), 0
    for concept_id, n_users in (
        named["concept_id"].rle().struct.unnest().select("value", "len").rows()
    ):
        first, stop = stop, stop + n_users
        whole = offsets[first : stop + 1]
        sequences = AttemptSequences(correct[whole[0] : whole[-1]], whole - whole[0])
        p_mastery[first:stop] = replay(sequences, params[concept_id])
    lasts = offsets[1:] - 1
    return named.with_columns(
        pl.Series("p_mastery", p_mastery),
        pl.Series("n_attempts", np.diff(offsets)),
        pl.Series(
            "last_attempt_at", [_moment(moments[i]) for i in lasts], REPLAYED["last_attempt_at"]
        ),
        pl.Series("last_attempt_id", [ids[i] for i in lasts], pl.Int64),
    )


def _replayed(rows: list[tuple[str, int, int, Any]], params: Params) -> pl.DataFrame:
    if not rows:
        return pl.DataFrame(schema=REPLAYED)
    users, ids, outcomes, moments = zip(*rows, strict=True)
    named = pl.Series(users, dtype=pl.String)
    begins = np.flatnonzero(named.ne_missing(named.shift()).to_numpy())
    offsets = np.append(begins, len(users)).astype(np.int64)
    lasts = offsets[1:] - 1
    sequences = AttemptSequences(np.array(outcomes, dtype=np.int8), offsets)
    return pl.DataFrame(
        {
            "user_id": named.gather(begins),
            "p_mastery": replay(sequences, params),
            "n_attempts": sequences.lengths,
            "last_attempt_at": [_moment(moments[i]) for i in lasts],
            "last_attempt_id": [ids[i] for i in lasts],
        },
        schema=REPLAYED,
    )


def _moment(stored: datetime | str) -> datetime:
    """Convert a time from the driver; only the last time of each user is converted."""
    if isinstance(stored, str):
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    return in_utc(stored)


def _one_user(outcomes: np.ndarray[tuple[int], np.dtype[np.int8]]) -> AttemptSequences:
    return AttemptSequences(outcomes, np.array([0, outcomes.size], dtype=np.int64))
