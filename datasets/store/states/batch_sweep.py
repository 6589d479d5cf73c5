"""Transactions of a sweep over many concepts that have few states each.

The rules are those for a single concept (`sweep.py`): shared locks of the concepts, states
locked in the order of their key, and a value is written only if its base version is still
current.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import bindparam, text

from datasets.store.connections.copy_rows import fill_temporary
from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_concepts_shared
from datasets.store.params.in_force import in_force_of
from datasets.store.schema.types import UtcDateTime
from datasets.store.states.replays import replay_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from datasets.store.params.in_force import InForce

#: Columns of a frame with states of several concepts, sorted by concept_id and user_id.
STAGED_PAIRS = {
    "concept_id": "id",
    "user_id": "id",
    "base_version": "int",
    "p_mastery": "double",
    "n_attempts": "int",
    "last_attempt_at": "moment",
    "last_attempt_id": "int",
    "algo_version_id": "int",
    "param_id": "int",
}
_STAMPS = {"concept_id": "id", "algo_version_id": "int", "param_id": "int"}
_TO_REPLAY = """
    SELECT s.concept_id, s.user_id, s.version
    FROM sweep_concept c JOIN bkt_user_skill_state s ON s.concept_id = c.concept_id
    WHERE {beyond} AND {wanted}
    ORDER BY s.concept_id, s.user_id LIMIT :n {lock}
"""
_NOT_CURRENT = """
    (s.is_stale OR s.algo_version_id <> c.algo_version_id
     OR s.param_id IS DISTINCT FROM c.param_id)
"""
_BEYOND = (
    "(s.concept_id > :concept_id OR (s.concept_id = :concept_id AND s.user_id > :user_id))"
)
_WRITE = text(
    """
    UPDATE bkt_user_skill_state AS s SET
        p_mastery = t.p_mastery, n_attempts = t.n_attempts,
        last_attempt_at = t.last_attempt_at, last_attempt_id = t.last_attempt_id,
        last_question_id = CASE
            WHEN s.last_attempt_id = t.last_attempt_id THEN s.last_question_id
            ELSE (SELECT a.question_id FROM attempts a WHERE a.id = t.last_attempt_id) END,
        algo_version_id = t.algo_version_id, param_id = t.param_id,
        is_stale = false, version = s.version + 1, updated_at = :at
    FROM staged_pair t
    WHERE s.concept_id = t.concept_id AND s.user_id = t.user_id AND s.version = t.base_version
    """
).bindparams(bindparam("at", type_=UtcDateTime()))
#: Each pair is looked up by its key, because the size of a temporary table is unknown.
_LOOKED_UP = ("nestloop = on", "hashjoin = off", "mergejoin = off", "bitmapscan = off")


def write_staged_pairs(
    engine: Engine,
    frames: Mapping[str, pl.DataFrame],
    made_with: Callable[[str, InForce], bool],
    at: datetime,
) -> int:
    """Write staged states of concepts in one transaction.

    Only of those where `made_with(concept_id, in_force)` says that the values were computed
    with the active row. `frames` holds a frame of `sweep.STAGED` by concept. Return the number
    of states written.
    """
    with engine.begin() as conn:
        concepts = sorted(frames, key=str.encode)
        lock_concepts_shared(conn, concepts)
        stamps = in_force_of(conn, concepts)
        own = [concept for concept in concepts if made_with(concept, stamps[concept])]
        if not own:
            return 0
        named = [frames[one].with_columns(pl.lit(one).alias("concept_id")) for one in own]
        n = _write(conn, pl.concat(named), stamps, at)
    reached("sweep: chunk committed")
    return n


def replay_outdated_pairs(
    engine: Engine,
    concepts: Sequence[str],
    at: datetime,
    before_chunk: Callable[[], None],
    *,
    chunk: int,
    force: bool,
) -> Iterator[int]:
    """Replay outdated states of some concepts, with one transaction per chunk of states."""
    after: tuple[str, str] | None = None
    while True:
        before_chunk()
        with engine.begin() as conn:
            lock_concepts_shared(conn, concepts)
            stamps = in_force_of(conn, concepts)
            keys = _keys_to_replay(conn, stamps, after, chunk, force=force)
            if keys.is_empty():
                return
            replayed = replay_pairs(conn, keys.select("concept_id", "user_id"), stamps)
            based = replayed.with_columns(keys["base_version"])
            n = _write(conn, based, stamps, at)
        reached("sweep: chunk committed")
        yield n
        if keys.height < chunk:
            return
        after = keys.row(-1)[:2]


def _keys_to_replay(
    conn: Connection,
    stamps: Mapping[str, InForce],
    after: tuple[str, str] | None,
    n: int,
    *,
    force: bool,
) -> pl.DataFrame:
    """Return the next states to replay, locked in the order of their key."""
    fill_temporary(conn, "sweep_concept", _STAMPS, _as_frame(stamps))
    on_postgres = _look_up_by_key(conn)
    statement = _TO_REPLAY.format(
        wanted="true" if force else _NOT_CURRENT,
        beyond="true" if after is None else _BEYOND,
        lock="FOR UPDATE OF s" if on_postgres else "",
    )
    values: dict[str, str | int] = {"n": n}
    if after is not None:
        values |= {"concept_id": after[0], "user_id": after[1]}
    rows = conn.execute(text(statement), values).all()
    return pl.DataFrame(
        [tuple(row) for row in rows],
        schema={"concept_id": pl.String, "user_id": pl.String, "base_version": pl.Int64},
        orient="row",
    )


def _write(
    conn: Connection, values: pl.DataFrame, stamps: Mapping[str, InForce], at: datetime
) -> int:
    """Write states whose base versions still match; return how many were written."""
    if values.is_empty():
        return 0
    stamped = values.join(_as_frame(stamps), on="concept_id", maintain_order="left")
    fill_temporary(conn, "staged_pair", STAGED_PAIRS, stamped.select(list(STAGED_PAIRS)))
    reached("sweep: chunk staged")
    _look_up_by_key(conn)
    n = int(conn.execute(_WRITE, {"at": at}).rowcount)
    reached("sweep: chunk written")
    return n


def _as_frame(stamps: Mapping[str, InForce]) -> pl.DataFrame:
    return pl.DataFrame(
        [(concept, stamp.algo_version_id, stamp.param_id) for concept, stamp in stamps.items()],
        schema={"concept_id": pl.String, "algo_version_id": pl.Int64, "param_id": pl.Int64},
        orient="row",
    )


def _look_up_by_key(conn: Connection) -> bool:
    """Make the planner look up states by key in this transaction; False on SQLite."""
    if conn.dialect.name != "postgresql":
        return False
    for hint in _LOOKED_UP:
        conn.exec_driver_sql(f"SET LOCAL enable_{hint}")
    return True
