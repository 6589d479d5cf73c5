"""Snapshots of mastery: write a row where it changed, and read mastery at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import bindparam, text

from datasets.store.connections.engines import reading
from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_many_users
from datasets.store.schema.types import UtcDateTime
from datasets.store.states.batches import batches
from datasets.store.states.snapshot_marks import changed_since

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from datasets.store.states.snapshot_marks import SnapshotMark

#: Most states per transaction; a concept with more states has its own transaction.
CHUNK = 20_000

_CANDIDATES = """
    SELECT s.concept_id, count(*) AS n FROM bkt_user_skill_state s
    WHERE NOT s.is_stale AND s.n_attempts > 0 AND {changed}
    GROUP BY s.concept_id ORDER BY s.concept_id
"""
_LATEST = """
    SELECT m.{columns} FROM mastery_snapshot m
    WHERE m.concept_id = s.concept_id AND m.user_id = s.user_id
    ORDER BY m.snapshot_at DESC, m.id DESC LIMIT 1
"""
#: A lookup per state instead of a join with all snapshots: without LATERAL PostgreSQL may hash
#: the complete table for each concept. SQLite has no LATERAL but always uses lookups.
_JOIN_LATEST = {
    "postgresql": f"LATERAL ({_LATEST.format(columns='*')}) l ON true",
    "sqlite": f"mastery_snapshot l ON l.id = ({_LATEST.format(columns='id')})",
}
_WRITE = """
    INSERT INTO mastery_snapshot
        (snapshot_at, run_id, user_id, concept_id, p_mastery, n_attempts, param_id,
         algo_version_id)
    SELECT :at, :run_id, s.user_id, s.concept_id, s.p_mastery, s.n_attempts, s.param_id,
           s.algo_version_id
    FROM bkt_user_skill_state s LEFT JOIN {latest}
    WHERE s.concept_id IN :concepts AND NOT s.is_stale AND s.n_attempts > 0 AND {changed}
      AND (l.id IS NULL OR l.p_mastery <> s.p_mastery OR l.n_attempts <> s.n_attempts
           OR l.param_id IS DISTINCT FROM s.param_id)
    ORDER BY s.concept_id, s.user_id
    ON CONFLICT (run_id, user_id, concept_id) DO NOTHING
"""
_WEEK = {
    "postgresql": "floor(extract(epoch FROM snapshot_at) / 604800)",
    "sqlite": "CAST(strftime('%s', snapshot_at) AS INTEGER) / 604800",
}
_THIN = """
    DELETE FROM mastery_snapshot WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (
                PARTITION BY concept_id, user_id, {week} ORDER BY snapshot_at DESC, id DESC
            ) AS nth FROM mastery_snapshot WHERE snapshot_at < :before
        ) ranked WHERE nth > 1)
"""
_AS_OF = """
    SELECT user_id, concept_id, p_mastery, n_attempts, param_id, algo_version_id, snapshot_at
    FROM (SELECT m.*, row_number() OVER (
              PARTITION BY m.concept_id, m.user_id ORDER BY m.snapshot_at DESC, m.id DESC) AS
              nth
          FROM mastery_snapshot m WHERE m.snapshot_at <= :at {user}) ranked
    WHERE nth = 1 ORDER BY concept_id, user_id
"""


def write_snapshots(
    engine: Engine,
    *,
    run_id: str | None,
    at: datetime,
    concepts: Iterable[str] | None = None,
    since: SnapshotMark | None = None,
    before_batch: Callable[[], None] = lambda: None,
) -> int:
    """Write a row for each current state that differs from its latest row; return the number.

    `since` is the mark of an earlier call that completed: only states that may have changed
    since then are read. Each batch of concepts is one transaction, preceded by a call of
    `before_batch`, which may raise. A repeated call after an interruption adds the missing
    rows. A state that is stale, or changes during the call, gets its row from the next run.
    """
    with reading(engine) as conn:
        changed = changed_since(conn, since)
        rows = conn.execute(text(_CANDIDATES.format(changed=changed)))
        sizes = {row.concept_id: int(row.n) for row in rows}
    n_rows = 0
    chosen = sizes if concepts is None else concepts
    for batch in batches(chosen, sizes, most_rows=CHUNK):
        before_batch()
        with engine.begin() as conn:
            n_rows += write_concept_snapshots(
                conn, batch, run_id=run_id, at=at, changed=changed
            )
            reached("snapshot: rows written")
        reached("snapshot: committed")
    return n_rows


def write_concept_snapshots(
    conn: Connection,
    concepts: Sequence[str],
    *,
    run_id: str | None,
    at: datetime,
    changed: str = "true",
) -> int:
    """Write the rows of some concepts, for states that meet the condition `changed`.

    Erasures wait for this transaction, so that no erased user is written again.
    """
    lock_many_users(conn, concepts)
    latest = _JOIN_LATEST[conn.dialect.name]
    statement = text(_WRITE.format(latest=latest, changed=changed))
    typed = statement.bindparams(
        bindparam("at", type_=UtcDateTime()), bindparam("concepts", expanding=True)
    )
    values = {"concepts": list(concepts), "run_id": run_id, "at": at}
    return int(conn.execute(typed, values).rowcount)


def mastery_as_of(
    conn: Connection, at: datetime, *, user_id: str | None = None
) -> pl.DataFrame:
    """Return the last snapshot of each state at or before a time, by concept and user."""
    narrowed = "" if user_id is None else "AND m.user_id = :user_id"
    statement = text(_AS_OF.format(user=narrowed)).bindparams(
        bindparam("at", type_=UtcDateTime())
    )
    values = {"at": at} if user_id is None else {"at": at, "user_id": user_id}
    rows = conn.execute(statement.columns(snapshot_at=UtcDateTime()), values).all()
    return pl.DataFrame(
        [tuple(row) for row in rows],
        schema={
            "user_id": pl.String,
            "concept_id": pl.String,
            "p_mastery": pl.Float64,
            "n_attempts": pl.Int64,
            "param_id": pl.Int64,
            "algo_version_id": pl.Int64,
            "snapshot_at": pl.Datetime("us", "UTC"),
        },
        orient="row",
    )


def thin_snapshots(conn: Connection, *, before: datetime) -> int:
    """Delete snapshots before a time, except the last one of each week and state."""
    statement = text(_THIN.format(week=_WEEK[conn.dialect.name]))
    typed = statement.bindparams(bindparam("before", type_=UtcDateTime()))
    return int(conn.execute(typed, {"before": before}).rowcount)
