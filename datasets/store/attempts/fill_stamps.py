"""Give stamps to rows without one: rows of earlier releases, and what follows them.

The work goes user by user, in batches of a transaction each, while other writers go on. A row
that has a stamp keeps it. Nothing is remembered between batches but the last user, and a new
call begins with the first user who has rows without a stamp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sqlalchemy import text

from bkt_core.stamps import Log, stamp_log
from datasets.store.attempts.stored_stamps import looked_up
from datasets.store.attempts.unstamped import has_unstamped
from datasets.store.attempts.writer import OUTDATED, mark_outdated
from datasets.store.connections.copy_rows import fill_temporary
from datasets.store.connections.engines import reading
from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_many_users
from datasets.store.params.versions import ACTIVE, list_versions

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection, Engine

#: Rows without a stamp in a batch, but for those of one user, which stay together.
BATCH_ROWS = 20_000
_FILLED = {
    "id": "int",
    "attempt_code": "int",
    "recent_outcomes": "int",
    "n_before": "int32",
    "n_right_before": "int32",
}
_LAST_USER = (
    "SELECT user_id FROM attempts WHERE recent_outcomes IS NULL AND user_id {than} :after "
    "ORDER BY user_id LIMIT 1 OFFSET :n"
)
_ROWS = """
    SELECT id, user_id, attempted_at, source, idempotency_key, question_id, concept_id, correct,
           attempt_code, recent_outcomes, n_before, n_right_before
    FROM attempts
    WHERE user_id IN (SELECT user_id FROM attempts WHERE recent_outcomes IS NULL
                      AND user_id {than} :after {until})
    ORDER BY user_id, attempted_at, id
"""
_SET = """
    UPDATE attempts SET attempt_code = coalesce(attempts.attempt_code, f.attempt_code),
        recent_outcomes = f.recent_outcomes, n_before = f.n_before,
        n_right_before = f.n_right_before
    FROM {rows} f WHERE attempts.id = f.id AND attempts.recent_outcomes IS NULL
"""
#: A row that another writer changes at the moment is left to the next round: no deadlock.
_FREE = """
    (SELECT i.* FROM filled_stamp i JOIN attempts a ON a.id = i.id
     WHERE a.recent_outcomes IS NULL FOR UPDATE OF a SKIP LOCKED)
"""
_SCHEMA = {
    "id": pl.Int64,
    "user_id": pl.String,
    "attempted_at": pl.String,
    "source": pl.String,
    "idempotency_key": pl.String,
    "question_id": pl.String,
    "concept_id": pl.String,
    "correct": pl.Int8,
    "attempt_code": pl.Int64,
    "recent_outcomes": pl.Int64,
    "n_before": pl.Int64,
    "n_right_before": pl.Int64,
}
#: A key with the mark of a concept: the rest is that of the attempt.
_MARKED = r"^(.*)#[0-9a-f]{16}$"
_STAMP = ("recent_outcomes", "n_before", "n_right_before")


def fill_stamps(
    engine: Engine,
    *,
    at: datetime,
    batch_rows: int = BATCH_ROWS,
    after_batch: Callable[[int], None] = lambda _n: None,
) -> int:
    """Stamp every row that has no stamp; return how many were stamped.

    If the version in force reads history, the states of these attempts become stale: their
    replay changes, and readers replay them until the next sweep. `after_batch` is called with
    the number of rows so far, after each commit. Rows that come in without a stamp meanwhile
    are taken along. May be repeated, and killed at any time.
    """
    filled, before, after = 0, 0, ""
    while True:
        until = _end_of_batch(engine, after, batch_rows)
        with engine.begin() as conn:
            lock_many_users(conn, ())
            filled += _fill(conn, after, until, at)
            reached("stamp: batch written")
        reached("stamp: batch committed")
        after_batch(filled)
        if until is not None:
            after = until
            continue
        with reading(engine) as conn:
            if not has_unstamped(conn) or filled == before:
                return filled  # what is left then is being changed by others
        before, after = filled, ""


def _end_of_batch(engine: Engine, after: str, batch_rows: int) -> str | None:
    """Return the last user of the next batch; None: the batch is the last one."""
    with reading(engine) as conn:
        statement = _LAST_USER.format(than=_than(after))
        found = conn.execute(text(statement), {"after": after, "n": batch_rows - 1})
        return found.scalar_one_or_none()


def _fill(conn: Connection, after: str, until: str | None, at: datetime) -> int:
    bound: dict[str, Any] = {"after": after}
    if until is not None:
        bound["until"] = until
    statement = _ROWS.format(
        than=_than(after), until="" if until is None else "AND user_id <= :until"
    )
    with looked_up(conn):
        found = conn.execute(text(statement), bound).all()
    rows = pl.DataFrame(
        [(*row[:2], str(row[2]), *row[3:]) for row in found], schema=_SCHEMA, orient="row"
    )
    missing = rows["recent_outcomes"].is_null()
    if not missing.any():
        return 0
    filled = _stamped(with_attempts(rows)).filter(missing)
    fill_temporary(conn, "filled_stamp", _FILLED, filled)
    if _in_force_reads_history(conn):
        _mark(conn, filled, at)
    chosen = "filled_stamp" if conn.dialect.name == "sqlite" else _FREE
    with looked_up(conn):
        return int(conn.execute(text(_SET.format(rows=chosen))).rowcount)


def _in_force_reads_history(conn: Connection) -> bool:
    versions = list_versions(conn)
    return any(
        one.status == ACTIVE and one.settings.get("variant", {}).get("history")
        for one in versions
    )


def _mark(conn: Connection, filled: pl.DataFrame, at: datetime) -> None:
    """Mark the states of these attempts as stale: their replay changes with the stamps."""
    keys = filled.select(OUTDATED.keys()).drop_nulls().unique()
    lock_many_users(conn, keys["concept_id"].unique().to_list())
    fill_temporary(conn, "outdated_state", OUTDATED, keys)
    mark_outdated(conn, at)


def _than(after: str) -> str:
    """No id is shorter than the empty one, which comes first."""
    return ">" if after else ">="


def with_attempts(rows: pl.DataFrame) -> pl.DataFrame:
    """Fill `attempt_code` of rows by earlier releases, which stored none.

    Rows of one attempt at several concepts have the same time, and either a key with the mark
    of their concept, or the same source and question; the n-th row at each concept belongs to
    the n-th attempt. The code is the id of the attempt's first row.
    """
    head = pl.col("idempotency_key").str.extract(_MARKED)
    question = pl.concat_str(pl.lit("question "), "question_id")
    name = pl.coalesce(
        pl.concat_str(pl.lit("key "), head),
        question,
        pl.concat_str(pl.lit("row "), pl.col("id").cast(pl.String)),
    )
    moment = ("user_id", "attempted_at", "source")
    named = rows.with_columns(attempt=name)
    turn = pl.int_range(pl.len()).over(*moment, "attempt", "concept_id")
    first = pl.col("id").min().over(*moment, "attempt", "turn")
    return (
        named.with_columns(turn=turn)
        .with_columns(attempt_code=pl.coalesce("attempt_code", first))
        .drop("attempt", "turn")
    )


def _stamped(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows, in order of user, moment and id, with the stamps they lack."""
    stored = rows.select(pl.col(_STAMP).fill_null(0)).to_numpy().astype(np.int64)
    log = Log(
        user=rows["user_id"].rle_id().cast(pl.Int64).to_numpy(),
        moment=rows.select(pl.struct("user_id", "attempted_at").rle_id().cast(pl.Int64))
        .to_series()
        .to_numpy(),
        attempt=rows["attempt_code"].to_numpy(),
        correct=rows["correct"].to_numpy(),
        is_new=rows["recent_outcomes"].is_null().to_numpy(),
    )
    stamps = stamp_log(log, stored)
    return rows.with_columns(pl.Series(name, stamps[:, k]) for k, name in enumerate(_STAMP))
