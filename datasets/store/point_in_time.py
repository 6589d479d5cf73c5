"""Mastery as it was, or would have been, at past moments: `bkt backfill snapshots`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sqlalchemy import bindparam, text

from bkt_core.replay import replay
from bkt_core.sequences import AttemptSequences
from datasets.store.algorithms import active_algorithm
from datasets.store.copy_rows import fill_temporary
from datasets.store.locks import lock_many_users
from datasets.store.session import reading
from datasets.store.skill_params import InForce, in_force, params_of_run, stored_params
from datasets.store.types import UtcDateTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

#: Attempts that are in memory at once, unless one user has more.
ROWS_AT_ONCE = 100_000

_CONCEPTS = text(
    "SELECT DISTINCT concept_id FROM attempts WHERE concept_id IS NOT NULL ORDER BY concept_id"
)
#: As answered: by when it happened, whenever it arrived. As known: by when it was stored, with
#: the outcome that stood then.
_LOG = """
    SELECT a.user_id, coalesce((
        SELECT c.old_correct FROM attempt_correction c
        WHERE c.attempt_id = a.id AND c.created_at > :at AND :known = 1
        ORDER BY c.id LIMIT 1), a.correct) AS correct
    FROM attempts a
    WHERE a.concept_id = :concept_id AND {moment} <= :at
    ORDER BY a.user_id, a.attempted_at, a.id
"""
_STAMP_AT = text(
    "SELECT to_param_id FROM bkt_promotion_event WHERE concept_id = :concept_id "
    "AND algo_version_id = :algo_version_id AND decision IN ('promoted', 'rolled_back') "
    "AND created_at <= :at ORDER BY id DESC LIMIT 1"
).bindparams(bindparam("at", type_=UtcDateTime()))
_ROWS = {
    "user_id": "id",
    "p_mastery": "double",
    "n_attempts": "int",
}
_WRITE = text(
    """
    INSERT INTO mastery_snapshot
        (snapshot_at, run_id, user_id, concept_id, p_mastery, n_attempts, param_id,
         algo_version_id)
    SELECT :at, :run_id, r.user_id, :concept_id, r.p_mastery, r.n_attempts,
           CAST(:param_id AS BIGINT), :algo_version_id
    FROM past_state r LEFT JOIN mastery_snapshot l ON l.id = (
        SELECT m.id FROM mastery_snapshot m
        WHERE m.concept_id = :concept_id AND m.user_id = r.user_id AND m.snapshot_at <= :at
        ORDER BY m.snapshot_at DESC, m.id DESC LIMIT 1)
    WHERE r.user_id NOT IN (SELECT user_id FROM erased_user)
      AND (l.id IS NULL OR l.p_mastery <> r.p_mastery OR l.n_attempts <> r.n_attempts
           OR l.param_id IS DISTINCT FROM CAST(:param_id AS BIGINT))
    ORDER BY r.user_id
    ON CONFLICT (run_id, user_id, concept_id) DO NOTHING
    """
).bindparams(bindparam("at", type_=UtcDateTime()))


class Clock(StrEnum):
    """Which attempts belong to a moment."""

    ANSWERED = "answered"  # attempted_at up to then, under today's parameters or a run's
    KNOWN = "known"  # created_at up to then, under the parameters that were in force


@dataclass(frozen=True, slots=True)
class Moment:
    """A past moment and the run under which its rows are written."""

    at: datetime
    run_id: str


def backfill_snapshots(
    engine: Engine,
    moments: Iterable[Moment],
    *,
    clock: Clock = Clock.ANSWERED,
    params_of: str | None = None,
    before_concept: Callable[[], None] = lambda: None,
) -> int:
    """Write the snapshot rows of past moments, oldest first; returns how many.

    `params_of` names a run whose parameters are used where it has them. Every moment needs a
    run of its own in `bkt_run`, as one run holds one row per user and concept. A loop of
    transactions, before each of which `before_concept` may raise; repeated, it writes no row
    that says what the row before says.
    """
    with reading(engine) as conn:
        concepts = list(conn.execute(_CONCEPTS).scalars())
    n_rows = 0
    for moment in sorted(moments, key=lambda one: one.at):
        for concept_id in concepts:
            before_concept()
            with engine.begin() as conn:
                lock_many_users(conn, [concept_id])  # an erasure waits: nobody comes back
                stamp = _stamp(conn, concept_id, moment.at, clock, params_of)
                for past in mastery_at(conn, concept_id, moment.at, stamp, clock=clock):
                    n_rows += _write(conn, concept_id, moment, stamp, past)
    return n_rows


def mastery_at(
    conn: Connection, concept_id: str, at: datetime, stamp: InForce, *, clock: Clock
) -> Iterator[pl.DataFrame]:
    """Mastery of each user at a concept at a moment: user_id, p_mastery, n_attempts.

    Some users at a time, so that a concept with millions of attempts needs little memory.
    """
    moment = "a.created_at" if clock is Clock.KNOWN else "a.attempted_at"
    statement = text(_LOG.format(moment=moment)).bindparams(
        bindparam("at", type_=UtcDateTime())
    )
    bound = {"concept_id": concept_id, "at": at, "known": int(clock is Clock.KNOWN)}
    streamed = {"stream_results": True}
    with conn.execute(statement, bound, execution_options=streamed) as found:
        for rows in _whole_users(found.partitions(ROWS_AT_ONCE)):
            yield _replayed(rows, stamp)


def _whole_users(parts: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """The same rows, ordered by user, cut where a user ends."""
    waiting: list[Any] = []
    for part in parts:
        waiting += part
        cut = len(waiting)
        while cut and waiting[cut - 1].user_id == waiting[-1].user_id:
            cut -= 1
        if cut:
            yield waiting[:cut]
            waiting = waiting[cut:]
    if waiting:
        yield waiting


def _replayed(rows: Sequence[Any], stamp: InForce) -> pl.DataFrame:
    users, outcomes = zip(*rows, strict=True)
    named = pl.Series(users, dtype=pl.String)
    begins = np.flatnonzero(named.ne_missing(named.shift()).to_numpy())
    offsets = np.append(begins, len(users)).astype(np.int64)
    sequences = AttemptSequences(np.array(outcomes, dtype=np.int8), offsets)
    return pl.DataFrame(
        {
            "user_id": named.gather(begins),
            "p_mastery": replay(sequences, stamp.params),
            "n_attempts": sequences.lengths,
        }
    )


def in_force_at(conn: Connection, concept_id: str, at: datetime) -> InForce:
    """What the events say was in force at a moment."""
    algorithm = active_algorithm(conn)
    param_id = conn.execute(
        _STAMP_AT, {"concept_id": concept_id, "algo_version_id": algorithm.id, "at": at}
    ).scalar_one_or_none()
    stored = None if param_id is None else stored_params(conn, param_id)
    if stored is None:
        return InForce(algorithm.id, None, algorithm.params.defaults, None)
    return InForce(algorithm.id, stored.param_id, stored.params, stored.run_id)


def _stamp(
    conn: Connection, concept_id: str, at: datetime, clock: Clock, params_of: str | None
) -> InForce:
    if params_of is not None:
        given = params_of_run(conn, params_of).get(concept_id)
        if given is not None:
            return InForce(given.algo_version_id, given.param_id, given.params, given.run_id)
    if clock is Clock.KNOWN:
        return in_force_at(conn, concept_id, at)
    return in_force(conn, concept_id)


def _write(
    conn: Connection, concept_id: str, moment: Moment, stamp: InForce, past: pl.DataFrame
) -> int:
    fill_temporary(conn, "past_state", _ROWS, past)
    done = conn.execute(
        _WRITE,
        {
            "at": moment.at,
            "run_id": moment.run_id,
            "concept_id": concept_id,
            "param_id": stamp.param_id,
            "algo_version_id": stamp.algo_version_id,
        },
    )
    return int(done.rowcount)
