"""Mastery as it was: a row where it changed, and the reading of any moment."""

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

#: States of one transaction; a concept of more has one to itself.
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
#: A lookup per state, not a join with all of history: without LATERAL PostgreSQL may hash the
#: whole table for each concept, and SQLite has no such word but always looks up.
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
    """A row for each up-to-date state that differs from its latest row; returns how many.

    `since` is the mark of an earlier call that came to its end: only states that may have
    changed behind it are looked at, and only concepts that have such.
    A loop of transactions, one per batch of concepts, before each of which `before_batch` may
    raise; called again after an interruption it adds what is missing. A state that is stale
    again by now, or changes meanwhile, gets its row from the next run.
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
    """The rows of some concepts, of states for which `changed` holds (`changed_since`).

    An erasure waits for this transaction, so nobody comes back.
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
    """The last snapshot of each state at or before a moment, by concept and user."""
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
    """Of the rows before a moment leave the last of each week and state."""
    statement = text(_THIN.format(week=_WEEK[conn.dialect.name]))
    typed = statement.bindparams(bindparam("before", type_=UtcDateTime()))
    return int(conn.execute(typed, {"before": before}).rowcount)
