"""Compute mastery from the log; every stored state must equal this result bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from bkt_core.family.params import has_multipliers
from bkt_core.params import FALLBACK_PARAMS
from bkt_core.replay import predict, replay, step
from bkt_core.sequences import AttemptSequences
from datasets.store.connections.copy_rows import fill_temporary
from datasets.store.schema.types import in_utc
from datasets.store.states.attempt_facts import (
    facts_of,
    one_user,
    with_facts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polars._typing import PolarsDataType
    from sqlalchemy import Connection

    from datasets.store.params.in_force import InForce

_LOG_OF_ONE = """
    SELECT a.question_id, a.id, a.correct, a.attempted_at {facts} FROM attempts a {odds}
    WHERE a.user_id = :user_id AND a.concept_id = :concept_id ORDER BY a.attempted_at, a.id
"""
_LOG_OF_KEYS = """
    SELECT k.user_id, a.id, a.correct, a.attempted_at {facts}
    FROM replay_key k JOIN attempts a ON a.user_id = k.user_id AND a.concept_id = :concept_id
    {odds} ORDER BY k.user_id, a.attempted_at, a.id
"""
_LOG_OF_PAIRS = """
    SELECT k.concept_id, k.user_id, a.id, a.correct, a.attempted_at {facts}
    FROM replay_pair k JOIN attempts a ON a.concept_id = k.concept_id AND a.user_id = k.user_id
    {odds} ORDER BY k.concept_id, k.user_id, a.attempted_at, a.id
"""
_PAIRS = {"concept_id": "id", "user_id": "id", "param_id": "int"}

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
    one = one_user(np.ones(1, dtype=np.int8))
    replay(one, FALLBACK_PARAMS)
    predict(one, FALLBACK_PARAMS)
    step(0.5, 1, FALLBACK_PARAMS)


def replay_one(conn: Connection, user_id: str, concept_id: str, stamp: InForce) -> Replayed:
    """Replay all attempts of one user at one concept."""
    multiplies = has_multipliers(stamp.params)
    statement = with_facts(_LOG_OF_ONE, ":param_id", wanted=multiplies)
    key = {"user_id": user_id, "concept_id": concept_id, "param_id": stamp.param_id}
    rows = conn.execute(statement, key).all()
    if not rows:
        return Replayed(stamp.params.p_L0, 0, None, None, None)
    questions, ids, outcomes, moments, *stored = zip(*rows, strict=True)
    sequences = one_user(np.array(outcomes, dtype=np.int8))
    facts = facts_of(sequences.offsets, moments, stored) if multiplies else None
    return Replayed(
        float(replay(sequences, stamp.params, facts)[0]),
        len(rows),
        _moment(moments[-1]),
        ids[-1],
        questions[-1],
    )


def replay_keys(
    conn: Connection, concept_id: str, user_ids: list[str], stamp: InForce
) -> pl.DataFrame:
    """Replay many users at one concept; return a frame of `REPLAYED`, one row per user."""
    users = pl.DataFrame({"user_id": user_ids}, schema={"user_id": pl.String})
    fill_temporary(conn, "replay_key", {"user_id": "id"}, users)
    statement = with_facts(_LOG_OF_KEYS, ":param_id", wanted=has_multipliers(stamp.params))
    rows = conn.execute(statement, {"concept_id": concept_id, "param_id": stamp.param_id}).all()
    replayed = _replayed([(concept_id, *row) for row in rows], {concept_id: stamp})
    return users.join(
        replayed.drop("concept_id"), on="user_id", how="left", maintain_order="left"
    ).with_columns(
        pl.col("p_mastery").fill_null(stamp.params.p_L0), pl.col("n_attempts").fill_null(0)
    )


def replay_pairs(
    conn: Connection, pairs: pl.DataFrame, stamps: Mapping[str, InForce]
) -> pl.DataFrame:
    """Replay pairs of concept and user, each with the parameters of its concept.

    `pairs` has the columns concept_id and user_id and is sorted by both. The result has the
    columns of `REPLAYED` in addition, and one row per pair in the same order.
    """
    multiplies = any(has_multipliers(stamp.params) for stamp in stamps.values())
    row_of = {concept: stamp.param_id for concept, stamp in stamps.items()}
    of_row = pl.col("concept_id").replace_strict(row_of, return_dtype=pl.Int64)
    fill_temporary(conn, "replay_pair", _PAIRS, pairs.with_columns(param_id=of_row))
    statement = with_facts(_LOG_OF_PAIRS, "k.param_id", wanted=multiplies)
    rows = [tuple(row) for row in conn.execute(statement)]
    untouched = pl.col("concept_id").replace_strict(
        {concept: stamp.params.p_L0 for concept, stamp in stamps.items()},
        return_dtype=pl.Float64,
    )
    return pairs.join(
        _replayed(rows, stamps),
        on=["concept_id", "user_id"],
        how="left",
        maintain_order="left",
    ).with_columns(pl.col("p_mastery").fill_null(untouched), pl.col("n_attempts").fill_null(0))


def _replayed(rows: list[tuple[Any, ...]], stamps: Mapping[str, InForce]) -> pl.DataFrame:
    """Replay a log of concept, user, id, outcome, moment and, where asked for, facts.

    It is sorted by concept and user, and replayed concept by concept.
    """
    if not rows:
        return pl.DataFrame(schema={"concept_id": pl.String, **REPLAYED})
    concepts, users, ids, outcomes, moments, *stored = zip(*rows, strict=True)
    keys = pl.DataFrame(
        {"concept_id": concepts, "user_id": users},
        schema={"concept_id": pl.String, "user_id": pl.String},
    )
    begins = np.flatnonzero((keys != keys.shift()).fill_null(value=True).max_horizontal())
    offsets = np.append(begins, len(rows)).astype(np.int64)
    named = keys[begins]
    correct = np.array(outcomes, dtype=np.int8)
    facts = facts_of(offsets, moments, stored) if stored else None
    p_mastery, stop = np.empty(begins.size), 0
    for concept_id, n_users in (
        named["concept_id"].rle().struct.unnest().select("value", "len").rows()
    ):
        first, stop = stop, stop + n_users
        whole = offsets[first : stop + 1]
        part = slice(int(whole[0]), int(whole[-1]))
        sequences = AttemptSequences(correct[part], whole - whole[0])
        own = None if facts is None else facts.part(part)
        p_mastery[first:stop] = replay(sequences, stamps[concept_id].params, own)
    lasts = offsets[1:] - 1
    return named.with_columns(
        pl.Series("p_mastery", p_mastery),
        pl.Series("n_attempts", np.diff(offsets)),
        pl.Series(
            "last_attempt_at", [_moment(moments[i]) for i in lasts], REPLAYED["last_attempt_at"]
        ),
        pl.Series("last_attempt_id", [ids[i] for i in lasts], pl.Int64),
    )


def _moment(stored: datetime | str) -> datetime:
    """Convert a time from the driver; only the last time of each user is converted."""
    if isinstance(stored, str):
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    return in_utc(stored)
